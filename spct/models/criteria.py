"""Where a judge's criteria come from: its examples, a file, another query's list, or a writer.

Lists that an example brings win over those of a file or a writer; general criteria are added to any
of them. Nothing here yields an empty list: an example without one is unscored, and says why.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from functools import cached_property

from spct.config import JudgeConfig
from spct.core.orders import sample_seed
from spct.data.criteria_files import CriteriaFile, list_key, read_criteria_file
from spct.errors import ConfigError
from spct.models.writer import CriteriaWriter
from spct.protocols import Engine, Source
from spct.text.format import FORMATS
from spct.types import Criteria, Example, Unscored, Usage
from spct.votes.criteria import faults_of


@dataclass(frozen=True)
class Lists:
    """The source that settings name; `general` is added to whatever list there is.

    With `anew` a list that an example brings does not count.
    """

    file: CriteriaFile | None = None
    swapped: bool = False
    writer: CriteriaWriter | None = None
    general: Criteria | None = None
    dropout: float = 0.0
    anew: bool = False
    seed: int = 0

    @cached_property
    def fingerprint(self) -> str:
        """What the lists depend on."""
        parts = [
            "" if self.file is None else f"{'swapped:' * self.swapped}{self.file.fingerprint}",
            "" if self.writer is None else self.writer.fingerprint,
            "" if self.general is None else f"+{self.general.fingerprint}",
            "" if not self.dropout else f"-{self.dropout:g}@{self.seed}",
            "anew" * self.anew,
        ]
        return " ".join(filter(None, parts)) or "given"

    async def attach(self, example: Example, engine: Engine) -> tuple[Example | Unscored, Usage]:
        """The example with its list or why there is none, and what a writer used for it."""
        found, used = self._known(example), Usage()
        if found is None and self.writer is not None:
            found, used = await self.writer.write(example, engine)
        if found is None and self.file is None and self.general is not None:
            found = Criteria(())
        if found is None:
            where = "the example brings none" if self.file is None else f"{self.file.name} has none"
            found = Unscored("no_criteria", f"{where} for this query (--criteria FILE, or write)")
        if isinstance(found, Unscored):
            return found, used
        if self.dropout:
            found = self._thinned(found, example)
        if self.general is not None:
            found = Criteria((*found.items, *self.general.items), found.source)
            if faults := faults_of(found):
                why = f"with the general criteria: {'; '.join(faults)}"
                return Unscored("no_criteria", why), used
        return replace(example, criteria=found), used

    def _thinned(self, criteria: Criteria, example: Example) -> Criteria:
        """The list without a random share of it, seeded by the example: one subset for a group.

        The next group of the same query has other responses, hence another id and another subset.
        The gateway names a group by what it closed with, so a late member has that one's subset.
        Where the members come one by one and nobody names their group, the query is all that they
        share: it is the seed, and the subset of a query stays the same.
        """
        free = [i for i, one in enumerate(criteria.items) if not one.required]
        own = example.id if example.n > 1 else list_key(example.query, example.reference)
        group = own if example.group is None else example.group
        rng = random.Random(sample_seed(self.seed, f"{group}\0dropout", 0))
        n_out = min(round(self.dropout * len(free)), len(criteria.items) - 1)
        out = set(rng.sample(free, n_out))
        return replace(
            criteria, items=tuple(c for i, c in enumerate(criteria.items) if i not in out)
        )

    def _known(self, example: Example) -> Criteria | Unscored | None:
        """The list that nobody has to write, if there is one."""
        if self.swapped:
            return self._another(example)
        own = None if self.anew else example.criteria
        if own is not None or self.file is None:
            return own
        exact = self._lists.get(list_key(example.query, example.reference))
        return self.file.common or exact or self._lists.get(list_key(example.query))

    @cached_property
    def _lists(self) -> dict[str, Criteria]:
        return {} if self.file is None else dict(self.file.by_key())

    def _another(self, example: Example) -> Criteria | Unscored:
        """The list of the next query of the file: a control that must lower accuracy."""
        assert self.file is not None
        keys = [list_key(one.query) for one in self.file.lists]
        own = list_key(example.query)
        if own not in keys:
            return Unscored("no_criteria", f"{self.file.name} has no list for this query to swap")
        start = keys.index(own)
        for step in range(1, len(keys)):
            other = self.file.lists[(start + step) % len(keys)]
            if list_key(other.query) != own:
                return other.criteria
        return Unscored("no_criteria", f"{self.file.name} has one query alone: nothing to swap")


def build_source(config: JudgeConfig) -> Source | None:
    """The source of a judge's settings; None where the examples bring their own."""
    named, general = config.criteria, None
    if named == "given" and config.general_criteria is None and not config.criteria_dropout:
        return None
    if not FORMATS[config.format].shows_criteria and config.template is None:
        raise ConfigError(
            f"--criteria {named} goes with a format that shows criteria: --format met, met_one or "
            f"pointwise_criteria; got {config.format}"
        )
    if config.general_criteria is not None:
        found = read_criteria_file(config.general_criteria, config.negative)
        if found.common is None:
            raise ConfigError(f"--general-criteria {found.name} holds lists by query, expected one")
        general = found.common
    base = Lists(general=general, dropout=config.criteria_dropout, seed=config.seed)
    if named == "given":
        return base
    if named == "write":
        return replace(base, writer=CriteriaWriter(seed=config.seed))
    is_swapped = named.startswith("swapped:")
    file = read_criteria_file(named.removeprefix("swapped:"), config.negative)
    if is_swapped and file.common is not None:
        raise ConfigError(f"--criteria {named}: it is one list for all queries; nothing to swap")
    return replace(base, file=file, swapped=is_swapped)
