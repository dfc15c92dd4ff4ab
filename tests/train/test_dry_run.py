"""--dry-run: rows after each filter, tokens with their interval, and what cannot fit."""

import json
from pathlib import Path
from typing import Any

import pytest

from recipes.synthetic.tiny import build_tokenizer
from spct.errors import ConfigError
from spct.runs.codec import dump_example
from spct.train.config import SftConfig
from spct.train.dry_run import SAMPLED, DryRun, counter_of, evenly, rows_of
from spct.train.estimate import DEVICES, Architecture, devices_named, fits, needs
from spct.train.sft import completed
from spct.types import Example, Message

QWEN = Path(__file__).parents[2] / "recipes" / "qwen_0_6b" / "model.json"
BILLION = Architecture(10**9, 10**7, 16, 2048, 50_000, 65_536)


def row(n: int, role: str = "user") -> dict[str, Any]:
    return {"prompt": [{"role": role, "content": "a " * n}],
            "completion": [{"role": "assistant", "content": "b"}]}  # fmt: skip


def test_a_sample_gives_intervals_and_all_rows_give_none() -> None:
    pytest.importorskip("transformers")
    tokenizer = build_tokenizer(["a b"])
    tokenizer.chat_template = (
        "{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('no system') }}"
        "{% endif %}{{ m.content }}{% endfor %}"
    )
    few = rows_of([row(1), row(3), row(9), row(1, "system")], completed, counter_of(tokenizer), 5)
    assert few.lengths == [2, 4, 10, None] and few.usable == [2, 4]
    assert few.trained_on == (2.0, None, None) and few.tokens == (3.0, None, None)
    none = rows_of(
        [row(9), row(1, "system"), row(1, "system")], completed, counter_of(tokenizer), 5
    )
    one = [DEVICES["H100"]]
    planned = DryRun("train rft", "m", Path("out"), SftConfig(), BILLION, 1, one, none)
    told = r"3 given; 1 longer than 5 tokens; 2 refused by the chat template\).*merge system turns"
    with pytest.raises(ConfigError, match=told):
        planned.check()
    many = rows_of([row(1 + i % 2) for i in range(10_000)], completed, counter_of(None), 99)
    assert len(many.lengths) == SAMPLED
    assert many.tokens.low is not None and many.tokens.low < many.tokens.point
    assert many.trained_on.point == 10_000 and many.trained_on.low > 9_970
    assert evenly(3, 2) == [0, 1] and evenly(0) == []


def test_memory_by_part_is_arithmetic_on_the_architecture() -> None:
    config = SftConfig(micro_batch_size=1, max_length=1024, gradient_checkpointing=True)
    need = needs(BILLION, config, 1)
    gib = 2**30
    assert need.weights == need.gradients == 2e9 / gib and need.optimizer == 12e9 / gib
    assert need.activations == 1024 * 2048 * (16 * 2 + 34) / gib
    assert need.logits == 1024 * 50_000 * 8 / gib
    assert fits(need, DEVICES["L4"]) and not fits(needs(BILLION, SftConfig(), 1), DEVICES["L4"])
    adapters = needs(BILLION, SftConfig(lora_rank=8), 2)
    assert adapters.optimizer == 12e7 / 2 / gib


def test_devices_are_named_with_their_number() -> None:
    assert devices_named("8xH100") == (8, DEVICES["H100"]) and devices_named("l4")[0] == 1
    for wrong in ("H1000", "0xH100", "many", ""):
        with pytest.raises(ConfigError, match="8xH100"):
            devices_named(wrong)


