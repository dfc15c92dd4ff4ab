"""DeepSpeed's ZeRO on two processes of a CPU (gloo) trains as one process does."""

import os
import socket
import subprocess
from pathlib import Path

import pytest

from recipes.synthetic.rows import vocabulary_texts
from recipes.synthetic.tiny import save_new
from spct.train.adapters import write_merged
from tests.external.environments import ROOT, environment
from tests.train.two_processes import train
from tests.train.two_processes_curves import losses

pytestmark = [
    pytest.mark.external, pytest.mark.timeout(1800), pytest.mark.filterwarnings("default"),
]  # fmt: skip
# What DeepSpeed builds and starts with; torch and the rest are those of this checkout.
NEEDED = ("setuptools==84.2.1", "wheel", "hjson", "py-cpuinfo", "ninja", "einops", "msgpack")


@pytest.mark.parametrize("stage", [2, 3])
def test_zero_trains_as_one_process_resumes_and_merges(stage: int, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    python = environment("zero", *NEEDED, no_deps=("deepspeed==0.19.8",), beside=True)
    model = tmp_path / "model"
    save_new(vocabulary_texts(), model, layers=1)
    for name in ("rft", "rl"):
        train(name, str(model), tmp_path / "alone" / name, 4)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    out = tmp_path / "shards"
    # the recipe's own file, for two processes without bfloat16
    done = subprocess.run(
        [str(python), "-W", "ignore", "-m", "accelerate.commands.launch",
         "--config_file", "recipes/accelerate/zero3.yaml", "--num_processes", "2",
         "--mixed_precision", "no", "--main_process_port", port, "--zero_stage", str(stage),
         "--zero3_init_flag", str(stage == 3).lower(),
         "-m", "tests.train.two_processes", str(model), str(out),
         "rft=2", "rft=4", "rl=4", "lora=2"],
        capture_output=True, text=True, cwd=ROOT, timeout=1500, check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1",
             "DS_ACCELERATOR": "cpu", "PATH": f"{python.parent}:{os.environ['PATH']}"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    optimizers = list((out / "rft" / "checkpoint-4").glob("global_step4/*optim_states.pt"))
    assert len(optimizers) == 2  # it was sharded
    for name in ("rft", "rl"):
        assert losses(out / name) == pytest.approx(
            losses(tmp_path / "alone" / name), rel=1e-3, abs=1e-8
        )
    whole = AutoModelForCausalLM.from_pretrained(out / "rft").state_dict()
    expected = AutoModelForCausalLM.from_pretrained(tmp_path / "alone" / "rft").state_dict()
    for name, weights in expected.items():
        assert whole[name].allclose(weights, atol=1e-4), name
    write_merged(str(out / "lora"), tmp_path / "merged")
    merged = AutoModelForCausalLM.from_pretrained(tmp_path / "merged").state_dict()
    base = AutoModelForCausalLM.from_pretrained(model).state_dict()
    assert sum(not merged[name].equal(base[name]) for name in base) >= 7  # every linear layer
