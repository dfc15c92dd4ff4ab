import json
from dataclasses import replace
from pathlib import Path

import pytest

from spct.engines.scripted import ScriptedEngine
from spct.errors import ContextOverflow, DataError, TemplateRefused, TrainError
from spct.models.critique import CritiqueScalarRM
from spct.models.hf_scorer import load_scorer
from spct.train.cloud import (
    CloudConfig,
    OwnCritiques,
    critic_rows,
    critique_pairs,
    own_critiques,
    read_own,
    train,
)
from spct.train.config import ScalarConfig, SftConfig
from spct.train.pairs import PairFunnel, pairs_of
from spct.types import Completion, Prompt
from tests.models.tiny import toy_example, write_model

STEP = {
    "learning_rate": 1e-2,
    "schedule": "constant",
    "batch_size": 8,
    "micro_batch_size": 8,
    "max_length": 256,
    "save_steps": 100,
    "use_cpu": True,
}
CONFIG = CloudConfig(
    critic=SftConfig(**STEP, max_steps=2),
    head=ScalarConfig(**STEP, max_steps=12, log_steps=4),
    n_critiques=2,
)
EXAMPLES = [
    replace(e, meta={"critiques": [critique(r) for r in e.responses]})
    for e in map(toy_example, range(16))
    for critique in [lambda r: "it is very good ." if "good" in r else "it is very poor ."]
]


def critic(prompt: Prompt, seed: int) -> str:
    """The critic's own words: other ones than those it was tuned on."""
    shown = prompt.messages[0].content.rpartition("[The Begin of Response]")[2]
    return "yes fine" if "good" in shown else "no bad"


def test_critic_rows_ask_as_inference_asks_and_answer_with_the_given_critique() -> None:
    rows = critic_rows(EXAMPLES[:1])
    assert [row["completion"][0]["content"] for row in rows] == [
        "it is very good .",
        "it is very poor .",
    ]
    assert EXAMPLES[0].responses[0] in rows[0]["prompt"][0]["content"]
    assert EXAMPLES[0].responses[1] not in rows[0]["prompt"][0]["content"]


@pytest.mark.parametrize("critiques", ["text", ["only one"], [1, 2], ["", "x"]])
def test_critiques_that_do_not_fit_the_responses_are_refused(critiques: object) -> None:
    with pytest.raises(DataError, match="'toy-0'"):
        critic_rows([replace(EXAMPLES[0], meta={"critiques": critiques})])


def test_examples_without_any_critique_are_refused() -> None:
    with pytest.raises(TrainError, match=r"meta\.critiques"):
        critic_rows([toy_example(0)])


async def test_a_restart_writes_no_finished_critique_again(tmp_path: Path) -> None:
    out = tmp_path / "own.jsonl"
    first = ScriptedEngine(critic)
    await own_critiques(EXAMPLES[:3], first, out, CONFIG)
    assert first.n_calls == 6
    lines = out.read_bytes()
    out.write_bytes(lines[:-10])  # a kill in the middle of the last line
    second = ScriptedEngine(critic)
    own = await own_critiques(EXAMPLES[:4], second, out, CONFIG)
    assert second.n_calls == 1 + 2
    assert [(c.example_id, c.response) for c in own] == [
        (e.id, i) for e in EXAMPLES[:4] for i in range(2)
    ]
    assert len(read_own(out)) == 8


async def test_cut_and_failed_critiques_are_left_out(tmp_path: Path) -> None:
    replies = iter([Completion("yes"), Completion("no", "length")] * 4)
    engine = ScriptedEngine(lambda prompt, seed: next(replies))
    own = await own_critiques(EXAMPLES[:1], engine, tmp_path / "own.jsonl", CONFIG)
    assert all(c.texts == ("yes", None) and c.dropped == (None, "truncated") for c in own)


@pytest.mark.parametrize(
    ("reply", "why"),
    [
        (Completion("   "), "empty"),
        (Completion("no", "content_filter"), "refused"),
        (Completion("", "error", error="HTTP 500"), "failed"),
        (ContextOverflow("9000 tokens do not fit 4096"), "too_long"),
        (TemplateRefused("no system role"), "refused_by_template"),
    ],
)
async def test_a_critique_that_is_left_out_has_its_reason(
    tmp_path: Path, reply: Completion | Exception, why: str
) -> None:
    def answer(prompt: Prompt, seed: int) -> Completion:
        if isinstance(reply, Exception):
            raise reply
        return reply

    out = tmp_path / "own.jsonl"
    await own_critiques(EXAMPLES[:1], ScriptedEngine(answer), out, CONFIG)
    assert [(c.texts, c.dropped) for c in read_own(out)] == [((None, None), (why, why))] * 2


