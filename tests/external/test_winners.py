"""The shipped judge picks the same winners wherever its folder is loaded, greedily.

hf and openvino here, adapter and merged; a vLLM server joins where SPCT_VLLM_URL names one that
serves the merged folder (`spct export-model`, `vllm serve`).
"""

import os
import random
from pathlib import Path
from typing import Any

import pytest

from spct.config import Config, EngineConfig, JudgeConfig
from spct.models.judges import build_judge
from spct.types import Example, Message

pytestmark = [pytest.mark.external, pytest.mark.timeout(1800)]
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


async def winners(
    engine: EngineConfig, judged: dict[str, Any], examples: list[Example]
) -> list[int | None]:
    how = JudgeConfig(k=1, temperature=0.0, **judged)
    judge = build_judge(Config(engine=engine, judge=how))
    try:
        return [verdict.winner async for verdict in judge.judge_many(examples)]
    finally:
        await judge.aclose()


async def test_every_way_to_load_the_judge_names_the_same_winners(run: Any, tmp_path: Path) -> None:
    pytest.importorskip("openvino_genai")
    merged, apart = tmp_path / "merged", tmp_path / "apart"
    assert run("export-model", merged, "--dtype", "float32")[0] == 0
    assert run("export-model", apart, "--no-merge", "--dtype", "float32")[0] == 0
    ours = {"template": str(merged / "pointwise.txt"), "max_tokens": 320}
    adapter = str(apart / "adapter")
    ways: dict[str, tuple[EngineConfig, dict[str, Any]]] = {
        "hf merged": (EngineConfig(kind="hf", model=str(merged)), ours),
        "hf adapter": (EngineConfig(kind="hf", model=str(apart), adapter=adapter), ours),
        "openvino": (EngineConfig(), {}),  # the shipped adapter on the shipped base, as by default
    }
    if url := os.environ.get("SPCT_VLLM_URL"):
        ways["vllm"] = (EngineConfig(kind="openai", base_url=url), ours)
    examples = pairs(200)
    found = {name: await winners(*way, examples) for name, way in ways.items()}
    for name, theirs in found.items():
        same = sum(a == b for a, b in zip(found["hf merged"], theirs, strict=True)) / len(examples)
        print(f"{name}: {same:.1%} of the winners of hf merged")
        assert same >= WANTED
