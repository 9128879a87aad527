"""Addresses: their origin, whether they are near (this machine, the network around it), and clients for them.

Two questions that look like one are kept apart, since a wrong answer costs something else:

- ``is_near``: does a request go *past the proxy*? Names that no public name server answers for count too, and the
  addresses of a tailnet: a proxy elsewhere can't reach them, and would only read what is none of its business.
- ``is_private``: may a key go there *unencrypted*? Only what the address itself proves counts: ``localhost`` and
  addresses of this machine or a private network. A name may be looked up to anything.
"""

from __future__ import annotations

import ipaddress
import re
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

if TYPE_CHECKING:
    import httpx2

_PORTS = {"http": 80, "https": 443}

_PRIVATE = tuple(
    ipaddress.ip_network(network)
    for network in (
        "127.0.0.0/8",
        "0.0.0.0/32",  # a server's own "all of my addresses", called from the same machine
        "10.0.0.0/8",
        "172.16.0.0/12",
        "192.168.0.0/16",
        "169.254.0.0/16",
        "::1/128",
        "::/128",
        "fc00::/7",
        "fe80::/10",
    )
)
_SHARED = ipaddress.ip_network("100.64.0.0/10")
"""RFC 6598: a tailnet's addresses. They are also strangers' behind a provider's NAT, so a key asks first."""

_NEAR_SUFFIXES = (".localhost", ".local", ".internal", ".lan", ".home.arpa", ".ts.net")
"""Names that are answered for by this machine, mDNS, a router or a tailnet, never by a public name server."""

_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?")


class _Place(NamedTuple):
    scheme: str
    host: str
    port: int


def origin_of(url: str) -> str | None:
    """Return scheme, host and port of ``url`` as ``https://host[:port]``; ``None`` for what is no http address.

    Two addresses with the same origin are served by the same server. A user name, a path and the scheme's own port
    make no difference.
    """
    place = _place(url)
    if place is None:
        return None
    host = f"[{place.host}]" if ":" in place.host else place.host
    port = "" if place.port == _PORTS[place.scheme] else f":{place.port}"
    return f"{place.scheme}://{host}{port}"


def is_near(url: str) -> bool:
    """Whether a request to ``url`` goes past any proxy; false for what is no address."""
    place = _place(url)
    if place is None:
        return False
    address = _address(place.host)
    if address is not None:
        return _is_private_address(address) or (address.version == 4 and address in _SHARED)
    host = place.host.removesuffix(".")
    labels = host.split(".")
    if not all(_LABEL.fullmatch(label) for label in labels) or _NUMBER.fullmatch(labels[-1]):
        # The system reads a last label that is a number as an address: 134744072 and 0x08080808 are 8.8.8.8.
        return False
    return len(labels) == 1 or host.endswith(_NEAR_SUFFIXES)


def is_private(url: str) -> bool:
    """Whether ``url`` names ``localhost`` or, as a number, an address of this machine or of a private network."""
    place = _place(url)
    if place is None:
        return False
    address = _address(place.host)
    return place.host == "localhost" if address is None else _is_private_address(address)


def is_readable_on_the_way(url: str) -> bool:
    """Whether strangers may read what is sent to ``url``: without TLS, to what is not surely private."""
    return not url.lower().startswith("https://") and not is_private(url)


def _place(url: str) -> _Place | None:
    """Read ``url`` as the HTTP clients do; ``None`` where they might read it otherwise."""
    # urlsplit drops tabs and line ends, and browsers take a backslash for a slash: no two readers agree on these.
    if not url.isprintable() or " " in url or "\\" in url:
        return None
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        return None
    scheme = parts.scheme.lower()
    if scheme not in _PORTS or not host:
        return None
    address = _address(host)
    if address is None and "%" in host:
        return None
    if not host.isascii():
        # As the clients ask for it, so that nobody takes a letter of another alphabet for the one it looks like.
        import idna

        try:
            host = idna.encode(host).decode("ascii")
        except idna.IDNAError:
            return None
    return _Place(scheme, host if address is None else str(address), port or _PORTS[scheme])


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return None
    # ::ffff:8.8.8.8 is the other spelling of 8.8.8.8.
    mapped = address.ipv4_mapped if address.version == 6 else None
    return mapped or address


def _is_private_address(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    return any(address in network for network in _PRIVATE if network.version == address.version)


def open_client(url: str, api_key: str | None, timeout_s: float) -> httpx2.AsyncClient:
    """Return a client with bounds for the server at ``url``; to one that is near it goes past any proxy.

    Redirects are not followed: the key would travel with them.
    """
    import httpx2  # 0.1 s: not on the way to the first window

    from core.base.bounded_http import BoundedClient

    headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
    # Making a TLS context takes 50 ms. A scheme may be written in capitals.
    verify = not url.lower().startswith("http://")
    # A transport of its own makes httpx2 read no proxy.
    near = httpx2.AsyncHTTPTransport(verify=verify) if is_near(url) else None
    return BoundedClient(
        headers=headers, timeout=timeout_s, verify=verify, transport=near, follow_redirects=False
    )
