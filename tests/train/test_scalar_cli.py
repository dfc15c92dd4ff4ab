import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from spct.cli.train import app
from spct.errors import TrainError
from spct.models.load import load_reward_model
from spct.models.pairwise import PairwiseScalarRM
from spct.models.scalar import PointwiseScalarRM
from tests.models.tiny import toy_example, write_model

SMALL = ["batch_size=4", "micro_batch_size=4", "max_steps=1", "use_cpu=true", "max_length=256"]


def run(*args: str) -> str:
    result = CliRunner().invoke(app, args, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stderr


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_model(tmp_path_factory.mktemp("base") / "lm", head=False))


def preference_rows(path: Path, count: int = 4) -> str:
    """TRL's conversational preference format."""
    rows = [
        {
            "prompt": [{"role": "user", "content": e.query[0].content}],
            "chosen": [{"role": "assistant", "content": e.responses[i % 2]}],
            "rejected": [{"role": "assistant", "content": e.responses[1 - i % 2]}],
        }
        for i, e in enumerate(map(toy_example, range(count)))
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("command", "kind"), [("bradley-terry", PointwiseScalarRM), ("pairwise", PairwiseScalarRM)]
)
async def test_a_command_trains_from_preference_rows_a_folder_that_loads(
    base: str, tmp_path: Path, command: str, kind: type
) -> None:
    import asyncio

    data, out = preference_rows(tmp_path / "pairs.jsonl"), tmp_path / "model"
    flags = [flag for setting in SMALL for flag in ("--set", setting)]
    args = (command, "--model", base, "--data", data, "--out", str(out), *flags)
    said = await asyncio.to_thread(run, *args)
    counts = "examples 4, no_gold 0, not_finite 0, single 0, ties 0, equal_responses 0, pairs 4"
    assert f"training: {counts}" in said
    model = load_reward_model(out)
    assert isinstance(model, kind)
    assert (await model.judge(toy_example(0))).rewards is not None


def test_rows_without_a_winner_are_refused_with_the_counts(base: str, tmp_path: Path) -> None:
    path = tmp_path / "tie.jsonl"
    path.write_text('{"query": "q", "responses": ["a", "b"], "gold": [1, 1]}\n')
    with pytest.raises(TrainError, match="ties 1"):
        run("pairwise", "--model", base, "--data", str(path), "--out", str(tmp_path / "o"))
