from __future__ import annotations

import json
import random
import sys
from collections.abc import Iterator
from dataclasses import fields, replace
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from spct.errors import ConfigError, ExtraMissing, StoreError
from spct.runs.codec import dump_verdict, load_verdict
from spct.runs.export import export
from spct.runs.store import Store
from spct.runs.table import schema
from spct.types import (
    Checked,
    Completion,
    Criteria,
    Criterion,
    Decided,
    Example,
    Judgement,
    Message,
    Part,
    Prompt,
    TokenLogprob,
    Usage,
    Verdict,
)
from tests.runs.nouns import prompt_of, reply_of, verdict_of


def any_verdict(i: int) -> Verdict:
    """One with every optional field, or with none, or with texts that are hard to write."""
    prompt = prompt_of(f"id-{i}")
    rare = Completion(
        "\ud800\x00\n\u2028", "length", (1, 2), (TokenLogprob("8", -0.1, {"8": -0.1}),)
    )
    failed = Completion("", "error", error="refused")
    kinds = [[], [(prompt, 1, reply_of(prompt, 1))], [(prompt, 1, rare), (prompt, 2, failed)]]
    return verdict_of(f"id-{i}", kinds[i % 3])


async def filled(store: Store, order: list[int]) -> Store:
    for i in order:
        example = Example(f"id-{i}", (Message("user", "q"),), ("x", "y"), meta={"a": [1, None]})
        await store.put_verdict(any_verdict(i), example if i % 2 else None, position=i)
    return store


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "run", {}) as store:
        yield store


@pytest.mark.parametrize("ending", ["jsonl", "parquet", "csv"])
async def test_equal_runs_export_equal_bytes_whatever_the_order_of_work(
    tmp_path: Path, ending: str
) -> None:
    exports = []
    for name in ("one", "two"):
        order = list(range(30))
        random.Random(name).shuffle(order)
        with Store.open(tmp_path / name, {}) as store:
            path = tmp_path / f"{name}.{ending}"
            assert export(await filled(store, order), path) == 30
            exports.append(path.read_bytes())
    assert exports[0] == exports[1]


async def test_jsonl_has_one_verdict_a_line_that_reads_back(store: Store, tmp_path: Path) -> None:
    export(await filled(store, [2, 0, 1]), tmp_path / "out.jsonl")
    lines = (tmp_path / "out.jsonl").read_text("utf-8").splitlines()
    assert [load_verdict(json.loads(line)) for line in lines] == [any_verdict(i) for i in range(3)]
    assert ["example" in json.loads(line) for line in lines] == [False, True, False]


async def test_parquet_holds_what_jsonl_holds(store: Store, tmp_path: Path) -> None:
    export(await filled(store, [0, 1, 2]), tmp_path / "out.parquet")
    rows = pq.read_table(tmp_path / "out.parquet").to_pylist()
    for i, row in enumerate(rows):
        record = dump_verdict(any_verdict(i))
        assert row["rewards"] == record["rewards"]
        assert row["prompts"] == [{"criteria": None, **prompt} for prompt in record["prompts"]]
        assert dict(row["unscored"]) == record["unscored"]
        for got, put in zip(row["trajectories"], record["trajectories"], strict=True):
            assert got["text"] == put["text"].replace("\ud800", "\\ud800")
            assert (got["scores"], got["unscored"]) == (put["scores"], put["unscored"])
            assert got["error"] == put.get("error")
    assert rows[1]["example"]["meta"] == '{"a":[1,null]}'
    token = rows[2]["trajectories"][0]["logprobs"][0]
    assert token == {"token": "8", "logprob": -0.1, "top": [("8", -0.1)]}


