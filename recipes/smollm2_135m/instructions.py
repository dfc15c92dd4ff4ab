"""Checkable instructions: what a response has to look like, and whether it does, by exact check.

A query is a real question (or none) and one instruction; responses are real answers of the licensed
sets and small edits of them. `check` decides gold, never the edit that made a response: of several
responses exactly one does what is asked; a single one has gold 1 or 0. `meta["findings"]` says what
was counted or quoted, for critiques. The kinds in `HELD_OUT` are for testing alone.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from spct.types import Example, Message

Texts = Sequence[str]
PHRASES = ("Well,", "In short,", "Honestly,", "To be clear,", "As far as I know,", "Good question:")
CLOSINGS = ("That is all.", "I hope this helps.", "Ask me anything.", "So it goes.", "The end.")
LANGUAGES = {
    "French": ("Je pense que oui.", "Ce n'est pas vrai du tout.", "La réponse dépend du pays.",
               "Personne ne le sait vraiment.", "C'est une vieille légende."),
    "German": ("Das ist leider nicht richtig.", "Ich glaube, dass es stimmt.", "Niemand weiß es.",
               "Die Antwort hängt vom Land ab.", "Das ist nur eine alte Geschichte."),
    "Spanish": ("Creo que es verdad.", "La respuesta depende del país.", "Nadie lo sabe.",
                "Eso no es cierto.", "Es solo una vieja historia."),
    "Italian": ("Penso che sia vero.", "La risposta dipende dal paese.", "Nessuno lo sa davvero.",
                "Questo non è corretto.", "È soltanto una vecchia storia."),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of instruction.

    `draw` takes a value from the texts; `ask` words it; `check` returns whether a response does it
    and what was found; `good` and `bad` edit the texts towards either (and may miss: `check` says).
    """

    draw: Callable[[random.Random, Texts], Any]
    ask: Callable[[Any], str]
    check: Callable[[Any, str], tuple[bool, str]]
    good: Callable[[random.Random, Any, Texts], str]
    bad: Callable[[random.Random, Any, Texts], str]
    needs_question: bool = True


def words(text: str) -> list[str]:
    """What stands between white space."""
    return text.split()


def sentences(text: str) -> list[str]:
    """What ends with a full stop, a question mark or an exclamation mark."""
    return [s for s in re.split(r"(?<=[.!?])\s+", text.strip()) if s]


def points(text: str) -> list[str]:
    """The lines of a list; empty where a line is no point."""
    lines = text.strip().splitlines()
    return lines if all(line.startswith("- ") for line in lines) else []


def contains(text: str, word: str) -> bool:
    """Whether a word stands in a text as a word, whatever its case."""
    return re.search(rf"(?<!\w){re.escape(word)}(?!\w)", text, re.IGNORECASE) is not None


def lower_first(text: str) -> str:
    """A sentence as it goes on after an opening."""
    return text if text[:2].isupper() or text[:2] == "I " else text[:1].lower() + text[1:]


def joined(texts: Texts, n: int) -> str:
    """The first n texts as one."""
    return " ".join(texts[:n])


def counted(n: int, what: str) -> str:
    """A number of things: "1 word", "2 words"."""
    return f"{n} {what}" + ("" if n == 1 else "s")


def _most(limit: int, text: str) -> tuple[bool, str]:
    n = len(words(text))
    return n <= limit, f"has {counted(n, 'word')}, at most {limit} are asked"


def _least(limit: int, text: str) -> tuple[bool, str]:
    n = len(words(text))
    return n >= limit, f"has {counted(n, 'word')}, at least {limit} are asked"


def _sentences(wanted: int, text: str) -> tuple[bool, str]:
    n = len(sentences(text))
    return n == wanted, f"has {counted(n, 'sentence')}, {wanted} asked"


def _points(wanted: int, text: str) -> tuple[bool, str]:
    n = len(points(text))
    return n == wanted, f"has {counted(n, 'point')}, {wanted} asked"


def _has(word: str, text: str) -> tuple[bool, str]:
    found = contains(text, word)
    return found, f'"{word}": {"found" if found else "missing"}'


def _lacks(word: str, text: str) -> tuple[bool, str]:
    found = contains(text, word)
    return not found, f'"{word}": {"found" if found else "not there"}'


def _begins(phrase: str, text: str) -> tuple[bool, str]:
    return text.startswith(phrase), f'begins with "{" ".join(words(text)[:4])}"'


def _ends(phrase: str, text: str) -> tuple[bool, str]:
    return text.endswith(phrase), f'ends with "{" ".join(words(text)[-4:])}"'


