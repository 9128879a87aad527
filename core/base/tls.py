"""What a failure of TLS means in words: which certificate, what is wrong with it, and the way out.

The HTTP library raises the same "connect error" for a server that is off and for one whose certificate nobody
knows; what tells them apart is the cause beneath it.
"""

from __future__ import annotations

import os
import re
import ssl
from collections.abc import Iterator
from typing import NamedTuple


class TlsTrouble(NamedTuple):
    """``what`` went wrong, as a sentence, and the ``way_out``, as another."""

    what: str
    way_out: str


_TRUST_IT = (
    "If it is yours or your company's, put its certificate, or that of its authority, into a file with those that "
    "this computer trusts, and start Signalbox with SSL_CERT_FILE=that file."
)
_ASK_OWNER = "Renew it on the server. Check this computer's clock too."
_CERTIFICATE_VARIABLES = ("SSL_CERT_FILE", "SSL_CERT_DIR")

# OpenSSL's X509_V_ERR_ numbers: the words differ between its versions.
_NOT_YET_VALID, _EXPIRED = 9, 10
_SELF_SIGNED = 18
_UNKNOWN_ISSUER = (2, 19, 20, 21, 27)
_OTHER_HOST = (62, 64)

_NO_TLS_THERE = ("WRONG_VERSION_NUMBER", "UNKNOWN_PROTOCOL", "HTTP_REQUEST", "PACKET_LENGTH_TOO_LONG")
_UNREADABLE = ("NO_CERTIFICATE_OR_CRL_FOUND", "PEM_LIB", "NO_START_LINE", "BAD_BASE64_DECODE")

_WANTS_TLS = re.compile(
    r"plain HTTP request was sent to (?:an? )?HTTPS port|HTTP request to an HTTPS server|"
    r"combination of host and port requires TLS|speaking plain HTTP to an SSL-enabled server",
    re.IGNORECASE,
)
"""How nginx, Go's servers, Tomcat and Apache refuse ``http://`` on a port of TLS."""


_NOT_TO_BE_READ = (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError)


def causes(error: BaseException) -> Iterator[BaseException]:
    """Yield ``error`` and what it came from, outermost first."""
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        yield current
        current = current.__cause__ or current.__context__


def tls_trouble(error: BaseException, url: str) -> TlsTrouble | None:
    """Return what TLS had against the server at ``url``; ``None`` where the trouble is another one."""
    for cause in causes(error):
        if isinstance(cause, ssl.SSLCertVerificationError):
            return _of_certificate(cause, url)
        if isinstance(cause, ssl.SSLError):
            return _of_connection(cause, url)
        if isinstance(cause, _NOT_TO_BE_READ) and (variable := _set_variable()):
            # Only the files of certificates are opened on the way to a connection.
            return _of_files(variable, url)
    return None


def wants_tls(answer: str, url: str) -> TlsTrouble | None:
    """Return the trouble of a server that was called by ``http://`` and whose ``answer`` says that it wants TLS."""
    if _WANTS_TLS.search(answer) is None or url.lower().startswith("https://"):
        return None
    return TlsTrouble(f"{url} speaks TLS only.", "Write https:// in its address.")


def maybe_tls(url: str) -> str:
    """Return what to try where a server at ``url`` broke the connection off without a word (empty: nothing)."""
    return "" if url.lower().startswith("https://") else "If it speaks TLS, write https:// in its address."


def _of_certificate(error: ssl.SSLCertVerificationError, url: str) -> TlsTrouble:
    code: int = getattr(error, "verify_code", 0)
    words = str(getattr(error, "verify_message", "")).strip().rstrip(".") or "it could not be verified"
    if code == _EXPIRED or "expired" in words:
        return TlsTrouble(f"The certificate of {url} has expired.", _ASK_OWNER)
    if code == _NOT_YET_VALID or "not yet valid" in words:
        return TlsTrouble(f"The certificate of {url} is not valid yet.", _ASK_OWNER)
    if code in _OTHER_HOST or "mismatch" in words:
        return TlsTrouble(
            f"The certificate of {url} is for another host.",
            "Use the name that its certificate has in the address, or have one made for this name.",
        )
    if code in _UNKNOWN_ISSUER:
        return TlsTrouble(
            f"The certificate of {url} comes from an authority that this computer doesn't know.", _TRUST_IT
        )
    if code == _SELF_SIGNED or "self-signed" in words or "self signed" in words:
        return TlsTrouble(f"The certificate of {url} is self-signed, so it proves nothing.", _TRUST_IT)
    return TlsTrouble(f"The certificate of {url} was refused: {words}.", _TRUST_IT)


def _of_connection(error: ssl.SSLError, url: str) -> TlsTrouble:
    reason = str(getattr(error, "reason", None) or "")
    if reason in _NO_TLS_THERE:
        return TlsTrouble(
            f"The server at {url} doesn't speak TLS.",
            "Turn TLS on there. On this machine or in a network that is yours, http:// in its address does.",
        )
    if any(mark in reason for mark in _UNREADABLE) and (variable := _set_variable()):
        return _of_files(variable, url)
    said = f" ({reason.replace('_', ' ').lower()})" if reason else ""
    return TlsTrouble(
        f"No TLS connection to {url} came about{said}.",
        "Check that it speaks TLS 1.2 or newer, and whether a proxy or a firewall stands between.",
    )


def _of_files(variable: str, url: str) -> TlsTrouble:
    return TlsTrouble(
        f"No TLS connection to {url}: the certificates that {variable} names can't be read.",
        f"Correct {variable}, or unset it to trust what this computer trusts.",
    )


def _set_variable() -> str:
    """The variable that counts: the first that is set, as in the HTTP library."""
    return next((name for name in _CERTIFICATE_VARIABLES if os.environ.get(name)), "")