@pytest.mark.slow
def test_the_commands_tell_filters_and_refuse_what_cannot_fit(run: Any, tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    examples = [
        Example(str(i), (Message("user", "q"),), ("a", "b"), (1.0, float(i == 0))) for i in range(5)
    ]
    source = tmp_path / "rl.jsonl"
    source.write_text("".join(json.dumps(dump_example(e)) + "\n" for e in examples))
    how = ["train", "rl", source, "--model", QWEN, "--out", tmp_path / "out", "--dry-run"]
    small = ["--set", "micro_batch_size=1", "--set", "batch_size=8", "--set", "group_size=2"]
    code, told, said = run(*how, *small, "--on", "2xH100")
    assert code == 0, said
    assert "5 given; 1 no unique best; 4 to train on" in told and "2 x H100 | 80 | yes" in told
    assert not (tmp_path / "out").exists()
    code, _, said = run(*how, "--on", "1xL4")
    assert code == 2 and "does not fit" in said and "gradient_checkpointing" in said
    code, _, said = run(*how, *small, "--on", "3xH100")
    assert code == 2 and "does not divide" in said
    code, told, _ = run("data", "rft", source, "--out", tmp_path / "d", "--dry-run")
    assert code == 0 and "samples 16;" in told and "1 with no unique best" in told
    wrong = tmp_path / "config.json"
    wrong.write_text('{"model_type": "nonesuch"}')
    how[4] = wrong
    code, _, said = run(*how)
    assert code == 2 and "nonesuch" in said


@pytest.mark.slow
def test_heads_readouts_and_the_pipeline_are_told_too(run: Any, tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    examples = [
        Example(str(i), (Message("user", f"q{i}"),), ("a b", "c", "d"), (1.0, 0.5, 0.0),
                meta={"critiques": ["good", None, "bad"]})
        for i in range(9)
    ]  # fmt: skip
    source = tmp_path / "pairs.jsonl"
    source.write_text("".join(json.dumps(dump_example(e)) + "\n" for e in examples))
    how = ["--model", QWEN, "--out", tmp_path / "out", "--data", source, "--dry-run"]
    small = ["--set", "micro_batch_size=1", "--set", "batch_size=4"]
    code, told, said = run("train", "bradley-terry", *how, *small, "--on", "H100")
    assert code == 0, said
    assert "27 given; 27 to train on" in told and "1 x H100 | 80 | yes" in told
    code, frozen, _ = run("train", "bradley-terry", *how, *small, "--set", "frozen=true")
    assert code == 0 and "a head alone" in frozen and "steps   7 of 4" in frozen
    assert "optimizer" not in frozen and "optimizer" in told
    code, told, _ = run("train", "pairwise", *how, *small)
    assert code == 0 and "54 given; 54 to train on" in told
    code, told, said = run("train", "decision", *how, "--set", "calibration=0")
    assert code == 0, said
    assert "9 given" in told and "no tokenizer there" in told
    code, told, said = run(
        "train", "cloud", *how, "--critiques", source, "--set", "critic.batch_size=4",
        "--set", "critic.micro_batch_size=1", "--set", "head.batch_size=4",
        "--set", "head.micro_batch_size=1",
    )  # fmt: skip
    assert code == 0, said
    assert "train cloud, critic" in told and "18 given" in told and "its own: 27" in told
    config = tmp_path / "pipeline.toml"
    files = {"out": "out", "base": QWEN, "rft": source, "rl": source, "test": source}
    lines = "".join(f"{name} = {json.dumps(str(path))}\n" for name, path in files.items())
    tables = "".join(
        f"[{t}]\nbatch_size = 8\nmicro_batch_size = 1\n" for t in ("rft", "rl", "meta")
    )
    config.write_text('stages = ["rft_data", "rft", "rl", "meta_data", "meta", "evaluate"]\n'
                      f"[files]\n{lines}{tables}")  # fmt: skip
    code, told, said = run("train", "pipeline", "--config", config, "--dry-run")
    assert code == 0, said
    assert [line[3:] for line in told.splitlines() if line.startswith("== ")] == [
        "rft_data", "rft", "rl", "meta_data", "meta", "evaluate",
    ]  # fmt: skip
    assert told.count("memory  GiB") == 3 and "not there yet" in told
    assert not (tmp_path / "out").exists() and not Path("out").exists()
