"""What a decision model is trained on: the responses of one query, packed into one sequence.

Each response is read as a reader will ask about it; the prompts of one query share their beginning,
which is read once. A row is that beginning and each response's own rest, one after another; a rest
sees the beginning and itself (`collate` makes the mask and the positions), so its states are those
that it has alone. A list of eight short answers costs a third of its tokens, and gives sixteen
pairs where a batch of pairs would read each answer four times.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from spct.errors import TemplateRefused, TrainError
from spct.train.pairs import Counts
from spct.types import Example

if TYPE_CHECKING:
    import torch

Ids = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Row:
    """Sides that are read together.

    `labels[s]` is the share of its comparisons that side s wins, or a single response's 0/1 gold;
    `pairs` holds (better, worse) places in `rests`, and is empty where only labels are known.
    """

    shared: Ids
    rests: tuple[Ids, ...]
    labels: tuple[float, ...]
    pairs: tuple[tuple[int, int], ...]

    @property
    def length(self) -> int:
        """Tokens of the packed sequence, which batches are sorted by."""
        return len(self.shared) + sum(map(len, self.rests))


@dataclass(slots=True)
class _Open:
    """A row being filled: wins and comparisons of each side, and the pairs."""

    tally: dict[Ids, list[float]] = field(default_factory=dict)
    pairs: dict[tuple[Ids, Ids], None] = field(default_factory=dict)

    def add(self, piece: Sequence[tuple[Ids, float]]) -> None:
        """Count every comparison of a piece, or a single response's label."""
        for ids, _ in piece:
            self.tally.setdefault(ids, [0.0, 0.0])
        if len(piece) == 1:
            ((ids, gold),) = piece
            self.tally[ids][0] += gold
            self.tally[ids][1] += 1
        for better, high in piece:
            for worse, low in piece:
                if high > low and better != worse:
                    self.pairs[better, worse] = None
                    self.tally[better][0] += 1
                    self.tally[better][1] += 1
                    self.tally[worse][1] += 1

    def row(self) -> Row | None:
        """The row, without sides that were never compared; None if nothing is left."""
        sides = [ids for ids, (_, n) in self.tally.items() if n]
        if not sides:
            return None
        n_shared = common([ids[:-1] for ids in sides])
        place = {ids: i for i, ids in enumerate(sides)}
        return Row(
            sides[0][:n_shared],
            tuple(ids[n_shared:] for ids in sides),
            tuple(self.tally[ids][0] / self.tally[ids][1] for ids in sides),
            tuple((place[a], place[b]) for a, b in self.pairs),
        )


def common(sequences: Sequence[Ids]) -> int:
    """The length of the longest common beginning: that of the least and the greatest."""
    low, high = min(sequences), max(sequences)
    pairs = enumerate(zip(low, high, strict=False))
    return next((i for i, (a, b) in pairs if a != b), min(len(low), len(high)))


@dataclass(slots=True)
class PackFunnel(Counts):
    """What became of the examples; `too_long` and `refused` count responses.

    An example is a `rest` where less than two of its responses can be read.
    """

    examples: int = 0
    no_gold: int = 0
    not_finite: int = 0
    single_not_0_or_1: int = 0
    ties: int = 0
    too_long: int = 0
    refused: int = 0
    rest: int = 0
    rows: int = 0

    def check(self, max_length: int) -> None:
        """Raise `TrainError` if there is nothing to learn from."""
        if not self.rows:
            raise TrainError(
                f"training a decision model: nothing to learn from ({self}; too long is above "
                f"{max_length} tokens); expected responses whose gold differs, or single ones "
                "with gold 0 or 1"
            )


def rows_of(
    examples: Iterable[Example],
    ids_of: Callable[[Example, int], Ids],
    max_length: int,
    row_tokens: int,
) -> tuple[list[Row], PackFunnel]:
    """Rows of at most `row_tokens` where a query's responses allow; what was left out, and why.

    `ids_of` encodes the prompt about one response; one of more than `max_length` tokens is left
    out, and one that the chat template refuses. Every pair of a given example stands in one row,
    unless its list is dealt into several.
    """
    pieces: dict[tuple[str, str | None], list[list[tuple[Ids, float]]]] = {}
    funnel = PackFunnel()
    for example in examples:
        funnel.examples += 1
        if (gold := _usable_gold(example, funnel)) is None:
            continue
        fitting = _readable(example, gold, ids_of, max_length, funnel)
        if len(fitting) < min(2, example.n):
            funnel.rest += 1
            continue
        hands = dealt(fitting, row_tokens)
        pieces.setdefault((str(example.query), example.reference), []).extend(hands)
    rows = [row for found in pieces.values() for row in _packed(found, row_tokens)]
    funnel.rows = len(rows)
    return rows, funnel


