"""Group coalescing (pure): which per-sample calls are judged together, when, and who gets what.

Per-sample wires send the G samples of a prompt one by one; a judge that compares needs them at
once. A group opens with its first member and closes when its size is reached, or `wait_s` later.
The size is given by the operator or caller, or learnt: the commonest size of the last groups.
Nothing here reads a clock or waits: `now` is passed in, `coalesce.py` is the asyncio shell.

    open --size reached, or wait_s over--> judging --settle--> kept --keep_s over--> forgotten

A seat is a call that is waiting or has been answered. What happens to a call that joins:
  - its group is open: it takes a seat; an equal text is judged once and answers all its seats;
  - its text has been answered: it is a retry or duplicate, and the stored answer is replayed;
  - its text is being judged: it waits for that answer;
  - its group has closed with seats free: it is late, and is judged beside the kept responses;
  - every seat of its group (of a given size) is taken: it opens the prompt's next group.
A client that goes away frees its seat, so that its retry takes it again. The size of a group that
closed by a learnt size is a guess, so members beyond it are late, and correct the guess.
"""

from __future__ import annotations

import heapq
from collections import Counter, deque
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from typing import Generic, Literal, TypeVar

T = TypeVar("T")
ClosedBy = Literal["size", "learnt", "full", "deadline", "drain"]


class MixedGroup(ValueError):
    """A member says something else about its group than the members before it."""


@dataclass(frozen=True, slots=True)
class Waits:
    """The call is answered when its group is settled."""

    group: int


@dataclass(frozen=True, slots=True)
class Late:
    """The group is gone: judge this response beside these, and answer this call alone."""

    group: int
    kept: tuple[str, ...]
    closed_with: tuple[str, ...]  # the responses that the group was judged with
    seated: bool = False  # it took a seat, which it gives back if it gets no final answer


@dataclass(frozen=True, slots=True)
class Replay(Generic[T]):
    """This text was judged: answer this."""

    answer: T


@dataclass(frozen=True, slots=True)
class Closed:
    """A group to be judged now."""

    group: int
    responses: tuple[str, ...]
    by: ClosedBy
    seats: int


@dataclass(slots=True)
class _Group(Generic[T]):
    id: int
    key: Hashable
    subject: Hashable
    size: int | None
    given: bool
    closes_at: float
    members: dict[str, list[int]] = field(default_factory=dict)  # text -> calls that wait
    answers: dict[str, T] = field(default_factory=dict)
    seats: int = 0
    state: Literal["open", "judging", "kept"] = "open"
    forget_at: float | None = None

    @property
    def is_complete(self) -> bool:
        return self.given and self.size is not None and self.seats >= self.size

    @property
    def waits(self) -> bool:
        return any(self.members.values())

    @property
    def due_at(self) -> float | None:
        return self.closes_at if self.state == "open" else self.forget_at

    def retake(self) -> None:
        """Take back the seat that a client freed when it went away."""
        if self.size is not None and self.seats < self.size:
            self.seats += 1


