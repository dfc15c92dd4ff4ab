"""docs/serving.md and the dashboard say what is true: routes, settings, metrics, snippets."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path

from spct.data.chat.templated import TEMPLATES
from spct.serve.app import create_app
from spct.serve.config import ServeConfig
from tests.serve.local import scripted

DOCS = Path(__file__).parents[2] / "docs"
TEXT = (DOCS / "serving.md").read_text("utf-8")
APP = create_app(scripted(), environ={})


def settings_table() -> str:
    rows = ["| setting | default | what it does |", "|---|---|---|"]
    for name, field in ServeConfig.model_fields.items():
        rows.append(f"| {name} | {field.default!r} | {field.description} |")
    return "\n".join(rows)


def test_the_table_of_settings_is_the_settings():
    assert settings_table() in TEXT, f"put this at the end of docs/serving.md:\n{settings_table()}"


def test_every_route_is_described_and_every_route_described_exists():
    routes = {route.path for route in APP.routes}
    described = set(re.findall(r"(?<![\w:.])(/[a-z0-9_]+(?:/[a-z_]+|\.json)*)", TEXT))
    assert routes <= described, routes - described
    table = "\n".join(line for line in TEXT.splitlines() if line.startswith(("| POST", "| GET")))
    assert set(re.findall(r"(/[\w/.]+)", table.replace("text`, /", "text` /"))) <= routes


def test_python_snippets_parse_and_their_names_exist():
    snippets = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    assert len(snippets) >= 3
    for snippet in snippets:
        tree = compile(
            snippet, "serving.md", "exec", ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
        )
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and str(node.module).startswith("spct."):
                path = DOCS.parent / (str(node.module).replace(".", "/") + ".py")
                source = path.read_text("utf-8")
                for alias in node.names:
                    assert re.search(rf"^(class|def|async def) {alias.name}\b", source, re.M)


def test_every_template_family_is_named():
    assert all(name in TEXT for name in TEMPLATES)


def test_every_metric_of_docs_and_dashboard_exists():
    exposition = APP.state.gateway.metrics.exposition().decode()
    known = set(re.findall(r"^# TYPE (\w+)", exposition, re.M))
    dashboard = json.loads((DOCS / "serving-dashboard.json").read_text("utf-8"))
    queries = " ".join(
        target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", ())
    )
    used = set(re.findall(r"\bspct_\w+", queries + " " + TEXT))
    bases = {re.sub(r"_(bucket|sum|count)$", "", name) for name in used}
    assert bases <= known, bases - known
    assert len({p["id"] for p in dashboard["panels"]}) == len(dashboard["panels"]) >= 8