def _usable_gold(example: Example, funnel: PackFunnel) -> tuple[float, ...] | None:
    """Gold that teaches something; the funnel counts the rest."""
    gold = example.gold
    if gold is None:
        funnel.no_gold += 1
    elif not all(map(math.isfinite, gold)):
        funnel.not_finite += 1
    elif example.n == 1 and gold[0] not in (0.0, 1.0):
        funnel.single_not_0_or_1 += 1
    elif example.n > 1 and len(set(gold)) == 1:
        funnel.ties += 1
    else:
        return gold
    return None


def _readable(
    example: Example,
    gold: Sequence[float],
    ids_of: Callable[[Example, int], Ids],
    max_length: int,
    funnel: PackFunnel,
) -> list[tuple[Ids, float]]:
    """The responses that can be read, with their gold; the funnel counts the others."""
    fitting = []
    for i, value in enumerate(gold):
        try:
            ids = ids_of(example, i)
        except TemplateRefused as error:
            if not funnel.refused:
                print(f"a response is left out (others are counted): {error}", file=sys.stderr)
            funnel.refused += 1
            continue
        if len(ids) > max_length:
            funnel.too_long += 1
        else:
            fitting.append((ids, value))
    return fitting


def dealt(sides: list[tuple[Ids, float]], row_tokens: int) -> list[list[tuple[Ids, float]]]:
    """A list in as few hands as fit a row each; every hand gets its share of good and bad."""
    n_shared = common([ids[:-1] for ids, _ in sides])
    needed = sum(len(ids) - n_shared for ids, _ in sides)
    n_hands = math.ceil(needed / max(row_tokens - n_shared, 1))
    n_hands = max(1, min(n_hands, len(sides) // 2))
    ranked = sorted(sides, key=lambda side: -side[1])
    return [ranked[i::n_hands] for i in range(n_hands)]


def _packed(pieces: list[list[tuple[Ids, float]]], row_tokens: int) -> list[Row]:
    """Each piece in one row; a row takes what fits, and whatever adds no side to it."""
    rows, left = [], pieces
    while left:
        opened, later = _Open(), []
        used = 0
        for piece in left:
            new = {ids for ids, _ in piece} - opened.tally.keys()
            shared = common([ids[:-1] for ids in (*opened.tally, *new)])
            cost = sum(len(ids) - shared for ids in new) + (0 if opened.tally else shared)
            if opened.tally and new and used + cost > row_tokens:
                later.append(piece)
                continue
            opened.add(piece)
            used += cost
        if (row := opened.row()) is not None:
            rows.append(row)
        left = later
    return rows


@dataclass(frozen=True, slots=True)
class Packed:
    """A batch of rows (B, T): ids, positions, what sees what, and where each side ends."""

    ids_B_T: torch.Tensor
    positions_B_T: torch.Tensor
    mask_B_1_T_T: torch.Tensor  # True where a position (first T) sees another (second T)
    row_S: torch.Tensor
    end_S: torch.Tensor
    labels_S: torch.Tensor
    better_P: torch.Tensor
    worse_P: torch.Tensor
    weight_P: torch.Tensor  # a row's pairs weigh together as much as it has sides


def collate(rows: Sequence[Row], pad: int) -> Packed:
    """A batch of rows, padded at the right."""
    import torch

    width = max(row.length for row in rows)
    ids = torch.full((len(rows), width), pad)
    positions, branch = torch.zeros_like(ids), torch.full_like(ids, -1)
    row_of: list[int] = []
    ends: list[int] = []
    better: list[int] = []
    worse: list[int] = []
    weights: list[float] = []
    for b, row in enumerate(rows):
        first, at = len(ends), len(row.shared)
        for place, part in enumerate((row.shared, *row.rests)):
            start = 0 if place == 0 else at
            stop = start + len(part)
            ids[b, start:stop] = torch.tensor(part, dtype=torch.long)
            origin = 0 if place == 0 else len(row.shared)
            positions[b, start:stop] = torch.arange(origin, origin + len(part))
            branch[b, start:stop] = place
            if place:
                row_of.append(b)
                ends.append(stop - 1)
                at = stop
        better += [first + i for i, _ in row.pairs]
        worse += [first + j for _, j in row.pairs]
        weights += [len(row.rests) / len(row.pairs) for _ in row.pairs]
    sees = (branch[:, None, :] == 0) | (branch[:, None, :] == branch[:, :, None])
    sees &= torch.ones(width, width, dtype=torch.bool).tril()
    return Packed(
        ids,
        positions,
        sees[:, None],
        torch.tensor(row_of),
        torch.tensor(ends),
        torch.tensor([label for row in rows for label in row.labels]),
        torch.tensor(better, dtype=torch.long),
        torch.tensor(worse, dtype=torch.long),
        torch.tensor(weights),
    )
