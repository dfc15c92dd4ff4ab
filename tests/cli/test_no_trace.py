"""A command whose inputs are missing or cannot be read leaves nothing where it was to write."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from spct.cli.main import COMMANDS, load

ENGINE = ("--engine", "scripted")
BASE = ("--model", "no-such-model")
TO = "a/new/out"
# Each command that writes to --out (or --to), with inputs that are not there.
LINES: dict[str, tuple[str, ...]] = {
    "sample": ("no.jsonl", *ENGINE, "-o", TO),
    "batch write": ("no.jsonl", "--base-url", "http://127.0.0.1:9/v1", *BASE, "-o", TO),
    "rescore": ("no-run", "--to", f"{TO}.jsonl"),
    "export": ("no-run", "--to", f"{TO}.jsonl"),
    "merge": ("no-run", "no-other", "-o", TO),
    "criteria write": ("no.jsonl", *ENGINE, "-o", f"{TO}.jsonl", "--output-dir", TO),
    "criteria measure": ("no-run", "--to", f"{TO}.csv"),
    "fit-stopping": ("no-run", "--to", f"{TO}.json"),
    "fit-cascade": ("no-run", "no-other", "--first", "scripted", "--second", "scripted",
                    "--to", f"{TO}.toml"),
    "fit-meta": ("no-run", "--to", f"{TO}.json"),
    "view": ("no-run", "-o", f"{TO}.html"),
    "bench": ("length", "-b", "no.jsonl", "-o", TO),
    "compare": ("no.jsonl", "-m", "length", "-m", "first", "-o", TO),
    "train rft": ("no.jsonl", *BASE, "-o", TO),
    "train rl": ("no.jsonl", *BASE, "-o", TO),
    "train meta": ("no.jsonl", *BASE, "-o", TO),
    "train bradley-terry": ("--data", "no.jsonl", *BASE, "-o", TO),
    "train pairwise": ("--data", "no.jsonl", *BASE, "-o", TO),
    "train cloud": ("--data", "no.jsonl", "--critiques", "no.jsonl", *BASE, "-o", TO),
    "train decision": ("--data", "no.jsonl", *BASE, "-o", TO),
    "data local": ("llmbar", "-o", f"{TO}.jsonl"),
    "data convert": ("no.jsonl", "-o", f"{TO}.jsonl"),
    "data split": ("no.jsonl", "-o", TO),
    "data draw": ("no.jsonl", "-o", f"{TO}.jsonl"),
    "data mix": ("no.jsonl", "no2.jsonl", "-o", f"{TO}.jsonl"),
    "data overlap": ("no.jsonl", "no2.jsonl", "-o", f"{TO}.jsonl"),
    "data reference": ("no.jsonl", "-o", f"{TO}.jsonl"),
    "data rft": ("no.jsonl", *ENGINE, "-o", TO),
    "data rft-filter": ("no.jsonl", *BASE, "-o", f"{TO}.jsonl"),
    "data export-rl": ("no.jsonl", "--for", "trl", "-o", f"{TO}.jsonl"),
    "data meta": ("no-run", "-o", f"{TO}.jsonl"),
}  # fmt: skip
SLOW, IMPORTING = pytest.mark.slow, ("train rl",)  # it imports TRL before it looks
BAD = ["sample", "criteria write", "bench", "compare", "data split", "data rft"]


@pytest.fixture(autouse=True)
def in_an_empty_folder(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path_factory.mktemp("work"))
    monkeypatch.delenv("SPCT_DATA", raising=False)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


def test_every_command_that_writes_to_out_is_tried_here() -> None:
    found = set()
    for name in COMMANDS:
        command = load(name)
        for path, one in {name: command, **getattr(command, "commands", {})}.items():
            if any({"--out", "--to", "-o"} & {*getattr(p, "opts", ())} for p in one.params):
                found.add(name if one is command else f"{name} {path}")
    assert found == set(LINES)


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=SLOW if name in IMPORTING else ()) for name in LINES]
)
def test_a_missing_input_leaves_no_folder(
    name: str, run: Callable[..., tuple[int, str, str]]
) -> None:
    code, out, err = run(*name.split(), *LINES[name])
    assert code in (2, 5) and out == "" and err and "Traceback" not in err
    assert not list(Path().iterdir())


@pytest.mark.parametrize("name", BAD)
def test_a_row_that_cannot_be_read_leaves_no_folder(
    name: str, run: Callable[..., tuple[int, str, str]]
) -> None:
    good = '{"query": "q?", "responses": ["a", "b"], "gold": [1, 0]}\n'
    Path("no.jsonl").write_text(good + '{"query": 7}\n')
    code, _, err = run(*name.split(), *LINES[name])
    assert code == 2 and "no.jsonl:2" in err
    assert [path.name for path in Path().iterdir()] == ["no.jsonl"]