def _case(wanted: str, text: str) -> tuple[bool, str]:
    other = next(
        (w for w in words(text) if w != (w.upper() if wanted == "upper" else w.lower())), ""
    )
    said = f'"{other}" is not {wanted} case' if other else f"is all {wanted} case"
    return not other, said


def _json(keys: tuple[str, str], text: str) -> tuple[bool, str]:
    try:
        found = json.loads(text)
    except ValueError:
        return False, "is not JSON"
    if not isinstance(found, dict):
        return False, "is not an object"
    missing = [key for key in keys if key not in found]
    return not missing, f'lacks "{missing[0]}"' if missing else "is JSON with both keys"


def _number(limits: tuple[int, int], text: str) -> tuple[bool, str]:
    low, high = limits
    if not re.fullmatch(r"-?\d+", text.strip()):
        return False, "is not a number alone"
    n = int(text)
    return low <= n <= high, f"{n} is {'in' if low <= n <= high else 'outside'} {low} to {high}"


def _language(name: str, text: str) -> tuple[bool, str]:
    found = next((one for one, known in LANGUAGES.items() if text in known), "English")
    return found == name, f"is in {found}"


def _order(items: tuple[str, ...], text: str) -> tuple[bool, str]:
    wanted = sorted(items)
    given = text.rstrip(".").split(", ")
    off = next((i for i, (a, b) in enumerate(zip(given, wanted, strict=False)) if a != b), None)
    if given == wanted or off is None:
        return given == wanted, "is in order" if given == wanted else "lacks words"
    return False, f'has "{given[off]}" where "{wanted[off]}" belongs'


def _question(_: None, text: str) -> tuple[bool, str]:
    return text.endswith("?"), f'ends with "{text[-1:]}"'


def _commas(_: None, text: str) -> tuple[bool, str]:
    n = text.count(",")
    return n == 0, f"has {counted(n, 'comma')}"


def _quoted(_: None, text: str) -> tuple[bool, str]:
    inside = len(text) > 2 and text[0] == text[-1] == '"' and '"' not in text[1:-1]
    return inside, "is in quotes" if inside else "is not in quotes"


def _exactly(wanted: str, text: str) -> tuple[bool, str]:
    return text == wanted, f'is {"" if text == wanted else "not "}"{wanted}" alone'


def _long_word(rng: random.Random, texts: Texts) -> str:
    found = sorted({w for t in texts for w in re.findall(r"\b[a-z]{5,}\b", t)})
    return rng.choice(found or ["answer"])


def _without(rng: random.Random, word: str, texts: Texts) -> str:
    """A text in which the word does not stand, or in which it is cut out."""
    free = [t for t in texts if not contains(t, word)]
    cut = [re.sub(rf"(?<!\w){re.escape(word)}(?!\w)\s*", "", t, flags=re.I) for t in texts]
    return rng.choice([*free, *(t for t in cut if len(words(t)) > 2)] or ["No."])


def _with(rng: random.Random, word: str, texts: Texts) -> str:
    having = [t for t in texts if contains(t, word)]
    return rng.choice(having) if having and rng.random() < 0.7 else f"{texts[0]} In a word, {word}."


def _fewer_words(rng: random.Random, limit: int, texts: Texts) -> str:
    kept = words(texts[0])[: rng.randint(max(1, limit - 4), limit)]
    return " ".join(kept).rstrip(".,;:") + "."


def _more_words(rng: random.Random, limit: int, texts: Texts) -> str:
    return next(
        (j for n in (1, 2, 3, 4, 5, 6) if len(words(j := joined(texts, n))) > limit + 1), ""
    )


def _list(n: int, texts: Texts) -> str:
    return "\n".join(f"- {t}" for t in texts[:n])


def _other(rng: random.Random, n: int) -> int:
    return rng.choice([m for m in (n - 1, n + 1, n + 2) if m >= 1])


def _bad_list(rng: random.Random, n: int, texts: Texts) -> str:
    return _list(_other(rng, n), texts) if rng.random() < 0.6 else "\n".join(texts[:n])


def _cased(wanted: str, text: str) -> str:
    return text.upper() if wanted == "upper" else text.lower()


def _bad_case(rng: random.Random, wanted: str, texts: Texts) -> str:
    other = "lower" if wanted == "upper" else "upper"
    half = len(words(texts[0])) // 2
    mixed = [*words(_cased(wanted, texts[0]))[:half], *words(texts[0].title())[half:]]
    return rng.choice([texts[0], _cased(other, texts[0]), " ".join(mixed)])


def _good_json(rng: random.Random, keys: tuple[str, str], texts: Texts) -> str:
    return json.dumps({keys[0]: texts[0], keys[1]: rng.choice(["yes", "no"])})


