"""The page's own text: its frame, its scripts and styles as one of each, and data inside it.

Kept apart from the server, which an export does not need: it starts without the web framework.
"""

from __future__ import annotations

import json
from importlib.resources import files

SCRIPTS = (
    "text",
    "source",
    "list",
    "criteria",
    "example",
    "figures",
    "app",
)  # in the order of their use
VENDORED = ("htm-preact", "uplot")
_PAGE = files("spct.view") / "page"


def page_file(name: str) -> str:
    """The text of one of the page's own files."""
    return (_PAGE / name).read_text("utf-8")


def script() -> str:
    """All scripts of the page as one classic script, the vendored libraries first."""
    vendored = [page_file(f"vendor/{name}.js") for name in VENDORED]
    return "\n;\n".join([*vendored, *(page_file(f"{name}.js") for name in SCRIPTS)])


def style() -> str:
    """All styles of the page."""
    return page_file("vendor/uplot.css") + page_file("style.css")


def in_page(value: object) -> str:
    """JSON that can stand inside a script element: nothing in it can close the element."""
    return json.dumps(value, separators=(",", ":")).replace("<", "\\u003c")


def fill(head: str, data: str, scripts: str) -> str:
    """The page's frame, each slot filled once (the texts may hold braces)."""
    page = page_file("index.html")
    for slot, text in (("head", head), ("scripts", scripts), ("data", data)):
        before, _, after = page.partition("{{" + slot + "}}")
        page = before + text + after
    return page
