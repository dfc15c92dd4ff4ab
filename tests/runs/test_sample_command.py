"""`spct sample`, killed over and over: the same command in the end gives the same run."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.runs.conftest import Endpoint

EXAMPLES, CONCURRENCY = 300, 16


def spct(*arguments: str) -> list[str]:
    return [sys.executable, "-c", "from spct.cli.main import main; main()", *arguments]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_twenty_stops_of_spct_sample_change_nothing_in_its_export(
    tmp_path: Path, endpoint: Endpoint
) -> None:
    rows = tmp_path / "rows.jsonl"
    with rows.open("w") as file:
        for i in range(EXAMPLES):
            row = {"id": f"id-{i}", "query": f"Tide {i}?", "responses": ["ebb", "flood"]}
            file.write(json.dumps(row) + "\n")

    def sample(name: str) -> list[str]:
        flags = ["-k", "4", "--examples-in-flight", str(CONCURRENCY), "--progress", "none"]
        where = ["--base-url", endpoint.url, "--model", "mock-judge"]
        return spct("sample", str(rows), *where, *flags, "--output-dir", str(tmp_path / name))

    subprocess.run(sample("clean"), check=True, capture_output=True)
    clean, stops = endpoint.stats(), 20
    assert clean["calls"] == clean["distinct_calls"] == 2 * EXAMPLES
    for stop in range(stops):
        enough = endpoint.stats()["calls"] + 25
        with subprocess.Popen(
            sample("stopped"), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        ) as process:
            while process.poll() is None and endpoint.stats()["calls"] < enough:
                time.sleep(0.002)
            process.send_signal((signal.SIGKILL, signal.SIGTERM)[stop % 2])
        assert process.returncode in (-signal.SIGKILL, 143)
    subprocess.run(sample("stopped"), check=True, capture_output=True)
    repeated = endpoint.stats()["calls"] - 2 * clean["calls"]
    assert repeated <= stops * CONCURRENCY * 2  # two prompts an example

    exports = []
    for name in ("clean", "stopped"):
        [run] = (tmp_path / name).iterdir()
        command = spct("export", str(run))
        exports.append(subprocess.run(command, check=True, capture_output=True).stdout)
    assert exports[0].count(b"\n") == EXAMPLES
    assert exports[0] == exports[1]
