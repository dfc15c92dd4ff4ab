"""Reading files of rows: what is accepted, what is refused and how, selection, validation."""

import gzip
import io
import itertools
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spct.core.plan import content_id
from spct.core.seen import Seen
from spct.data.files import MAX_LINE, dataset_hash, spool_stdin
from spct.data.rows import convert_rows, read_examples, validate
from spct.errors import ConfigError, DataError
from spct.types import Example, Message

Write = Callable[..., Path]


def row(i: int = 0, **fields: Any) -> dict[str, Any]:
    return {"id": f"e{i}", "query": f"q{i}", "responses": ["a", "b"], "gold": [1, 0]} | fields


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write_lines(*lines: object, name: str = "rows.jsonl") -> Path:
        path = tmp_path / name
        raw = [
            line if isinstance(line, bytes) else json.dumps(line).encode("utf-8", "surrogatepass")
            for line in lines
        ]
        path.write_bytes(b"\n".join(raw) + b"\n")
        return path

    return write_lines


def ids(examples: Any) -> list[str]:
    return [example.id for example in examples]


# What is accepted


def test_the_shipped_comparisons_are_valid_and_cover_one_two_and_four_responses() -> None:
    path = Path(__file__).parents[2] / "examples" / "comparisons.jsonl"
    assert validate(path).ok
    assert {e.n for e in read_examples(path)} == {1, 2, 4}
    assert all(e.gold is not None for e in read_examples(path))


def test_bom_crlf_blank_lines_and_a_missing_last_newline_are_accepted(tmp_path: Path) -> None:
    lines = [json.dumps(row(i)).encode() for i in range(3)]
    path = tmp_path / "windows.jsonl"
    path.write_bytes(b"\xef\xbb\xbf\r\n" + b"\r\n\r\n  \r\n".join(lines))
    assert ids(read_examples(path)) == ["e0", "e1", "e2"]


def test_line_separators_inside_a_text_do_not_split_the_row(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps(row(query="a\u2028b\x85c"), ensure_ascii=False) + "\n", "utf-8")
    assert next(read_examples(path)).query[0].content == "a\u2028b\x85c"


def test_a_line_of_one_megabyte_is_read(write: Write) -> None:
    path = write(row(responses=["x" * 2**20, "y"]))
    assert len(next(read_examples(path)).responses[0]) == 2**20


def test_an_empty_response_is_a_response(write: Write) -> None:
    assert next(read_examples(write(row(responses=["", "b"])))).responses == ("", "b")


def test_null_counts_as_absent_for_optional_fields(write: Write) -> None:
    example = next(read_examples(write(row(gold=None, reference=None, subset=None, meta=None))))
    assert (example.gold, example.reference, example.subset, dict(example.meta)) == (
        None,
        None,
        None,
        {},
    )


def test_gzip_json_array_and_parquet_give_the_same_examples(write: Write, tmp_path: Path) -> None:
    rows = [row(i) for i in range(3)]
    expected = list(read_examples(write(*rows)))
    packed = tmp_path / "rows.jsonl.gz"
    packed.write_bytes(gzip.compress(b"\n".join(json.dumps(r).encode() for r in rows)))
    assert list(read_examples(packed)) == expected
    array = tmp_path / "rows.json"
    array.write_text(json.dumps(rows, indent=2))
    assert list(read_examples(array)) == expected
    pyarrow = pytest.importorskip("pyarrow", reason="the parquet extra is not installed")
    from pyarrow import parquet

    parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "rows.parquet")
    assert list(read_examples(tmp_path / "rows.parquet")) == expected
    with pyarrow.output_stream(str(tmp_path / "rows.jsonl.zst"), compression="zstd") as out:
        out.write(b"\n".join(json.dumps(r).encode() for r in rows))
    assert list(read_examples(tmp_path / "rows.jsonl.zst")) == expected


