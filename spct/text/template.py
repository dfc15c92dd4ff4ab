"""Template files: which slots they have, and how these are filled (in one pass, so that nothing
that a slot holds can open another slot)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path

from spct.errors import NOT_UTF8, FormatError, did_you_mean

SLOTS = (
    *("conversation", "responses", "response", "reference", "score_slots", "hint"),
    *("criteria", "criterion"),
)
_SLOT = re.compile(r"\{\{(\w+)\}\}")


def check_slots(name: str, template: str, pattern: str) -> None:
    """Raise `FormatError` where a template has slots that do not exist, or lacks some."""
    used = set(_SLOT.findall(template))
    for slot in used - set(SLOTS):
        meant = did_you_mean(slot, SLOTS, shown="{{{{{}}}}}")
        raise FormatError(
            f"format {name!r}: unknown slot {{{{{slot}}}}}{meant} (known: {', '.join(SLOTS)})"
        )
    if "conversation" not in used or ("responses" in used) == ("response" in used):
        raise FormatError(
            f"format {name!r}: a template needs {{{{conversation}}}} and either "
            f"{{{{responses}}}} or {{{{response}}}}; it has {sorted(used) or 'no slots'}"
        )
    if pattern == "met" and not ("response" in used and used & {"criteria", "criterion"}):
        raise FormatError(
            f"format {name!r}: it checks one response by criteria, so its template needs "
            "{{response}} and {{criteria}}, or {{criterion}} where each call shows one"
        )


def filled(template: str, slots: Mapping[str, str]) -> str:
    """The template with every slot replaced."""
    return _SLOT.sub(lambda slot: slots[slot[1]], template)


def shipped(file: str) -> str:
    """The text of a file of wordings that comes with the package."""
    return (files("spct.text") / "templates" / file).read_text("utf-8")


def shipped_template(name: str) -> str:
    """The text of a template that comes with the package."""
    return shipped(f"{name}.txt").rstrip("\n")


def template_in(path: Path) -> str:
    """The text of a template file of the user's."""
    try:
        return path.read_text("utf-8-sig").rstrip("\n")
    except UnicodeDecodeError as error:
        raise FormatError(f"the template {str(path)!r} is not UTF-8{NOT_UTF8}") from error
    except OSError as error:
        why = error.strerror or str(error)
        raise FormatError(f"cannot read the template {str(path)!r}: {why}") from error
