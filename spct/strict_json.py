"""The one reader of JSON that somebody else wrote: bodies, replies, rows, stored records.

JSON leaves open what a repeated key means, and Python's reader also takes NaN, numbers beyond
floats and half surrogate pairs, which cannot be stored or sent on. All of these are refused here,
in time linear in the text, and with a depth bound so that nothing downstream recurses too far.
"""

from __future__ import annotations

import gc
import json
import math
import re
from typing import Any

MAX_DEPTH = 64


class NotStrictJSON(ValueError):
    """The text is not strict JSON; the message says what is wrong, and never quotes values."""


def read_json(
    data: bytes | str,
    *,
    max_depth: int = MAX_DEPTH,
    max_containers: int | None = None,
    max_keys: int | None = None,
) -> Any:
    """The value of a JSON text; raises `NotStrictJSON`."""
    # A text may hold half a million lists, and the collector would walk all that are there again
    # and again: none of them is garbage yet.
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        if max_containers is not None:
            _check_count(data, max_containers)
        value = _decoded(data, max_depth)
        _check_shape(value, max_depth, max_containers, max_keys)
        return value
    finally:
        if was_enabled:
            gc.enable()


def _decoded(data: bytes | str, max_depth: int) -> Any:
    try:
        # some proxies and editors put a byte order mark in front, which a reader may pass over
        text = data.decode("utf-8-sig") if isinstance(data, bytes) else data.removeprefix("\ufeff")
        # a Python callback for each number is slow, so it is used only where one may overflow
        may_overflow = _BIG_EXPONENT.search(text) or _LONG_FLOAT.search(text)
        value = (_CAREFUL if may_overflow else _PLAIN).decode(text)
        if isinstance(data, str) or _SURROGATE.search(text):  # bytes hold them as escapes alone
            json.dumps(value, ensure_ascii=False).encode("utf-8")
    except UnicodeDecodeError as error:
        raise NotStrictJSON(f"it is not UTF-8 (byte {error.start})") from None
    except UnicodeEncodeError:
        raise NotStrictJSON("a text holds half of a surrogate pair") from None
    except RecursionError:
        raise NotStrictJSON(f"it is nested deeper than {max_depth} levels") from None
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise NotStrictJSON(f"{error.msg} ({where})") from None
    except ValueError as error:  # ours, or an integer with more digits than Python reads
        raise NotStrictJSON(str(error)) from None
    return value


def _check_count(data: bytes | str, most: int) -> None:
    """Refuse more lists, objects or keys than `most` before a decoder makes them all.

    It makes half a million of them in one go, in which no other thread runs. What stands in texts
    is taken out first, where there is enough of it to matter.
    """
    text = data.decode("utf-8", "replace") if isinstance(data, bytes) else data
    signs = ("[{", "lists and objects"), (":", "keys")
    if all(sum(map(text.count, some)) <= most for some, _ in signs):
        return
    text = _TEXT.sub("", text)
    for some, named in signs:
        if sum(map(text.count, some)) > most:
            raise NotStrictJSON(f"it holds more than {most} {named}")


def _check_shape(
    value: Any, max_depth: int, max_containers: int | None, max_keys: int | None
) -> None:
    """Refuse what is nested too deeply, or holds too many lists and objects, or keys in one."""
    level, seen, depth = [value], 0, 0
    while level:
        below: list[Any] = []
        for one in level:
            if type(one) in (dict, list):
                seen += 1
                if max_containers is not None and seen > max_containers:
                    raise NotStrictJSON(f"it holds more than {max_containers} lists and objects")
                if max_keys is not None and type(one) is dict and len(one) > max_keys:
                    raise NotStrictJSON(f"an object holds more than {max_keys} keys")
                below += one.values() if type(one) is dict else one
        depth += any(type(one) in (dict, list) for one in level)
        if depth > max_depth:
            raise NotStrictJSON(f"it is nested deeper than {max_depth} levels")
        level = [one for one in below if type(one) in (dict, list)]


def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object whose keys occur once each; raises `ValueError` for any other."""
    found = dict(pairs)
    if len(found) != len(pairs):
        seen: set[str] = set()  # not list.count: an object may have a million keys
        for key, _ in pairs:
            if key in seen:
                raise ValueError(f"the key {key[:80]!r} occurs twice in one object")
            seen.add(key)
    return found


def _finite(literal: str) -> float:
    number = float(literal)
    if not math.isfinite(number):
        raise ValueError(f"{literal[:40]} is not a finite number")
    return number


# An open text goes to the end: else each quote in it would be tried as a beginning.
_TEXT = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?\Z)', re.DOTALL)
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")
# Two searches, because one with an alternative takes eight times as long.
_BIG_EXPONENT = re.compile(r"[0-9][eE]\+?0*+[1-9][0-9]{2}")
_LONG_FLOAT = re.compile(r"(?<![0-9])[0-9]{9,}+[.eE]")
_PLAIN = json.JSONDecoder(object_pairs_hook=unique, parse_constant=_finite)
_CAREFUL = json.JSONDecoder(object_pairs_hook=unique, parse_constant=_finite, parse_float=_finite)
