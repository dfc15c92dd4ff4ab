"""README.md of a trained model: what it was made of, how, what was measured, and what was not.

Everything is read from the folder itself: `run.json` (written before any work) and `metrics.jsonl`.
What nobody stated, such as the licence of data, is called not stated and never guessed.
"""

from __future__ import annotations

import json
import re
import shlex
import sys
from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import spct
from spct.measure.intervals import wilson
from spct.measure.tables import interval, safe, table
from spct.text.format import Format

README = "README.md"
WHAT = {
    "tuning": "tuned on judgements that were sampled and kept where they were correct (RFT)",
    "rl": "trained with GRPO on the outcome rule",
    "meta": "a meta reward model: one logit, how likely a judgement is to be correct",
}
RULE = (
    "A judgement is correct where the response with the highest gold scores strictly above every "
    "other; a single response must score its 0/1 label; ties and unreadable replies are wrong "
    "(+1 and -1 in RL)."
)
SHOWN = ("loss", "spct/correct", "spct/unscored", "spct/tie", "kl", "reward", "entropy")
DEV = ("dev/accuracy_forward", "dev/accuracy_reversed", "dev/accuracy_both")


def about(paths: Iterable[Path], formats: Iterable[Format] = ()) -> dict[str, Any]:
    """What a card tells of a run: its files with their hashes, its templates, its command.

    Folders are left out of every path: a card is published, and a machine's folders are not.
    """
    files = [
        {"name": p.name, "sha256": sha256(p.read_bytes()).hexdigest()} for p in paths if p.is_file()
    ]
    return {
        "files": files,
        "templates": [
            {"name": f.name, "text": f.template, "scale": [f.scale.low, f.scale.high]}
            for f in formats
        ],
        "command": shlex.join(["spct", *(_name_of(word) for word in sys.argv[1:])]),
    }


def _name_of(word: str) -> str:
    key, equals, value = word.partition("=") if word.startswith("--") else ("", "", word)
    return key + equals + (Path(value).name if "/" in value else value)


def write_card(folder: Path, n_rows: int | None = None) -> None:
    """Write README.md of a folder that a stage has finished; another one there is replaced."""
    run = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    metrics = folder / "metrics.jsonl"
    lines = metrics.read_text(encoding="utf-8").splitlines() if metrics.is_file() else []
    text = card(run, [json.loads(line) for line in lines], n_rows,
                is_adapter=(folder / "adapter_config.json").is_file())  # fmt: skip
    (folder / README).write_text(text, encoding="utf-8")


def card(
    run: Mapping[str, Any],
    history: Sequence[Mapping[str, float]],
    n_rows: int | None = None,
    *,
    is_adapter: bool = False,
) -> str:
    """The text of a card."""
    told, settings = run.get("about", {}), run["settings"]
    base, licence = _shown_base(run["model"]), _licence(run["model"])
    steps = max((int(entry["step"]) for entry in history if "step" in entry), default=0)
    kind = "LoRA adapter on" if is_adapter else "model trained from"
    front = ["---", f"base_model: {json.dumps(base)}",
             f"library_name: {'peft' if is_adapter else 'transformers'}",
             *([f"license: {licence}"] if licence else []),
             "tags: [spct, reward-model, " + run["stage"] + "]", "---"]  # fmt: skip
    parts = [
        "\n".join(front),
        f"# A judge by spct: {run['stage']}",
        f"A {kind} {base}, {WHAT.get(run['stage'], run['stage'])}. {steps} steps of "
        f"{settings.get('batch_size')}" + (f", {n_rows} rows" if n_rows else "") + ".",
        f"## Data\n\n{_data(told.get('files', []), run['data'])}",
        *_templates(told.get("templates", [])),
        f"## The rule\n\n{RULE}",
        f"## Figures\n\n{_figures(history)}",
        "## Limits\n\n"
        "- It judges well only with the templates that it was trained on, and by the gold of its "
        "data; other languages, lengths and numbers of responses were not measured here.\n"
        "- Scores are ordinal: compare them within one question.\n"
        "- A judge as the reward of another model's RL can be over-optimised: watch gold too.",
        "## How it was made\n\n"
        f"    {told.get('command', 'not recorded')}\n\nspct {run.get('spct', spct.__version__)}; "
        f"licence of the base: {licence or 'not stated in its folder'}.\n\n"
        f"```json\n{json.dumps(settings, indent=1)}\n```",
    ]
    return "\n\n".join(parts) + "\n"


def _shown_base(model: str) -> str:
    """A hub name as it is, a folder by its own name; a cached download by the name on the hub."""
    if found := re.search(r"models--([\w.-]+?)--([\w.-]+)", model):
        return f"{found[1]}/{found[2]}"
    return model if re.fullmatch(r"[\w.-]+/[\w.-]+", model) and not Path(model).exists() else (
        Path(model).name
    )  # fmt: skip


def _licence(model: str) -> str | None:
    """What the front matter of the base's README states."""
    readme = Path(model) / README
    if not readme.is_file():
        return None
    text = readme.read_text(encoding="utf-8", errors="replace")
    front = re.match(r"---\n(.*?)\n---", text, re.DOTALL)
    found = re.search(r"^license:\s*([\w.-]+)\s*$", front[1], re.MULTILINE) if front else None
    return found[1] if found else None


def _data(files: Sequence[Mapping[str, str]], digest: str) -> str:
    lines = [[safe(f["name"]), f["sha256"], "not stated"] for f in files]
    head = table(["file", "sha256", "licence"], lines) + "\n" if lines else ""
    return head + f"Digest of the rows that were trained on: {digest}."


def _templates(templates: Sequence[Mapping[str, Any]]) -> list[str]:
    return [
        f"## Template: {t['name']}\n\nScores from {t['scale'][0]:g} to {t['scale'][1]:g}.\n\n"
        + "\n".join("    " + line for line in t["text"].splitlines())
        for t in templates
    ]


def _figures(history: Sequence[Mapping[str, float]]) -> str:
    last: dict[str, float] = {}
    for entry in history:
        last.update(entry)
    lines = [[key, f"{last[key]:.4g}", "training"] for key in SHOWN if key in last]
    n = last.get("dev/n")
    for key in DEV:
        if key in last and n:
            found = interval(wilson(last[key] * n, int(n)))
            lines.append([key, f"{found} %", f"{n:.0f} dev examples, greedy, 95% Wilson"])
    measured = "" if any(key in last for key in DEV) else (
        "Nothing was measured on examples that it was not trained on: run `spct bench` or give "
        "`--dev`.\n\n"
    )  # fmt: skip
    return measured + table(["figure", "last", "on"], lines) if lines else measured.rstrip()