def _bad_json(rng: random.Random, keys: tuple[str, str], texts: Texts) -> str:
    whole = _good_json(rng, keys, texts)
    wrong_key = json.dumps({keys[0]: texts[0], "text": "yes"})
    return rng.choice([texts[0], wrong_key, json.dumps({keys[0]: texts[0]}), whole[:-1]])


def _bad_number(rng: random.Random, limits: tuple[int, int], texts: Texts) -> str:
    low, high = limits
    off = rng.randint(1, 40)
    inside = rng.randint(low, high)
    return rng.choice([str(high + off), str(max(0, low - off)), f"About {inside}.", texts[0]])


def _bad_language(rng: random.Random, name: str, texts: Texts) -> str:
    others = [t for one, known in LANGUAGES.items() if one != name for t in known]
    return rng.choice([texts[0], texts[-1], rng.choice(others), rng.choice(others)])


def _shuffled(rng: random.Random, items: tuple[str, ...], _: Texts) -> str:
    return ", ".join(rng.sample(items, len(items)))


def _items(rng: random.Random, texts: Texts) -> tuple[str, ...]:
    found = sorted({w for t in texts for w in re.findall(r"\b[a-z]{4,}\b", t)} - {"that", "this"})
    found = found if len(found) > 4 else ["apple", "bridge", "candle", "forest", "window", "yellow"]
    return tuple(rng.sample(found, rng.choice([3, 3, 4])))


def _asked(text: str) -> str:
    return f"{text.rstrip('.')}?"


def _misplaced(rng: random.Random, phrase: str, texts: Texts, phrases: Texts) -> str:
    """A text without the phrase, with another one in its place, or with it in the middle."""
    other = rng.choice([p for p in phrases if p != phrase])
    return rng.choice([texts[0], texts[-1], other, phrase])


def _bad_begin(rng: random.Random, phrase: str, texts: Texts) -> str:
    placed = _misplaced(rng, phrase, texts, PHRASES)
    if placed == phrase:
        return f"{texts[0]} {phrase} {lower_first(texts[-1])}"
    return f"{placed} {lower_first(texts[0])}" if placed in PHRASES else placed


def _bad_end(rng: random.Random, phrase: str, texts: Texts) -> str:
    placed = _misplaced(rng, phrase, texts, CLOSINGS)
    if placed == phrase:
        return f"{phrase} {texts[0]}"
    return f"{texts[0]} {placed}" if placed in CLOSINGS else placed


def _bad_exactly(rng: random.Random, wanted: str, texts: Texts) -> str:
    more = f"{wanted} {texts[0]}"
    return rng.choice([texts[0], more, f'"{wanted}"', f"Sure: {wanted}", wanted.upper() + "!"])


