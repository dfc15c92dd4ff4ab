"""The page's pictures for the docs: `python -m recipes.viewing` (needs playwright and Chromium)."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
SPCT = [sys.executable, "-c", "from spct.cli.main import main; main()"]
# picture, example file, how it is judged, the example that is shown
PICTURES = (
    ("viewing", "comparisons", ["-k", "8"], "code-median"),
    ("criteria", "criteria", ["--format", "met", "-k", "4", "--price", "input=1,output=4"], "burn"),
)


def main() -> None:
    """Judge the example files with the scripted engine, export the pages, take their pictures."""
    from playwright.sync_api import sync_playwright

    with tempfile.TemporaryDirectory() as folder, sync_playwright() as play:
        path = shutil.which("chromium")
        browser = play.chromium.launch(executable_path=path, args=["--no-sandbox"])
        for name, examples, how, shown in PICTURES:
            run, page = Path(folder) / name, Path(folder) / f"{name}.html"
            file = str(ROOT / "examples" / f"{examples}.jsonl")
            sample = ["sample", file, "--engine", "scripted", *how, "--out", str(run)]
            subprocess.run([*SPCT, *sample], check=True)
            subprocess.run([*SPCT, "view", str(run), "--export", str(page)], check=True)
            tab = browser.new_page(viewport={"width": 1100, "height": 900})
            tab.goto(f"{page.as_uri()}#/run/0/{shown}")
            tab.wait_for_selector(".lane")
            tab.screenshot(path=ROOT / "docs" / "figures" / f"{name}.png")
            tab.close()
        browser.close()


if __name__ == "__main__":
    main()
