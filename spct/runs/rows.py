"""What a row of run.db holds, and whether it can be believed.

A row carries a checksum over its key and its numbers, so that damage is found. That proves only
that nobody damaged the row: a run folder may come from elsewhere, so what is read is checked for
its size, its shape and its own example too, before anything trusts it.
"""

from __future__ import annotations

import math
import time
import zlib
from collections.abc import Sequence
from hashlib import sha256
from typing import NamedTuple

from spct.errors import StoreError
from spct.runs.codec import (
    BadRecord,
    Record,
    check_verdict,
    decode,
    dump_completion,
    dump_example,
    dump_verdict,
    encode,
    load_example,
    load_verdict,
)
from spct.runs.commit import Row
from spct.runs.packed import Counted, Packed, Saved
from spct.types import Completion, Verdict

MOST_PACKED = 2**26  # bytes of a payload as stored
MOST_INFLATED = 2**28  # and of a verdict's JSON: a few kilobytes can inflate to gigabytes

# A payload that is too long for a row of ours is read as NULL, which is not sound.
PAYLOAD = f"CASE WHEN length(payload) <= {MOST_PACKED} THEN payload END"
_ROWS = f"SELECT rowid, example_id, {PAYLOAD}, checksum, position, n_failed FROM verdicts"
IN_ORDER = f"{_ROWS} WHERE (position, example_id) > (?, ?) ORDER BY position, example_id LIMIT ?"
STORED_AFTER = f"{_ROWS} WHERE rowid > ? ORDER BY rowid LIMIT ?"
OF_EXAMPLE = f"{_ROWS} WHERE example_id = ?"
_PUT_CALL = "INSERT INTO calls VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (key) DO NOTHING"
_PUT_FAILED = "INSERT INTO failed_calls VALUES (?, ?, ?, ?, ?, ?)"
_SET_ASIDE = "INSERT INTO failed_calls SELECT * FROM calls WHERE key = ?"
_DELETE_CALL = "DELETE FROM calls WHERE key = ?"
_PUT_VERDICT = "INSERT OR REPLACE INTO verdicts VALUES (?, ?, ?, ?, ?, ?)"


class Reply(NamedTuple):
    """A completion under its key, with the seed that it was drawn with."""

    key: bytes
    seed: int
    completion: Completion


def reply_rows(example_id: str, replies: Sequence[Reply], *, instead: bool) -> list[Row]:
    """The rows of replies; with `instead` a good one is put in its predecessor's place."""
    rows: list[Row] = []
    now, example = time.time(), blob(example_id)
    for key, seed, completion in replies:
        payload = encode(dump_completion(completion))
        is_bad = is_failed(completion)
        if instead and not is_bad:
            rows += [(_SET_ASIDE, (key,)), (_DELETE_CALL, (key,))]
        put = _PUT_FAILED if is_bad else _PUT_CALL
        rows.append((put, (key, example, seed, payload, checksum_of(key, payload), now)))
    return rows


def packed(verdict: Verdict, example: Record | None, saved: Saved | None = None) -> Packed:
    """A verdict, with the record of its example beside it, ready to be stored."""
    record = dump_verdict(verdict)
    if example is not None:
        record["example"] = example
    payload = pack(record, f"the verdict on {verdict.example_id!r}")
    return Packed(verdict.example_id, payload, Counted.of(verdict), saved)


def verdict_row(example_id: str, position: int, n_failed: int, payload: bytes) -> Row:
    """The row of a verdict."""
    example = blob(example_id)
    checksum = checksum_of(example, payload, position, n_failed)
    return _PUT_VERDICT, (example, position, n_failed, payload, checksum, time.time())


