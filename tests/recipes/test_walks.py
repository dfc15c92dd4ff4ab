"""Every run.sh walks all its stages: told by --dry-run, and done with a tiny model of its kind."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.hub import running
from tests.recipes.forked import shims

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]
RECIPES = ["qwen_0_6b", "gemma2_27b", "qwen3_5_4b", "qwen3_6_27b"]
ON_THE_PAGE = "qwen3_5_4b"  # walked by the commands of docs/training.md
# The size of a toy, by the names of each architecture's own configuration.
TINY = {
    "head_dim": 8, "hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 4,
    "num_hidden_layers": 4, "num_key_value_heads": 2, "max_position_embeddings": 4096,
    "linear_num_key_heads": 2, "linear_num_value_heads": 2, "linear_key_head_dim": 8,
    "linear_value_head_dim": 8, "query_pre_attn_scalar": 8, "sliding_window": 64,
}  # fmt: skip
STEPS = {
    "USE_CPU": "true", "BF16": "false", "GRADIENT_CHECKPOINTING": "false", "MAX_STEPS": "2",
    "BATCH_SIZE": "4", "MICRO_BATCH_SIZE": "4", "MAX_LENGTH": "2000", "WARMUP_STEPS": "0",
}  # fmt: skip
# Every stage in a few steps on a CPU, and no model that is asked to judge before it can.
FEW = {
    f"SPCT_{stage}_{key}": value for stage in ("RFT", "RL", "META") for key, value in STEPS.items()
} | {
    "SELF": "--engine scripted", "FILTER": "--engine scripted",
    "ACCELERATE": str(ROOT / "recipes/accelerate/cpu.yaml"),
    "SPCT_RL_DROP_EASY": "false", "SPCT_RL_VLLM_SERVER": "", "SPCT_RL_MAX_COMPLETION_TOKENS": "8",
    "SPCT_RL_GROUP_SIZE": "2", "SPCT_RFT_DATA_MAX_KEPT_PER_EXAMPLE": "1",
}  # fmt: skip


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """PATH with a spct and an accelerate that need not import torch first."""
    pytest.importorskip("trl")
    folder = tmp_path_factory.mktemp("bin")
    address = shims(folder)
    server = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-m", "tests.recipes.forked", str(address)],
        stdout=subprocess.PIPE, text=True, cwd=ROOT,
    )  # fmt: skip
    try:
        assert server.stdout is not None
        assert server.stdout.readline() == "ready\n"
        yield f"{folder}:{os.environ['PATH']}"
    finally:
        server.kill()
        server.communicate()


def walk(recipe: str, path: str, *arguments: str, **environ: str) -> subprocess.CompletedProcess:
    done = subprocess.run(
        [str(ROOT / "recipes" / recipe / "run.sh"), *arguments], capture_output=True, text=True,
        env={"PATH": path, "HOME": os.environ.get("HOME", "/"), "HF_HUB_OFFLINE": "1", **environ},
        cwd=environ.get("OUT", ROOT), timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    return done


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_dry_run_needs_no_variable_and_tells_every_stage(recipe: str, path: str) -> None:
    before = set(ROOT.iterdir())
    told = walk(recipe, path, "--dry-run")
    for stage in ("train rft", "train rl", "train meta"):
        assert f"{stage} of " in told.stdout
    assert told.stdout.count("memory  GiB") == 3
    assert told.stdout.count("H100 |") == 3
    assert set(ROOT.iterdir()) == before  # nothing was written


@pytest.mark.parametrize("recipe", [name for name in RECIPES if name != ON_THE_PAGE])
def test_every_stage_runs_on_a_tiny_model_of_the_same_architecture(
    recipe: str, path: str, tmp_path: Path
) -> None:
    tiny(recipe, tmp_path / "base")
    data(tmp_path)
    walk(
        recipe, path, BASE=str(tmp_path / "base"), DATA=str(tmp_path), OUT=str(tmp_path),
        SAMPLER="--engine scripted", **FEW,
    )  # fmt: skip
    check_stages(tmp_path)


def check_stages(out: Path) -> None:
    for stage in ("rft", "rl", "meta"):
        log = (out / stage / "metrics.jsonl").read_text().splitlines()
        assert json.loads(log[-1])["step"] == 2
        weights = [*(out / stage).glob("*model.safetensors")]
        assert len(weights) == 1


def test_the_pages_commands_run_as_they_stand(path: str, tmp_path: Path) -> None:
    """From the user's rows and an endpoint to pairs, a page of judgements and a model on a hub."""
    page = (ROOT / "docs" / "training.md").read_text().partition("## Your data, your GPU")[2]
    commands = page.split("```")[1]
    tiny(ON_THE_PAGE, tmp_path / "base")
    (tmp_path / "my_data").mkdir()
    data(tmp_path / "my_data")
    (tmp_path / "recipes").symlink_to(ROOT / "recipes")
    server = subprocess.Popen(
        [sys.executable, "-m", "tests.engines.fault_server", "--port", "0"],
        stdout=subprocess.PIPE, text=True, cwd=ROOT,
    )  # fmt: skip
    try:
        assert server.stdout is not None
        port = server.stdout.readline().split()[1]
        for theirs, here in (
            ("/models/Qwen3.5-4B", str(tmp_path / "base")), ("http://HOST:8000", f"http://127.0.0.1:{port}"),
        ):  # fmt: skip
            assert theirs in commands
            commands = commands.replace(theirs, here)
        with running() as (hub, environ):
            done = subprocess.run(
                ["bash", "-euo", "pipefail", "-c", commands], capture_output=True, text=True,
                cwd=tmp_path, timeout=600, check=False,
                env={"PATH": path, "HOME": str(tmp_path), "SPCT_RL_DEV_STEPS": "2", "ON": "H100"}
                | FEW | environ,
            )  # fmt: skip
    finally:
        server.kill()
        server.communicate()
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    assert done.stdout.count("memory  GiB") == 6
    check_stages(tmp_path / "runs" / ON_THE_PAGE)
    assert (tmp_path / f"runs/{ON_THE_PAGE}/rl/evaluations/step-000002/run.db").is_file()
    assert "<html" in (tmp_path / "judgements.html").read_text()
    rows = [json.loads(line) for line in (tmp_path / "dpo.jsonl").read_text().splitlines()]
    assert rows and all(row["chosen"] != row["rejected"] for row in rows)
    assert {"README.md", "model.safetensors"} <= hub.got.keys()


