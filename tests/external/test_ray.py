"""Ray on this machine: `spct sample --ray local`, a stage of Ray Data, a deployment of Ray Serve.

Each gives what one process gives; actors of the first are killed at random moments.
"""

import json
import os
import random
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.external.environments import RAY, environment, run
from tests.runs.conftest import endpoints

pytestmark = [pytest.mark.external, pytest.mark.timeout(900)]
ROWS, KILLS = 200, 5
MAIN = "from spct.cli.main import main; main()"


@pytest.fixture(scope="module")
def python() -> Path:
    return environment("ray", *RAY)


def written(folder: Path, n: int) -> Path:
    made = [{"id": f"e{i}", "query": f"Tide {i}?", "responses": ["ebb", "flood"]} for i in range(n)]
    file = folder / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in made))
    return file


def actors_of(driver: int) -> list[int]:
    """The processes of the driver's own actors: other people's Ray may run here too."""
    shown = subprocess.run(["ps", "-eo", "pid,ppid,args"], capture_output=True, text=True).stdout
    rows = [line.split(None, 2) for line in shown.splitlines()[1:]]
    parents = {int(pid): int(ppid) for pid, ppid, _ in rows}

    def is_below(pid: int) -> bool:
        while pid in parents and pid != driver:
            pid = parents[pid]
        return pid == driver

    named = [int(pid) for pid, _, args in rows if args.startswith("ray::Actor")]
    return [pid for pid in named if is_below(pid)]


def test_actors_give_the_run_of_a_single_process_also_where_they_die(
    python: Path, tmp_path: Path
) -> None:
    rows = written(tmp_path, ROWS)
    with endpoints(1, "--latency=0.2") as (server,):
        flags = ["-k", "2", "--base-url", server.url, "--model", "mock-judge"]
        flags += ["--examples-in-flight", "2", "--progress", "none"]
        sample = [str(python), "-c", MAIN, "sample", str(rows), *flags]
        on_ray = [*sample, "--ray", "local", "--ray-actors", "2", "-o", str(tmp_path / "ray")]
        dice, killed = random.Random(0), 0
        with subprocess.Popen(on_ray, stderr=subprocess.PIPE, text=True) as driver:
            while driver.poll() is None and killed < KILLS:
                enough = server.stats()["calls"] + dice.randint(10, 40)
                while driver.poll() is None and server.stats()["calls"] < enough:
                    time.sleep(0.05)
                if actors := actors_of(driver.pid):
                    os.kill(dice.choice(actors), signal.SIGKILL)
                    killed += 1
            _, err = driver.communicate()
        assert driver.returncode == 0 and killed == KILLS, err
        assert "judged by 2 actors" in err
        again = server.stats()["calls"] - 2 * ROWS
        assert again <= KILLS * 2 * 2  # what was in flight: examples, and two prompts of each
        subprocess.run([*sample, "-o", str(tmp_path / "single")], check=True, capture_output=True)
    exports = [
        subprocess.run(
            [str(python), "-c", MAIN, "export", str(tmp_path / name)],
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        for name in ("ray", "single")
    ]
    assert exports[0].count("\n") == ROWS and exports[0] == exports[1]
    print(f"{KILLS} kills, {ROWS} ids once, verdicts equal, {again} requests asked again")


DATA = """
import sys, ray
from spct.integrations.ray_data import JudgeBatch
ray.init(num_cpus=3, include_dashboard=False, object_store_memory=200 * 2**20,
         log_to_driver=False, logging_level="error")
settings = {"engine": {"kind": "scripted"}, "judge": {"k": 2}}
rows = ray.data.read_json(sys.argv[1])
verdicts = rows.map_batches(
    JudgeBatch, fn_constructor_kwargs={"settings": settings, "cache": sys.argv[3]},
    compute=ray.data.ActorPoolStrategy(size=2, max_tasks_in_flight_per_actor=2),
    batch_size=16, batch_format="pyarrow",
)
verdicts.write_parquet(sys.argv[2])
"""
READ = """
import sys, pyarrow.parquet as pq
rows = [row for name in sys.argv[1:] for row in pq.read_table(name).to_pylist()]
print(*sorted(f"{row['id']} {row['rewards']} {row['trajectories'][0]['text']!r}" for row in rows),
      sep="\\n")
"""


def test_a_stage_of_ray_data_gives_the_verdicts_of_a_run(python: Path, tmp_path: Path) -> None:
    rows = written(tmp_path, 60)
    started = {"RAY_raylet_start_wait_time_s": "180", "RAY_TQDM": "0"}
    run(python, DATA, str(rows), str(tmp_path / "out"), str(tmp_path / "cache"), **started)
    sample = ["sample", str(rows), "--engine", "scripted", "-k", "2", "--progress", "none"]
    run(python, MAIN, *sample, "-o", str(tmp_path / "single"))
    run(python, MAIN, "export", str(tmp_path / "single"), "--to", f"{tmp_path}/single.parquet")
    parts = map(str, sorted((tmp_path / "out").glob("*.parquet")))
    found = run(python, READ, *parts)
    assert found == run(python, READ, f"{tmp_path}/single.parquet") and found.count("\n") == 60


# What a busy machine needs instead of Ray's few seconds.
PATIENT = {
    "RAY_raylet_start_wait_time_s": "180",
    "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": "300",
    "RAY_SERVE_PROXY_HEALTH_CHECK_TIMEOUT_S": "120",
}
SERVE = """
import json, urllib.request, ray
import ray.serve._private.api as inner
from ray import serve
from spct.integrations.ray_serve import deployment
ray.init(num_cpus=3, include_dashboard=False, object_store_memory=200 * 2**20,
         log_to_driver=False, logging_level="error")
inner.HTTP_PROXY_TIMEOUT = 400  # a busy machine takes longer than its 60 s
serve.start(http_options={"host": "127.0.0.1", "port": 18765})
serve.run(deployment("scripted", k=2, ray_actor_options={"num_cpus": 1}))
ask = {"query": "Tide?", "responses": ["ebb", "flood"]}
request = urllib.request.Request(
    "http://127.0.0.1:18765/v1/judge", json.dumps(ask).encode(),
    {"content-type": "application/json"})
print(json.dumps(json.load(urllib.request.urlopen(request, timeout=60))))
serve.shutdown()
"""


def test_a_deployment_of_ray_serve_answers_as_the_gateway_does(python: Path) -> None:
    from tests.external.environments import gateway

    said = run(python, SERVE, **PATIENT)  # and lines of Ray's own
    found = json.loads(next(line for line in said.splitlines() if line.startswith("{")))
    with gateway("-k", "2") as url:
        import urllib.request

        ask = json.dumps({"query": "Tide?", "responses": ["ebb", "flood"]}).encode()
        request = urllib.request.Request(
            f"{url}/v1/judge", ask, {"content-type": "application/json"}
        )
        expected = json.load(urllib.request.urlopen(request, timeout=60))
    assert found["results"][0]["rewards"] == expected["results"][0]["rewards"] is not None
