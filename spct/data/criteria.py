"""Lists of criteria as people have them: three families, each read by its keys.

- points (HealthBench, RubricHub, GDPVal): `{"criterion": "Calls it urgent", "points": 7}`
- titled (RaR, DR Tulu; verifiers and our own say name, text): `{"title", "description", "weight"}`
- tagged text (OpenRubrics, Rubric-ARM, a judge's own list): `1. It lists two causes. [Hard Rule]`

Polarity is never guessed: published sets with negative weights mean "good when met" or "bad when it
occurs", so negative items need `negative`, and a file whose negative items are plainly worded both
ways, or against what was said, is refused. All faults of a list are told at once.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, get_args

from spct.data.faults import Fault, RowError
from spct.errors import did_you_mean
from spct.types import Criteria, Criterion, Kind
from spct.votes.criteria import faults_of

Negative = Literal["occurs-is-bad", "met-is-good"]
TEXTS = ("text", "criterion", "description", "requirement", "question")
NAMES = ("name", "title")
WEIGHTS = ("weight", "points")
CHOICES = ("choices", "options")
KINDS: tuple[Kind, ...] = get_args(Kind)
KEYS = (*TEXTS, *NAMES, *WEIGHTS, *CHOICES, "kind", "required", "tags")
COLUMNS = ("criteria", "rubric", "rubrics")  # what a row calls its list
# RaR writes the class of an item before its text; ProfBench writes it as the weight.
_PREFIX = re.compile(r"\s*(essential|important|optional|pitfall) criteria\s*:\s*", re.IGNORECASE)
_WORDS = {"critical": 4.0, "major": 3.0, "minor": 2.0, "additional": 1.0}
_MARKS = {"hard rule": 3.0, "principle": 1.0}
_ITEM = re.compile(r"^[ \t]*\d{1,3}[.)][ \t]+(?=\S)", re.MULTILINE)
_MARK = re.compile(r"\s*\[(hard rule|principle|required|pitfall)\][\s.]*$", re.IGNORECASE)
_BOLD = re.compile(
    r"\*\*([^*\n]+)\*\*\s*(?:\(\s*weight\s*:\s*(\d+(?:\.\d+)?)\s*%?\s*\))?\s*[:：–-]*\s*",
    re.IGNORECASE,
)
# Plain wordings alone: "does not name a source" is a virtue in one file and an omission in another.
_VIRTUE = re.compile(r"\s*(?:the (?:response|answer) )?(?:avoids?|refrains?)\b", re.IGNORECASE)
_FAULT = re.compile(
    r"\s*(?:the (?:response|answer) )?(?:fails to|incorrectly|wrongly|mistakenly|omits|neglects)\b",
    re.IGNORECASE,
)


class _Raw(NamedTuple):
    """An item with its sign, as it stands in the file."""

    item: Criterion
    is_negative: bool


@dataclass(slots=True)
class Polarity:
    """What the negative items of one file mean, and how they were worded so far."""

    negative: Negative | None = None
    worded: dict[bool, str] = field(default_factory=dict)  # whether met is good -> the first text

    def kind(self, item: Criterion) -> tuple[Literal["met", "pitfall"], str]:
        """The kind of a negative item, and what is wrong with it."""
        text = repr(item.text[:60])
        if self.negative is None:
            return "pitfall", f"{text} counts below zero"
        kind: Literal["met", "pitfall"] = "met" if self.negative == "met-is-good" else "pitfall"
        if not (_VIRTUE.match(item.text) or _FAULT.match(item.text)):
            return kind, ""
        is_good = bool(_VIRTUE.match(item.text))
        self.worded.setdefault(is_good, text)
        if len(self.worded) == 2:
            return kind, (
                f"negative items are worded both ways: {self.worded[True]} is good when met, "
                f"{self.worded[False]} is bad; word them alike"
            )
        if is_good != (self.negative == "met-is-good"):
            return kind, f"{text} is worded against --negative {self.negative}"
        return kind, ""


_SAY = (
    "say what below zero means: --negative occurs-is-bad (it is bad when it occurs) or --negative "
    "met-is-good"
)


def looks_like_criteria(value: Any) -> bool:
    """Whether a column's value is a list of items with a text each."""
    return (
        isinstance(value, list)
        and bool(value)
        and all(isinstance(one, Mapping) and any(key in one for key in TEXTS) for one in value)
    )


