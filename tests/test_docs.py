"""What the documents say is true: their code runs, their commands and files exist."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from spct.cli.main import COMMANDS

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
README = PAGES[0].read_text("utf-8")


def blocks(text, *languages):
    """The fenced blocks of these languages."""
    fenced = re.findall(r"^```(\w*)\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    return [code for language, code in fenced if language in languages]


def test_the_readmes_python_runs_and_judges():
    (code,) = blocks(README, "python")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("(")


def test_the_readmes_tree_names_what_is_there():
    tree = next(block for block in blocks(README, "") if block.startswith("spct/\n"))
    for line in tree.splitlines():
        names = re.split(r"\s{2,}", line.strip())[0].split()
        inside = ROOT / "spct" if line.startswith("  ") else ROOT
        for name in names:
            assert (inside / name).exists(), name
    shown = set(re.findall(r"[\w]+(?:\.py|/)", tree))
    packages = {f"{p.parent.name}/" for p in (ROOT / "spct").glob("*/__init__.py")}
    assert packages <= shown


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_and_files_named_in_a_page_exist(page):
    text = page.read_text("utf-8")
    for block in blocks(text, "", "bash", "sh", "console"):
        for name in re.findall(r"^\s*\$?\s*spct ([a-z][a-z-]*)", block, re.MULTILINE):
            assert name in COMMANDS, f"{page.name}: spct {name}"
    for name in re.findall(r"\b(?:docs|recipes|tests|benchmarks|examples)/[\w./-]*\.\w+", text):
        assert (ROOT / name).exists(), f"{page.name}: {name}"
    for target in re.findall(r"`make ([a-z-]+)`", text):
        assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE), target


def test_the_tour_takes_as_long_as_it_says():
    """Thirty lines a minute; a page that is some minutes out is still a plan."""
    text = (ROOT / "docs" / "reading.md").read_text("utf-8")
    said = re.findall(r"`((?:spct|tests)/[\w/]+\.\w+)` \((\d+)", text)
    assert len(said) >= 9
    for name, minutes in said:
        takes = len((ROOT / name).read_text("utf-8").splitlines()) / 30
        assert abs(takes - int(minutes)) <= 3, f"{name}: {takes:.0f} minutes, not {minutes}"


def test_nothing_committed_names_this_machine():
    tracked = subprocess.run(
        ["git", "ls-files"], capture_output=True, text=True, cwd=ROOT, check=False
    ).stdout.split()
    for name in tracked:
        path = ROOT / name
        if path.suffix in (".py", ".md", ".toml", ".txt", ".json", ".yaml", "") and path.is_file():
            text = path.read_text("utf-8", errors="replace")
            assert not re.search(r"(?<![\w.])/(?:work|root)/", text), name
