"""An S3 server on this machine (moto): rows are read from it, judged, and exported to it."""

import socket
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from spct.data.files import read_rows
from spct.data.inputs import expand
from spct.data.rows import read_examples
from tests.data.test_inputs import expected, write
from tests.external.environments import environment

pytestmark = [pytest.mark.external, pytest.mark.timeout(900)]
CODE = "import moto.server; moto.server.main(['-p', '{}'])"
KINDS = ("parquet", "jsonl", "jsonl.gz", "csv")


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The bucket `judging` on a server of this test's own."""
    pytest.importorskip("s3fs")
    import fsspec

    python = environment("moto", "moto[s3,server]")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with subprocess.Popen([str(python), "-c", CODE.format(port)], **quiet) as server:
        try:
            for _ in range(600):
                with socket.socket() as probe:
                    if probe.connect_ex(("127.0.0.1", port)) == 0:
                        break
                time.sleep(0.1)
            made = fsspec.filesystem("s3")
            made.mkdir("judging")
            yield made
        finally:
            server.kill()


def test_an_s3_round_trip_on_loopback(store: Any, tmp_path: Path, run: Any) -> None:
    for kind in KINDS:
        store.pipe(f"judging/in/{kind}/rows.{kind}", write(tmp_path, kind).read_bytes())
        assert list(read_examples(f"s3://judging/in/{kind}")) == expected()
    flags = ["--engine", "scripted", "-k", "1", "--progress", "none", "-o", tmp_path / "r"]
    code, _, err = run("sample", "s3://judging/in/*/*", *flags)
    n = len(KINDS) * len(expected())
    assert code == 0 and f"{n} examples" in err, err
    code, _, err = run("export", tmp_path / "r", "--to", "s3://judging/out/")
    assert code == 0, err
    rows = [row for file in expand(["s3://judging/out"]) for row in read_rows(file)]
    assert len(rows) == n
    code, _, err = run("sample", "s3://other/rows.jsonl", *flags)
    assert code == 2 and "s3://other/rows.jsonl" in err and "Traceback" not in err
    store.pipe("judging/cut.parquet", (tmp_path / "rows.parquet").read_bytes()[:-30])
    code, _, err = run("sample", "s3://judging/cut.parquet", *flags)
    assert code == 2 and "reading s3://judging/cut.parquet: got" in err
