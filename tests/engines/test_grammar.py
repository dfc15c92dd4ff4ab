"""The forced format: bounded, parseable, and read alike by xgrammar and llama.cpp."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from spct.engines.grammar import WEIGHTS, judge_grammar, trained_grammar
from spct.errors import ConfigError
from spct.text.parse import Reading, Scale, read_reply
from spct.types import Message, Prompt, SamplingParams


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("gguf")
    from tests.engines.tiny_models import write_gguf

    return write_gguf(tmp_path_factory.mktemp("model") / "tiny.gguf", quantised=False, context=4096)


def test_weights_of_the_principles_add_up() -> None:
    assert {sum(weights) for weights in WEIGHTS} == {100}
    assert {len(weights) for weights in WEIGHTS} == {2, 3, 4}


def test_the_scale_and_the_number_of_scores_are_in_the_grammar() -> None:
    grammar = judge_grammar(3, 0, 1)
    assert 'score ::= "0" | "1"\n' in grammar
    assert r'scores ::= "Scores: \\boxed{" score ", " score ", " score "}"' in grammar
    assert '"Response 3 "' in grammar and '"Response 4 "' not in grammar


@pytest.mark.parametrize(
    ("n_scores", "low", "high", "n_responses"), [(0, 1, 10, None), (1, 3, 2, None), (1, 1, 2, 0)]
)
def test_a_grammar_of_nothing_is_refused(
    n_scores: int, low: int, high: int, n_responses: int | None
) -> None:
    with pytest.raises(ConfigError, match="expected at least one"):
        judge_grammar(n_scores, low, high, n_responses=n_responses)


@pytest.mark.parametrize("kind", ["openvino", "llamacpp"])
@pytest.mark.parametrize(("n_scores", "high", "n_responses"), [(2, 10, 2), (1, 1, 1), (1, 3, 3)])
async def test_even_a_random_model_writes_a_reply_that_the_parser_reads(
    kind: str, n_scores: int, high: int, n_responses: int, tiny: Path
) -> None:
    """A random model of single bytes writes the longest replies that the grammar allows."""
    low = 0 if high == 1 else 1
    grammar = judge_grammar(n_scores, low, high, n_responses=n_responses)
    await _check(kind, tiny, grammar, n_scores, Scale(low, high, whole=True), max_tokens=3500)


@pytest.mark.parametrize("kind", ["openvino", "llamacpp"])
@pytest.mark.parametrize(("low", "high", "subjects"), [(1, 10, 7), (0, 1, 1)])
async def test_a_trained_judges_format_holds_for_any_number_of_responses(
    kind: str, low: int, high: int, subjects: int, tiny: Path
) -> None:
    named = [f"Response {i}" for i in range(1, subjects + 1)]
    grammar = trained_grammar(subjects, low, high, subjects=named)
    await _check(kind, tiny, grammar, subjects, Scale(low, high, whole=True), max_tokens=3500)


def test_what_the_shipped_judge_learns_to_write_is_in_its_grammar() -> None:
    """A judgement as the cold start has it, matched by the grammar read as a regular expression."""
    text = (
        "Specific Criteria:\n1. **Truth** (Weight: 60%): states facts, no myths\n"
        "2. **Help** (Weight: 40%): answers the question\nAnalysis:\n"
        'Response 1 goes wrong at "5 + 2 = <8".\nScores: \\boxed{2}'
    )
    rules = dict(
        line.split(" ::= ", 1)
        for line in trained_grammar(1, 1, 10, subjects=["Response 1"]).splitlines()
    )
    assert re.fullmatch(_as_pattern("root", rules), text)
    assert not re.fullmatch(_as_pattern("root", rules), text.replace("{2}", "{2, 9}"))


def _as_pattern(rule: str, rules: dict[str, str]) -> str:
    token = re.compile(r'"((?:[^"\\]|\\.)*)"|(\[(?:[^\]\\]|\\.)*\](?:\{\d+,\d+\})?)|([a-z]+)|\|')
    found = []
    for match in token.finditer(rules[rule]):
        literal, letters, name = match.groups()
        if literal is not None:
            found.append(re.escape(literal.replace("\\n", "\n").replace("\\\\", "\\")))
        else:
            found.append(letters or (_as_pattern(name, rules) if name else "|"))
    return f"(?:{''.join(found)})"


async def _check(
    kind: str, model: Path | None, grammar: str, n_scores: int, scale: Scale, *, max_tokens: int
) -> None:
    from tests.engines.test_embedded import start

    options = {"max_concurrency": 3, "context_length": 4096} if kind == "llamacpp" else {}
    engine = start(kind, model, **options)
    prompt = Prompt("one", (Message("user", QUESTION),), (0, 1))
    params = SamplingParams(
        max_tokens=max_tokens, grammar=grammar, seeds=(1, 2, 3), temperature=0.5
    )
    replies = await engine.sample(prompt, 3, params)
    await engine.aclose()
    for reply in replies:
        reading = read_reply(reply.text, n_scores, scale)
        assert reply.finish_reason == "stop"
        assert isinstance(reading, Reading), reply.text
        assert 2 <= len(reading.principles) <= 4
        assert sum(int((p.weight or "0%").rstrip("%")) for p in reading.principles) == 100
        assert reading.critique.startswith("Response 1 ")


QUESTION = """Judge the two responses to the question: How do I boil an egg softly?
Response 1: Put it in boiling water for six minutes, then in cold water.
Response 2: Eggs are healthy. Boil them for an hour.
Write Specific Criteria, an Analysis of each response, and Scores: \\boxed{x, x}"""


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("kind", ["openvino", "llamacpp"])
async def test_the_default_model_always_ends_with_its_scores(kind: str) -> None:
    grammar = judge_grammar(2, 1, 10)
    await _check(kind, None, grammar, 2, Scale(1, 10), max_tokens=480)
    await _check(kind, None, judge_grammar(1, 1, 2, n_responses=2), 1, Scale(1, 2), max_tokens=480)