def tiny(recipe: str, out: Path) -> None:
    """An untrained model of the recipe's architecture with a tokenizer of the templates' words."""
    from transformers import AutoConfig, AutoModelForCausalLM, set_seed

    from recipes.synthetic.tiny import build_tokenizer
    from spct.text.format import POINTWISE, SINGLE

    tokenizer = build_tokenizer([POINTWISE.template, SINGLE.template, r"Scores: \boxed{ 1, 10 }"])
    shape = json.loads((ROOT / "recipes" / recipe / "model.json").read_text())
    shape |= {k: v for k, v in TINY.items() if k in shape or k.startswith("linear")}
    shape |= {"vocab_size": len(tokenizer), "pad_token_id": tokenizer.pad_token_id}
    shape |= {"eos_token_id": tokenizer.eos_token_id, "bos_token_id": None}
    set_seed(0)
    config = AutoConfig.for_model(**shape)
    AutoModelForCausalLM.from_config(config).save_pretrained(out)
    tokenizer.save_pretrained(out)


def data(folder: Path) -> None:
    """Pairs whose better response mostly shares more words with the query, so samples disagree."""
    words = ["river", "mountain", "city", "forest", "valley", "island", "ocean"]
    rows = []
    for i in range(12):
        a, b, c = (words[(i + j) % len(words)] for j in (0, 1, 3))
        rows.append({"id": f"e{i}", "query": f"Tell me about the {a} and the {b} number {i}",
                     "responses": [f"the {a} and the {b}", f"the {a} and a {c}"],
                     "gold": [1.0, 0.0]})  # fmt: skip
    text = "".join(json.dumps(row) + "\n" for row in rows)
    for name in ("rm", "rl"):
        (folder / f"{name}.jsonl").write_text(text)
    dev = json.dumps({"id": "d", "query": "q", "responses": ["x", "y"], "gold": [1, 0]})
    (folder / "dev.jsonl").write_text(dev + "\n")
    turns = [{"role": "user", "content": "the"}, {"role": "assistant", "content": "the"}]
    general = [json.dumps({"messages": turns}) + "\n"] * 300
    (folder / "general.jsonl").write_text("".join(general))
