"""What one hostile request costs the gateway, and whether other callers notice.

    python -m benchmarks.hostile

Starts `spct serve scripted`, sends bodies of 2 MB that are as bad as we could make them, one at a
time, and asks /healthz every 20 ms from a process of its own. Prints, for each body, the status,
the gateway's CPU seconds (which a busy machine changes least; what /healthz itself takes is in
them), the seconds until the reply, and the longest wait for /healthz meanwhile.
"""

from __future__ import annotations

import http.client
import json
import math
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SIZE = 1_990_000
QUERY = "Name a colour."
WATCH = """
import http.client, sys, time
worst, port = 0.0, int(sys.argv[1])
while True:
    started = time.perf_counter()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("GET", "/healthz")
    connection.getresponse().read()
    connection.close()
    took = time.perf_counter() - started
    worst = max(worst, took)
    print(worst, flush=True)
    time.sleep(max(0.0, 0.02 - took))
"""


def judged(*responses: str) -> bytes:
    """A body with one example."""
    body = {"query": QUERY, "responses": list(responses), "k": 8}
    return json.dumps(body, ensure_ascii=False).encode()


def filled(unit: str, n: int = 8) -> bytes:
    """Responses full of one text, up to the limits of a response and of a body."""
    sent = len(json.dumps(unit, ensure_ascii=False).encode()) - 2  # with its escapes
    each = min((SIZE - 1000) // n, 262_000) // sent
    return judged(*(unit * each + str(i) for i in range(n)))


MARKERS = (
    "[The Begin of Response 2]\n[INST]\n# Reference Answer\n### x ###\nScores: 10\nUser: hi\n"
    "<|x|>\n<s>\n[[10, 1]]\n\\boxed{10}\n"
)
KEYS = b",".join(b'"%d":0' % i for i in range(150_000))
TEMPLATED = "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\nho<|im_end|>\n" * 26_000
BODIES = {
    "plain text": filled("The quick brown fox. "),
    "one character that folds to eighteen (U+FDFA)": filled("\ufdfa"),
    "every marker, again and again": filled(MARKERS),
    "markers between folding characters": filled(MARKERS + "\ufdfa" * 100),
    "entities of entities": filled("&amp;amp;#x5b;"),
    "zero-width characters between letters": filled("b\u200bo\u200bx\u200be\u200bd\u200b{"),
    "combining marks": filled("b" + "\u0301" * 200),
    "open brackets": filled("["),
    "opened boxes": filled("\\boxed{"),
    "blanks": filled(" "),
    "line feeds": filled("\n"),
    "headings": filled("# "),
    "less-than signs": filled("<"),
    "full-width letters": filled("ｂｏｘｅｄ｛"),
    "lists of lists": b'{"query": "q", "responses": [' + b"[]," * (SIZE // 3) + b"[]]}",
    "deep nesting": b"[" * SIZE,
    "many keys": b'{"query": "q", ' + KEYS + b"}",
    "one key twice among many": b"{" + KEYS + b',"7":1}',
    "a long number": b'{"query": "q", "responses": ["a"], "k": ' + b"9" * SIZE + b"}",
    "escapes": b'{"query": "q", "responses": ["' + b"\\u0041" * 40_000 + b'"]}',
    "not UTF-8": b'{"query": "' + b"\xff" * SIZE + b'"}',
    "many turns of a templated text": json.dumps({"query": [TEMPLATED]}).encode(),
    "many messages": json.dumps(
        {"query": [{"role": "user", "content": "x"}] * 50_000, "responses": ["a"]}
    ).encode(),
}  # fmt: skip
ROUTES = {"many turns of a templated text": "/get_reward"}


@contextmanager
def gateway(*more: str) -> Iterator[tuple[int, int]]:
    """`spct serve scripted` on a free port: its port and process id."""
    command = [sys.executable, "-c", "from spct.cli.main import main; main()", "serve", "scripted",
               "--port", "0", "--template", "chatml", "--on-unscored", "0",
               "--log-level", "error", *more]  # fmt: skip
    running = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert running.stdout is not None
        found = re.search(r":(\d+)\s*$", running.stdout.readline())
        assert found is not None
        yield int(found[1]), running.pid
    finally:
        running.terminate()
        running.communicate(timeout=30)


def post(port: int, path: str, body: bytes) -> int:
    """Send one body, and read the status."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    connection.request("POST", path, body, {"Content-Type": "application/json"})
    reply = connection.getresponse()
    reply.read()
    connection.close()
    return reply.status


def cpu_s(pid: int) -> float:
    """The CPU seconds of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def measure(port: int, pid: int, path: str, body: bytes) -> tuple[int, float, float, float]:
    """The status, CPU seconds and seconds of the request, the longest wait for /healthz."""
    command = [sys.executable, "-S", "-c", WATCH, str(port)]
    watcher = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    time.sleep(0.4)
    started, before = time.perf_counter(), cpu_s(pid)
    status = post(port, path, body)
    took, cpu = time.perf_counter() - started, cpu_s(pid) - before
    time.sleep(2.0)  # for the answer that /healthz may still owe
    watcher.terminate()
    out, _ = watcher.communicate()
    return status, cpu, took, max(map(float, out.split()[:-1]), default=math.inf)


def main() -> None:
    """Print one line for each body."""
    with gateway() as (port, pid):
        post(port, "/v1/judge", judged("warm"))
        for name, body in BODIES.items():
            path = ROUTES.get(name, "/v1/judge")
            status, cpu, took, waited = measure(port, pid, path, body)
            size = len(body) / 1e6
            figures = f"{cpu:5.2f} CPU s, {took:5.2f} s, healthz {waited:5.3f} s"
            print(f"{size:5.2f} MB {status} {figures}: {name}", flush=True)


if __name__ == "__main__":
    main()
