"""/docs: the routes and their bodies as one page, from the OpenAPI schema alone.

The usual pages load their scripts from elsewhere, which a gateway in a cluster cannot reach and
should not trust. This one has no script at all.
"""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from typing import Any

POLICY = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"
_STYLE = (
    "body{font:15px/1.45 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}"
    "table{border-collapse:collapse;margin:.4rem 0 1.2rem}td,th{border:1px solid #8884;"
    "padding:.15rem .5rem;text-align:left;vertical-align:top}code{font-size:.93em}"
)


def docs_page(schema: dict[str, Any]) -> str:
    """The page of an app's OpenAPI schema."""
    rows = "".join(
        _route(method, path, described, schema)
        for path, methods in schema["paths"].items()
        for method, described in methods.items()
    )
    title = escape(f"{schema['info']['title']} {schema['info']['version']}")
    return (
        f"<!doctype html><html lang=en><meta charset=utf-8><title>{title}</title>"
        f"<style>{_STYLE}</style><h1>{title}</h1>"
        "<p>The whole schema: <a href=/openapi.json>/openapi.json</a>. "
        "docs/serving.md of the project explains the wires.</p>"
        f"{rows}</html>"
    )


def _route(method: str, path: str, described: dict[str, Any], schema: dict[str, Any]) -> str:
    body = described.get("requestBody", {}).get("content", {}).get("application/json", {})
    fields = "".join(_fields(body.get("schema", {}), schema))
    return (
        f"<h3 id='{escape(method + path)}'><code>{method.upper()} {escape(path)}</code></h3>"
        f"<p>{escape(described.get('description', ''))}</p>"
        + (f"<table><tr><th>field<th>type<th>meaning</tr>{fields}</table>" if fields else "")
    )


def _fields(body: dict[str, Any], schema: dict[str, Any]) -> Iterator[str]:
    """A row for each field of a body, those of objects inside it after their own row."""
    model = _resolved(body, schema)
    for name, field in model.get("properties", {}).items():
        needed = " (required)" if name in model.get("required", ()) else ""
        meaning = escape(field.get("description", "")) + needed
        yield (
            f"<tr><td><code>{escape(name)}</code><td><code>{escape(_type(field))}</code>"
            f"<td>{meaning}</tr>"
        )


def _resolved(value: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    reference = value.get("$ref")
    if reference is None:
        return value
    found: dict[str, Any] = schema["components"]["schemas"][reference.rpartition("/")[2]]
    return found


def _type(field: dict[str, Any]) -> str:
    if "$ref" in field:
        return str(field["$ref"].rpartition("/")[2])
    if "anyOf" in field:
        return " or ".join(dict.fromkeys(_type(one) for one in field["anyOf"]))
    if "enum" in field:
        return " or ".join(repr(one) for one in field["enum"])
    if field.get("type") == "array":
        return f"list of {_type(field.get('items', {}))}"
    return str(field.get("type", "anything"))
