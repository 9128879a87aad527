"""What a command raises when it can't be run as it was given."""

from __future__ import annotations

from core.errors import InvalidRequest


class UsageError(InvalidRequest):
    """The arguments or the input cannot be used; exit code 2."""
