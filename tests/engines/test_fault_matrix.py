"""More than a hundred faults of an endpoint, each through `judge`, `sample`, `bench` and `compare`.

Whatever the endpoint does, every row is scored, or unscored for the true reason, or the run stops
with the exit code of an endpoint; nothing ends in a traceback.
"""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import io
import json
import sqlite3
import threading
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from spct.cli.main import main
from spct.runs.store import Store
from tests.engines.fault_server import FAULTS, FaultServer, Served, as_json, by_arrow, chat_reply

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("default")]

STOPS = 4  # the exit code of an endpoint that refuses
ROWS = [
    {"query": f"What is {i} + {i}?", "responses": [str(2 * i), str(2 * i + 1)], "gold": [1, 0]}
    for i in range(2)
]
CONFIG = """
[engine]
model = "mock-judge"
max_retries = 0
timeout = {}
deadline = {}
"""
# A row that must be scored gets time on a busy machine; a fault that hangs is not waited for.
PATIENT, SHORT = (30, 40), (0.5, 0.8)


def edited(**choice: Any) -> Callable[[Any], Served]:
    def answer(call: Any) -> Served:
        reply = chat_reply(call.json)
        for one in reply["choices"]:
            one.update(choice)
        return as_json(reply)

    return answer


def wrapped(wrap: Callable[[bytes], bytes], **headers: str) -> Callable[[Any], Served]:
    def answer(call: Any) -> Served:
        body = wrap(json.dumps(chat_reply(call.json)).encode())
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return Served(body, headers={"content-type": "application/json"} | named)

    return answer


def says(status: int, message: object, **more: object) -> Callable[[Any], Served]:
    return lambda call: as_json({"error": {"message": message, **more}}, status)


def as_minimax(call: Any) -> Served:
    said = "login fail: Please carry the API secret key in the 'Authorization' field"
    return as_json({"base_resp": {"status_code": 1004, "status_msg": said}, "choices": None})


def counted(**usage: object) -> Callable[[Any], Served]:
    return lambda call: as_json({**chat_reply(call.json), "usage": usage})


def without(*names: str) -> Callable[[Any], Served]:
    def answer(call: Any) -> Served:
        for name in names:
            if name in call.json:
                said = f"Unsupported parameter: '{name}'"
                use = " Use 'max_completion_tokens' instead." if name == "max_tokens" else ""
                return as_json({"error": {"message": said + use, "param": name}}, 400)
        return as_json(chat_reply(call.json))

    return answer


SCORED = (
    *("too_few", "too_many", "same_index", "ignores_n", "refuses_n"),
    *("refuses_seed", "no_logprobs", "no_usage", "refuses_logprobs", "refuses_grammar"),
    *("bad_usage", "other_model", "content_parts", "slow"),
)
STOPPED = ["401", "403", "404", "302"]
UNSCORED = {"content_null": "empty", "content_empty": "empty", "length": "truncated"}
UNSCORED |= {"content_filter": "refused", "ignores_seed": "no_verdict"}
LINES = (Path(__file__).parent / "overflows.txt").read_text("utf-8").splitlines()

# Each fault: what is served, and the reason for which its rows are unscored, "scored", or STOPS.
CASES: dict[str, tuple[Any, str | int]] = {
    **{name: (name, "scored") for name in SCORED},
    **{name: (name, STOPS) for name in STOPPED},
    **{name: (name, reason) for name, reason in UNSCORED.items()},
    **{f"ends with {w}": (edited(finish_reason=w), "scored") for w in ("eos", "STOP", "end_turn")},
    **{f"ends with {w}": (edited(finish_reason=w), "truncated") for w in ("MAX_TOKENS", "LENGTH")},
    **{f"ends with {w}": (edited(finish_reason=w), "refused") for w in ("SAFETY", "refusal")},
    **{f"ends with {w}": (edited(finish_reason=w), "failed") for w in ("error", "", 7, None)},
    "gzip": (wrapped(gzip.compress, content_encoding="GZIP"), "scored"),
    "deflate": (wrapped(zlib.compress, content_encoding="x-deflate, identity"), "scored"),
    "gzip that is not": (wrapped(bytes, content_encoding="gzip"), "failed"),
    "br": (wrapped(by_arrow("brotli"), content_encoding="br"), "scored"),
    "zstd": (wrapped(by_arrow("zstd"), content_encoding="zstd"), "scored"),
    "zstd that is not": (wrapped(bytes, content_encoding="zstd"), "failed"),
    "a byte order mark": (wrapped(lambda b: b"\xef\xbb\xbf" + b), "scored"),
    "UTF-16": (wrapped(lambda b: b.decode().encode("utf-16")), "scored"),
    "blanks around": (wrapped(lambda b: b"\r\n \n" + b + b"\r\n\r\n"), "scored"),
    "an event stream": (wrapped(lambda b: b"data: " + b + b"\n\ndata: [DONE]\n\n"), "failed"),
    "a NUL after it": (wrapped(lambda b: b + b"\0"), "failed"),
    "usage beyond 2^63": (counted(prompt_tokens=2**63, completion_tokens=10**30), "scored"),
    "usage as text": (counted(prompt_tokens="10", completion_tokens=None), "scored"),
    "a count below zero": (counted(prompt_tokens=-1, completion_tokens=1.5), "scored"),
    "no max_tokens": (without("max_tokens"), "scored"),
    "no temperature": (without("temperature", "top_p"), "scored"),
    "a reasoning model": (without("max_tokens", "temperature", "top_p", "seed"), "scored"),
    "429 in a 200": (says(200, "Provider returned error", code=429), "failed"),
    "502 in a 200": (says(200, "upstream", code=502), "failed"),
    "words in a 200": (says(200, "the model is overloaded"), "failed"),
    "a bad key in a 200": (says(200, "Incorrect API key provided", code=401), STOPS),
    "MiniMax's bad key": (as_minimax, STOPS),
    "a vendor's 401 in a 500": (says(500, "Incorrect API key provided"), STOPS),
    "a long prompt in a 200": (says(200, "prompt is too long"), "failed"),
    "LiteLLM: bad key": (says(400, "litellm.AuthenticationError: OpenAIException"), STOPS),
    "LiteLLM: no model": (says(400, "Invalid model name passed in model=x"), STOPS),
    "a flagged prompt": (says(403, "your input was flagged", code=403), "refused"),
    "a filtered prompt": (says(400, "content management policy", code="content_filter"), "refused"),
    "an error that is a list": (lambda call: as_json([{"error": "no"}], 422), "failed"),
    "an error that is a number": (lambda call: as_json(7, 422), "failed"),
    **{f"overflow: {line[:30]} {i}": (says(400, line.partition(": ")[2]), "failed")
       for i, line in enumerate(LINES)},
}  # fmt: skip
CASES |= {name: (name, "failed") for name in FAULTS if name not in CASES and name != "400"}
MAY_STOP = {"502", "503", "504", "reset", "close", "hang"}  # also seen as an endpoint that is gone


