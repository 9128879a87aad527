"""What a failure of the Hugging Face client means, in words: what happened, and what to do.

Only the child that downloads (``download_child``) imports this: it needs the client's own exceptions.
"""

from __future__ import annotations

import errno
from collections.abc import Iterable
from typing import Any, NamedTuple, cast

from core.base.tls import causes, tls_trouble

_DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_KEPT = "What was downloaded is kept: resume it later."


def before_it_began(hint: str) -> str:
    """Return ``hint`` for a download of which nothing is there yet, and which is on no list to be resumed."""
    for goes_on, anew in (
        (_KEPT, "Nothing was downloaded."),
        ("then resume.", "then try again."),
        ("Resume it.", "Try again."),
    ):
        hint = hint.replace(goes_on, anew)
    return hint


class HubTrouble(NamedTuple):
    """``kind`` is one of ``token``, ``gated``, ``not_found``, ``rate_limited``, ``not_a_hub``, ``disk_full``,
    ``offline``, ``cut``, ``certificate``, ``wrong_hash``, ``busy``, ``disk``, ``no_client`` and ``failed``."""

    kind: str
    what: str
    hint: str


class WrongHash(Exception):
    """What arrived is not what the hub promised; it was removed."""


class NoHash(Exception):
    """The hub names no hash of a file, so nobody could tell whether what arrives is what was meant."""


class BadName(Exception):
    """A name of a file or a hash that no hub would give."""


def explain(error: BaseException, endpoint: str, repo: str, *, has_token: bool) -> HubTrouble:
    """Return what ``error`` means for whoever wants ``repo`` of the hub at ``endpoint``."""
    chain = list(causes(error))
    try:
        from huggingface_hub import errors as hub
    except ImportError as missing:
        return HubTrouble(
            "no_client",
            f"The package huggingface_hub, which downloads, can't be loaded: {missing}.",
            "Install it: pip install 'huggingface_hub>=2.4,<3'. Models that are on disk work without it.",
        )
    ours = _ours(chain, endpoint, repo)
    if ours is not None:
        return ours
    if (full := _disk(chain)) is not None:
        return full
    if any(isinstance(cause, hub.GatedRepoError) for cause in chain):
        return HubTrouble(
            "gated",
            f"{repo} is gated: its owner lets in only who has accepted its licence.",
            f"Accept it at {endpoint}/{repo}, "
            + (
                "with the account of the token that is set."
                if has_token
                else "then set a Hugging Face token (HF_TOKEN, or: signalbox keys set huggingface)."
            ),
        )
    for cause in chain:
        if isinstance(cause, hub.HfHubHTTPError):
            return _of_status(cause.response.status_code, endpoint, repo, has_token=has_token, error=cause)
    return _of_connection(chain, endpoint)


def _ours(chain: Iterable[BaseException], endpoint: str, repo: str) -> HubTrouble | None:
    for cause in chain:
        if isinstance(cause, WrongHash):
            return HubTrouble(
                "wrong_hash",
                f"{cause} arrived with a wrong hash and was removed.",
                "Download it again; if it happens again, the mirror or the repository is damaged.",
            )
        if type(cause) is TimeoutError and str(cause).startswith("another copy"):
            return HubTrouble(
                "busy", f"Another program is downloading {repo} now.", "Wait for it, then resume this one."
            )
        if isinstance(cause, NoHash):
            return HubTrouble(
                "not_a_hub", f"{endpoint} names no hash of {cause}.", "Use another mirror (HF_ENDPOINT)."
            )
        if isinstance(cause, BadName):
            return HubTrouble(
                "not_a_hub",
                f"{endpoint} names a file of {repo} in a way that is not safe.",
                "Nothing was downloaded.",
            )
    return None


def _disk(chain: Iterable[BaseException]) -> HubTrouble | None:
    for cause in chain:
        number = getattr(cause, "errno", None)
        if not isinstance(cause, OSError) or number is None:
            continue
        if number in _DISK_FULL:
            return HubTrouble("disk_full", "The disk is full.", f"Make room, then resume. {_KEPT}")
        if cause.filename is not None:
            return HubTrouble(
                "disk",
                f"{cause.filename} can’t be written: {cause.strerror}.",
                "Make that folder writable, or name another in HF_HOME.",
            )
    return None


def _of_status(status: int, endpoint: str, repo: str, *, has_token: bool, error: BaseException) -> HubTrouble:
    if status == 401:
        # The hub says so of private repositories and of those that do not exist, so as not to tell which.
        return HubTrouble(
            "token",
            f"{endpoint} refuses the Hugging Face token."
            if has_token
            else f"{repo} does not exist at {endpoint}, or is private.",
            "Set another token (HF_TOKEN, or: signalbox keys set huggingface)."
            if has_token
            else "Check its spelling; a private one needs a Hugging Face token.",
        )
    if status == 403:
        return HubTrouble(
            "gated",
            f"{endpoint} does not let this account have {repo} (403).",
            f"Look at {endpoint}/{repo}: you may have to accept its licence, or the token may not read it.",
        )
    if status == 404:
        return HubTrouble(
            "not_found", f"{endpoint} has no {repo}, or not that file.", "Check its spelling on the hub."
        )
    if status == 429:
        return HubTrouble(
            "rate_limited",
            f"{endpoint} says that this address asks too often (429).",
            f"Wait a few minutes, then resume. A Hugging Face token raises the limit. {_KEPT}",
        )
    if status >= 500:
        return HubTrouble(
            "offline", f"{endpoint} has a fault of its own ({status}).", f"Try again later. {_KEPT}"
        )
    return HubTrouble("failed", f"{endpoint} refuses {repo} ({status}).", type(error).__name__)


def _of_connection(chain: list[BaseException], endpoint: str) -> HubTrouble:
    import httpx2

    trouble = tls_trouble(chain[0], endpoint)
    if trouble is not None:
        return HubTrouble("certificate", trouble.what, trouble.way_out)
    for cause in chain:
        if isinstance(cause, httpx2.ConnectError | httpx2.ConnectTimeout | httpx2.ProxyError):
            return HubTrouble(
                "offline",
                f"{endpoint} can’t be reached.",
                f"Check the network and the proxy. {_KEPT}",
            )
        if isinstance(cause, httpx2.TransportError):
            return HubTrouble("cut", f"The connection to {endpoint} broke off.", f"Resume it. {_KEPT}")
    if any(isinstance(cause, ValueError) for cause in chain):
        return HubTrouble(
            "not_a_hub",
            f"{endpoint} answers with something other than a Hugging Face hub’s answer.",
            "A login page of the network, or a wrong HF_ENDPOINT? Open it in a browser.",
        )
    if any("Consistency check failed" in str(cause) for cause in chain):
        return HubTrouble("cut", f"{endpoint} sent less than it promised.", f"Resume it. {_KEPT}")
    if any(type(cause).__name__ == "FileMetadataError" for cause in chain):
        return HubTrouble(
            "not_a_hub",
            f"{endpoint} answers with something other than a Hugging Face hub’s answer.",
            "A login page of the network, or a wrong HF_ENDPOINT? Open it in a browser.",
        )
    error = chain[0]
    return HubTrouble(
        "failed", f"The download failed: {type(error).__name__}.", cast("Any", str(error))[:200]
    )
