"""Two processes on a CPU (gloo) train as one does: data order, loss, resume, merged weights."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from spct.train.adapters import write_merged
from tests.train.two_processes import train
from tests.train.two_processes_curves import losses

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("default")]
ROOT = Path(__file__).parents[2]
TORCHRUN = ("torch.distributed.run", "--nproc-per-node", "2", "--master-port")
# The recipes' own FSDP 2 settings, for two processes without bfloat16.
FSDP = ("accelerate.commands.launch", "--config_file", "recipes/accelerate/fsdp.yaml",
        "--num_processes", "2", "--mixed_precision", "no", "--main_process_port")  # fmt: skip


def launch(launcher: tuple[str, ...], *arguments: object) -> subprocess.CompletedProcess[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    return subprocess.run(
        [sys.executable, "-W", "ignore", "-m", *launcher, port, "-m", "tests.train.two_processes",
         *map(str, arguments)],
        capture_output=True, text=True, cwd=ROOT, timeout=800, check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
    )  # fmt: skip


@pytest.fixture(scope="module")
def alone(tiny_model: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[float]]:
    """The losses of one process."""
    out = tmp_path_factory.mktemp("alone")
    for stage in ("rft", "rl"):
        train(stage, tiny_model, out / stage, 4)
    found = {stage: losses(out / stage) for stage in ("rft", "rl")}
    assert len(found["rft"]) == len(found["rl"]) == 4
    assert found["rft"][-1] < found["rft"][0]
    return found


def test_two_copies_train_as_one_and_one_goes_on_where_the_other_died(
    alone: dict[str, list[float]], tiny_model: str, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    killed = launch(TORCHRUN, tiny_model, tmp_path, "rft=4", "rl=4", "--die-at", 3)
    assert killed.returncode != 0 and "SIGKILL" in killed.stderr, killed.stderr[-3000:]
    assert losses(tmp_path / "rft") == pytest.approx(alone["rft"], rel=1e-3)
    assert not (tmp_path / "rl" / "model.safetensors").exists()
    train("rl", tiny_model, tmp_path / "rl", 4)  # with what is left, from checkpoint 2
    said = capsys.readouterr().err
    assert "step 4/4" in said and "step 2/4" not in said
    assert losses(tmp_path / "rl") == pytest.approx(alone["rl"], rel=1e-3, abs=1e-8)
    assert (tmp_path / "rl" / "model.safetensors").is_file()


def test_sharded_weights_train_as_whole_ones_resume_and_merge(
    alone: dict[str, list[float]], tiny_model: str, tmp_path: Path
) -> None:
    from transformers import AutoModelForCausalLM

    done = launch(FSDP, tiny_model, tmp_path, "rft=2", "rft=4", "rl=4", "lora=2")
    assert done.returncode == 0, done.stderr[-3000:]
    assert [*(tmp_path / "rft" / "checkpoint-4").glob("pytorch_model_fsdp_0/*")]  # it was sharded
    for stage in ("rft", "rl"):
        assert losses(tmp_path / stage) == pytest.approx(alone[stage], rel=1e-3, abs=1e-8)
        AutoModelForCausalLM.from_pretrained(tmp_path / stage)
    write_merged(str(tmp_path / "lora"), tmp_path / "merged")
    merged = AutoModelForCausalLM.from_pretrained(tmp_path / "merged").state_dict()
    base = AutoModelForCausalLM.from_pretrained(tiny_model).state_dict()
    assert merged.keys() == base.keys()
    assert sum(not merged[name].equal(base[name]) for name in base) >= 7  # every linear layer
