"""Host and Origin headers, read whole (pure): a page in a browser must not reach this gateway.

A page may reach a loopback port under its own host name (DNS rebinding), and the browser then says
that name in Host. Without keys only our own names are answered; another Origin never is.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import ip_address
from urllib.parse import urlsplit

from spct.serve.errors import HttpError

# Underscores are in no host name of the standard, and in many names of containers.
_HOST = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9._-]{1,255}))(?::(\d{1,5}))?")
_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Host:
    """A host and its port, if one was given; names are in lower case and without a last dot."""

    name: str
    port: int | None = None


def parse_host(value: str) -> Host | None:
    """A Host header, whole; None where it is anything else than a name or an address."""
    match = _HOST.fullmatch(value)
    if match is None:
        return None
    name = (match[1] or match[2]).lower().removesuffix(".")
    port = None if match[3] is None else int(match[3])
    if not name or (port is not None and not 0 < port < 65536):
        return None
    if match[1]:
        try:
            name = str(ip_address(name))
        except ValueError:
            return None
    return Host(name, port)


def check_host(value: str, allowed: frozenset[str]) -> None:
    """Refuse a name that is not ours."""
    host = parse_host(value)
    if host is None or host.name not in allowed:
        raise HttpError(
            403,
            "forbidden",
            "the Host header is not a name of this gateway; add it with --allowed-host",
            param="Host",
        )


def check_origin(origin: str | None, fetch_site: str, host: str) -> None:
    """Refuse what a page of another origin sends; only browsers send these two headers."""
    if fetch_site in ("cross-site", "same-site") or (
        origin is not None and not _is_same_origin(origin, host)
    ):
        raise HttpError(403, "forbidden", "requests from other origins are refused")


def _is_same_origin(origin: str, host: str) -> bool:
    try:
        parts = urlsplit(origin)
        default = _PORTS.get(parts.scheme)
        theirs = parse_host(parts.netloc)
    except ValueError:
        return False
    ours = parse_host(host)
    if theirs is None or ours is None or default is None:
        return False
    return theirs.name == ours.name and (theirs.port or default) == (ours.port or default)
