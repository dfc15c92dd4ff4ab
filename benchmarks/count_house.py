"""The size of the house: `python -m benchmarks.count_house [TREE ...]`.

Code tokens leave out comments, docstrings and layout. Two trees are compared by naming both.
"""

from __future__ import annotations

import ast
import io
import sys
import tokenize
from collections import Counter
from pathlib import Path

LAYOUT = {
    *(tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT),
    *(tokenize.ENCODING, tokenize.ENDMARKER),
}


def docstrings(tree: ast.Module) -> set[tuple[int, int]]:
    """Where docstrings stand."""
    owners = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, owners) and ast.get_docstring(node, clean=False) is not None:
            found.add((node.body[0].lineno, node.body[0].col_offset))
    return found


def count(root: Path) -> tuple[Counter[str], Counter[str]]:
    """Totals of a package, and its code tokens by part."""
    totals: Counter[str] = Counter()
    parts: Counter[str] = Counter()
    names: Counter[str] = Counter()
    for file in sorted(root.rglob("*.py")):
        text = file.read_text("utf-8")
        tree = ast.parse(text)
        skipped = docstrings(tree)
        tokens = list(tokenize.generate_tokens(io.StringIO(text).readline))
        code = [t for t in tokens if t.type not in LAYOUT and t.start not in skipped]
        comments = [t for t in tokens if t.type == tokenize.COMMENT]
        names[file.name] += 1
        parts[file.relative_to(root).parts[0]] += len(code)
        totals["files"] += 1
        totals["lines"] += text.count("\n")
        totals["code tokens"] += len(code)
        totals["isinstance"] += sum(t.string == "isinstance" for t in code)
        totals["own-line comments"] += sum(t.line.strip().startswith("#") for t in comments)
    totals["basenames that repeat"] = sum(n > 1 for name, n in names.items() if name[0] != "_")
    return totals, parts


def main() -> None:
    """Print the figures of each tree."""
    for tree in sys.argv[1:] or ["."]:
        totals, parts = count(Path(tree) / "spct")
        rate = 1000 * totals["own-line comments"] / totals["lines"]
        print(tree, ", ".join(f"{name} {n:,}" for name, n in totals.items()), end="; ")
        print(f"{rate:.1f} own-line comments per 1,000 lines")
        print("  code tokens:", ", ".join(f"{name} {n:,}" for name, n in parts.most_common(12)))


if __name__ == "__main__":
    main()
