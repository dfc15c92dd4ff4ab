"""A report for people: Markdown tables of what report.py found, nothing computed here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from spct.measure.estimator import UNSCORED_POLICY
from spct.measure.tables import interval, number, percent, safe, table

Json = dict[str, Any]

HEAD = f"""# Benchmark report

Brackets are 95% intervals, bootstrapped over prompts (Wilson's where all are equal). "Score"
follows the benchmark's own rule. "Shared" is one rule for all: m responses that tie at the top earn
1/m; {UNSCORED_POLICY}. "One sample" and "Voting@k" are means over all disjoint groups of 1 and of
k stored samples; "Meta@k" votes with the half of each group that the meta RM ranks highest.
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
        _budgets(b["budgets"]),
        _neighbours(b["neighbours"]),
        _probes(b.get("probes", [])),
        _failing(b["failing"]),
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
    head = ["Model", "Row", "n", name, "Shared", "Ties", "Unscored", "Parse failures"]
    lines = []
    for row in rows:
        a = row["abstention"]
        lines.append(
            [
                row["model"],
                row["row"],
                str(row["n"]),
                interval(_overall(row["score"])),
                interval(_overall(row["shared"])),
                percent(a["tie_rate"]),
                percent(a["unscored_rate"]),
                percent(a["parse_failure_rate"]),
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
                f"{percent(p['consistency'])} of {p['n_compared']}",
                f"{percent(p['first_share'])} ({percent(p['first_fair'])})",
                f"{percent(x['longer_share'])} ({percent(x['gold_longer_share'])})",
                interval(coefficient, scale=1, digits=2),
                percent(calibration["ece"]) if calibration else "-",
            ]
        )
    return table(head, lines)


def _cost_table(rows: Sequence[Json], b: Json) -> str:
    head = ["Model", "Row", "Judgements", "LM calls", "Prompt tokens", "Reply tokens"]
    has_bill = any("usd" in row for row in rows)
    head += ["Tokens per unit", *(["USD"] if has_bill else [])]
    lines = []
    for row in rows:
        c = row["cost"]
        total = c["prompt_tokens"] + c["completion_tokens"]
        lines.append(
            [
                row["model"],
                row["row"],
                str(row["judgements"]),
                str(c["calls"]),
                str(c["prompt_tokens"]),
                str(c["completion_tokens"]),
                f"{total / row['n']:.0f}" if row["n"] else "-",
                *([f"{row['usd']:,.4f}" if "usd" in row else "-"] if has_bill else []),
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
        lines = [[n, *(interval((row["score"] or {}).get(n)) for row in rows)] for n in names]
    else:
        head = ["Model", "Row", *names]
        lines = [
            [row["model"], row["row"], *(interval((row["score"] or {}).get(n)) for n in names)]
            for row in rows
        ]
    return "### By subset\n\n" + table(head, lines)


def _reasons(rows: Sequence[Json]) -> str | None:
    found = [(r["model"], r["row"], r["abstention"]["reasons"]) for r in rows]
    lines = [
        [model, row, f"unscored {sum(reasons.values())}: {_listed(reasons)}"]
        for model, row, reasons in found
        if reasons
    ]
    if not lines:
        return None
    return "### Unscored judgements\n\n" + table(["Model", "Row", "Reasons"], lines)


def _listed(reasons: Mapping[str, int]) -> str:
    return ", ".join(f"{reason} {n}" for reason, n in reasons.items())


def _calibration(rows: Sequence[Json]) -> str | None:
    lines = [
        [
            row["model"],
            row["row"],
            f"{b['low']:.1f} to {b['high']:.1f}",
            str(b["n"]),
            percent(b["predicted"]),
            percent(b["observed"]),
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
            [entry["model"], f"fixed k = {k}", interval(entry["fixed"]["score"]), str(k), "-", "-"]
        )
        lines += [
            [
                entry["model"],
                rule["rule"],
                interval(rule["score"]),
                number(rule["mean_samples"], 2),
                interval(rule["changed"]),
                percent(rule["stated"]),
            ]
            for rule in entry["rules"]
        ]
    if not lines:
        return None
    head = ["Model", "Rule", "Score", "Mean samples", "Winner changed (Wilson)", "Stated"]
    return "### Adaptive voting, replayed from the stored samples\n\n" + table(head, lines)


def _budgets(found: Sequence[Json]) -> str | None:
    if not found:
        return None
    lines = [
        [
            one["model"],
            f"k = {one['k']}",
            interval(one["uniform"]),
            interval(one["score"]),
            f"{one['tokens']:.0f}",
            number(one["mean_samples"], 2),
        ]
        for one in found
    ]
    text = (
        "The tokens of k samples for each item, spent by `spct sample --budget` instead: a round "
        f"for each, the rest where the winner is least sure, at most {found[0]['most']}.\n\n"
    )
    head = ["Model", "Tokens of", "Score, k for each", "Score, one budget", "Tokens spent"]
    head += ["Mean samples"]
    return "### One budget for all items, replayed\n\n" + text + table(head, lines)


def _neighbours(found: Sequence[Json]) -> str | None:
    if not found:
        return None
    lines = [
        [entry["model"], interval(entry["effect"], scale=1, digits=2, signed=True), str(entry["n"])]
        for entry in found
    ]
    text = (
        "Points of score that a response gets more when a best response stands directly before it "
        "than when a worst one does, compared within each response over its orders; below 0 is "
        "contrast.\n\n"
    )
    head = ["Model", "Effect", "Responses"]
    return "### What the response before does to a score\n\n" + text + table(head, lines)


def _failing(found: Sequence[Json]) -> str | None:
    lines = [
        [
            entry["model"],
            entry["row"],
            one["id"],
            _numbers(one["gold"]),
            "no verdict" if one["rewards"] is None else _numbers(one["rewards"]),
            percent(one["vote_share"]),
            ", ".join(f"{reason} {n}" for reason, n in one["unscored"].items()) or "-",
        ]
        for entry in found
        for one in entry["shown"]
    ]
    if not lines:
        return None
    counts = "; ".join(f"{entry['model']}, {entry['row']}: {entry['n']}" for entry in found)
    head = ["Model", "Row", "Example", "Gold", "Rewards", "Vote share", "Unscored"]
    text = (
        f"Votes of each model's last row that are not right ({counts}): those without a verdict, "
        "then the surest. Their judgements are in parts/ (`spct export`).\n\n"
    )
    return "### Failing examples\n\n" + text + table(head, lines)


def _numbers(values: Sequence[float]) -> str:
    return ", ".join(f"{value:.3g}" for value in values)


def _probes(found: Sequence[Json]) -> str | None:
    lines = [
        [
            entry["model"],
            f["family"],
            f["kind"],
            str(f["n_eligible"]),
            interval(f["success"]),
            str(f["undecided"]),
            str(f["unscored"]),
            percent(f["clean_accuracy"]),
            percent(f["changed_accuracy"]),
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
