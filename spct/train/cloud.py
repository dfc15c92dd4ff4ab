"""CLoud: a critic tuned on given critiques, then a head tuned on the critic's OWN critiques.

Three steps, each a file in and a file out, so that the same command continues after a kill:
1. `critic_rows` + SFT: the backbone learns to write critiques (loss on the critique alone); a
   LoRA adapter is merged into a copy of the backbone, which the next steps start from.
2. `own_critiques`: the tuned critic writes `n_critiques` of every response; a cut or failed one is
   left out and counted.
3. `critique_pairs` + Bradley-Terry: a head on the tuned critic's weights learns to score query,
   response and the critic's own critique. Trained on the given critiques instead, it would trust
   text better than any that it will read.

Departures: the paper trains critic and head as two models from one base; here the head starts from
the critic's weights, as the CLoud recipe does, and is saved apart from it. That recipe also keeps a
language-modelling loss beside the reward loss; the critic is not changed after step 1 here, so
there is nothing to keep.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from spct.core.orders import sample_seed
from spct.data.files import read_objects
from spct.errors import EXAMPLE_FAULTS, ContextOverflow, DataError, ExtraMissing, TrainError
from spct.models.critique import (
    critique_conversation,
    critique_prompt,
    is_usable,
    why_unusable,
)
from spct.models.encode import Conversation
from spct.models.formats import CRITIQUE
from spct.models.model_card import ModelCard, Template, read_card
from spct.protocols import Engine
from spct.text.format import Format
from spct.train import scalar, sft
from spct.train.adapters import merged_folder
from spct.train.config import CloudConfig
from spct.train.fitting import Row
from spct.train.pairs import Pair
from spct.train.resume import begin
from spct.train.scalar import ConversationPair
from spct.train.sft import TrainReport
from spct.types import Example, SamplingParams

CRITIC, ADAPTER, HEAD, OWN = "critic", "critic-adapter", "head", "own_critiques.jsonl"


@dataclass(frozen=True, slots=True)
class CloudReport:
    """What each step did; `dropped` own critiques are not usable, by reason.

    For want of one of them, `n_unpaired` pairs of critiques were not made.
    """

    critic: TrainReport
    n_own: int
    dropped: dict[str, int]
    n_unpaired: int
    head: TrainReport


@dataclass(frozen=True, slots=True)
class OwnCritiques:
    """The critic's critiques of one response by sample index; None where one was not usable.

    `dropped` says why, and is None beside a text: a `Reason`, or that the critic could not be asked
    (`too_long` for its context, `refused_by_template`).
    """

    example_id: str
    response: int
    texts: tuple[str | None, ...]
    dropped: tuple[str | None, ...] = ()


def critic_rows(examples: Iterable[Example], fmt: Format = CRITIQUE) -> list[Row]:
    """Chat rows from the critiques that examples carry in `meta.critiques`, one per response."""
    rows: list[Row] = []
    for example in examples:
        given = example.meta.get("critiques")
        if given is None:
            continue
        if not isinstance(given, (list, tuple)) or len(given) != example.n:
            raise DataError(
                f"example {example.id!r}: meta.critiques is {given!r:.200}, expected a list of "
                f"{example.n} texts or nulls, one per response"
            )
        for i, text in enumerate(given):
            if text is None:
                continue
            if not isinstance(text, str) or not text.strip():
                raise DataError(
                    f"example {example.id!r}: critique {i} is {text!r}, expected a text"
                )
            prompt = critique_prompt(example, i, fmt)
            rows.append(
                {
                    "prompt": [{"role": m.role, "content": m.content} for m in prompt.messages],
                    "completion": [{"role": "assistant", "content": text}],
                    "example_id": example.id,
                }
            )
    if not rows:
        raise TrainError(
            "tuning the critic: no example carries critiques; expected `meta.critiques`, a list "
            "with one text or null a response"
        )
    return rows


async def own_critiques(
    examples: Sequence[Example],
    engine: Engine,
    out: Path,
    config: CloudConfig,
    fmt: Format = CRITIQUE,
) -> list[OwnCritiques]:
    """Let the critic write of every response; what `out` already holds is not written again."""
    found = {(c.example_id, c.response): c for c in _written_before(out)}
    wanted = [(e, i) for e in examples for i in range(e.n)]
    with out.open("a", encoding="utf-8") as file:
        async for one in _written(
            [w for w in wanted if (w[0].id, w[1]) not in found], engine, config, fmt
        ):
            found[one.example_id, one.response] = one
            file.write(json.dumps(asdict(one)) + "\n")
            file.flush()
    return [found[e.id, i] for e, i in wanted]


async def _written(
    wanted: Sequence[tuple[Example, int]], engine: Engine, config: CloudConfig, fmt: Format
) -> AsyncIterator[OwnCritiques]:
    gate = asyncio.Semaphore(config.concurrency)

    async def write(example: Example, i: int) -> OwnCritiques:
        seeds = tuple(sample_seed(config.seed, example.id, j) for j in range(config.n_critiques))
        params = SamplingParams(
            temperature=config.temperature, max_tokens=config.max_critique_tokens, seeds=seeds
        )
        try:
            async with gate:
                critiques = await engine.sample(
                    critique_prompt(example, i, fmt), len(seeds), params
                )
        except EXAMPLE_FAULTS as error:
            why = "too_long" if isinstance(error, ContextOverflow) else "refused_by_template"
            return OwnCritiques(example.id, i, (None,) * len(seeds), (why,) * len(seeds))
        return OwnCritiques(
            example.id,
            i,
            tuple(c.text if is_usable(c) else None for c in critiques),
            tuple(None if is_usable(c) else why_unusable(c).reason for c in critiques),
        )

    tasks = [asyncio.create_task(write(example, i)) for example, i in wanted]
    try:
        for task in asyncio.as_completed(tasks):
            yield await task
    finally:
        for started in tasks:
            started.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _written_before(path: Path) -> list[OwnCritiques]:
    """What an earlier start of this run has written; a line that a kill cut off is dropped."""
    if not path.is_file():
        return []
    kept = path.read_bytes().rpartition(b"\n")
    path.write_bytes(kept[0] + kept[1])
    return read_own(path) if kept[0] else []


def read_own(path: Path) -> list[OwnCritiques]:
    """Read what `own_critiques` wrote; 0.1 did not write why a critique is missing."""
    found = []
    for _, row in read_objects(path):
        texts = tuple(row["texts"])
        unstated = ["not_stated" if text is None else None for text in texts]
        dropped = tuple(row.get("dropped", unstated))
        found.append(OwnCritiques(row["example_id"], row["response"], texts, dropped))
    return found


def critique_pairs(
    pairs: Sequence[Pair], own: Iterable[OwnCritiques], fmt: Format = CRITIQUE
) -> list[ConversationPair]:
    """Pair the j-th own critique of the chosen with the j-th of the rejected response."""
    texts = {(c.example_id, c.response): c.texts for c in own}

    def read(pair: Pair, response: int, text: str) -> Conversation:
        return critique_conversation(critique_prompt(pair.example, response, fmt), text)

    return [
        ConversationPair(
            read(p, p.chosen, good), read(p, p.rejected, bad), p.margin, p.example.query
        )
        for p in pairs
        for good, bad in zip(
            texts[p.example.id, p.chosen], texts[p.example.id, p.rejected], strict=True
        )
        if good is not None and bad is not None
    ]


def train(
    model: str,
    critiqued: Sequence[Example],
    pairs: Sequence[Pair],
    out: Path,
    config: CloudConfig,
    open_engine: Callable[[Path], Engine],
    *,
    dev: Sequence[Pair] = (),
    fmt: Format = CRITIQUE,
) -> CloudReport:
    """All three steps into `out`; `open_engine` opens the tuned critic's folder for sampling."""
    try:
        from accelerate import PartialState  # type: ignore[import-untyped]
    except ImportError as error:
        raise ExtraMissing("accelerate", "train") from error
    _check_ids([p.example for p in (*pairs, *dev)])
    begin(out, "cloud", model, config, [fmt, *critiqued, *pairs, *dev])
    tuned = out / (ADAPTER if config.critic.lora_rank else CRITIC)
    critic = sft.train(model, critic_rows(critiqued, fmt), tuned, config.critic)
    examples = list({p.example.id: p.example for p in (*pairs, *dev)}.values())
    merged_folder(str(tuned), out / CRITIC, use_cpu=config.critic.use_cpu)
    with PartialState().main_process_first():  # the others find all of it written
        own = asyncio.run(_with_engine(open_engine(out / CRITIC), examples, out / OWN, config, fmt))
    card = ModelCard(
        paradigm="cloud",
        base=model,
        steps=0,
        n_pairs=0,
        max_length=config.head.max_length,
        template=Template.of(fmt),
        critic=f"../{CRITIC}",
        head=".",
        temperature=config.temperature,
        max_critique_tokens=config.max_critique_tokens,
    )
    dropped = dict(Counter(why for c in own for why in c.dropped if why is not None))
    made = critique_pairs(pairs, own, fmt)
    if not made:
        raise TrainError(
            f"training CLoud's head: no pair has two usable critiques of the critic's ({dropped}); "
            "tune the critic for longer or raise max_critique_tokens, and use a new folder"
        )
    head = scalar.train(
        str(out / CRITIC),
        made,
        out / HEAD,
        config.head,
        dev=critique_pairs(dev, own, fmt),
        card=card,
    )
    trained = read_card(out / HEAD)
    if trained is not None:  # None on a process that is not the main one
        trained.model_copy(update={"critic": CRITIC, "head": HEAD}).write(out)
    n_own = sum(text is not None for c in own for text in c.texts)
    n_unpaired = len(pairs) * config.n_critiques - len(made)
    return CloudReport(critic, n_own, dropped, n_unpaired, head)


def _check_ids(examples: Iterable[Example]) -> None:
    """Own critiques are kept by example id, so one id must not name two examples."""
    known: dict[str, Example] = {}
    for example in examples:
        if known.setdefault(example.id, example).responses != example.responses:
            raise DataError(
                f"training cloud: two examples have the id {example.id!r} (of several files?); "
                "ids must be unique"
            )


async def _with_engine(
    engine: Engine, examples: Sequence[Example], out: Path, config: CloudConfig, fmt: Format
) -> list[OwnCritiques]:
    try:
        return await own_critiques(examples, engine, out, config, fmt)
    finally:
        await engine.aclose()
