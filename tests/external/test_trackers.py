"""wandb (offline) and trackio hold what a training logged; the report stays alone on stdout."""

import json
import os
import sqlite3
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from recipes.synthetic.rows import study_formats, vocabulary_texts
from recipes.synthetic.tiny import save_new
from recipes.synthetic.world import draw_examples
from tests.external.environments import ROOT, environment, run
from tests.train.conftest import templated_rows

pytestmark = [pytest.mark.external, pytest.mark.timeout(900)]

READ = """
import json, struct, sys
from wandb.proto import wandb_internal_pb2 as pb

data, at, said = open(sys.argv[1], "rb").read(), 7, b""  # a log of LevelDB's form, after a header
while at + 7 <= len(data):
    if 32768 - at % 32768 < 7:
        at += 32768 - at % 32768
        continue
    _, length, kind = struct.unpack("<IHB", data[at:at + 7])
    said += data[at + 7:at + 7 + length]
    at += 7 + length
    if kind in (1, 4):  # whole, or the last part
        record = pb.Record()
        record.ParseFromString(said)
        said = b""
        if record.WhichOneof("record_type") == "history":
            print(json.dumps({item.key or "/".join(item.nested_key): json.loads(item.value_json)
                              for item in record.history.item}))
"""


def of_wandb(python: Path, folder: Path) -> Iterator[dict[str, Any]]:
    (file,) = folder.glob("wandb/offline-run-*/*.wandb")
    yield from map(json.loads, run(python, READ, str(file)).splitlines())


def of_trackio(home: Path) -> Iterator[dict[str, Any]]:
    (file,) = home.glob("*.db")
    with sqlite3.connect(file) as db:
        yield from (json.loads(text) for (text,) in db.execute("select metrics from metrics"))


def test_both_hold_every_step_and_the_report_stands_alone(tmp_path: Path) -> None:
    python = environment("trackers", "wandb==0.31.0", "trackio==0.43.0", beside=True)
    save_new(vocabulary_texts(), tmp_path / "model", layers=1)
    rows = templated_rows(draw_examples(3, 16, "toy"), study_formats())
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    done = subprocess.run(
        [str(python), "-c", "from spct.cli.main import main; main()", "train", "rft", "rows.jsonl",
         "--model", "model", "--out", "out", "--report-to", "wandb,trackio",
         "--set", "log_steps=1", "--set", "max_steps=3", "--set", "batch_size=4",
         "--set", "micro_batch_size=4", "--set", "max_length=400", "--set", "use_cpu=true"],
        capture_output=True, text=True, cwd=tmp_path, timeout=600, check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT), "WANDB_MODE": "offline",
             "TRACKIO_DIR": str(tmp_path / "trackio")},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert json.loads(done.stdout)["steps"] == 3
    logs = [json.loads(line) for line in (tmp_path / "out/metrics.jsonl").read_text().splitlines()]
    wanted = [(log["step"], pytest.approx(log["loss"])) for log in logs if "loss" in log]
    assert len(wanted) == 3
    for tracker in (of_wandb(python, tmp_path), of_trackio(tmp_path / "trackio")):
        kept = [(log["train/global_step"], log["train/loss"]) for log in tracker
                if "train/loss" in log]  # fmt: skip
        assert kept == wanted
