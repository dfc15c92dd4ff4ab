"""An example's id as an address and SQLite's text can carry it."""

from __future__ import annotations


def key_of(id: str) -> str:
    """The id as an address can carry it: itself, or "~" and its bytes in hex.

    An id may hold half a surrogate pair, for which neither SQLite's text nor an URL has a place.
    """
    try:
        id.encode("utf-8")
    except UnicodeEncodeError:
        return f"~{id.encode('utf-8', 'surrogatepass').hex()}"
    return f"~{id.encode().hex()}" if id.startswith("~") else id


def id_of(key: str) -> str:
    """The id that `key_of` made a key of."""
    if not key.startswith("~"):
        return key
    try:
        return bytes.fromhex(key[1:]).decode("utf-8", "surrogatepass")
    except ValueError:
        return key
