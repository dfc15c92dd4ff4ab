"""A report for people: Markdown tables of what report.py found, nothing computed here."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

Json = dict[str, Any]

HEAD = """# Benchmark report

Brackets are 95% intervals, bootstrapped over prompts. "Score" follows the benchmark's own rule.
"Shared" is one rule for all: m responses that tie at the top earn 1/m, and what has no verdict is
left out; the share that is left stands beside it. "One sample" and "Voting@k" vote on the first 1
and the first k stored samples; "Meta@k" on the half of them that the meta RM ranks highest.
"""


def markdown(report: Json) -> str:
    """The whole report."""
    return safe("\n".join([HEAD, *(_benchmark(b, report) for b in report["benchmarks"])]))


def _benchmark(b: Json, report: Json) -> str:
    parts = [f"## {b['title']}\n", b["rule"], "", _status(b), ""]
    rows = b["rows"]
    parts += [_score_table(b, rows), _bias_table(rows), _cost_table(rows, b)]
    parts += [_sections(rows), _reasons(rows), _calibration(rows), _adaptive(b["adaptive"])]
    parts += [
        _probes(b.get("probes", [])),
        _figures(b, report),
        _published(b["published"]),
        _problems(b["problems"]),
    ]
    return "\n".join(part for part in parts if part is not None)


def _status(b: Json) -> str:
    n = f"{b['units']} units" + (", each judged in both orders" if b["two_orders"] else "")
    if b["complete"]:
        return f"Complete: {n}."
    return f"**Partial, not the official score**: {n}. " + "; ".join(b["missing"]) + "."


def _score_table(b: Json, rows: Sequence[Json]) -> str:
    name = "Score" if b["complete"] else "Score (partial)"
    head = ["Model", "Row", "n", name, "Shared", "Scored", "Ties", "Unscored", "Parse failures"]
    lines = []
    for row in rows:
        a = row["abstention"]
        lines.append(
            [
                row["model"],
                row["row"],
                str(row["n"]),
                _interval(_overall(row["score"])),
                _interval(_overall(row["shared"])),
                _percent(1 - a["unscored_rate"]),
                _percent(a["tie_rate"]),
                _percent(a["unscored_rate"]),
                _percent(a["parse_failure_rate"]),
            ]
        )
    return table(head, lines)


def _overall(scores: Json | None) -> Json | None:
    return None if scores is None else scores["overall"]


def _bias_table(rows: Sequence[Json]) -> str:
    head = ["Model", "Row", "Same winner in both orders", "First slot (fair)"]
    head += ["Longer wins (in gold)", "Length coefficient", "ECE"]
    lines = []
    for row in rows:
        p, x = row["position"], row["length"]
        coefficient = {"point": x["coefficient"], "low": x["low"], "high": x["high"]}
        calibration = row["calibration"]
        lines.append(
            [
                row["model"],
                row["row"],
                f"{_percent(p['consistency'])} of {p['n_compared']}",
                f"{_percent(p['first_share'])} ({_percent(p['first_fair'])})",
                f"{_percent(x['longer_share'])} ({_percent(x['gold_longer_share'])})",
                _interval(coefficient, percent=False),
                _percent(calibration["ece"]) if calibration else "-",
            ]
        )
    return table(head, lines)


def _cost_table(rows: Sequence[Json], b: Json) -> str:
    head = ["Model", "Row", "Judgements", "LM calls", "Prompt tokens", "Reply tokens"]
    head += ["Tokens a unit"]
    lines = []
    for row in rows:
        c = row["cost"]
        total = c["prompt_tokens"] + c["completion_tokens"]
        lines.append(
            [
                row["model"],
                row["row"],
                str(row["abstention"]["n_samples"]),
                str(c["calls"]),
                str(c["prompt_tokens"]),
                str(c["completion_tokens"]),
                f"{total / row['n']:.0f}" if row["n"] else "-",
            ]
        )
    return table(head, lines)


_NOT_SECTIONS = ("units", "prompts", "overall")


def _sections(rows: Sequence[Json]) -> str | None:
    names = [n for n in (rows[0]["score"] or {}) if n not in _NOT_SECTIONS] if rows else []
    if not names:
        return None
    if len(names) > 8:  # many subsets: one line each
        head = ["Subset", *(f"{row['model']}, {row['row']}" for row in rows)]
        lines = [[n, *(_interval((row["score"] or {}).get(n)) for row in rows)] for n in names]
    else:
        head = ["Model", "Row", *names]
        lines = [
            [row["model"], row["row"], *(_interval((row["score"] or {}).get(n)) for n in names)]
            for row in rows
        ]
    return "### By subset\n\n" + table(head, lines)


def _reasons(rows: Sequence[Json]) -> str | None:
    found = [(r["model"], r["row"], r["abstention"]["reasons"]) for r in rows]
    lines = [
        [model, row, ", ".join(f"{reason} {n}" for reason, n in reasons.items())]
        for model, row, reasons in found
        if reasons
    ]
    if not lines:
        return None
    return "### Unscored judgements\n\n" + table(["Model", "Row", "Reasons"], lines)


def _calibration(rows: Sequence[Json]) -> str | None:
    lines = [
        [
            row["model"],
            row["row"],
            f"{b['low']:.1f} to {b['high']:.1f}",
            str(b["n"]),
            _percent(b["confidence"]),
            _percent(b["accuracy"]),
        ]
        for row in rows
        if row["calibration"]
        for b in row["calibration"]["bins"]
    ]
    if not lines:
        return None
    head = ["Model", "Row", "Vote share", "n", "Mean share", "Accuracy"]
    return "### Calibration of the vote share\n\n" + table(head, lines)


def _adaptive(found: Sequence[Json]) -> str | None:
    lines = []
    for entry in found:
        k = entry["fixed"]["k"]
        lines.append(
            [entry["model"], f"fixed k = {k}", _interval(entry["fixed"]["score"]), str(k), "-"]
        )
        lines += [
            [
                entry["model"],
                rule["rule"],
                _interval(rule["score"]),
                _number(rule["mean_samples"], 2),
                _interval(rule["changed"]),
            ]
            for rule in entry["rules"]
        ]
    if not lines:
        return None
    head = ["Model", "Rule", "Score", "Mean samples", "Winner changed (Wilson)"]
    return "### Adaptive voting, replayed from the stored samples\n\n" + table(head, lines)


def _probes(found: Sequence[Json]) -> str | None:
    lines = [
        [
            entry["model"],
            f["family"],
            f["kind"],
            str(f["n_eligible"]),
            _interval(f["success"]),
            str(f["undecided"]),
            str(f["unscored"]),
            _percent(f["clean_accuracy"]),
            _percent(f["changed_accuracy"]),
        ]
        for entry in found
        for f in entry["families"]
    ]
    if not lines:
        return None
    head = ["Model", "Family", "Kind", "n", "Success rate (Wilson)", "Tie", "No verdict"]
    head += ["Accuracy clean", "Accuracy changed"]
    text = (
        "A promotion succeeds when the losing response wins, among items judged right without it; "
        "an invariance is broken when the winner changes, among items with a winner.\n\n"
    )
    return "### Attack and bias probes\n\n" + text + table(head, lines)


def _figures(b: Json, report: Json) -> str | None:
    names = report.get("figures", {}).get(b["name"], [])
    return "\n".join(f"![{name}](figures/{name}.png)" for name in names) + "\n" if names else None


def _published(entries: Sequence[Json]) -> str | None:
    if not entries:
        return None
    lines = [
        [e["system"], e["row"], e["section"], f"{100 * e['value']:.1f}", e["source"]]
        for e in entries
    ]
    head = ["System", "Row", "Section", "Published", "Where in the paper"]
    return "### Published by the paper\n\n" + table(head, lines)


def _problems(problems: Sequence[str], shown: int = 20) -> str | None:
    if not problems:
        return None
    lines = [f"- {problem}" for problem in problems[:shown]]
    if len(problems) > shown:
        lines.append(f"- and {len(problems) - shown} more; all are in report.json")
    return f"### Oddities in the data ({len(problems)})\n\n" + "\n".join(lines) + "\n"


def safe(text: str) -> str:
    """Names and ids come from data: nothing in them may drive a terminal or become HTML."""
    shown = (c if c == "\n" or c.isprintable() else f"\\u{ord(c):04x}" for c in text)
    return "".join(shown).replace("<", "&lt;")


# --- cells --------------------------------------------------------------------------------------


def table(head: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """A Markdown table, with an empty line after it."""
    rows = [head, ["---"] * len(head), *lines]
    return "\n".join("| " + " | ".join(_cell(c) for c in row) + " |" for row in rows) + "\n"


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.1f}%"


def _number(x: float | None, digits: int) -> str:
    return "-" if x is None else f"{x:.{digits}f}"


def _interval(value: Json | None, *, percent: bool = True) -> str:
    """A point with its interval, in percent unless it is a coefficient."""
    if value is None or value["point"] is None or value["point"] != value["point"]:
        return "-"
    scale, digits = (100, 1) if percent else (1, 2)
    point = f"{scale * value['point']:.{digits}f}"
    if value["low"] is None or value["high"] is None:
        return point
    return f"{point} [{scale * value['low']:.{digits}f}, {scale * value['high']:.{digits}f}]"
