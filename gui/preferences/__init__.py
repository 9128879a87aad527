"""The preferences page: keys, settings with their origin, looks, data and versions."""
