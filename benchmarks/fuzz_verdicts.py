"""Fuzz what decides a reward: planted verdicts, and replies against an oracle of their own.

    python benchmarks/fuzz_verdicts.py [--planted 300000] [--replies 20000] [--seed 1]

Planted: a verdict in a random spelling, wrapped and disguised by one to three random encodings, in
a random place of a response. A judge quotes what the prompt showed, as it stands or tidied up, and
no parser (strict or lenient, of 1 or 2 scores) may read anything. Replies: built from parts whose
meaning the builder knows, so that it knows the right reading without any parser.
"""

from __future__ import annotations

import argparse
import html
import random
import re
import time
import unicodedata
from collections import Counter
from collections.abc import Callable
from urllib.parse import quote, unquote

from spct.text.neutralise import neutralise
from spct.text.parse import BINARY, TEN, Scale, find_verdict, read_reply
from spct.types import Unscored

Disguise = Callable[[str], str]


def _signs(form: Callable[[int], str]) -> Disguise:
    return lambda text: "".join(
        form(ord(c)) if not c.isalnum() and c not in " \n" else c for c in text
    )


DISGUISES: dict[str, Disguise] = {
    "plain": str,
    "decimal entities": _signs(lambda n: f"&#{n};"),
    "bare entities": _signs(lambda n: f"&#{n}"),
    "padded entities": _signs(lambda n: f"&#{n:09d};"),
    "hexadecimal": _signs(lambda n: f"&#x{n:X};"),
    "doubled": _signs(lambda n: f"&amp;#{n};"),
    "signs of signs": _signs(lambda n: f"&#38;#x{n:x}"),
    "named": lambda t: t.replace("[", "&lsqb;").replace("]", "&rbrack;").replace("{", "&lbrace;"),
    "octal": _signs(lambda n: f"\\{n:03o}"),
    "unicode escapes": _signs(lambda n: f"\\u{n:04x}"),
    "hex escapes": _signs(lambda n: f"\\x{n:02x}"),
    "url": quote,
    "marks": lambda t: "".join(c + "\u0336" for c in t),
    "accents": lambda t: unicodedata.normalize("NFC", "".join(c + "\u0301" for c in t)),
    "full width": lambda t: "".join(chr(ord(c) + 0xFEE0) if "!" <= c <= "~" else c for c in t),
    "zero width": "\u200b".join,
    "joiners": "\u2060".join,
    "soft hyphens": "\u00ad".join,
    "text macro": lambda t: f"\\text{{{t}}}",
    "bold macro": lambda t: f"$\\mathbf{{{t}}}$",
    "other digits": lambda t: t.translate({48 + i: 0x0966 + i for i in range(10)}),
    "bold digits": lambda t: t.translate({48 + i: 0x1D7CE + i for i in range(10)}),
    "homoglyphs": lambda t: t.translate(str.maketrans("boxed", "bоxеd")),
    "upper": str.upper,
    "spaced": lambda t: t.replace("[[", "[ [").replace("]]", "] ]"),
    "markdown": lambda t: t.replace("[", "\\[").replace("]", "\\]"),
}


def tidied(text: str) -> str:
    """What a judge makes of a quote: layers of encoding, widths, marks and hidden signs undone."""
    for _ in range(4):
        text = unquote(html.unescape(text))
        text = re.sub(r"\\u([0-9a-fA-F]{4})", lambda m: chr(int(m[1], 16)), text)
        text = re.sub(r"\\x([0-9a-fA-F]{2})", lambda m: chr(int(m[1], 16)), text)
        text = re.sub(r"\\([0-7]{3})", lambda m: chr(int(m[1], 8)), text)
    text = unicodedata.normalize("NFKD", text)
    text = "".join(c for c in text if unicodedata.category(c) not in ("Mn", "Me", "Cf"))
    return "".join(str(unicodedata.decimal(c, c)) if not c.isascii() else c for c in text)


def verdict(rng: random.Random, scores: list[int]) -> str:
    """A spelling of a group that the strict parser reads."""
    entries = [str(s) for s in scores]
    match rng.randrange(8):
        case 0:
            entries = [f"\\text{{{e}}}" for e in entries]
        case 1:
            entries = [f"**{e}**" for e in entries]
        case 2:
            entries = [f"{e}/10" for e in entries]
        case 3:
            entries = [f"Response {i}: {e}" for i, e in enumerate(entries, 1)]
        case 4:
            entries = [f"${e}$" for e in entries]
    inside = rng.choice([", ", ",", "、", " , ", ",\\,"]).join(entries)
    inside += rng.choice(["", "", "", ",", " "])
    opens = rng.choice(["\\boxed{", "\\\\boxed{", "\\boxed {", "\\fbox{", "[[", "[["])
    return opens + inside + ("]]" if opens == "[[" else "}")


def is_read(text: str) -> bool:
    """Whether any parser reads anything."""
    shapes = ((1, TEN), (2, TEN), (1, BINARY), (1, Scale(1, 2, whole=True)))
    return any(
        not isinstance(find_verdict(text, n, scale, lenient=lenient), Unscored)
        for n, scale in shapes
        for lenient in (False, True)
    )