def test_standard_input_streams_and_can_be_spooled(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = write(row(0), row(1)).read_bytes()
    for use in ("stream", "spool"):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
        if use == "stream":
            assert ids(read_examples("-")) == ["e0", "e1"]
        else:
            spooled = spool_stdin()
            assert validate(spooled).ok and ids(read_examples(spooled)) == ["e0", "e1"]
            spooled.unlink()


def test_reading_is_lazy(write: Write) -> None:
    path = write(row(0), row(1), b"not json")
    assert ids(itertools.islice(read_examples(path), 2)) == ["e0", "e1"]


# Ids


def test_an_absent_id_becomes_a_stable_hash_of_what_is_judged(write: Write) -> None:
    plain = {"query": "q", "responses": ["a", "b"]}
    first = ids(read_examples(write(plain)))
    again = ids(read_examples(write({**plain, "gold": [1, 0], "meta": {"x": 1}})))
    other = ids(read_examples(write({**plain, "responses": ["b", "a"]})))
    assert first == again != other
    assert first == [content_id((Message("user", "q"),), ["a", "b"])]


def test_equal_rows_without_ids_stay_apart_and_are_counted(write: Write) -> None:
    plain = {"query": "q", "responses": ["a", "b"]}
    path = write(plain, plain, plain)
    first, second, third = ids(read_examples(path))
    assert (second, third) == (f"{first}-2", f"{first}-3")
    assert validate(path).duplicates == 2


def test_duplicate_ids_name_both_lines(write: Write) -> None:
    path = write(row(1), row(2), row(1, query="other"))
    with pytest.raises(DataError, match=r"rows\.jsonl:3: id: .*rows\.jsonl:1 has it too"):
        list(read_examples(path))


def test_the_number_5_and_the_text_5_are_the_same_id(write: Write) -> None:
    with pytest.raises(DataError, match="occurs once"):
        list(read_examples(write(row(id=5), row(id="5", query="x"))))


# Selection


@pytest.fixture
def ten(write: Write) -> Path:
    return write(*(row(i) for i in range(10)))


def test_limit_range_and_ids_select_in_file_order(ten: Path) -> None:
    assert ids(read_examples(ten, limit=2)) == ["e0", "e1"]
    assert ids(read_examples(ten, range=(3, 6))) == ["e3", "e4", "e5"]
    assert ids(read_examples(ten, ids=["e7", "e2"])) == ["e2", "e7"]
    assert ids(read_examples(ten, limit=0)) == []


def test_a_shuffle_depends_on_its_seed_alone_and_comes_before_the_limit(ten: Path) -> None:
    shuffled = ids(read_examples(ten, shuffle_seed=1))
    assert shuffled == ids(read_examples(ten, shuffle_seed=1))
    assert shuffled != ids(read_examples(ten, shuffle_seed=2))
    assert sorted(shuffled) == ids(read_examples(ten))
    assert ids(read_examples(ten, shuffle_seed=1, limit=3)) == shuffled[:3]


def test_an_id_that_is_not_there_is_an_error(ten: Path) -> None:
    with pytest.raises(DataError, match=r"no examples with the ids.*'zz'"):
        list(read_examples(ten, ids=["e1", "zz"]))


@pytest.mark.parametrize(
    "options", [{"limit": -1}, {"range": (3, 2)}, {"range": (-1, 2)}, {"schema": "trl"}]
)
def test_bad_options_are_refused_before_the_file_is_opened(options: Any) -> None:
    with pytest.raises(ConfigError, match="expected"):
        read_examples("/nowhere/rows.jsonl", **options)


# Errors


@pytest.mark.parametrize("name", ["absent.jsonl", ".", "absent.parquet", "absent.jsonl.gz"])
def test_a_file_that_cannot_be_opened_is_a_data_error(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError, match="reading"):
        list(read_examples(tmp_path / name))


def test_a_damaged_gzip_file_is_a_data_error(tmp_path: Path) -> None:
    whole = gzip.compress(json.dumps(row()).encode() * 50)
    for i, data in enumerate([whole[:40], b"plain text", whole[:-9] + b"\0" * 9]):
        path = tmp_path / f"{i}.jsonl.gz"
        path.write_bytes(data)
        with pytest.raises(DataError, match="reading"):
            list(read_examples(path))


def test_a_damaged_parquet_file_is_a_data_error(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow", reason="the parquet extra is not installed")
    (tmp_path / "x.parquet").write_bytes(b"PAR1 not really PAR1")
    with pytest.raises(DataError, match="Parquet"):
        list(read_examples(tmp_path / "x.parquet"))


def test_without_pyarrow_parquet_and_zstandard_name_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    for name in ("x.parquet", "x.jsonl.zst"):
        (tmp_path / name).write_bytes(b"x")
        with pytest.raises(ImportError, match=r"spct\[parquet\]"):
            list(read_examples(tmp_path / name))


@pytest.mark.parametrize("content", [b"", b"\n\n", b"\xef\xbb\xbf", b"[]", b" [ \n ] "])
def test_a_file_without_rows_is_an_error(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "empty.jsonl"
    path.write_bytes(content)
    with pytest.raises(DataError, match="no rows"):
        list(read_examples(path))
    assert not validate(path).ok


def test_a_line_above_the_limit_is_refused_without_reading_it_whole(tmp_path: Path) -> None:
    path = tmp_path / "long.jsonl"
    path.write_bytes(b'{"query": "' + b"x" * (MAX_LINE + 10) + b'"}')
    with pytest.raises(DataError, match="bytes per line"):
        list(read_examples(path))


def test_mixed_schemas_name_the_line_and_the_first_row(write: Write) -> None:
    path = write(row(0), {"prompt": "p", "chosen": "a", "rejected": "b"})
    with pytest.raises(DataError, match=r"rows\.jsonl:2: layout: got 'preference'.*jsonl:1"):
        list(read_examples(path))
    path = write(
        row(0), row(1), *[{"prompt": "p", "chosen": f"{i}", "rejected": "b"} for i in "xy"]
    )
    assert "mixes layouts: lines 1-2 spct, 3-4 preference" in validate(path).problems[1]


def test_a_bad_item_of_an_array_names_its_line(tmp_path: Path) -> None:
    path = tmp_path / "rows.json"
    path.write_text(json.dumps([row(0), row(1, gold=[1])], indent=1))
    line = path.read_text().splitlines().index(" {", 2) + 1
    with pytest.raises(DataError, match=rf"rows\.json:{line}: gold"):
        list(read_examples(path))


# Validation


def test_validate_counts_everything_and_lists_every_problem(write: Write) -> None:
    path = write(row(0), b"{", row(1, gold=[1]), row(2, gold=None), row(0), row(3, query="q0"))
    report = validate(path)
    assert (report.rows, report.examples, report.with_gold, report.schema) == (6, 3, 2, "spct")
    assert (report.n_problems, report.duplicates, report.ok) == (3, 2, False)
    assert [problem.split(": ")[0].rsplit(":")[-1] for problem in report.problems] == list("235")
    assert report.sha256 == dataset_hash(path)


def test_a_fault_that_many_rows_share_is_told_once_with_its_lines(write: Write) -> None:
    report = validate(write(*[b"{"] * 300))
    assert (report.n_problems, len(report.problems)) == (300, 1)
    assert "rows.jsonl:1-300 (300 rows): JSON: got '{', expected" in report.problems[0]
    odd = [{"query": "q", "responses": ["a"], name: 1} for name in "abcdefghijklmnop"]
    assert len(validate(write(*odd, *odd)).problems) <= 9


def test_the_hash_follows_the_bytes(write: Write) -> None:
    first = dataset_hash(write(row(0)))
    assert first == dataset_hash(write(row(0))) != dataset_hash(write(row(1)))
    for once_only in (dataset_hash, validate):
        with pytest.raises(ConfigError, match="spool"):
            once_only("-")
    with pytest.raises(DataError):
        dataset_hash("/nowhere/rows.jsonl")


def test_rows_in_memory_are_read_as_strictly() -> None:
    assert [type(e) for e in convert_rows([row(0)], name="mine")] == [Example]
    with pytest.raises(DataError, match=r"mine:2: query: .*NUL"):
        list(convert_rows([row(0), row(1, query="a\0")], name="mine"))
    for value in (10**5000, float("inf"), ("x",), {1: 2}, object()):
        with pytest.raises(DataError, match="mine:1: meta"):
            list(convert_rows([row(meta={"x": value})], name="mine"))
    with pytest.raises(DataError, match="no rows"):
        list(convert_rows([]))


def test_a_parquet_text_that_is_no_utf8_is_a_data_error(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow", reason="the parquet extra is not installed")
    from pyarrow import parquet

    binary = pyarrow.array([b"\xff\xfe"], pyarrow.binary())
    text = pyarrow.Array.from_buffers(pyarrow.string(), 1, binary.buffers())
    parquet.write_table(pyarrow.table({"query": text}), tmp_path / "bad.parquet")
    with pytest.raises(DataError, match="readable Parquet"):
        list(read_examples(tmp_path / "bad.parquet"))


@given(st.lists(st.integers(0, 2**64 - 1) | st.integers(0, 50), max_size=400))
def test_what_was_seen_before_is_known_with_its_first_row(keys: list[int]) -> None:
    seen, first = Seen(), dict[int, int]()
    for row, key in enumerate(keys, 1):
        assert seen.add(key, row) == first.get(key or 1, 0)
        first.setdefault(key or 1, row)


def test_the_memory_of_ids_does_not_hold_their_texts() -> None:
    seen = Seen()
    for row in range(1, 200_001):
        assert seen.add(hash(f"id {row}"), row) == 0
    assert seen.add(hash("id 77"), 0) == 77
    assert sum(part.itemsize * len(part) for part in (seen._keys, seen._rows)) <= 48 * 200_000