def test_every_field_of_every_noun_has_its_column() -> None:
    """pyarrow leaves out what a schema does not name, and says nothing."""
    made = {f.name: f.type for f in schema()}
    example, trajectory = made["example"], made["trajectories"].value_type
    part = trajectory.field("parts").type.value_type
    given = trajectory.field("decisions").type.value_type
    columns = {
        Example: example,
        Criterion: example.field("criteria").type.field("items").type.value_type,
        Prompt: made["prompts"].value_type,
        Completion: trajectory,
        Judgement: trajectory,
        Decided: given,
        Checked: part.field("checked").type,
        Usage: made["usage"],
        TokenLogprob: trajectory.field("logprobs").type.value_type,
    }
    for noun, type in columns.items():
        names = {field.name for field in fields(noun)} - {"example_id"}
        assert names <= {f.name for f in type}, noun
    assert {f.name for f in fields(Completion)} <= {f.name for f in part}
    assert {f.name for f in fields(Verdict)} - {"example_id"} <= set(made)


async def test_a_verdict_by_criteria_is_whole_in_parquet(store: Store, tmp_path: Path) -> None:
    prompt = replace(prompt_of("c"), criteria=(0,), order=(0,))
    reply = Completion("met", "stop", logprobs=(TokenLogprob("8", -0.1, {"8": -0.1}),))
    criteria = Criteria((Criterion("unit", "Names the unit.", choices=("no", "yes")),))
    one = verdict_of("c", [(prompt, 1, reply)])
    part = Part(prompt, reply, 1, Checked((1.0,), None, "it does"))
    verdict = replace(
        one, trajectories=(replace(one.trajectories[0], parts=(part,), criteria=criteria),)
    )
    await store.put_verdict(
        verdict, Example("c", (Message("user", "q"),), ("x",), criteria=criteria)
    )
    export(store, tmp_path / "out.parquet")
    [row] = pq.read_table(tmp_path / "out.parquet").to_pylist()
    record = dump_verdict(verdict)
    assert row["criteria"] == record["criteria"] == row["example"]["criteria"]
    assert row["prompts"] == record["prompts"]
    [got] = row["trajectories"][0]["parts"]
    assert got["checked"] == {"met": [1.0], "overall": None, "critique": "it does"}
    assert got["logprobs"][0]["top"] == [("8", -0.1)] and got["unscored"] is None


async def test_a_run_without_verdicts_exports_all_columns(store: Store, tmp_path: Path) -> None:
    assert export(store, tmp_path / "out.parquet") == 0
    assert export(store, tmp_path / "out.jsonl") == 0
    names = pq.read_table(tmp_path / "out.parquet").column_names
    assert set(dump_verdict(any_verdict(1))) < set(names)


