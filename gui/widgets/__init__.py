"""Widgets of the design language, painted or styled from :mod:`gui.theme.theme`; they know no page."""
