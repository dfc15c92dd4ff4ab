"""The page over a large run: first screen, filter, memory, export. `python -m benchmarks.view`.

Ratios: the first screen and a filter against one full scan of the stored rows (the physical limit
of any page without an index), the export against the bytes of query, responses and replies.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

from spct.runs.store import Store
from spct.view.index import Index
from tests.view.runs import judged, write_run

N, K, N_EXPORT = 100_000, 4, 1_000


def pairs(n: int):  # type: ignore[no-untyped-def]
    """Judgements of ordinary size."""
    critique = "The first answer names the cause and the second repeats the question. " * 4
    for i in range(n):
        scores = [(float(5 + (i + j) % 5), float(2 + i % 4)) for j in range(K)]
        yield judged(f"e{i}", scores, gold=(1.0, 0.0), query=f"Question {i}?", text=critique)


def get(url: str) -> tuple[float, bytes]:
    """Seconds and body of one request."""
    started = time.perf_counter()
    with urllib.request.urlopen(url) as reply:
        body = reply.read()
    return time.perf_counter() - started, body


def serve(folder: Path) -> None:
    """First screen of a run that was never opened, then filters once it is indexed."""
    command = [sys.executable, "-c", "from spct.cli.main import main; main()", "view", str(folder)]
    started = time.perf_counter()
    with subprocess.Popen([*command, "--no-browser"], stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        address = process.stderr.readline().split()[0]
        up = time.perf_counter() - started
        page, _ = get(address)
        rows, body = get(f"{address}api/list?run=0&limit=50")
        n_rows = json.loads(body)["indexed"]
        print(f"start {up:.2f} s; first screen {page + rows:.3f} s, {n_rows} rows indexed")
        began = time.perf_counter()
        while (found := json.loads(get(f"{address}api/list?run=0")[1]))["indexed"] < N:
            time.sleep(1)
        print(f"indexed {found['indexed']} in {time.perf_counter() - began:.0f} s (once per run)")
        for query in (
            "outcome=wrong",
            "q=question+777",
            "sort=margin&order=desc",
            "agreement=0.75",
        ):
            seconds, body = get(f"{address}api/list?run=0&{query}")
            print(f"filter {query}: {seconds:.3f} s, {json.loads(body)['total']} rows")
        status = Path(f"/proc/{process.pid}/status").read_text()
        peak = next(line for line in status.splitlines() if line.startswith("VmHWM"))
        print(f"server's peak memory: {int(peak.split()[1]) / 1024:.0f} MB")
        process.terminate()
        process.wait(10)


def main() -> None:
    """Build the runs and measure."""
    with tempfile.TemporaryDirectory() as root:
        folder = write_run(Path(root) / "large", pairs(N))
        started = time.perf_counter()
        with Store.read(folder) as store:
            n = sum(1 for _ in store.verdicts())
        scan = time.perf_counter() - started
        print(f"one full scan of {n} stored verdicts: {scan:.1f} s")
        serve(folder)
        small = write_run(Path(root) / "small", pairs(N_EXPORT))
        texts = 0
        for example, verdict in pairs(N_EXPORT):
            texts += sum(len(m.content) for m in example.query) + sum(map(len, example.responses))
            texts += sum(len(t.completion.text) for t in verdict.trajectories)
        Index(small).follow()
        started = time.perf_counter()
        page = Path(root) / "page.html"
        command = "from spct.cli.main import main; main()"
        subprocess.run(
            [sys.executable, "-c", command, "view", str(small), "--export", str(page)],
            check=True, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        seconds, size = time.perf_counter() - started, page.stat().st_size
        print(f"export of {N_EXPORT}: {seconds:.2f} s, {size / texts:.2f}x of {texts:,} bytes")
        usage = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(f"this process's peak memory: {usage:.0f} MB")


if __name__ == "__main__":
    main()
