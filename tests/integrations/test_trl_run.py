"""TRL's real GRPOTrainer on a tiny random policy, rewarded by the hook and through the gateway."""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.request import urlopen

import pytest

from spct.integrations.trl import make_reward_func
from tests.models.tiny import write_model
from tests.serve.local import Model

pytest.importorskip("trl")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.filterwarnings("ignore"),
]
SERVE = ("-c", "from spct.cli.main import main; main()", "serve")


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_model(tmp_path_factory.mktemp("policy"), head=False))


@pytest.fixture(scope="module")
def gateway() -> Iterator[str]:
    command = [sys.executable, *SERVE, "scripted", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield process.stdout.readline().split()[-1]
        process.terminate()
        assert process.wait(30) == 0


def train(policy: str, out: Path, reward, steps: int = 3) -> list[dict[str, float]]:
    from datasets import Dataset
    from trl import GRPOConfig, GRPOTrainer

    words = ["good", "bad", "fine", "poor", "answer", "query", "response", "critique"]
    rows = [{"prompt": [{"role": "user", "content": f"what is the {word}"}]} for word in words]
    config = GRPOConfig(
        output_dir=str(out),
        num_generations=4,
        per_device_train_batch_size=8,
        max_completion_length=12,
        max_steps=steps,
        logging_steps=1,
        learning_rate=1e-3,
        report_to=[],
        save_strategy="no",
        log_completions=True,
        use_cpu=True,
        bf16=False,
        seed=1,
    )
    trainer = GRPOTrainer(
        policy, reward_funcs=reward, args=config, train_dataset=Dataset.from_list(rows)
    )
    trainer.train()
    return [row for row in trainer.state.log_history if "reward" in row]


def test_the_hook_rewards_a_run_in_process(policy, tmp_path, monkeypatch):
    import pyarrow.parquet as pq

    from spct.integrations import trl

    monkeypatch.setenv("SPCT_REWARD_MODEL", "scripted")
    log = train(policy, tmp_path, trl.reward_func)
    assert len(log) == 3
    assert all(math.isfinite(row["reward"]) and math.isfinite(row["grad_norm"]) for row in log)
    assert all(row["spct/unscored"] == 0 for row in log)
    assert any(row["reward_std"] > 0 for row in log)
    tables = sorted((tmp_path / "completions").glob("*.parquet"))
    assert len(tables) == 3
    for file in tables:  # what TRL prints and keeps of each step: two groups of four
        said = pq.read_table(file).to_pydict()
        for start in (0, 4):
            judged = [text.split(",")[0] for text in said["judged"][start : start + 4]]
            assert sorted(judged) in (["", "", "best", "worst"], ["", "", "", "tied"])
            told = [bool(text) for text in said["critique"][start : start + 4]]
            assert told == [text != "" for text in judged]
            assert any("Topic" in text for text in said["principles"][start : start + 4])


def test_the_gateway_rewards_a_run_over_http(policy, tmp_path, gateway):
    log = train(policy, tmp_path, make_reward_func(gateway))
    assert len(log) == 3 and all(math.isfinite(row["reward"]) for row in log)
    with urlopen(f"{gateway}/metrics") as reply:
        text = reply.read().decode()
    judged = [row for row in text.splitlines() if row.startswith("spct_examples_total")]
    # three steps of two groups of four, each judged once
    assert judged == ['spct_examples_total{outcome="scored"} 6.0']


def test_the_same_run_gets_the_same_rewards_from_both(policy, tmp_path, gateway):
    from spct.models.load import load_reward_model

    here = train(policy, tmp_path / "a", make_reward_func(load_reward_model("scripted")))
    there = train(policy, tmp_path / "b", make_reward_func(gateway))
    assert [row["reward"] for row in here] == [row["reward"] for row in there]


def test_failed_judgements_leave_a_run_finite(policy, tmp_path):
    calls = iter(range(1000))
    model = Model(lambda e: None if next(calls) % 2 else [float(i) for i in range(e.n)])
    log = train(policy, tmp_path, make_reward_func(model))
    assert all(row["spct/unscored"] == 0.5 for row in log)
    assert all(math.isfinite(row["loss"]) and math.isfinite(row["grad_norm"]) for row in log)
