"""20,000 fuzzed requests against a real gateway: no 5xx, no hang, no growing memory.

    python -m tests.fuzz.requests [N]

Starts `spct serve scripted` and sends mutations of good requests of every route: bytes flipped,
cut, doubled and inserted in heads and bodies, JSON values swapped for others, fields renamed.
Prints the statuses, what was never answered, and the gateway's memory before and after.
"""

from __future__ import annotations

import json
import random
import socket
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.hostile import gateway

TEXT = "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\nho<|im_end|>"
ASKED = [{"role": "user", "content": [{"type": "text", "text": "q"}]}]
SAID = [{"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "a"}]}]
GOOD: list[tuple[str, Any]] = [
    ("/v1/judge", {"examples": [{"query": ASKED, "responses": ["a", "b"]}], "k": 2,
                   "include": ["votes"]}),
    ("/v1/rewards", {"query": "q", "responses": ["a", "b"], "reference": "r"}),
    ("/v1/rewards", {"query": "q", "responses": ["a"], "group": {"id": "g", "size": 1}}),
    ("/get_reward", {"query": [TEXT], "prompts": [TEXT[:60]], "labels": [None]}),
    ("/remote_rm", {"prompt": ASKED, "response": "a", "label": "x"}),
    ("/remote_rm/detail", {"prompt": "p", "response": "a", "label": 3}),
    ("/verify", {"responses_create_params": {"input": ASKED, "instructions": "i"},
                 "response": {"output": SAID}, "prompt_id": "p", "instance_config": {}}),
    ("/compare", {"conversation_history": ASKED, "response_objs": [{"output": SAID}] * 2}),
    ("/aggregate_metrics", {"verify_responses": [{"reward": 1.0, "_ng_task_index": 0}]}),
    ("/seed_session", {"resources_session_id": "s"}),
    ("/classify", {"model": "scripted", "input": [TEXT], "use_activation": False}),
    ("/classify", {"text": TEXT}),
    ("/pooling", {"messages": [*ASKED, {"role": "assistant", "content": "a"}]}),
    ("/score", {"data_1": "q", "data_2": ["a", "b"]}),
    ("/rerank", {"query": "q", "documents": ["a", {"text": "b"}], "top_n": 1}),
    ("/rerank", {"query": "q", "texts": ["a", "b"], "return_text": True}),
    ("/v1/embeddings", {"model": "scripted", "input": TEXT}),
    ("/predict", {"inputs": [["q", "a"], [TEXT]], "raw_scores": True}),
]  # fmt: skip
QUICK = ("--head-timeout", "0.3", "--body-timeout", "0.3")  # for what never comes to its end
ODD: list[Any] = [
    None, True, 0, -1, 1.5, 1e308, 2**70, "", "x", "\u0000", "\ud7ff", "\u202e", "<|im_start|>", [],
    {}, [[]], [None], {"role": "tool"}, {"type": "image"}, "a" * 5000, ["a"] * 70, {"": ""},
]  # fmt: skip
BYTES = [b"\r\n", b"\n", b"\x00", b"\xff", b":", b" ", b"\t", b"{", b'"', b"\\u", b"e999", b"NaN",
         b"Host: x\r\n", b"Content-Length: 1\r\n", b"Transfer-Encoding: chunked\r\n"]  # fmt: skip


def swapped(value: Any, rng: random.Random) -> Any:
    """The value with one of its parts replaced, renamed, doubled or left out."""
    if isinstance(value, dict) and value and rng.random() < 0.8:
        key, found = rng.choice(list(value)), dict(value)
        match rng.randrange(6):
            case 0:
                del found[key]
            case 1:
                found[key + "s"] = found.pop(key)
            case _:
                found[key] = swapped(found[key], rng)
        return found
    if isinstance(value, list) and value and rng.random() < 0.7:
        at, items = rng.randrange(len(value)), list(value)
        items[at] = swapped(items[at], rng)
        return items * rng.choice((1, 1, 1, 2, 80))
    return rng.choice(ODD)


def flipped(data: bytes, rng: random.Random) -> bytes:
    """The bytes with some of them changed, cut out, doubled or added."""
    for _ in range(rng.choice((1, 1, 2, 5))):
        at = rng.randrange(len(data) + 1)
        end = min(len(data), at + rng.randrange(1, 20))
        piece = rng.choice((bytes([rng.randrange(256)]), rng.choice(BYTES), b"", data[at:end] * 2))
        data = data[:at] + piece + data[end if rng.random() < 0.5 else at :]
    return data


def request(rng: random.Random) -> bytes:
    """One fuzzed request."""
    path, body = rng.choice(GOOD)
    values, head_bytes, body_bytes = rng.random() < 0.6, rng.random() < 0.25, rng.random() < 0.3
    if values:
        for _ in range(rng.choice((1, 1, 2, 3))):
            body = swapped(body, rng)
    data = json.dumps(body, ensure_ascii=rng.random() < 0.5).encode("utf-8", "surrogatepass")
    if body_bytes:
        data = flipped(data, rng)
    method = rng.choice(("POST",) * 9 + ("GET", "PUT", "HEAD", "OPTIONS"))
    head = (
        f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(data)}\r\nConnection: close\r\n\r\n"
    ).encode()
    return (flipped(head, rng) if head_bytes else head) + data


def status_of(port: int, data: bytes) -> str:
    """The status of the reply; `closed` or `silent` where there is none."""
    with socket.create_connection(("127.0.0.1", port), timeout=15) as connection:
        try:
            connection.sendall(data)
            got = connection.recv(65536)
            while got and b"\r\n" not in got:
                got += connection.recv(65536)
        except TimeoutError:
            return "silent"
        except OSError:
            return "closed"
    return got[9:12].decode("latin-1") if got else "closed"


def memory_mb(pid: int) -> float:
    """The resident memory of a process."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) / 1024


def main(n: int = 20_000, say: Callable[[str], None] = print) -> Counter[str]:
    """Send n requests; returns how often each status came."""
    rng, found = random.Random(0), Counter[str]()
    with gateway(*QUICK) as (port, pid):
        for i in range(n):
            if i in (n // 10, n // 2):
                say(f"after {i:6} requests: {memory_mb(pid):.0f} MB, {dict(found)}")
            data = request(rng)
            status = status_of(port, data)
            found[status] += 1
            if status.startswith("5") or status == "silent":
                say(f"request {i}: {status}: {data[:2000]!r}")
        say(f"after {n:6} requests: {memory_mb(pid):.0f} MB, {dict(found)}")
    return found


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
