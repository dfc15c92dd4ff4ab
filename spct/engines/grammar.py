r"""Grammars that force the judge's output format on a model that does not write it by itself.

`judge_grammar` is for a model that was not trained to judge. It keeps the form, nothing keeps the
content: principles with weights that add up to 100%, one sentence about each response, one boxed
group of whole numbers. Every part is bounded in words and letters, so a reply ends by itself; free
text holds letters only, so nothing in it can look like a verdict. Names come from a list and
sentences begin with fixed words, because an untrained small model continues a sentence far better
than it starts one.

`trained_grammar` is for a model that was, but not on this number of responses: it fixes how many
lines and scores there are, and leaves what they say to the model.

The text is EBNF in the dialect that xgrammar (openvino-genai, vLLM, SGLang) and llama.cpp share.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from spct.errors import ConfigError

# Weights of two, three or four principles; each row adds up to 100.
WEIGHTS = ((50, 50), (60, 40), (70, 30), (40, 30, 30), (50, 30, 20), (40, 30, 20, 10))
TRAINED_WEIGHTS = ((50, 50), (60, 40), (70, 30), (80, 20))
NAMES = (
    *("Accuracy", "Clarity", "Completeness", "Correctness", "Conciseness", "Depth", "Examples"),
    *("Facts", "Helpfulness", "Instructions", "Logic", "Originality", "Relevance", "Safety"),
    *("Sources", "Structure", "Style", "Tone", "Usefulness"),
)
DEMANDS = ("should", "must", "should not", "has to")
BEGINNINGS = (
    *("is", "is not", "does not", "gives the reader", "explains how", "explains why"),
    *("answers the question", "leaves out", "is clear about", "is wrong about", "would help"),
)


def judge_grammar(
    n_scores: int, scale_low: int, scale_high: int, *, n_responses: int | None = None
) -> str:
    """Return the EBNF of a judgement with `n_scores` whole numbers in scale_low..scale_high.

    `n_responses` is how many responses the analysis goes through; by default as many as scores. A
    pairwise judgement has one score, the number of the best: judge_grammar(1, 1, n, n_responses=n).
    """
    n_shown = n_scores if n_responses is None else n_responses
    if n_scores < 1 or n_shown < 1 or scale_low < 0 or scale_high < scale_low:
        raise ConfigError(
            f"making a grammar for {n_scores} scores in {scale_low}..{scale_high} of {n_shown} "
            "responses; expected at least one of each, and a scale from 0 upwards"
        )
    # A long list of responses gets shorter sentences, so that the reply stays bounded.
    n_words = max(4, min(10, 40 // n_shown))
    lines = [
        r'root ::= "Specific Criteria:\n" criteria "Analysis:\n" analysis scores',
        f"criteria ::= {' | '.join(_principles(weights) for weights in WEIGHTS)}",
        f"name ::= {_either(NAMES)}",
        f'demand ::= "The response " ({_either(DEMANDS)}) words{{3,9}} ".\\n"',
        f"analysis ::= {' '.join(_remark(shown) for shown in range(1, n_shown + 1))}",
        f'remark ::= ({_either(BEGINNINGS)}) words{{2,{n_words}}} ".\\n"',
        'words ::= ","? " " [a-zA-Z] [a-z]{0,11}',
        *_verdict(n_scores, scale_low, scale_high),
    ]
    return "\n".join(lines) + "\n"


def trained_grammar(
    n_scores: int, scale_low: int, scale_high: int, *, subjects: Sequence[str]
) -> str:
    """Return the EBNF of a judgement with two criteria and a line on each of `subjects`.

    A subject is how the model begins the line on one response, such as "Response 1".
    """
    remarks = " ".join(f'"{subject} " text' for subject in subjects)
    lines = [
        'root ::= "Specific Criteria:\\n" criteria "Analysis:\\n" analysis scores',
        f"criteria ::= {' | '.join(_criteria(*weights) for weights in TRAINED_WEIGHTS)}",
        "name ::= [A-Z] [a-z ]{1,24}",
        f"analysis ::= {remarks}",
        r'text ::= [^\n\\]{1,120} "\n"',
        *_verdict(n_scores, scale_low, scale_high),
    ]
    return "\n".join(lines) + "\n"


def _verdict(n_scores: int, scale_low: int, scale_high: int) -> list[str]:
    return [
        'scores ::= "Scores: \\\\boxed{" ' + ' ", " '.join(["score"] * n_scores) + ' "}"',
        f"score ::= {_either(str(score) for score in range(scale_low, scale_high + 1))}",
    ]


def _principles(weights: tuple[int, ...]) -> str:
    return " ".join(
        f'"{i}. **" name "** (Weight: {weight}%): " demand' for i, weight in enumerate(weights, 1)
    )


def _criteria(first: int, second: int) -> str:
    return (
        f'"1. **" name "** (Weight: {first}%): " text "2. **" name "** (Weight: {second}%): " text'
    )


def _remark(shown: int) -> str:
    return f'"Response {shown} " remark'


def _either(words: Iterable[str]) -> str:
    return " | ".join(f'"{word}"' for word in words)