def test_own_critiques_of_0_1_are_read_without_reasons(tmp_path: Path) -> None:
    out = tmp_path / "own.jsonl"
    out.write_text(json.dumps({"example_id": "a", "response": 0, "texts": ["yes", None]}) + "\n")
    assert read_own(out) == [OwnCritiques("a", 0, ("yes", None), (None, "not_stated"))]


def test_the_heads_pairs_hold_own_critiques_sample_by_sample() -> None:
    pairs = pairs_of(EXAMPLES[:1], PairFunnel())
    own = [OwnCritiques("toy-0", 0, ("a", "b", None)), OwnCritiques("toy-0", 1, ("c", None, "d"))]
    made = critique_pairs(pairs, own)
    assert [(p.chosen[-1].content, p.rejected[-1].content) for p in made] == [("a", "c")]


def test_one_id_for_two_examples_is_refused(tmp_path: Path) -> None:
    twice = [EXAMPLES[0], replace(EXAMPLES[1], id="toy-0")]
    with pytest.raises(DataError, match="two examples have the id 'toy-0'"):
        train(
            "m",
            EXAMPLES,
            pairs_of(twice, PairFunnel()),
            tmp_path,
            CONFIG,
            lambda _: ScriptedEngine(),
        )


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.gradient_checkpointing.:FutureWarning")
@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is:FutureWarning")
async def test_cloud_trains_with_adapters_and_loads_as_a_reward_model(tmp_path: Path) -> None:
    import asyncio

    from spct.engines.hf import HFEngine
    from spct.models.load import load_reward_model

    base, out = write_model(tmp_path / "lm", head=False), tmp_path / "out"
    config = CloudConfig(
        critic=SftConfig(**{**STEP, "learning_rate": 3e-2}, max_steps=60, lora_rank=8),
        head=ScalarConfig(**STEP, max_steps=2, lora_rank=4),
        max_critique_tokens=12,
        temperature=0.0,
    )
    pairs = pairs_of(EXAMPLES, PairFunnel())
    report = await asyncio.to_thread(
        train, str(base), EXAMPLES, pairs, out, config, lambda folder: HFEngine(folder)
    )
    assert report.n_own > 0
    assert (out / "critic-adapter" / "adapter_model.safetensors").is_file()
    assert (out / "head" / "adapter_model.safetensors").is_file()
    model = load_reward_model(out, k=2)
    assert isinstance(model, CritiqueScalarRM) and isinstance(model.engine, HFEngine)
    verdict = await model.judge(EXAMPLES[0])
    assert verdict.k_counted == 2 and verdict.rewards is not None


@pytest.mark.filterwarnings("ignore:.gradient_checkpointing.:FutureWarning")
async def test_cloud_trains_both_parts_and_its_reward_reads_the_critique(tmp_path: Path) -> None:
    import asyncio

    base, out = write_model(tmp_path / "lm", head=False), tmp_path / "out"
    opened: list[Path] = []

    def open_engine(folder: Path) -> ScriptedEngine:
        opened.append(folder)
        return ScriptedEngine(critic)

    pairs = pairs_of(EXAMPLES, PairFunnel())
    report = await asyncio.to_thread(train, str(base), EXAMPLES, pairs, out, CONFIG, open_engine)
    assert opened == [out / "critic"] and (out / "critic" / "model.safetensors").is_file()
    assert (report.n_own, report.dropped, report.n_unpaired) == (64, {}, 0)
    assert report.head.n_rows == 32
    assert json.loads((out / "spct.json").read_text())["critic"] == "critic"

    scorer = load_scorer(out / "head")
    verdict = await CritiqueScalarRM(ScriptedEngine(critic), scorer, k=2).judge(EXAMPLES[0])
    assert verdict.winner == 0
    turned = ScriptedEngine(lambda p, s: {"yes fine": "no bad"}.get(critic(p, s), "yes fine"))
    other = await CritiqueScalarRM(turned, scorer, k=2).judge(EXAMPLES[0])
    assert other.rewards != pytest.approx(verdict.rewards, abs=1e-3)
