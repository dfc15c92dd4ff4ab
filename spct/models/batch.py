"""Judging through a vendor's batch API: requests to a file, replies from a file, the same store.

`missing` runs the judge over what the store holds and collects what it lacks, so a second write has
only what did not come: dropped, failed, or new. A request asks for all missing samples of a prompt;
its `custom_id` is a digest of their keys, and the manifest says which keys those are. A reply is
stored under them as if the engine had drawn it, and the run goes on as any other.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

from spct.engines.openai import OpenAIEngine
from spct.engines.openai.openai_wire import GarbageReply, encode, read_reply, request_fields
from spct.errors import ConfigError, DataError
from spct.protocols import Engine, RewardModel
from spct.runs.codec import dump_example, load_example, to_line
from spct.runs.engines import call_keys
from spct.runs.folder import atomic_text
from spct.runs.rows import Reply
from spct.runs.store import Store
from spct.types import Completion, Example, Prompt, SamplingParams

# OpenAI's limits for one file; other vendors' are as large or larger.
MOST_REQUESTS, MOST_BYTES = 50_000, 190 * 2**20
URL = "/v1/chat/completions"
FOLDER, MANIFEST, EXAMPLES = "batch", "manifest.jsonl", "examples.jsonl"


@dataclass(frozen=True, slots=True)
class Wanted:
    """One request: samples of one prompt that the store lacks."""

    example_id: str
    keys: tuple[bytes, ...]
    seeds: tuple[int, ...]
    body: dict[str, Any]

    @property
    def custom_id(self) -> str:
        """Equal for equal requests, however often they are written."""
        return sha256(b"".join(self.keys)).hexdigest()[:40]


@dataclass(slots=True)
class _Collecting(Engine):
    """Gives what the store holds, and notes the rest."""

    inner: OpenAIEngine
    store: Store
    wanted: list[Wanted] = field(default_factory=list)

    @property
    def fingerprint(self) -> str:
        return self.inner.fingerprint

    async def sample(self, prompt: Prompt, n: int, params: SamplingParams) -> list[Completion]:
        keys = call_keys(self.fingerprint, prompt, params)
        found = self.store.replies(keys)
        left = [i for i, key in enumerate(keys) if key not in found]
        if left:
            seeds = tuple(params.seeds[i] for i in left)
            fields = request_fields(prompt, len(left), params, seeds[0], self.inner.grammar_field)
            body = encode({"model": self.inner.model, **fields}, self.inner.extra_body)
            lacking = tuple(keys[i] for i in left)
            self.wanted.append(Wanted(prompt.example_id, lacking, seeds, json.loads(body)))
        none = Completion("", "error", error="its reply has not come yet")
        return [found.get(key, none) for key in keys]

    async def aclose(self) -> None:
        pass


async def missing(
    model: RewardModel, engine: OpenAIEngine, store: Store, examples: Iterable[Example]
) -> dict[str, list[Wanted]]:
    """What each example still lacks; the examples that lack nothing have an empty list."""
    if model.identity().get("stopping") is not None:
        raise ConfigError(
            "a batch is asked for at once: leave out the stopping rule (--stop never)"
        )
    collecting = _Collecting(engine, store)
    collector = model.with_(engine=collecting)
    found: dict[str, list[Wanted]] = {}
    for example in examples:
        await collector.judge(example)
        found[example.id], collecting.wanted = collecting.wanted, []
    return found


def write(folder: Path, wanted: Iterable[Wanted]) -> list[Path]:
    """Write request files of the next round, and add to the manifest; return the files."""
    folder.mkdir(exist_ok=True)
    first = 1 + max((int(f.stem.split("-")[1]) for f in folder.glob("requests-*.jsonl")), default=0)
    files: list[Path] = []
    noted: list[str] = []
    for number, lines in enumerate(_split(wanted, noted), first):
        files.append(folder / f"requests-{number:04d}.jsonl")
        with atomic_text(files[-1]) as file:
            file.writelines(lines)
    if noted:
        manifest = folder / MANIFEST
        before = manifest.read_text("utf-8") if manifest.is_file() else ""
        with atomic_text(manifest) as file:
            file.write(before)
            file.writelines(noted)
    return files


def _split(wanted: Iterable[Wanted], noted: list[str]) -> Iterator[list[str]]:
    """The lines of each file, within the limits; what they ask for is noted."""
    lines: list[str] = []
    size = 0
    for one in wanted:
        request = {"custom_id": one.custom_id, "method": "POST", "url": URL, "body": one.body}
        line = json.dumps(request) + "\n"  # ASCII: its characters are its bytes
        if lines and (len(lines) >= MOST_REQUESTS or size + len(line) > MOST_BYTES):
            yield lines
            lines, size = [], 0
        lines.append(line)
        size += len(line)
        keys = [key.hex() for key in one.keys]
        note = {"id": one.custom_id, "example": one.example_id, "keys": keys, "seeds": one.seeds}
        noted.append(to_line(note) + "\n")
    if lines:
        yield lines


def keep_examples(folder: Path, examples: Sequence[Example]) -> None:
    """Keep the examples beside the requests, so that `read` needs nothing else."""
    folder.mkdir(exist_ok=True)
    with atomic_text(folder / EXAMPLES) as file:
        file.writelines(to_line(dump_example(example)) + "\n" for example in examples)


def kept_examples(folder: Path) -> list[Example]:
    """The examples of the batch, in the order of the input."""
    return [load_example(record) for record in _lines(folder / EXAMPLES)]


async def read(folder: Path, store: Store, files: Sequence[Path]) -> Counter[str]:
    """Store the replies of output files, in any order; count what came of the lines.

    The counts are `replies`, `known` (came before), `lost` (a reply with fewer choices than were
    asked for) and a word for each kind of error. Errors are not stored: the next write asks again.
    """
    asked = {note["id"]: note for note in _lines(folder / MANIFEST)}
    counts: Counter[str] = Counter()
    for file in files:
        for number, line in enumerate(_lines(file), 1):
            note = asked.get(line.get("custom_id"))
            if note is None:
                raise DataError(
                    f"{file}:{number}: the custom_id {line.get('custom_id')!r} is not of this run; "
                    "are these the replies of another batch?"
                )
            got = _completions(line, len(note["keys"]))
            if isinstance(got, str):
                counts[got] += 1
                continue
            keys = [bytes.fromhex(key) for key in note["keys"]]
            known = store.replies(keys)
            pairs = zip(keys, note["seeds"], got, strict=False)
            new = [Reply(key, seed, one) for key, seed, one in pairs if key not in known]
            await store.put_replies(note["example"], new)
            counts["replies"] += len(new)
            counts["known"] += len(known)
            counts["lost"] += len(keys) - len(got)
    return counts


def _completions(line: dict[str, Any], n: int) -> list[Completion] | str:
    """The completions of one line of an output file, or what kind of error it is."""
    response, error = line.get("response"), line.get("error")
    if isinstance(error, dict):
        return f"error {error.get('code') or error.get('message')}"[:80]
    if not isinstance(response, dict):
        return "error without a response"
    if response.get("status_code") != 200:
        return f"error {response.get('status_code')}"
    try:
        return read_reply(json.dumps(response.get("body")).encode(), n).completions
    except GarbageReply:
        return "error in the body of a reply"


def _lines(file: Path) -> Iterator[dict[str, Any]]:
    try:
        with file.open("r", encoding="utf-8") as lines:
            for number, line in enumerate(lines, 1):
                if not line.strip():
                    continue
                value = json.loads(line)
                if not isinstance(value, dict):
                    raise DataError(f"{file}:{number}: got {line[:80]!r}, expected a JSON object")
                yield value
    except OSError as error:
        raise DataError(f"reading {file}: {error.strerror or error}") from error
    except ValueError as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"reading {file}: {error}; it is not a whole file of JSON lines") from error
