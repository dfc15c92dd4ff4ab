"""One reward for three trainers: what each calls gives the rule's own reward, from its own rows."""

import importlib.util
import json
import random
from pathlib import Path
from typing import Any

import pytest

from spct.errors import ConfigError, DataError
from spct.integrations import outcome
from spct.runs.codec import dump_example
from spct.text.format import POINTWISE, SINGLE
from spct.train import rl
from spct.train.config import RlConfig
from spct.train.export_rl import rows_for
from spct.train.outcome import outcome_reward
from spct.train.reward import Truth, paid
from spct.train.sampling import Formats
from spct.types import Example, Message

LIMIT = 10_000
PIECES = [r"Scores: \boxed{", "8", "5", "10", "0", "1", ", ", "}", " ", "11", "3.5", "Analysis:",
          r"\boxed{1, 2}", "[[", "]]", "<|im_end|>", "Specific Criteria:\n", "\n", "\u200b", "，",
          r"\boxed{9, 2, 4}", r"\boxed{1}", "x/10", r"\text{7}"]  # fmt: skip


def example(i: int, n: int) -> Example:
    gold = tuple(float(j == i % n) for j in range(n)) if n > 1 else (float(i % 2),)
    return Example(f"e{i}", (Message("user", f"q{i}"),), tuple(f"r{j}" for j in range(n)), gold)


def reply(rng: random.Random, n: int) -> str:
    """Half of them written as asked, the rest scrambled."""
    if rng.random() < 0.5:
        return (
            rf"Analysis: a Scores: \boxed{{{', '.join(str(rng.randint(0, 11)) for _ in range(n))}}}"
        )
    return "".join(rng.choices(PIECES, k=rng.randint(0, 12)))


@pytest.mark.slow
def test_three_trainers_and_our_own_pay_10_000_random_replies_alike() -> None:
    pytest.importorskip("torch")
    rng, formats = random.Random(7), Formats()
    examples = [example(i, 1 + i % 4) for i in range(100)]
    rows, _ = rl.rl_rows(examples, formats, seed=0)
    trl, verl, open_rlhf = (rows_for(t, rows, formats) for t in ("trl", "verl", "openrlhf"))
    verl_file, open_rlhf_file = loaded("compute_score"), loaded("reward_func")
    picked = [rng.randrange(len(rows)) for _ in range(10_000)]
    replies = [reply(rng, len(rows[i]["order"])) for i in picked]

    (ours,) = rl.make_rewards(formats, frozenset({0}), RlConfig(max_completion_tokens=LIMIT))
    turns = [[{"role": "assistant", "content": text}] for text in replies]
    columns = {key: [trl[i][key] for i in picked] for key in ("gold", "order")}
    expected = ours(turns, completion_ids=[[0]] * len(turns), log_metric=lambda *_: None, **columns)
    assert set(expected) == {1.0, -1.0}

    patterns = [trl[i]["pattern"] for i in picked]
    assert outcome.trl_reward(turns, pattern=patterns, **columns) == expected
    assert [
        verl_file(verl[i]["data_source"], text, verl[i]["reward_model"]["ground_truth"])["score"]
        for i, text in zip(picked, replies, strict=True)
    ] == expected
    prompts = [open_rlhf[i]["input"][0]["content"] for i in picked]
    given = open_rlhf_file([p + t for p, t in zip(prompts, replies, strict=True)], prompts,
                           [open_rlhf[i]["label"] for i in picked])  # fmt: skip
    assert given["rewards"].tolist() == expected
    assert given["extra_logs"]["unscored"].shape == given["rewards"].shape


def loaded(name: str) -> Any:
    """A function of the reward file, loaded from its path as verl and OpenRLHF do."""
    spec = importlib.util.spec_from_file_location("reward_func", outcome.__file__)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return getattr(module, name)


