"""Exporting to an address: whole, refused, or to a store that says nothing."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from spct.data import inputs


@pytest.fixture
def judged(run: Any, tmp_path: Path) -> Path:
    """A run of one row."""
    pytest.importorskip("pyarrow.dataset")
    row = {"query": "Tide?", "responses": ["ebb", "flood"], "subset": "sea"}
    (tmp_path / "rows.jsonl").write_text(json.dumps(row) + "\n")
    sample = ["sample", tmp_path / "rows.jsonl", "--engine", "scripted", "-k", "1"]
    assert run(*sample, "--progress", "none", "-o", tmp_path / "r")[0] == 0
    return tmp_path / "r"


@pytest.mark.parametrize("by", [[], ["--partition", "subset"]])
def test_a_folder_at_an_address_is_written_and_a_file_is_refused(
    run: Any, judged: Path, by: list[str]
) -> None:
    store = pytest.importorskip("fsspec").filesystem("memory")
    code, _, err = run("export", judged, "--to", "memory://verdicts/", *by)
    files = store.find("/verdicts")
    store.rm("/verdicts", recursive=True)
    assert code == 0 and "1 verdicts" in err and len(files) == 1, err
    code, _, err = run("export", judged, "--to", "memory://verdicts.jsonl")
    assert code == 2 and "an address" in err


class Hdfs(BaseHTTPRequestHandler):
    """A store that says what is there, which is nothing, and no word to whoever writes a file."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        self.answer(404, {"RemoteException": {"exception": "FileNotFoundException"}})

    def do_PUT(self) -> None:
        if "op=MKDIRS" not in self.path:
            self.server.over.wait(60)  # type: ignore[attr-defined]
        self.answer(200, {"boolean": True})

    def answer(self, status: int, said: dict[str, Any]) -> None:
        body = json.dumps(said).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@pytest.mark.parametrize("by", [[], ["--partition", "subset"]])
def test_a_store_that_says_nothing_to_what_is_written_is_named_in_time(
    run: Any, judged: Path, by: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("requests")  # which fsspec's own client of such a store needs
    monkeypatch.setattr(inputs, "WRITE_S", 1.0)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hdfs)
    server.daemon_threads, server.over = True, threading.Event()  # type: ignore[attr-defined]
    threading.Thread(target=server.serve_forever, daemon=True).start()
    name = f"webhdfs://127.0.0.1:{server.server_address[1]}/out/"
    try:
        code, _, err = run("export", judged, "--to", name, *by)
        assert not server.over.is_set()  # type: ignore[attr-defined]
    finally:
        server.over.set()  # type: ignore[attr-defined]
        server.shutdown()
        server.server_close()
    said = f"exporting to {name}: Silent: got nothing from its store for 1 s"
    assert code == 5 and said in err, (code, err)
    assert "Traceback" not in err, err