class Groups(Generic[T]):
    """Every group that is open, being judged or kept; `T` is what a member is answered with."""

    def __init__(
        self,
        size: int | None,
        *,
        wait_s: float,
        keep_s: float,
        max_members: int = 64,
        max_kept: int = 4096,
    ) -> None:
        self._size, self._wait_s, self._keep_s = size, wait_s, keep_s
        self._max_members, self._max_kept = max_members, max_kept
        self._current: dict[Hashable, _Group[T]] = {}  # a key's newest group
        self._groups: dict[int, _Group[T]] = {}
        self._group_of: dict[int, tuple[_Group[T], str]] = {}  # call -> where it waits
        self._recent: deque[_Group[T]] = deque(maxlen=16)
        self._closed: list[Closed] = []
        self._events: list[tuple[float, int]] = []  # (when a group is due, group), some outdated
        self._kept: dict[int, None] = {}  # by the time they were settled
        self._next_id = 0

    def __len__(self) -> int:
        return len(self._groups)

    def has(self, group_id: int) -> bool:
        """Whether a group is open, being judged or kept."""
        return group_id in self._groups

    def learnt_size(self) -> int | None:
        """The commonest size of the last groups, if at least three and half of them share it."""
        counts = Counter(group.seats for group in self._recent)
        if not counts:
            return None
        size, times = max(counts.items(), key=lambda pair: (pair[1], pair[0]))
        return size if times >= 3 and 2 * times >= len(self._recent) else None

    def join(
        self,
        key: Hashable,
        subject: Hashable,
        response: str,
        call: int,
        now: float,
        size: int | None = None,
    ) -> Waits | Late | Replay[T]:
        """Seat a call; `subject` is what all members of `key` must share, `size` its own claim."""
        group = self._current.get(key)
        if group is not None and group.forget_at is not None and group.forget_at <= now:
            self._forget(group)
            group = None
        if group is not None:
            _check_same(group, subject, size)
            decision = self._rejoin(group, response, call)
            if decision is not None:
                return decision
        return self._seat(self._open(key, subject, size, now), response, call)

    def _rejoin(
        self, group: _Group[T], response: str, call: int
    ) -> Waits | Late | Replay[T] | None:
        if group.state == "open":
            return self._seat(group, response, call)
        if response in group.answers:
            group.retake()
            return Replay(group.answers[response])
        if group.state == "judging" and response in group.members:
            group.retake()
            return self._wait(group, response, call)
        closed_with = tuple(group.members)
        kept = tuple(text for text in closed_with if text != response)
        if response in group.members:  # judged, and the judgement failed: try again
            return Late(group.id, kept, closed_with)
        if group.is_complete or len(group.members) >= self._max_members:
            return None
        group.seats += 1
        return Late(group.id, kept, closed_with, seated=True)

    def _open(self, key: Hashable, subject: Hashable, size: int | None, now: float) -> _Group[T]:
        given = size or self._size
        group: _Group[T] = _Group(
            self._next_id,
            key,
            subject,
            given or self.learnt_size(),
            given is not None,
            now + self._wait_s,
        )
        self._next_id += 1
        old = self._current.get(key)
        if old is not None and old.state == "kept":
            self._forget(old)
        self._current[key] = self._groups[group.id] = group
        heapq.heappush(self._events, (group.closes_at, group.id))
        return group

    def _seat(self, group: _Group[T], response: str, call: int) -> Waits:
        group.seats += 1
        waits = self._wait(group, response, call)
        if group.size is not None and group.seats >= group.size:
            self._close(group, "size" if group.given else "learnt")
        elif len(group.members) >= self._max_members:
            self._close(group, "full")
        return waits

    def _wait(self, group: _Group[T], response: str, call: int) -> Waits:
        group.members.setdefault(response, []).append(call)
        self._group_of[call] = (group, response)
        return Waits(group.id)

    def leave(self, call: int) -> int | None:
        """A caller has gone; returns the group whose judgement nobody waits for any more."""
        found = self._group_of.pop(call, None)
        if found is None:
            return None
        group, response = found
        group.members[response].remove(call)
        group.seats -= 1
        if group.state == "open" and not group.members[response]:
            del group.members[response]
        if group.waits:
            return None
        self._forget(group)
        return group.id if group.state == "judging" else None

    def take_closed(self, now: float) -> list[Closed]:
        """Close what is due, forget what is old, and return each group to be judged, once."""
        while self._events and self._events[0][0] <= now:
            _, group_id = heapq.heappop(self._events)
            group = self._groups.get(group_id)
            if group is None or group.due_at is None or group.due_at > now:
                continue
            if group.state == "open":
                self._close(group, "deadline")
            else:
                self._forget(group)
        closed, self._closed = self._closed, []
        return closed

    def close_all(self) -> None:
        """Close every open group: no more members will come."""
        for group in list(self._groups.values()):
            if group.state == "open":
                self._close(group, "drain")

    def _close(self, group: _Group[T], by: ClosedBy) -> None:
        group.state = "judging"
        self._recent.append(group)
        self._closed.append(Closed(group.id, tuple(group.members), by, group.seats))

    def settle(self, group_id: int, answers: Mapping[str, T], now: float) -> list[int]:
        """Keep a judged group; returns the calls to answer. A text without an answer failed."""
        group = self._groups.get(group_id)
        if group is None:
            return []
        calls = [call for waiting in group.members.values() for call in waiting]
        for call in calls:
            del self._group_of[call]
        for waiting in group.members.values():
            waiting.clear()
        group.answers.update(answers)
        group.state, group.forget_at = "kept", now + self._keep_s
        heapq.heappush(self._events, (group.forget_at, group.id))
        self._kept[group.id] = None
        if self._current.get(group.key) is not group:  # its prompt's next group has opened
            self._forget(group)
        elif len(self._kept) > self._max_kept:
            self._forget(self._groups[next(iter(self._kept))])
        return calls

    def keep_late(self, group_id: int, response: str, answer: T) -> None:
        """Store a late member's answer for its retries."""
        if group_id in self._groups:
            self._groups[group_id].answers[response] = answer

    def drop_late(self, late: Late) -> None:
        """A late member went without a final answer: its retry finds its seat free."""
        if late.seated and late.group in self._groups:
            self._groups[late.group].seats -= 1

    def next_event(self) -> float | None:
        """When `take_closed` has something to do next."""
        while self._events:
            at, group_id = self._events[0]
            group = self._groups.get(group_id)
            if group is not None and group.due_at == at:
                return at
            heapq.heappop(self._events)
        return None

    def _forget(self, group: _Group[T]) -> None:
        self._groups.pop(group.id, None)
        self._kept.pop(group.id, None)
        if self._current.get(group.key) is group:
            del self._current[group.key]


def _check_same(group: _Group[T], subject: Hashable, size: int | None) -> None:
    if group.subject != subject:
        raise MixedGroup("this group's members so far have another query or reference")
    if size is not None and group.given and group.size != size:
        raise MixedGroup(f"this group's members so far said size {group.size}, this one {size}")
