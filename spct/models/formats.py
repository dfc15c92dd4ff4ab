"""The wording that scalar models read: a pair of responses, and the request for a critique.

Short on purpose: a head learns what to look for from its training, so instructions would only cost
tokens. A trained model keeps its own wording in its spct.json.
"""

from __future__ import annotations

from importlib.resources import files

from spct.core.format import Format


def _shipped(name: str) -> str:
    return (files("spct.core") / "templates" / f"{name}.txt").read_text("utf-8").rstrip("\n")


PAIR = Format("pair", _shipped("pair"), pattern="pairwise")
CRITIQUE = Format("critique", _shipped("critique"))
