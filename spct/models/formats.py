"""The wording that scalar models read: a pair of responses, and the request for a critique.

Short on purpose: a head learns what to look for from its training, so instructions would only cost
tokens. A trained model keeps its own wording in its spct.json.
"""

from __future__ import annotations

from spct.text.format import Format
from spct.text.template import shipped_template

PAIR = Format("pair", shipped_template("pair"), pattern="pairwise")
CRITIQUE = Format("critique", shipped_template("critique"))
