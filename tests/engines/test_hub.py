"""Names on the hub, asked of a hub on loopback: what is fetched, from the cache, and refused."""

import hashlib
import json
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from spct.engines.hub import is_hub_name

pytest.importorskip("huggingface_hub")
GGUF = b"GGUF" + (3).to_bytes(4, "little") + bytes(64)
SHA = "a" * 40
MODELS = {
    "org/one": {"tiny.gguf": GGUF, "README.md": b"#"},
    "org/two": {"a-q4.gguf": GGUF, "b-f16.gguf": GGUF + b"f16"},
    "org/gated": {"tiny.gguf": GGUF},
    "org/whole": {"config.json": b"{}", "model.safetensors": bytes(8), "evil.py": b"1/0"},
}


class Hub(BaseHTTPRequestHandler):
    """The hub's own routes: the list of a model's files, and one of them."""

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        path = self.path.partition("?")[0].removeprefix("/api/models/").strip("/")
        name = "/".join(path.split("/")[:2])
        files = MODELS.get(name, {})
        if name == "org/gated" and self.headers.get("Authorization") != "Bearer key":
            return self.say(403, b"", {"X-Error-Code": "GatedRepo", "X-Error-Message": "gated"})
        if not files:
            return self.say(404, b"", {"X-Error-Code": "RepoNotFound"})
        if not self.path.startswith("/api/"):
            body = files[path.split("/resolve/")[1].partition("/")[2]]
            tag = hashlib.sha256(body).hexdigest()
            return self.say(200, body, {"ETag": f'"{tag}"', "X-Repo-Commit": SHA})
        sizes = [{"type": "file", "path": f, "size": len(b), "oid": SHA} for f, b in files.items()]
        siblings = [{"rfilename": f} for f in files]
        whole = {"id": name, "sha": SHA, "siblings": siblings}
        return self.say(200, json.dumps(sizes if "/tree/" in path else whole).encode(), {})

    def say(self, status, body, headers):
        self.send_response(status)
        for key, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def hub():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("hub")


def ask(names, cache, **environ):
    """What each name gives in a process of its own: huggingface_hub reads its settings once."""
    code = (
        "import json, sys\nfrom spct.engines.hub import hub_model\n"
        "from spct.errors import SpctError\n"
        "def one(name):\n  try:\n    return str(hub_model(name))\n"
        "  except SpctError as error:\n    return f'error: {error}'\n"
        "print(json.dumps([one(name) for name in sys.argv[1:]]))"
    )
    plain = {k: v for k, v in os.environ.items() if not k.startswith("HF_")}
    done = subprocess.run(
        [sys.executable, "-c", code, *names], check=True, capture_output=True, text=True,
        env={**plain, "HF_HOME": str(cache), "HF_HUB_DISABLE_XET": "1", **environ},
    )  # fmt: skip
    return json.loads(done.stdout.splitlines()[-1])


def test_a_name_gives_its_gguf_file_or_its_folder_and_then_the_cache_does(hub, cache):
    names = ["org/one", "org/two/b-f16.gguf", "org/whole"]
    fetched = ask(names, cache, HF_ENDPOINT=hub)
    one, two, whole = fetched
    assert Path(one).read_bytes() == GGUF and Path(two).read_bytes() == GGUF + b"f16"
    assert sorted(os.listdir(whole)) == ["config.json", "model.safetensors"]  # no code
    assert ask(names, cache, HF_ENDPOINT="http://127.0.0.1:9", HF_HUB_OFFLINE="1") == fetched


def test_what_the_hub_does_not_give_is_said(hub, cache):
    several, gated, missing = ask(["org/two", "org/gated", "no/body"], cache, HF_ENDPOINT=hub)
    assert "2 GGUF files; name one, as org/two/a-q4.gguf" in several
    assert "HF_TOKEN" in gated and "HF_ENDPOINT" in missing
    (opened,) = ask(["org/gated"], cache, HF_ENDPOINT=hub, HF_TOKEN="key")
    assert opened.endswith("tiny.gguf")


def test_a_path_is_no_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    assert is_hub_name("org/name") and is_hub_name("org/name/file.gguf")
    for path in ("runs/judge", "models/judge.gguf", "judge", "a/b/c", "/org/name", "./org/name"):
        assert not is_hub_name(path), path
