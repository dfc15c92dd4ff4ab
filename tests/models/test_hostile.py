"""Model folders of strangers, damaged in every way that a seed can think of."""

import asyncio
import json
import random
import shutil
import time
from collections import Counter
from pathlib import Path

import pytest

from spct.errors import SpctError
from spct.models.load import load_reward_model
from spct.models.model_card import ModelCard
from tests.models.tiny import toy_example, write_model

VALUES = [None, -1, 0, 1, 3, 10**4, 10**9, 10**30, 0.5, "x", "", "../..", [], {}, [[]], True, "NaN"]


def mutate_json(rng: random.Random, path: Path) -> str:
    """Set a key at some depth to a value that nobody expects there."""
    data = json.loads(path.read_text("utf-8"))
    place = data
    while True:
        key = rng.choice(list(place) if isinstance(place, dict) else range(len(place)))
        inside = place[key]
        if isinstance(inside, dict | list) and inside and rng.random() < 0.5:
            place = inside
            continue
        place[key] = rng.choice(VALUES)
        break
    path.write_text(json.dumps(data), "utf-8")
    return f"{path.name}: {key} = {str(place[key])[:20]!r}"


def mutate_bytes(rng: random.Random, path: Path) -> str:
    """Cut a file, change some of its bytes, empty it, or repeat it."""
    data = bytearray(path.read_bytes())
    how = rng.choice(["cut", "flip", "head", "empty", "double"])
    if how == "cut":
        del data[rng.randrange(len(data)) :]
    elif how == "double":
        data += bytes(data)
    elif how == "empty":
        data.clear()
    else:
        for _ in range(rng.randint(1, 8)):
            data[rng.randrange(200 if how == "head" else len(data)) % len(data)] = rng.randrange(
                256
            )
    path.write_bytes(data)
    return f"{path.name}: {how}"


def hostile(rng: random.Random, sound: dict[str, Path], folder: Path) -> str:
    shutil.rmtree(folder, ignore_errors=True)
    kind = rng.choice(list(sound))
    shutil.copytree(sound[kind], folder)
    done = []
    for _ in range(rng.choice([1, 1, 1, 2])):
        path = rng.choice(sorted(p for p in folder.iterdir() if p.stat().st_size))
        is_json = path.suffix == ".json" and path.stat().st_size < 10**6 and rng.random() < 0.7
        try:
            done.append((mutate_json if is_json else mutate_bytes)(rng, path))
        except (ValueError, IndexError):  # not JSON any more, or nothing left to choose
            done.append("")
        if not any(p.stat().st_size for p in folder.iterdir()):
            break
    return f"{kind}, {'; '.join(done)}"


def outcome(folder: Path) -> str:
    """Load and judge once; the class of what was raised on purpose, or what came out."""

    async def judged() -> str:
        model = load_reward_model(folder)
        try:
            model = model.with_(max_tokens=8) if "max_tokens" in model.traits.settings else model
            verdict = await model.judge(toy_example(0))
            return "unscored" if verdict.rewards is None else "rewards"
        finally:
            await model.aclose()

    try:
        return asyncio.run(judged())
    except SpctError as error:
        assert len(str(error)) > 40
        return type(error).__name__


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("sound")
    found = {
        "head": write_model(root / "head", head=True),
        "lm": write_model(root / "lm", head=False),
    }
    shutil.copytree(found["head"], root / "card")
    ModelCard(paradigm="pairwise", base="b", steps=1, n_pairs=1, max_length=400).write(
        root / "card"
    )
    return found | {"card": root / "card"}


@pytest.mark.filterwarnings("ignore")  # what libraries think of such files
@pytest.mark.parametrize("n", [40, pytest.param(500, marks=pytest.mark.slow)])
def test_no_hostile_folder_is_a_traceback_or_a_wait(
    sound: dict[str, Path], tmp_path: Path, n: int
) -> None:
    rng, seen, slowest = random.Random(n), Counter(), 0.0
    for i in range(n):
        what = hostile(rng, sound, tmp_path / "model")
        begun = time.monotonic()
        try:
            seen[outcome(tmp_path / "model")] += 1
        except Exception as error:
            raise AssertionError(f"folder {i} ({what}): {error!r}") from error
        took = time.monotonic() - begun
        assert took < 5, f"folder {i} ({what}) took {took:.1f} s"
        slowest = max(slowest, took)
    print(dict(seen), f"slowest {slowest:.2f} s")
    assert seen["ConfigError"] > n / 4