def test_gold_is_held_against_scores_in_the_order_that_was_shown() -> None:
    truth = Truth((0.0, 1.0, 0.0), (1, 2, 0))  # the best is shown first
    assert paid(r"Scores: \boxed{9, 4, 2}", truth) == (1.0, True)
    assert paid(r"Scores: \boxed{4, 9, 2}", truth) == (-1.0, True)
    assert paid(r"Scores: \boxed{9, 9, 2}", truth) == (-1.0, True)  # a tie
    assert paid("no verdict", truth, 0.1) == (-1.0, False)
    assert paid(r"Scores: \boxed{4, 9, 2}", truth, 0.1) == (-0.9, True)
    assert paid(r"Scores: \boxed{1}", Truth((1.0,), (0,)))[0] == 1.0
    assert paid(r"Scores: \boxed{2}", Truth((0.0, 1.0), (0, 1), "pairwise"))[0] == 1.0
    assert Truth.of(truth.text()) == truth
    assert (truth.format, Truth((1.0,), (0,)).format) == (POINTWISE, SINGLE)
    assert outcome_reward((9.0, 2.0), (1.0, 0.0)) == 1.0


@pytest.mark.parametrize(
    "text",
    ["", "4", "{}", '{"gold": [1, 1], "order": [0, 1], "pattern": "pointwise"}',
     '{"gold": [1, 0], "order": [0, 0], "pattern": "pointwise"}',
     '{"gold": [1, 0], "order": [0, 1], "pattern": "list"}'],
)  # fmt: skip
def test_a_label_that_export_rl_did_not_write_is_refused_and_never_paid(text: str) -> None:
    with pytest.raises(DataError, match="export-rl"):
        outcome.compute_score("spct/outcome", r"\boxed{1, 2}", text)


def test_a_prompt_that_open_rlhf_cut_is_refused(caplog: pytest.LogCaptureFixture) -> None:
    pytest.importorskip("torch")
    with pytest.raises(DataError, match="cut a prompt"):
        outcome.reward_func(["half a prompt. reply"], ["a whole prompt."], ["{}"])
    assert "goes on without a reward" in caplog.text


def test_the_format_reward_is_the_setting_of_rl(monkeypatch: pytest.MonkeyPatch) -> None:
    label = Truth((1.0, 0.0), (0, 1)).text()
    monkeypatch.setenv(outcome.FORMAT_REWARD, "0.25")
    assert outcome.compute_score("s", r"\boxed{1, 2}", label)["score"] == -0.75
    assert outcome.compute_score("s", r"\boxed{1, 2}", label, format_reward=0)["score"] == -1.0
    monkeypatch.setenv(outcome.FORMAT_REWARD, "lots")
    with pytest.raises(ConfigError, match="SPCT_RL_FORMAT_REWARD is 'lots'"):
        outcome.compute_score("s", r"\boxed{1, 2}", label)


def test_export_rl_writes_each_trainers_fields_and_leaves_out_gold_without_a_best(
    run: Any, tmp_path: Path
) -> None:
    pq = pytest.importorskip("pyarrow.parquet")
    tied = Example("tied", (Message("user", "q"),), ("a", "b"), (1.0, 1.0))
    source = tmp_path / "rl.jsonl"
    source.write_text("".join(json.dumps(dump_example(e)) + "\n" for e in [example(0, 2), tied]))
    fields = {}
    for trainer in ("trl", "verl", "openrlhf"):
        out = tmp_path / f"{trainer}.parquet"
        code, printed, told = run("data", "export-rl", source, "--for", trainer, "--out", out)
        assert code == 0 and json.loads(printed) == {"prompts": 1, "skipped": {"no unique best": 1}}
        assert str(out) in told
        fields[trainer] = pq.read_table(out).to_pylist()
    (row,) = fields["verl"]
    assert row["reward_model"]["style"] == "rule" and row["prompt"][0]["role"] == "user"
    (other,) = fields["openrlhf"]
    assert other["label"] == row["reward_model"]["ground_truth"]
    assert fields["trl"][0]["order"] == list(Truth.of(other["label"]).order)
    code, _, said = run("data", "export-rl", source, "--for", "trl", "--out", tmp_path / "a.csv")
    assert code == 2 and ".parquet" in said
    source.write_text(json.dumps(dump_example(tied)) + "\n")
    code, _, said = run("data", "export-rl", source, "--for", "trl", "--out", tmp_path / "b.jsonl")
    assert code == 2 and "no unique best" in said and not (tmp_path / "b.jsonl").exists()
