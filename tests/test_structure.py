"""The shape that DESIGN promises: imports point one way, the core is small and pure."""

import ast
import importlib
import sys
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1] / "spct"
FILES = sorted(ROOT.rglob("*.py"))
# The three pure rooms, each in the order in which its files may import each other: what a text may
# say, what judgements add up to, and the line from an example to a verdict, which stands on both.
TEXT = ["tokens", "grammar", "folding", "markers", "neutralise", "reasoning", "context", "labels"]
TEXT += ["thought", "parse", "released", "tokenprob", "slots", "template", "format"]
VOTES = ["ballot", "calibration", "criteria", "guided", "ties", "vote", "stopping", "predictive"]
VOTES += ["price", "budget"]
CORE = ["seen", "orders", "plan", "settle", "cells", "recipe", "stream", "generative"]
PURE = [f"text.{n}" for n in TEXT] + [f"votes.{n}" for n in VOTES] + [f"core.{n}" for n in CORE]
# Each package, and the packages that it may import; the root's nouns are open to all.
ROOT_MODULES = {"types", "protocols", "errors", "config", "settings", "strict_json"}
ALLOWED: dict[str, set[str]] = {"text": set(), "votes": {"text"}, "core": {"text", "votes"}}
ROOMS = {*ALLOWED}
ALLOWED |= dict.fromkeys(("engines", "data", "runs"), ROOMS)
ALLOWED["models"] = ROOMS | {"engines", "data", "runs"}
ALLOWED["measure"] = ALLOWED["models"] | {"models"}
ALLOWED |= dict.fromkeys(("train", "view", "serve"), ALLOWED["measure"] | {"measure"})
ALLOWED["integrations"] = {*ALLOWED, "api"}
ALLOWED["cli"] = {*ALLOWED, "api"}


def path_of(name):
    """The file of a module that is named as `core.plan`."""
    return ROOT.joinpath(*name.split(".")).with_suffix(".py")


@cache
def tree_of(file):
    """Parsed once for all tests."""
    return ast.parse(file.read_text("utf-8"))


@cache
def nodes_of(file):
    """Every node of a file."""
    return list(ast.walk(tree_of(file)))


def name_of(function):
    """What a call names, `f` or `a.f`; empty for anything longer."""
    if isinstance(function, ast.Attribute) and isinstance(function.value, ast.Name):
        return f"{function.value.id}.{function.attr}"
    return function.id if isinstance(function, ast.Name) else ""


@cache
def imports_of(file):
    """The modules of spct and the foreign packages that a file imports, anywhere in it."""
    ours, foreign = set(), set()
    for node in nodes_of(file):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module]
        for name in names:
            if name.startswith("spct."):
                ours.add(name.removeprefix("spct."))
            elif name.split(".")[0] not in sys.stdlib_module_names:
                foreign.add(name.split(".")[0])
    return ours, foreign


@pytest.mark.parametrize("name", PURE)
def test_the_pure_rooms_need_the_standard_library_alone_and_point_one_way(name):
    ours, foreign = imports_of(path_of(name))
    assert foreign == set()
    assert ours <= {"types", "protocols", "errors", *PURE[: PURE.index(name)]}


def test_every_file_of_the_pure_rooms_has_its_place_in_the_line():
    found = {f"{f.parent.name}.{f.stem}" for f in FILES if f.parent.name in ROOMS}
    assert found == {*PURE, *(f"{room}.__init__" for room in ROOMS)}


@pytest.mark.parametrize("file", FILES, ids=lambda f: str(f.relative_to(ROOT)))
def test_imports_point_one_way(file):
    package = file.relative_to(ROOT).parts[0]
    if package not in ALLOWED:  # the face and the nouns
        return
    tops = {name.split(".")[0] for name in imports_of(file)[0]}
    assert tops <= ROOT_MODULES | ALLOWED[package] | {package}


@pytest.mark.parametrize("file", FILES, ids=lambda f: str(f.relative_to(ROOT)))
def test_every_module_has_a_docstring_and_no_dangerous_call(file):
    assert ast.get_docstring(tree_of(file))
    calls = [n for n in nodes_of(file) if isinstance(n, ast.Call)]
    assert not {name_of(n.func) for n in calls} & {
        "eval",
        "exec",
        "pickle.load",
        "pickle.loads",
        "torch.load",
        "yaml.load",
    }
    keywords = {
        (k.arg, str(k.value.value))
        for n in calls
        for k in n.keywords
        if isinstance(k.value, ast.Constant)
    }
    assert not keywords & {("shell", "True"), ("trust_remote_code", "True")}


@pytest.mark.parametrize("name", ["config", "api", "runs.judging", "cli.main"])
def test_modules_import_alone(name):
    assert importlib.import_module(f"spct.{name}")


def test_the_core_can_be_read_in_half_an_hour():
    lines = {name: len(path_of(name).read_text("utf-8").splitlines()) for name in PURE}
    assert max(lines.values()) <= 215
    assert sum(n for name, n in lines.items() if name.startswith("core.")) <= 1000
    assert sum(lines.values()) <= 3800


def test_the_root_is_small():
    assert len(list(ROOT.glob("*.py"))) <= 8


@pytest.mark.parametrize("file", FILES, ids=lambda f: str(f.relative_to(ROOT)))
def test_no_file_is_over_320_lines_and_no_function_over_60(file):
    text = file.read_text("utf-8")
    assert len(text.splitlines()) <= 320
    for node in nodes_of(file):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            n_lines = (node.end_lineno or 0) - node.lineno + 1
            assert n_lines <= 60, node.name


def runtime_imports(file, modules):
    """The modules of spct that a file imports when it runs, at its top or later in a function."""
    for_types = {
        id(node)
        for block in nodes_of(file)
        if isinstance(block, ast.If)
        and isinstance(block.test, ast.Name)
        and block.test.id == "TYPE_CHECKING"
        for statement in block.body
        for node in ast.walk(statement)
    }
    found = set()
    for node in nodes_of(file):
        if id(node) in for_types:
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            inner = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= inner & modules.keys() or {node.module}
    return found & modules.keys() - {"spct"}  # the face, which everything is behind


def test_no_imports_go_round_in_a_circle_not_even_late_ones():
    modules = {
        ".".join(("spct", *file.relative_to(ROOT).with_suffix("").parts)).removesuffix(
            ".__init__"
        ): file
        for file in FILES
    }
    left = {name: runtime_imports(file, modules) - {name} for name, file in modules.items()}
    while free := [name for name, needs in left.items() if not needs & left.keys()]:
        for name in free:
            del left[name]
    assert sorted(left) == []


MODEL_CLASSES = ("RM", "Model", "Engine", "Scorer", "Baseline")  # how their names end


@pytest.mark.parametrize("file", FILES, ids=lambda f: str(f.relative_to(ROOT)))
def test_nobody_but_the_resolver_asks_which_class_a_model_or_an_engine_is(file):
    # readers.py is the part of the resolver that chooses how a decision is read
    if file.relative_to(ROOT).as_posix() in ("models/load.py", "models/readers.py"):
        return
    for call in (n for n in nodes_of(file) if isinstance(n, ast.Call)):
        name = name_of(call.func)
        assert name != "copy.copy", "models are frozen: with_(...) gives a changed copy"
        if name == "isinstance":
            asked = {n.id for n in ast.walk(call.args[1]) if isinstance(n, ast.Name)}
            assert not {one for one in asked if one.endswith(MODEL_CLASSES) and one != "BaseModel"}