KINDS: dict[str, Kind] = {
    "words_most": Kind(
        lambda rng, _: rng.choice([5, 8, 10, 12, 15, 20]),
        lambda n: f"Use at most {n} words.", _most, _fewer_words, _more_words,
    ),
    "words_least": Kind(
        lambda rng, _: rng.choice([8, 10, 12, 15, 20, 25]),
        lambda n: f"Use at least {n} words.", _least, _more_words, _fewer_words,
    ),
    "sentences": Kind(
        lambda rng, _: rng.choice([1, 2, 3]),
        lambda n: f"Answer in exactly {counted(n, 'sentence')}.", _sentences,
        lambda _, n, texts: joined(texts, n), lambda rng, n, texts: joined(texts, _other(rng, n)),
    ),
    "list": Kind(
        lambda rng, _: rng.choice([2, 3, 4]),
        lambda n: f'Answer with a list of exactly {n} points, each on a line with "- " before it.',
        _points, lambda _, n, texts: _list(n, texts), _bad_list,
    ),
    "contain": Kind(_long_word, lambda w: f'Use the word "{w}".', _has, _with, _without),
    "avoid": Kind(_long_word, lambda w: f'Do not use the word "{w}".', _lacks, _without, _with),
    "begins": Kind(
        lambda rng, _: rng.choice(PHRASES), lambda p: f'Begin with "{p}"', _begins,
        lambda _, p, texts: f"{p} {lower_first(texts[0])}", _bad_begin,
    ),
    "ends": Kind(
        lambda rng, _: rng.choice(CLOSINGS), lambda p: f'End with "{p}"', _ends,
        lambda _, p, texts: f"{texts[0]} {p}", _bad_end,
    ),
    "case": Kind(
        lambda rng, _: rng.choice(["upper", "lower"]),
        lambda c: f"Write in {c} case only.", _case,
        lambda _, c, texts: _cased(c, texts[0]), _bad_case,
    ),
    "json": Kind(
        lambda rng, _: rng.choice([("answer", "sure"), ("text", "known"), ("reply", "certain")]),
        lambda k: f'Answer in JSON with the keys "{k[0]}" and "{k[1]}".', _json,
        _good_json, _bad_json,
    ),
    "number": Kind(
        lambda rng, _: (low := rng.randint(1, 90), low + rng.randint(5, 60)),
        lambda n: f"Give one number between {n[0]} and {n[1]} and nothing else.", _number,
        lambda rng, n, _: str(rng.randint(*n)), _bad_number, needs_question=False,
    ),
    "language": Kind(
        lambda rng, _: rng.choice(list(LANGUAGES)), lambda name: f"Answer in {name}.", _language,
        lambda rng, name, _: rng.choice(LANGUAGES[name]), _bad_language,
    ),
    "order": Kind(
        _items, lambda w: f"Put these words in alphabetical order, with commas: {', '.join(w)}",
        _order, lambda _, w, __: ", ".join(sorted(w)), _shuffled, needs_question=False,
    ),
    "question": Kind(
        lambda *_: None, lambda _: "Reply with a question.", _question,
        lambda _, __, texts: _asked(texts[0]), lambda rng, _, texts: texts[0],
    ),
    "commas": Kind(
        lambda *_: None, lambda _: "Do not use any commas.", _commas,
        lambda rng, _, texts: rng.choice(texts).replace(",", ""),
        lambda rng, _, texts: f"{rng.choice(PHRASES[:5])} {lower_first(texts[0])}",
    ),
    "quoted": Kind(
        lambda *_: None, lambda _: "Put your whole answer in double quotes.", _quoted,
        lambda _, __, texts: f'"{texts[0]}"',
        lambda rng, _, texts: rng.choice([texts[0], f'"{texts[0]}', f'"Yes." {texts[0]}']),
    ),
    "exactly": Kind(
        lambda rng, texts: rng.choice([" ".join(words(t)[:3]).rstrip(".,") for t in texts]),
        lambda w: f'Reply with "{w}" and nothing else.', _exactly,
        lambda _, w, __: w, _bad_exactly, needs_question=False,
    ),
}  # fmt: skip
HELD_OUT = ("ends", "commas")
KNOWN = tuple(name for name in KINDS if name not in HELD_OUT)
_PLAIN = re.compile(r"[A-Z][^.!?\n\"{}\\]{8,110}\.")  # one sentence that can be counted and cut


def plain(texts: Texts) -> list[str]:
    """The texts that are one plain sentence."""
    return [t for t in dict.fromkeys(texts) if _PLAIN.fullmatch(t)]


def task(
    rng: random.Random, kind: str, question: str, texts: Texts, n: int, name: str
) -> Example | None:
    """One example of this kind with n responses; None where the texts did not give one."""
    how = KINDS[kind]
    value = how.draw(rng, texts)
    wanted = [True] + [False] * (n - 1) if n > 1 else [rng.random() < 0.5]
    rng.shuffle(wanted)
    responses: list[str] = []
    findings: list[str] = []
    for is_good in wanted:
        for _ in range(12):
            shuffled = rng.sample(texts, len(texts))
            text = (how.good if is_good else how.bad)(rng, value, shuffled).strip()
            done, found = how.check(value, text)
            if text and done == is_good and text not in responses:
                responses.append(text)
                findings.append(found)
                break
        else:
            return None
    asked = f"{question} {how.ask(value)}" if how.needs_question else how.ask(value)
    return Example(
        name,
        (Message("user", asked),),
        tuple(responses),
        gold=tuple(float(good) for good in wanted),
        subset=kind,
        meta={"kind": kind, "instruction": how.ask(value), "findings": findings},
    )


def tasks(
    sources: Sequence[Example], kinds: Sequence[str], count: int, seed: int, n: int | None = None
) -> Iterator[Example]:
    """`count` examples on questions and answers of `sources`; n = 1 to 5 unless it is given."""
    rng = random.Random(f"instructions-{seed}")
    usable = [(e, found) for e in sources if len(found := plain(e.responses)) >= 5]
    if not usable:
        return
    made = 0
    while made < count:
        source, found = rng.choice(usable)
        size = n or rng.choices([1, 2, 3, 4, 5], [2, 4, 2, 1, 1])[0]
        kind = kinds[made % len(kinds)]
        example = task(
            rng, kind, source.query[-1].content.strip(), rng.sample(found, min(8, len(found))),
            size, f"instructions-{seed}-{made}",
        )  # fmt: skip
        if example is not None:
            made += 1
            yield example