@pytest.fixture(scope="module")
def server() -> Iterator[FaultServer]:
    """A fault server in a thread of its own: commands run a loop of theirs here."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    running = FaultServer()
    asyncio.run_coroutine_threadsafe(running.start(), loop).result()
    yield running
    asyncio.run_coroutine_threadsafe(running.stop(), loop).result()
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


def command(*argv: str) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of one command, run in this process."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main(list(argv))
            code = 0
        except SystemExit as ended:
            code = int(ended.code or 0)
    return code, out.getvalue(), err.getvalue()


def reasons(folder: Path) -> list[str]:
    """Of every stored judgement: why it is unscored, or "scored"."""
    found = []
    for path in {file.parent for file in folder.rglob("run.db")}:
        with Store.read(path) as store:
            for verdict in store.verdicts():
                for t in verdict.trajectories:
                    found.append("scored" if t.judgement else t.outcome.reason)
    return found


def compared_reasons(folder: Path) -> list[str]:
    """The same of `compare`, whose run holds replies and no verdicts."""
    ends = {"error": "failed", "content_filter": "refused", "length": "truncated"}
    found = []
    with contextlib.closing(sqlite3.connect(folder / "replies" / "run.db")) as db:
        for table in ("calls", "failed_calls"):
            for (payload,) in db.execute(f"SELECT payload FROM {table}"):
                reply = json.loads(payload)
                text = "scored" if "boxed" in reply["text"] else "no_verdict"
                text = text if reply["text"] else "empty"
                found.append(ends.get(reply["finish_reason"], text))
    return found


def seen_by(which: str, out: str, folder: Path) -> list[str]:
    if which == "judge":
        return printed_reasons(out)
    return compared_reasons(folder) if which == "compare" else reasons(folder)


def printed_reasons(out: str) -> list[str]:
    found = []
    for line in filter(None, out.splitlines()):
        for t in json.loads(line)["trajectories"]:
            found.append("scored" if t["unscored"] is None else t["unscored"]["reason"])
    return found


@pytest.mark.parametrize("name", CASES)
def test_every_row_has_its_true_reason_in_every_command(
    name: str, server: FaultServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.always, expected = CASES[name]
    rows, config = tmp_path / "rows.jsonl", tmp_path / "config.toml"
    rows.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    config.write_text(CONFIG.format(*(PATIENT if expected == "scored" else SHORT)))
    monkeypatch.setenv("OPENAI_BASE_URL", server.url)
    monkeypatch.setenv("OPENAI_API_KEY", "right")
    common = ("-k", "2", "-c", str(config))
    commands = {
        "judge": ("judge", str(rows), "--json", *common),
        "sample": ("sample", str(rows), "--out", str(tmp_path / "sample"), *common),
        "bench": (
            *("bench", str(config), "-b", str(rows), "--out", str(tmp_path / "bench"), "-k", "2"),
        ),
        "compare": (
            *("compare", str(rows), "-m", f"a={config}", "--out", str(tmp_path / "compare")),
            *("-k", "1,2"),
        ),
    }
    for which, argv in commands.items():
        code, out, err = command(*argv)
        assert "Traceback" not in out + err, (which, err[-2000:])
        seen = seen_by(which, out, tmp_path / which)
        what = (which, code, seen, err[-600:])
        if expected == STOPS or (name in MAY_STOP and code == STOPS):
            assert code == STOPS and "scored" not in seen, what
        else:
            assert seen and set(seen) == {expected}, what
            assert (code == 0) == (expected == "scored"), what
            assert expected == "scored" or code == 3, what
            # `compare` says how many are unscored, and its store why
            assert expected == "scored" or which == "compare" or str(expected) in out + err, what
