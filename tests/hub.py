"""A hub on loopback: as much of it as an upload asks, and what it was sent."""

import base64
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Hub(BaseHTTPRequestHandler):
    """As much of the hub as an upload asks: a repository, how to send files, a commit."""

    got: dict[str, bytes]
    refuses = False

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        url = f"http://{self.headers['Host']}"
        if self.refuses:
            return self.answer({"error": "no token"}, 401)
        if self.path == "/api/repos/create":
            return self.answer({"url": f"{url}/me/judge", "id": "me/judge"})
        if "/preupload/" in self.path:
            files = [{"path": f["path"], "uploadMode": "regular", "shouldIgnore": False}
                     for f in json.loads(body)["files"]]  # fmt: skip
            return self.answer({"files": files})
        if "/commit/" in self.path:
            for entry in map(json.loads, body.decode().splitlines()):
                if entry["key"] == "file":
                    value = entry["value"]
                    self.got[value["path"]] = base64.b64decode(value["content"])
            found = {"commitUrl": f"{url}/me/judge/commit/1", "commitOid": "1", "success": True}
            return self.answer(found)
        self.answer({}, 200)

    def do_GET(self) -> None:
        self.answer({"id": "me/judge", "sha": "0", "siblings": [], "private": False, "tags": [],
                     "downloads": 0, "likes": 0})  # fmt: skip

    def answer(self, value: object, code: int = 200) -> None:
        data = json.dumps(value).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: Any) -> None:
        """Quiet."""


@contextmanager
def running() -> Iterator[tuple[type[Hub], dict[str, str]]]:
    """The handler, whose `got` holds what was uploaded, and the environment that leads there."""
    handler = type("OneHub", (Hub,), {"got": {}})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield (
            handler,
            {
                "HF_ENDPOINT": f"http://127.0.0.1:{server.server_address[1]}",
                "HF_TOKEN": "hf_test",
                "HF_HUB_DISABLE_XET": "1",
            },
        )
    finally:
        server.shutdown()
        server.server_close()
