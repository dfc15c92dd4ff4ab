"""What reading and neutralising cost: one judgement of 2,000 characters, and 2 MB of the worst.

    python benchmarks/bench_text.py

The first figure is the wall time of neutralising both responses of a pair and parsing its reply,
the others are CPU seconds for 2 MB of one hostile unit, and the longest single step that holds the
interpreter (a thread beside it counts).
"""

from __future__ import annotations

import threading
import time

from spct.text.neutralise import neutralise
from spct.text.parse import TEN, read_reply

WORST = {
    "U+FDFA": "\ufdfa", "combining marks": "\u0301", "marked letters": "a\u0301",
    "full width": "［［１]]",
    "entities": "&#91;", "nested entities": "&amp;", "ampersands": "&", "URL escapes": "%5B",
    "backslashes": "\\", "boxes": "\\boxed{10}", "double brackets": "[[1]]", "open brackets": "[ ",
    "unclosed": "[[1 ", "angles": "< ", "tokens": "<|x|>", "hashes": "#\n", "capitals": "[INST]",
    "roles": "User: x\n", "bold letters": "𝐛𝐨𝐱𝐞𝐝{", "new lines": "\n", "prose": "the quick fox. ",
}  # fmt: skip


def longest_pause(work: threading.Thread) -> float:
    """The longest time that another thread got no turn while `work` ran."""
    worst, last = 0.0, time.perf_counter()
    work.start()
    while work.is_alive():
        time.sleep(0.001)
        now = time.perf_counter()
        worst, last = max(worst, now - last), now
    return worst


def main() -> None:
    """Print the table."""
    prose = 'The first (1) is right: it says "see [here](x)", the second guesses & fails. '
    response = (prose * 30)[:2000]
    reply = f"Specific Criteria:\n1. **Facts** (60%): true.\n\nAnalysis:\n{response[:1900]}\n\n"
    reply += "Scores: \\boxed{8, 3}"
    neutralise("é"), read_reply(reply, 2, TEN)
    times = []
    for _ in range(400):
        begin = time.perf_counter()
        neutralise(response), read_reply(reply, 2, TEN)
        times.append(time.perf_counter() - begin)
    print(f"parse and neutralise, 2,000 characters: {sorted(times)[200] * 1e3:.3f} ms (median)")
    print("| 2 MB of | CPU s | longest pause of another thread, s |\n|---|---|---|")
    for name, unit in WORST.items():
        text = unit * (2_000_000 // len(unit.encode()))
        begin = time.process_time()
        neutralise(text)
        cpu = time.process_time() - begin
        pause = longest_pause(threading.Thread(target=neutralise, args=(text,)))
        print(f"| {name} | {cpu:.2f} | {pause:.3f} |")


if __name__ == "__main__":
    main()
