"""The commands of docs/scale.md, run as they stand with stand-ins for the cluster's own."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.runs.conftest import endpoints

PAGE = Path(__file__).parents[2] / "docs" / "scale.md"
SBATCH = """#!/bin/sh
# runs the tasks of an array beside each other, as a cluster would
for i in 0 1 2 3; do SLURM_ARRAY_TASK_ID=$i sh "$2" & pids="$pids $!"; done
for pid in $pids; do wait $pid || exit 1; done
"""


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_commands_of_the_page_run(tmp_path: Path) -> None:
    pytest.importorskip("fsspec")
    tools = tmp_path / "bin"
    tools.mkdir()
    spct = f'#!/bin/sh\nexec {sys.executable} -c "from spct.cli.main import main; main()" "$@"\n'
    for name, text in (("sbatch", SBATCH), ("spct", spct)):
        (tools / name).write_text(text)
        (tools / name).chmod(0o755)
    row = {"query": "Tide?", "responses": ["ebb", "flood"]}
    rows = [json.dumps(row | {"id": f"e{i}", "query": f"Tide {i}?"}) for i in range(40)]
    (tmp_path / "rows.jsonl").write_text("\n".join(rows))
    blocks = re.findall(r"```sh\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    assert len(blocks) == 3
    path = f"{tools}:{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "PYTHONPATH": str(PAGE.parents[1])}
    with endpoints(2) as servers:
        (tmp_path / "endpoints.txt").write_text("".join(f"{s.url}\n" for s in servers))
        for block in blocks:
            done = subprocess.run(
                ["sh", "-e", "-c", block],
                cwd=tmp_path,
                env=environment,
                capture_output=True,
                text=True,
            )
            assert done.returncode == 0, done.stderr
    exported = [
        subprocess.run(
            [tools / "spct", "export", tmp_path / "runs" / name],
            env=environment,
            capture_output=True,
            check=True,
        ).stdout
        for name in ("whole", "merged")
    ]
    assert exported[0] == exported[1] and exported[0].count(b"\n") == 40
