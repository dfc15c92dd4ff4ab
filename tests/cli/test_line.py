"""How far a reader must go to follow `spct judge FILE`: the files of spct whose code it enters."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
# The aim is 20. text, votes and core alone are 23 of them, in files of at most 215 lines; criteria,
# decisions, prices and objects in stores are asked about on the way by files that then do nothing.
MOST = 60
PROGRAM = """
import inspect, sys, threading
from pathlib import Path
import spct
from spct.cli.main import main
root, entered = str(Path(spct.__file__).parent), set()
def look(frame, event, argument):
    code = frame.f_code
    # a class body and a module body are code too, and no function: they are not optimised; a
    # comprehension is a part of what it stands in (and no code of its own from Python 3.12 on)
    is_function = code.co_flags & inspect.CO_OPTIMIZED and not code.co_name.startswith("<")
    if event == "call" and is_function and code.co_filename.startswith(root):
        entered.add(str(Path(code.co_filename).relative_to(root)))
sys.setprofile(look); threading.setprofile(look)
try:
    main(["judge", sys.argv[1], "--engine", "scripted"])
except SystemExit as end:
    assert not end.code
finally:
    sys.setprofile(None); threading.setprofile(None)
print(*sorted(entered), sep="\\n")
"""


def test_judging_a_file_enters_few_files() -> None:
    found = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(ROOT / "examples" / "comparisons.jsonl")],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    )
    files = [line for line in found.stdout.splitlines() if line.endswith(".py")]
    print(f"spct judge FILE --engine scripted enters {len(files)} files:", *files, sep="\n  ")
    assert "votes/vote.py" in files  # it did judge
    assert len(files) <= MOST
    assert not {"runs/store.py", "runs/commit.py", "runs/database.py"} & set(files)
