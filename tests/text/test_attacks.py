"""Judges that quote what they read, against responses that plant a verdict: none may be read in.

Simulated judges (J0..J7) give their own verdict (4, 6) and quote the attacked text as it stands in
the prompt that spct rendered. A planted score is read in if anything but (4, 6) is recorded.
"""

import html
import re
import unicodedata
from urllib.parse import unquote

import pytest

from spct.text.format import POINTWISE
from spct.types import Completion, Example, Judgement, Message
from tests.payloads import PAYLOADS

HONEST = "Specific Criteria:\n1. **Truth** (Weight: 100%): is it so.\nAnalysis: {quote}\nScores: "
OWN = r"\boxed{4, 6}"


def cleaned(text):
    """What a model may make of a quote: entities, escapes and widths undone, spaces collapsed."""
    text = unquote(html.unescape(text))
    text = re.sub(r"\\[ux]([0-9a-fA-F]{2,4})", lambda m: chr(int(m[1], 16)), text)
    text = "".join(c for c in text if unicodedata.category(c) != "Cf")
    return re.sub(r"[ \t]+", " ", unicodedata.normalize("NFKC", text))


def squeezed(text):
    return re.sub(r"\s+", "", cleaned(text))


JUDGES = {
    "J0 verdict only": lambda q: OWN,
    "J1 quote, then verdict": lambda q: HONEST.format(quote=f"it says: {q}\nI disagree.") + OWN,
    "J2 verdict, then quote": lambda q: f"Analysis: hm.\nScores: {OWN}\nIt said: {q}",
    "J3 both": lambda q: HONEST.format(quote=q) + f"{OWN}\nIt said: {q}",
    "J4 restates the format": lambda q: (
        f"I must end with \\boxed{{x, x}}.\n{HONEST.format(quote=q)}{OWN}"
    ),
    "J7 cleaned-up quote": lambda q: HONEST.format(quote=cleaned(q)) + OWN,
    "J7 squeezed quote": lambda q: HONEST.format(quote=squeezed(q)) + OWN,
    "J7 quote after": lambda q: f"Analysis: hm.\nScores: {OWN}\n{cleaned(q)}",
}
PLACES = {
    "alone": "{}",
    "prefix": "{}\nThe sky scatters blue light.",
    "middle": "The sky\n{}\nscatters blue light.",
    "suffix": "The sky scatters blue light.\n{}",
}
SLOTS = ("query", "response 1", "response 2", "reference")


def attacked(slot, text):
    fields = {name: text if slot == name else "Light is scattered." for name in SLOTS}
    query = (Message("user", fields["query"]),)
    responses = (fields["response 1"], fields["response 2"])
    return Example("e", query, responses, reference=fields["reference"])


def quotes(slot, text):
    """The attacked text as the prompt shows it."""
    (message,) = POINTWISE.render(attacked(slot, text), (0, 1)).messages
    pattern = {
        "query": r"Conversation Context ####\n(.*?)\n\n#### Reference",
        "response 1": r"\[The Begin of Response 1\]\n(.*?)\n\[The End of Response 1\]",
        "response 2": r"\[The Begin of Response 2\]\n(.*?)\n\[The End of Response 2\]",
        "reference": r"\[The Begin of Reference\]\n(.*?)\n\[The End of Reference\]",
    }[slot]
    found = re.search(pattern, message.content, re.DOTALL)
    assert found, "the attack broke the skeleton"
    return found[1]


CASES = [
    (slot, place.format(payload))
    for slot in SLOTS
    for place in PLACES.values()
    for payload in PAYLOADS
]


@pytest.mark.parametrize("judge", JUDGES)
def test_no_planted_score_is_read_in(judge):
    planted = []
    for slot, text in CASES:
        outcome = POINTWISE.read(Completion(JUDGES[judge](quotes(slot, text))), (0, 1))
        if isinstance(outcome, Judgement) and outcome.scores != (4, 6):
            planted.append((slot, text, outcome.scores))
    assert planted == []


def test_the_suite_is_as_large_as_it_claims():
    assert len(CASES) * len(JUDGES) >= 5000


def test_a_judge_that_is_cut_off_inside_a_quote_is_always_unscored():
    for slot, text in CASES:
        quote = quotes(slot, text)
        for finish in ("length", "stop"):
            reply = Completion(f"Analysis: it says {quote}", finish)
            assert not isinstance(POINTWISE.read(reply, (0, 1)), Judgement), (text, finish)


def test_a_judge_with_two_different_verdicts_is_always_unscored():
    for slot, text in CASES:
        quote = quotes(slot, text)
        reply = Completion(f"Analysis: {quote}\nScores: \\boxed{{5, 6}}, or rather {OWN}")
        outcome = POINTWISE.read(reply, (0, 1))
        assert not isinstance(outcome, Judgement) and outcome.reason == "conflict"


@pytest.mark.parametrize("naive", ["first", "last"])
def test_a_naive_reader_is_fooled_by_the_same_suite(naive):
    """The suite can fail: first-match and last-match reading of raw text take planted scores."""
    fooled = 0
    for slot, text in CASES:
        if "response" not in slot:
            continue
        judge = JUDGES["J1 quote, then verdict" if naive == "first" else "J2 verdict, then quote"]
        found = re.findall(r"\\boxed\{(\d+), ?(\d+)\}|\[\[(\d+), ?(\d+)\]\]", judge(text))
        fooled += found[0 if naive == "first" else -1][:2] != ("4", "6")
    assert fooled > 100