def read_criteria(
    place: str,
    value: Any,
    polarity: Polarity | None = None,
    source: Literal["given", "written"] = "given",
) -> Criteria:
    """Read a list of items, of texts, or a tagged text; raise one `RowError` with all faults."""
    polarity = polarity or Polarity()
    problems: list[str] = []
    if isinstance(value, Mapping) and "items" in value:  # our own record of a list
        source = "written" if value.get("source") == "written" else source
        value = value["items"]
    if isinstance(value, str):
        raws = read_tagged(value, problems)
    elif isinstance(value, Sequence):
        raws = [_item(i, one, problems) for i, one in enumerate(value, 1)]
    else:
        raws, problems = [], [f"got {type(value).__name__}, expected a list of items"]
    items = []
    for raw in raws:
        item, is_negative = raw
        if is_negative:
            kind, problem = polarity.kind(item)
            problems += [problem] * bool(problem)
            item = _like(item, kind=kind)
        items.append(item)
    if polarity.negative is None and any(is_negative for _, is_negative in raws):
        problems.append(_SAY)
    criteria = Criteria(tuple(items), source)
    problems += faults_of(criteria) if raws or not problems else []
    if problems:
        told = "; ".join(dict.fromkeys(problems))
        n = "1 item" if len(items) == 1 else f"{len(items)} items"
        raise RowError(place, Fault("criteria", n, f"a list without faults: {told}"))
    return criteria


def read_tagged(text: str, problems: list[str]) -> list[_Raw]:
    """A numbered list with marks at the ends of its lines: [Hard Rule], [required], [pitfall]."""
    starts = [match.start() for match in _ITEM.finditer(text)]
    if not starts:
        problems.append("the text holds no numbered items, such as '1. ...'")
        return []
    found = []
    for i, (a, b) in enumerate(zip(starts, [*starts[1:], len(text)], strict=True), 1):
        item = " ".join(_ITEM.sub("", text[a:b], count=1).split())
        marks = []
        while mark := _MARK.search(item):
            marks.append(mark[1].lower())
            item = item[: mark.start()]
        bold = _BOLD.match(item)
        name, weight = (bold[1].strip(" :"), bold[2]) if bold else (f"c{i}", None)
        rule = next((_MARKS[mark] for mark in marks if mark in _MARKS), 1.0)
        found.append(
            _Raw(
                Criterion(
                    name,
                    item[bold.end() :] if bold else item,
                    float(weight) if weight else rule,
                    "pitfall" if "pitfall" in marks else "met",  # said outright, not by a sign
                    "required" in marks,
                    tags=tuple(mark for mark in marks if mark in _MARKS),
                ),
                False,
            )
        )
    return found


