r"""The parse of the sample code that came with the released checkpoints, for comparing with them.

It takes the last of `\boxed{...}` and `[...]`, splits at commas, keeps what is a number and clips
it to the scale. So it loses `[[8, 1]]`, `8/10` and text macros, and a footnote `[1]` after the
verdict wins. Too few or too many numbers have no reading there either: unscored.
"""

from __future__ import annotations

import math
import re

from spct.text.parse import Group, Reading, Scale
from spct.types import Unscored

_LAST = re.compile(r"(?:\\{1,2}boxed\{|\[)\s*([^\]}]*?)\s*(?:\}|\])")


def read_released(text: str, n: int, scale: Scale) -> Reading | Unscored:
    """Read a reply as the released sample code does."""
    found = list(_LAST.finditer(text))
    if not found:
        return Unscored("no_verdict", "no group in braces or brackets")
    last = found[-1]
    scores, spans = [], []
    for part in re.finditer(r"[^,]+", last[1]):
        said = part[0].strip()
        try:
            number = float(said)
        except ValueError:
            continue
        if math.isnan(number):  # the sample code would clip it to an end of the scale
            continue
        begin = last.start(1) + part.start() + len(part[0]) - len(part[0].lstrip())
        scores.append(min(max(number, scale.low), scale.high))
        spans.append((begin, begin + len(said)))
    if len(scores) != n:
        return Unscored("wrong_count", f"{len(scores)} numbers, expected {n}, in {last[0][:80]!r}")
    if scale.whole and any(score != int(score) for score in scores):
        return Unscored("out_of_range", f"expected whole numbers, in {last[0][:80]!r}")
    return Reading(
        (), text[: last.start()].strip(), Group(tuple(scores), tuple(spans), last.start())
    )
