"""The one reader of JSON that somebody else wrote: bodies, replies, rows, stored records.

JSON leaves open what a repeated key means, and Python's reader also takes NaN, numbers beyond
floats and half surrogate pairs, which cannot be stored or sent on. All of these are refused here,
in time linear in the text, and with a depth bound so that nothing downstream recurses too far.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any

MAX_DEPTH = 64


class NotStrictJSON(ValueError):
    """The text is not strict JSON; the message says what is wrong, and never quotes values."""


def read_json(data: bytes | str, *, max_depth: int = MAX_DEPTH) -> Any:
    """The value of a JSON text; raises `NotStrictJSON`."""
    try:
        # some proxies and editors put a byte order mark in front, which a reader may pass over
        text = data.decode("utf-8-sig") if isinstance(data, bytes) else data.removeprefix("\ufeff")
        # a Python callback for each number is slow, so it is used only where one may overflow
        value = (_CAREFUL if _MAY_OVERFLOW.search(text) else _PLAIN).decode(text)
        if _SURROGATE.search(text):  # escapes; raw ones are not UTF-8
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
    if is_deeper(value, max_depth):
        raise NotStrictJSON(f"it is nested deeper than {max_depth} levels")
    return value


def is_deeper(value: Any, limit: int) -> bool:
    """Whether containers are nested deeper than `limit`."""
    level = [value]
    for _ in range(limit):
        level = [
            child
            for one in level
            if isinstance(one, dict | list)
            for child in (one.values() if isinstance(one, dict) else one)
            if isinstance(child, dict | list)
        ]
        if not level:
            return False
    return True


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


_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]|[\ud800-\udfff]")
_MAY_OVERFLOW = re.compile(r"[eE]\+?0*[1-9]\d\d|\d{308}")
_PLAIN = json.JSONDecoder(object_pairs_hook=unique, parse_constant=_finite)
_CAREFUL = json.JSONDecoder(object_pairs_hook=unique, parse_constant=_finite, parse_float=_finite)
