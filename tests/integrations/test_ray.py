"""`spct sample --ray local`: the run of a single process, also where actors die."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from tests.runs.conftest import endpoints
from tests.runs.test_sample_command import spct

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def actors_of(driver: int) -> list[int]:
    """The processes of our actors, by the names that Ray gives them."""
    shown = subprocess.run(["ps", "-eo", "pid,args"], capture_output=True, text=True).stdout
    lines = [line.split(None, 1) for line in shown.splitlines()]
    return [int(pid) for pid, args in lines if args.startswith("ray::") and "Actor" in args]


def test_actors_give_the_run_of_a_single_process_also_where_they_die(
    run: Any, tmp_path: Path
) -> None:
    pytest.importorskip("ray")
    rows = tmp_path / "rows.jsonl"
    made = [
        {"id": f"e{i}", "query": f"Tide {i}?", "responses": ["ebb", "flood"]} for i in range(400)
    ]
    rows.write_text("".join(json.dumps(row) + "\n" for row in made))
    with endpoints(1, "--latency=0.2") as (server,):
        flags = ["-k", "2", "--base-url", server.url, "--model", "mock-judge"]
        flags += ["--examples-in-flight", "4", "--progress", "none"]
        on_ray = spct("sample", str(rows), *flags, "--ray", "local", "-o", str(tmp_path / "ray"))
        chance = random.Random(0)
        with subprocess.Popen(on_ray, stderr=subprocess.PIPE, text=True) as driver:
            while driver.poll() is None and server.stats()["calls"] < 20:
                time.sleep(0.1)
            for _ in range(5):
                if actors := actors_of(driver.pid):
                    os.kill(chance.choice(actors), signal.SIGKILL)
                time.sleep(chance.uniform(1, 3))
            _, err = driver.communicate()
        assert driver.returncode == 0, err
        assert server.stats()["calls"] <= 800 + 5 * 8
        assert run("sample", rows, *flags, "-o", tmp_path / "single")[0] == 0
    exports = [run("export", tmp_path / name)[1] for name in ("ray", "single")]
    assert exports[0].count("\n") == 400 and exports[0] == exports[1]
