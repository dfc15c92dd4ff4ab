"""`spct sample --budget`: what it refuses, what it spends, and that a kill changes neither."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from contextlib import closing
from pathlib import Path

import pytest
from typer.testing import CliRunner

from spct.cli.main import app
from spct.runs.store import Store
from spct.types import Usage
from tests.runs.conftest import Endpoint
from tests.runs.test_sample_command import spct


def rows(path: Path, count: int) -> Path:
    with path.open("w") as file:
        for i in range(count):
            responses = [f"ebb {j}" for j in range(1 + i % 3)]
            file.write(json.dumps({"id": f"id-{i}", "query": "Tide?", "responses": responses}))
            file.write("\n")
    return path


def sample(tmp_path: Path, *flags: str) -> tuple[int, str]:
    file = rows(tmp_path / "rows.jsonl", 30)
    command = ["sample", str(file), "--engine", "scripted", "--out", str(tmp_path / "run")]
    found = CliRunner().invoke(app, [*command, "--progress", "none", *flags])
    return found.exit_code, str(found.exception or "") + found.output


def usage_of(folder: Path) -> tuple[Usage, list[int]]:
    with closing(Store.read(folder)) as store:
        verdicts = list(store.verdicts())
    return sum((v.usage for v in verdicts), Usage()), [v.k_drawn for v in verdicts]


def test_the_spending_is_in_the_store_and_within_the_budget(tmp_path: Path) -> None:
    code, said = sample(tmp_path, "--budget", "200-calls", "-k", "32")
    assert code == 0 and "spent 200 calls of 200 calls; examples by judgements: 10 with 1" in said
    used, drawn = usage_of(tmp_path / "run")
    assert used.calls == sum(drawn) == 200
    assert drawn[::3] == [1] * 10 and min(drawn[1::3]) >= 2 and max(drawn) > 4
    code, said = sample(tmp_path, "--budget", "200-calls", "-k", "32")  # again: nothing is drawn
    assert code == 0 and "\n0 replies drawn, 200 taken from the store" in said
    code, said = sample(tmp_path, "--budget", "300-calls", "-k", "32")
    assert code != 0 and "budget" in said  # another budget is another run


@pytest.mark.parametrize(
    ("flags", "why"),
    [
        (("--budget", "50-calls"), "one round of orders for every example takes about"),
        (("--budget", "20-calls"), "takes at least 30 calls"),
        (("--budget", "2M"), "expected an amount and its unit"),
        (("--budget", "2M-tokens", "--stop", "exact"), "and so does the stopping rule exact"),
        (("--budget", "2M-tokens", "--vote", "davidson"), "a vote that sums over judgements"),
        (("--budget", "2M-tokens", "--retry-unscored"), "leave one out"),
    ],
)
def test_what_cannot_work_is_refused(tmp_path: Path, flags: tuple[str, ...], why: str) -> None:
    code, said = sample(tmp_path, *flags)
    assert code != 0 and why in said


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_kills_change_nothing_of_a_budgeted_run(tmp_path: Path, endpoint: Endpoint) -> None:
    file = rows(tmp_path / "rows.jsonl", 90)

    def command(name: str) -> list[str]:
        where = ["--base-url", endpoint.url, "--model", "mock-judge", "--out", str(tmp_path / name)]
        flags = ["-k", "16", "--budget", "600-calls", "--progress", "none"]
        return spct("sample", str(file), *where, *flags)

    subprocess.run(command("clean"), check=True, capture_output=True)
    assert endpoint.stats()["calls"] <= 600
    for _ in range(4):
        enough = endpoint.stats()["calls"] + 90
        with subprocess.Popen(
            command("killed"), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        ) as process:
            while process.poll() is None and endpoint.stats()["calls"] < enough:
                time.sleep(0.002)
            process.kill()
        assert process.returncode == -signal.SIGKILL
    subprocess.run(command("killed"), check=True, capture_output=True)
    exports = [
        subprocess.run(spct("export", str(tmp_path / name)), check=True, capture_output=True).stdout
        for name in ("clean", "killed")
    ]
    assert exports[0].count(b"\n") == 90
    assert exports[0] == exports[1]
    assert usage_of(tmp_path / "killed")[0].calls <= 600
