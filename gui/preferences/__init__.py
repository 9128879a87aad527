"""The preferences page: keys, settings with their origin, looks, data and versions."""

from gui.preferences.page import PreferencesPage

__all__ = ["PreferencesPage"]