def _item(i: int, value: Any, problems: list[str]) -> _Raw:
    """One item by its keys; what is wrong with it goes to `problems`, never an exception."""
    where = f"criterion {i}"
    empty = _Raw(Criterion(f"c{i}", "-"), False)
    if isinstance(value, str):
        return _Raw(Criterion(f"c{i}", value), False)
    if not isinstance(value, Mapping):
        problems.append(f"{where}: got {type(value).__name__}, expected an object or a text")
        return empty
    for key in value:
        if key not in KEYS:
            hint = did_you_mean(str(key), KEYS)
            problems.append(f"{where}: unknown key {str(key)!r}{hint}")
    for group in (TEXTS, NAMES, WEIGHTS, CHOICES):
        both = [key for key in group if value.get(key) is not None]
        if len(both) > 1:
            problems.append(f"{where}: {both[0]!r} and {both[1]!r} are both there")
    text, name = _text(value, TEXTS), _text(value, NAMES)
    if text is None:
        problems.append(f"{where}: no text; expected one of {', '.join(TEXTS)}")
        return empty
    tags = value.get("tags") or ()
    if not isinstance(tags, list | tuple) or not all(isinstance(tag, str) for tag in tags):
        problems.append(f"{where}: tags {tags!r:.40}, expected a list of texts")
        tags = ()
    if prefix := _PREFIX.match(text):
        text, tags = text[prefix.end() :], (*tags, prefix[1].lower())
    said_weights = [value[k] for k in WEIGHTS if k in value]
    if said_weights and all(one is None for one in said_weights):
        problems.append(f"{where}: its weight is null or NaN; give a number, or leave the key out")
    weight = _weight(where, next((one for one in said_weights if one is not None), None), problems)
    choices = _choices(where, next((value[k] for k in CHOICES if value.get(k)), ()), problems)
    said = value.get("kind") or ("graded" if choices else "met")
    kind: Kind = next((known for known in KINDS if known == said), "met")
    if kind != said:
        problems.append(f"{where}: kind {said!r:.40}, expected met, pitfall or graded")
    required = value.get("required", False)
    if not isinstance(required, bool):
        problems.append(f"{where}: required is {required!r:.40}, expected true or false")
        required = False
    is_negative = weight < 0 or (prefix is not None and prefix[1].lower() == "pitfall")
    if is_negative and kind == "graded":
        problems.append(f"{where}: levels with a weight below zero; turn the levels round instead")
    made = Criterion(name or f"c{i}", text, abs(weight), kind, required, choices, tuple(tags))
    return _Raw(made, is_negative and kind == "met")


def _text(value: Mapping[str, Any], keys: Sequence[str]) -> str | None:
    found = next((value[key] for key in keys if value.get(key) is not None), None)
    return found if isinstance(found, str) else None


def _weight(where: str, value: Any, problems: list[str]) -> float:
    if value is None:
        return 1.0
    if isinstance(value, str) and value.strip().lower() in _WORDS:
        return _WORDS[value.strip().lower()]
    if isinstance(value, bool) or not isinstance(value, int | float):
        problems.append(f"{where}: weight {value!r:.40}, expected a number")
        return 1.0
    try:
        return float(value)
    except OverflowError:
        return float("inf")


def _choices(where: str, value: Any, problems: list[str]) -> tuple[str, ...]:
    """Levels, worst first: texts in that order, or objects with a label and a value to sort by."""
    if not isinstance(value, list | tuple):
        problems.append(f"{where}: choices {value!r:.40}, expected a list")
        return ()
    if all(isinstance(one, str) for one in value):
        return tuple(value)
    try:
        pairs = sorted((float(one["value"]), str(one["label"])) for one in value)
    except (TypeError, KeyError, ValueError):
        problems.append(f"{where}: choices that are neither texts nor objects with label and value")
        return ()
    low, step = pairs[0][0], (pairs[-1][0] - pairs[0][0]) / max(1, len(pairs) - 1)
    if any(abs(v - low - i * step) > 1e-6 for i, (v, _) in enumerate(pairs)) or step <= 0:
        problems.append(f"{where}: the values of its choices are not evenly spaced")
    return tuple(label for _, label in pairs)


def _like(item: Criterion, kind: Literal["met", "pitfall"]) -> Criterion:
    return Criterion(item.name, item.text, item.weight, kind, item.required, (), item.tags)


def dump_items(criteria: Criteria) -> list[dict[str, Any]]:
    """The items for a file that people edit: what is as by default is left out."""
    rows = []
    for one in criteria.items:
        row: dict[str, Any] = {"name": one.name, "text": one.text, "weight": one.weight}
        row |= {} if one.kind == "met" else {"kind": one.kind}
        row |= {"required": True} if one.required else {}
        row |= {"choices": list(one.choices)} if one.choices else {}
        rows.append(row | ({"tags": list(one.tags)} if one.tags else {}))
    return rows
