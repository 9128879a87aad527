"""The home folder is taken into use, or refused where somebody else may have written what is in it."""

from __future__ import annotations

import logging
from pathlib import Path

from core.base.home import secure_home
from core.base.permissions import NotOnlyOurs
from core.errors import HomeRefused

log = logging.getLogger(__name__)

CLOSED = "other users could look into the home folder; now they can't"
"""For the log, where ``use_home`` did so."""


def use_home(home: Path) -> bool:
    """Make the home folder for the user alone, or see that nobody else can write it.

    Returns whether it was open to others' eyes and has been closed. One that can't be made is no error: ledger and
    log say that they can't be written.

    Raises:
        HomeRefused: somebody else may have written what is in it; the message says how to mend that.
    """
    try:
        return secure_home(home)
    except NotOnlyOurs as error:
        raise HomeRefused(home, str(error.strerror)) from error
    except OSError as error:
        log.warning("the home folder can't be made: %s", error)
        return False