class Sound:
    """What a verdict's row holds, found sound: the verdict, and the example where it is there."""

    __slots__ = ("example", "verdict")

    def __init__(self, record: Record, example_id: str, version: int) -> None:
        self.verdict: Verdict = load_verdict(as_means(record) if version == 1 else record)
        if self.verdict.example_id != example_id:
            raise BadRecord(f"it is a verdict on {self.verdict.example_id!r}, not {example_id!r}")
        check_verdict(self.verdict)
        self.example = load_example(record["example"]) if "example" in record else None
        if self.example is not None and self.example.id != example_id:
            raise BadRecord("the example beside it has another id")

    def record(self) -> Record:
        """As it is exported: built from the verdict, so that nothing else is passed on."""
        record = dump_verdict(self.verdict)
        return record if self.example is None else {**record, "example": dump_example(self.example)}


def pack(record: Record, what: str) -> bytes:
    """A verdict's payload: deflated to about a quarter, for verdicts repeat texts."""
    plain = encode(record)
    if len(plain) > MOST_INFLATED:
        raise StoreError(
            f"cannot store {what}: it is {len(plain)} bytes, at most {MOST_INFLATED} are read back;"
            " ask for fewer samples (-k) or without log probabilities"
        )
    return zlib.compress(plain, 1)


def unpack(payload: bytes) -> Record:
    """Read a verdict's payload; raise `BadRecord` on anything that `pack` does not write."""
    inflating = zlib.decompressobj()
    try:
        plain = inflating.decompress(payload, MOST_INFLATED)
    except zlib.error as error:
        raise BadRecord(f"not deflated: {error}") from None
    if not inflating.eof:
        raise BadRecord(f"it is cut off, or inflates to more than {MOST_INFLATED} bytes")
    return decode(plain)


def as_means(record: Record) -> Record:
    """A record of spct 0.1.0 with rewards that are means, as they are everywhere now.

    That version kept no name of the vote beside a verdict, but a sum is recognised by being one:
    of the scores of all counted judgements (vote sum), or of those that the meta RM put first.
    """
    rewards = record.get("rewards")
    try:
        scored = [t for t in record["trajectories"] if t["scores"] is not None]
        ranked = sorted(scored, key=lambda t: (-(t["meta_score"] or 0.0), t["index"]))
        if not rewards:
            return record
        sizes = [len(scored)]
        if all(t["meta_score"] is not None for t in scored):
            sizes += range(1, len(scored))
        for size in sizes:
            total = _sums([t["scores"] for t in ranked[:size]])
            if len(total) == len(rewards) and all(map(_close, total, rewards)):
                return {**record, "rewards": [reward / size for reward in rewards]}
    except (KeyError, TypeError, ValueError, ZeroDivisionError):
        pass  # not a record of ours: `load_verdict` says what is wrong with it
    return record


def _sums(rows: Sequence[Sequence[float]]) -> list[float]:
    return [math.fsum(column) for column in zip(*rows, strict=True)]


def _close(a: float, b: float) -> bool:
    return math.isclose(a, b, rel_tol=1e-9, abs_tol=1e-9)


def is_failed(completion: Completion) -> bool:
    """Say whether a completion must never be replayed: its call failed, or a filter stopped it."""
    return completion.finish_reason in ("error", "content_filter")


def blob(text: str) -> bytes:
    """An id or a text as it is stored."""
    return text.encode("utf-8", "surrogatepass")


def text_of(stored: bytes) -> str:
    """What `blob` stored; raise `BadRecord` if it is something else."""
    try:
        return stored.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError as error:
        raise BadRecord(f"an id is not UTF-8: {error}") from None


def is_sound(checksum: object, key: object, payload: object, *numbers: int) -> bool:
    """Compare a row with its checksum; damage may have changed the type of a value too."""
    if not (isinstance(key, bytes) and isinstance(payload, bytes)):
        return False
    return checksum == checksum_of(key, payload, *numbers)


def checksum_of(key: bytes, payload: bytes, *numbers: int) -> bytes:
    """Cover a row's key too, so that a row under another one's key is found out."""
    digest = sha256(key)
    digest.update(repr(numbers).encode())
    digest.update(payload)
    return digest.digest()[:16]
