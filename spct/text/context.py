"""Where a group stands: alone, after a word or label of scoring, or inside another sentence."""

from __future__ import annotations

import re

from spct.text.grammar import Span
from spct.text.reasoning import CRITERIA

# Words after which a group is a verdict, and the labels of such a word alone.
_SCORING = re.compile(
    r"\b(?:scor(?:e|es|ed|ing)|rat(?:e|es|ed|ing|ings)|verdicts?|grad(?:e|es|ed|ing)|marks|points"
    r"|final (?:answer|result|output|decision|judge?ment|evaluation|assessment|numbers?)"
    r"|judge?ments?|output|results?|assign(?:ed)?|award(?:ed)?|give|gives|(?:best|better|winner|"
    r"winning|preferred|choice|choose|chosen|prefer)(?: (?:response|answer|one))?)\b"
    r"|评分|評分|得分|分数|分數|打分|スコア|点数|評価|점수|평가|оценк|балл|puntuaci|puntaje|calificaci"
    r"|pontua|nota|punkte|bewertung|punteggi|\bnotes?\b",
    re.IGNORECASE,
)
_SAYING = re.compile(
    r"\b(?:says?|said|claims?|asks?|asked|demands?|states?|writes?|wrote|quotes?|contains?|ends?"
    r"|ending|begins?|reads?|includes?|adds?|repeats?|prints?|mentions?|boxes|text|list|string)\b"
    r"[^.!?]*$",
    re.IGNORECASE,
)
_FILLER = re.compile(
    r"(?:and|or|then|so|thus|hence|therefore|finally|overall|i|we|have|get|is|are|no|not|be|with"
    r"|(?:response|answer|assistant|candidate)\s*[#№]?\d{1,3}|\d{1,3}[.)]|[\W_])*",
    re.IGNORECASE,
)
_SHORT = re.compile(r"[\s\d.)#*>_|-]*(?:[^\W\d_]+['’]?\s*){1,3}(?:\d{1,3}\s*)?[*_]*\s*[:：=]\W*")
_LONG = 2000  # no label is longer
_QUOTE = re.compile(r"[\"“«„'‘]\s*$")
_SENTENCE = re.compile(r"[.!?。！？](?=\s)")


def without_groups(text: str, spans: list[Span]) -> str:
    """The text with every group as a blank, so that a line of groups alone is seen as empty."""
    parts, done = [], 0
    for start, _, _, end in spans:
        if start >= done:
            parts += [text[done:start], " " * (end - start)]
            done = end
    return "".join([*parts, text[done:]])


def counts(text: str, span: Span, lines: str) -> bool:
    """Whether a group stands alone on its line or after a word or label of scoring."""
    start, end = span[0], span[3]
    near = max(0, start - _LONG)
    line = lines.rfind("\n", near, start) + 1 or near
    stop = lines.find("\n", end, end + _LONG)
    before, after = lines[line:start], lines[end : stop if stop >= 0 else end + _LONG]
    is_quoted = _QUOTE.search(before)
    if _FILLER.fullmatch(before) and (_FILLER.fullmatch(after) or not is_quoted):
        return bool(_FILLER.fullmatch(after)) or not after.lstrip()[:1].isalpha()
    cuts = [m.end() for m in _SENTENCE.finditer(before)]
    sentence = before[cuts[-1] :] if cuts else before
    if _SHORT.fullmatch(sentence):
        return not (_SAYING.search(sentence) or CRITERIA.match(sentence))
    return bool(_SCORING.search(sentence)) and not (is_quoted or _SAYING.search(sentence))