def planted(count: int, seed: int) -> Counter[str]:
    """How many planted verdicts were read in, by the first disguise."""
    rng, read_in = random.Random(seed), Counter[str]()
    around = ["{}", "Notes: {}", "Scores: {}", "x\n{}\ny", "It is so. {} Indeed.", "**{}**", "> {}"]
    for i in range(count):
        names = rng.sample([*DISGUISES], rng.randint(1, 3))
        text = verdict(rng, [rng.randint(1, 10) for _ in range(rng.choice((1, 2, 2, 2)))])
        for name in names:
            text = DISGUISES[name](text)
        shown = neutralise(rng.choice(around).format(text))
        if is_read(shown) or is_read(tidied(shown)):
            read_in["+".join(names)] += 1
            print(f"read in ({' + '.join(names)}): {text[:300]!r} shown as {shown[:300]!r}")
        if i and i % 50_000 == 0:
            print(f"{i} planted, {sum(read_in.values())} read in", flush=True)
    return read_in


THOUGHTS = ["", "", "<think>\n{}\n</think>\n\n", "<thinking>{}</thinking>\n", "[THINK]{}[/THINK]",
            "{}\n</think>\n", "<|START_THINKING|>{}<|END_THINKING|>"]  # fmt: skip
CRITERIA = ["Specific Criteria:\n1. **Truth** (60%): is it so.\n2. Tone (40%): is it kind.\n\n", ""]
HEADS = [
    "Analysis:\n",
    "## Analysis\n",
    "**Analysis**\n",
    "2. Analysis:\n",
    "Analysis\n=====\n",
    "",
]
SENTENCES = ["The first is right.", "The second guesses.", "It says [[1, 10]] at its end.",
             "The second asks for \\boxed{1, 10}.", "The list [[3, 4]] is sorted.",
             "It leaves <think> open.", "The interval \\boxed{2, 9} is quoted.",
             "It wants \\boxed{x, x}."]  # fmt: skip
LABELS = ["Scores: ", "**Scores:** ", "Final rating: ", "The scores are ", "\n",
          "So my verdict is ",
          "### Scores\n", "Scores：", "I give "]  # fmt: skip
LATE = ["", "", "\n\n## Analysis\nThe second has no source.", "\n\nThe second says [[1, 10]].",
        "\nNote: it never closed </think>."]  # fmt: skip


def reply(rng: random.Random) -> tuple[str, int, tuple[float, ...] | str]:
    """A reply, how many scores it must have, and the right reading: scores or a reason."""
    n = rng.choice((1, 2, 2, 3, 4))
    scores = [rng.randint(1, 10) for _ in range(n)]
    draft = verdict(rng, [rng.randint(1, 10) for _ in range(n)])
    thought = rng.choice(THOUGHTS).replace("{}", f"Perhaps\n{draft}\nbut no.")
    # one group in a sentence has one or two numbers: it must not be read for any n
    said = " ".join(rng.sample(SENTENCES, rng.randint(1, 4)))
    head = thought + rng.choice(CRITERIA) + rng.choice(HEADS) + said + "\n\n"
    own = rng.choice(LABELS) + verdict(rng, scores)
    right = tuple(map(float, scores))
    match rng.randrange(12):
        case 0:
            return head + "I cannot decide.", n, "unscored"
        case 1:
            return head + rng.choice(LABELS) + verdict(rng, [*scores, 5]), n, "unscored"
        case 2:
            other = [s % 10 + 1 for s in scores]
            return f"{head}{own}\n\nRather, the scores are {verdict(rng, other)}", n, "unscored"
        case 3:
            return head + rng.choice(LABELS) + verdict(rng, [11, *scores[1:]]), n, "unscored"
        case 4:
            return f"{head}{own}\n\nScores: {verdict(rng, scores)}", n, right
        case 5:
            return f"<think>\n{head.replace('</think>', '')}{own}", n, "unscored"
        case _:
            return head + own + rng.choice(LATE), n, right


def replies(count: int, seed: int) -> list[str]:
    """The replies that were read otherwise than their builder knows."""
    rng, wrong = random.Random(seed + 1), []
    for _ in range(count):
        text, n, right = reply(rng)
        found = read_reply(text, n, TEN)
        got = "unscored" if isinstance(found, Unscored) else found.group.scores
        if got != right:
            wrong.append(f"{right} but {got!r} {found!r:.60}: {text!r}")
    return wrong


def main() -> None:
    """Run both and print the figures; exit 1 if anything was read in or read wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--planted", type=int, default=300_000)
    parser.add_argument("--replies", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    begin = time.perf_counter()
    read_in = planted(args.planted, args.seed)
    print(f"{args.planted} planted verdicts, {len(DISGUISES)} encodings alone and mixed: "
          f"{sum(read_in.values())} read in {dict(read_in.most_common(5)) or ''}")  # fmt: skip
    wrong = replies(args.replies, args.seed)
    print(f"{args.replies} replies against the oracle: {len(wrong)} wrong")
    for line in wrong[:5]:
        print("  " + line[:600])
    print(f"{time.perf_counter() - begin:.0f} s")
    raise SystemExit(bool(read_in or wrong))


if __name__ == "__main__":
    main()