async def test_a_dash_means_standard_output(
    store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    assert export(await filled(store, [1]), "-") == 1
    assert json.loads(capsys.readouterr().out)["id"] == "id-1"


def test_an_unknown_ending_is_refused(store: Store, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"unknown ending '\.xls'; use \.jsonl, \.parquet"):
        export(store, tmp_path / "out.xls")


def test_parquet_without_pyarrow_names_the_extra(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ExtraMissing, match=r"pip install 'spct\[parquet\]'"):
        export(store, tmp_path / "out.parquet")
    assert list(tmp_path.iterdir()) == [tmp_path / "run"]


@pytest.mark.parametrize("ending", ["jsonl", "parquet", "csv"])
def test_a_folder_that_is_not_there_is_named(store: Store, tmp_path: Path, ending: str) -> None:
    with pytest.raises(StoreError, match=r"cannot write .*nowhere"):
        export(store, tmp_path / "nowhere" / f"out.{ending}")


@pytest.mark.parametrize("ending", ["jsonl", "parquet", "csv"])
async def test_a_failed_export_leaves_the_earlier_file_alone(
    store: Store, tmp_path: Path, ending: str
) -> None:
    path = tmp_path / f"out.{ending}"
    path.write_text("earlier")
    await filled(store, [1])
    store.close()
    with pytest.raises(StoreError):
        export(store, path)
    assert path.read_text() == "earlier"
    assert sorted(p.name for p in tmp_path.iterdir()) == [path.name, "run"]


def test_a_folder_of_parquet_files_has_one_typed_schema_and_every_verdict_once(
    run: Any, tmp_path: Path
) -> None:
    import json

    from spct.data.inputs import expand
    from spct.runs.dataset import write_folder

    pq = pytest.importorskip("pyarrow.parquet")
    pytest.importorskip("fsspec")
    rows = tmp_path / "rows.jsonl"
    row = {"query": "Tide?", "responses": ["ebb", "flood"]}
    rows.write_text("".join(json.dumps(row | {"id": str(i)}) + "\n" for i in range(10)))
    sample = ["sample", rows, "--engine", "scripted", "-k", "1", "--progress", "none"]
    assert run(*sample, "-o", tmp_path / "r")[0] == 0
    with Store.read(tmp_path / "r") as store:
        assert write_folder(store.records(), (), str(tmp_path / "parts") + "/", per_file=4) == 10
    files = expand([tmp_path / "parts"])
    tables = [pq.read_table(file) for file in files]
    assert [len(table) for table in tables] == [4, 4, 2]
    assert len({str(table.schema) for table in tables}) == 1
    assert [i for table in tables for i in table["id"].to_pylist()] == [str(i) for i in range(10)]
    code, _, err = run("export", tmp_path / "r", "--to", f"{tmp_path}/parts/")
    assert code == 5 and "name a new folder" in err


SUBSETS = ["math", "a/b=c", None, "", "\u00fc n", ".dot", "_bar", "math"]


@pytest.fixture
def parted(run: Any, tmp_path: Path) -> Path:
    """A run of three rows of each subset."""
    rows = [
        {"id": str(i), "query": f"Tide {i}?", "responses": ["ebb", "flood"], "subset": subset}
        for i, subset in enumerate(SUBSETS * 3)
    ]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    sample = ["sample", tmp_path / "rows.jsonl", "--engine", "scripted", "-k", "1"]
    assert run(*sample, "--progress", "none", "-o", tmp_path / "r")[0] == 0
    return tmp_path / "r"


def test_a_data_set_parted_by_subset_is_read_as_one_table(
    run: Any, tmp_path: Path, parted: Path
) -> None:
    ds = pytest.importorskip("pyarrow.dataset")
    to = ["--to", f"{tmp_path}/out/", "--partition", "subset"]
    code, _, err = run("export", parted, *to)
    assert code == 0 and "24 verdicts" in err, err
    folders = {file.parent.name for file in (tmp_path / "out").rglob("*.parquet")}
    assert len(folders) == 7 and "subset=math" in folders
    table = ds.dataset(tmp_path / "out", partitioning="hive").to_table()
    found = dict(zip(table["id"].to_pylist(), table["subset"].to_pylist(), strict=True))
    assert found == {str(i): subset for i, subset in enumerate(SUBSETS * 3)}
    part = ds.dataset(tmp_path / "out" / "subset=math").to_table()
    assert part["id"].to_pylist() == ["0", "7", "8", "15", "16", "23"]  # in the input's order
    assert all(rewards for rewards in table["rewards"].to_pylist())


def test_what_cannot_be_parted_is_refused(run: Any, tmp_path: Path, parted: Path) -> None:
    for to, by, said in (
        ("out.jsonl", "subset", "a slash"),
        ("out/", "subsets", "expected one of subset"),
    ):
        code, _, err = run("export", parted, "--to", f"{tmp_path}/{to}", "--partition", by)
        assert code == 2 and said in err, err


@pytest.mark.parametrize("by", [None, "subset"])
def test_a_data_set_that_fails_leaves_no_file_and_can_be_written_again(
    tmp_path: Path, parted: Path, by: str | None
) -> None:
    from spct.runs.dataset import write_folder

    pytest.importorskip("pyarrow.dataset")
    folder = f"{tmp_path}/out/"

    def breaking(store: Store) -> Iterator[dict[str, Any]]:
        yield from islice(store.records(), 5)
        raise OSError(28, "No space left on device")

    with Store.read(parted) as store:
        with pytest.raises(StoreError, match=r"exporting to .*out/: .*No space left"):
            write_folder(breaking(store), (), folder, by, per_file=2)
        assert not [file for file in Path(folder).rglob("*") if file.is_file()]
        assert write_folder(store.records(), (), folder, by, per_file=2) == 24
