"""The page's picture for the docs: `python -m recipes.viewing` (needs playwright and Chromium)."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]


def main() -> None:
    """Judge the example file with the scripted engine, export the page, take its picture."""
    from playwright.sync_api import sync_playwright

    with tempfile.TemporaryDirectory() as folder:
        run, page = Path(folder) / "comparisons", Path(folder) / "page.html"
        spct = [sys.executable, "-c", "from spct.cli.main import main; main()"]
        examples = str(ROOT / "examples" / "comparisons.jsonl")
        sample = ["sample", examples, "--engine", "scripted", "-k", "8", "--out", str(run)]
        subprocess.run([*spct, *sample], check=True)
        subprocess.run([*spct, "view", str(run), "--export", str(page)], check=True)
        with sync_playwright() as play:
            path = shutil.which("chromium")
            browser = play.chromium.launch(executable_path=path, args=["--no-sandbox"])
            tab = browser.new_page(viewport={"width": 1100, "height": 900})
            tab.goto(f"{page.as_uri()}#/run/0/code-median")
            tab.wait_for_selector(".lane")
            tab.screenshot(path=ROOT / "docs" / "figures" / "viewing.png")
            browser.close()


if __name__ == "__main__":
    main()
