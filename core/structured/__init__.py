"""Answers that have to match a JSON schema: checked, mended where that is safe, and counted per model."""
