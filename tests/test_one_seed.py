"""One question has one seed for each of its samples, wherever it is asked."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

import spct
from spct.cli.main import app
from spct.core.plan import content_id
from spct.engines.scripted import ScriptedEngine
from spct.integrations.trl import make_reward_func
from spct.runs.store import Store
from tests.serve.local import served

QUERY, RESPONSES, K = "Which word is longer?", ["one word", "another word"], 4
SCRIPTED = ["--engine", "scripted", "-k", str(K)]


class Logging(ScriptedEngine):
    """The scripted engine, which also keeps what it was asked: shown order and seed."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: set[tuple[tuple[int, ...], int]] = set()

    async def sample(self, prompt, n, params):
        if prompt.example_id == content_id((spct.Message("user", QUERY),), RESPONSES):
            self.asked |= {(prompt.order, seed) for seed in params.seeds}  # else: a probe
        return await super().sample(prompt, n, params)


def run(*arguments: object) -> str:
    result = CliRunner().invoke(app, [str(a) for a in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def drawn(verdict: spct.Verdict) -> set[tuple[tuple[int, ...], int]]:
    return {(t.prompt.order, t.seed) for t in verdict.trajectories}


def stored(root: Path) -> set[tuple[tuple[int, ...], int]]:
    """What the one run under a folder holds."""
    (database,) = root.rglob("run.db")
    with Store.read(database.parent) as store:
        (verdict,) = store.verdicts()
    return drawn(verdict)


def printed(text: str) -> set[tuple[tuple[int, ...], int]]:
    (line,) = text.splitlines()
    return {(tuple(t["order"]), t["seed"]) for t in json.loads(line)["trajectories"]}


@pytest.fixture
def expected() -> set[tuple[tuple[int, ...], int]]:
    """What `spct.judge` draws."""
    verdict = spct.judge(QUERY, RESPONSES, kind="scripted", k=K)
    assert verdict.example_id == content_id((spct.Message("user", QUERY),), RESPONSES)
    assert len(drawn(verdict)) == K
    return drawn(verdict)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "one.jsonl"
    row = {"query": QUERY, "responses": RESPONSES, "gold": [0.0, 1.0]}
    path.write_text(json.dumps(row) + "\n")
    return path


def test_the_command_line_draws_what_python_draws(expected, file: Path) -> None:
    asked = ["--query", QUERY, *(x for r in RESPONSES for x in ("--response", r))]
    assert printed(run("judge", *asked, *SCRIPTED, "--json")) == expected
    assert printed(run("judge", file, *SCRIPTED, "--json")) == expected


def test_a_run_and_a_benchmark_draw_it_too(expected, file: Path, tmp_path, monkeypatch) -> None:
    benchmark = ["-b", file, "-k", K, "--no-greedy", "--resamples", "100"]
    for command in (["sample", file, *SCRIPTED], ["bench", "scripted", *benchmark]):
        (tmp_path / str(command[0])).mkdir()
        monkeypatch.chdir(tmp_path / str(command[0]))
        run(*command)
        assert stored(Path("runs")) == expected


async def test_a_gateway_and_a_hook_draw_it_too(expected) -> None:
    asked = Logging()
    async with served(spct.GenerativeRM(asked, k=K)) as client:
        body = {"examples": [{"query": QUERY, "responses": RESPONSES}]}
        status, _ = await client.post("/v1/judge", body)
    assert status == 200 and asked.asked == expected
    hooked = Logging()
    reward = make_reward_func(spct.GenerativeRM(hooked, k=K))
    prompt = [{"role": "user", "content": QUERY}]
    assert None not in await reward(prompts=[prompt, prompt], completions=RESPONSES)
    assert hooked.asked == expected
