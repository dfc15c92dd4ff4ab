"""Every kind of input gives the same examples, and says what is wrong with it."""

from __future__ import annotations

import gzip
import json
import threading
from datetime import date
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from spct.data import inputs
from spct.data.inputs import expand
from spct.data.rows import read_examples
from spct.errors import DataError
from spct.types import Example

pa = pytest.importorskip("pyarrow")
fsspec = pytest.importorskip("fsspec")

ROWS = [{"prompt": f"Tide {i}?", "chosen": "ebb", "rejected": 'flood, "3"\n42'} for i in range(9)]


def lines(rows: list[dict[str, Any]]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def table(rows: list[dict[str, Any]], separator: str = ",") -> str:
    import csv
    import io

    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), delimiter=separator)
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def write(folder: Path, kind: str) -> Any:
    import pyarrow.feather
    import pyarrow.parquet

    plain, arrow = lines(ROWS).encode(), pa.Table.from_pylist(ROWS)
    file = folder / f"rows.{kind}"
    match kind:
        case "jsonl":
            file.write_bytes(plain)
        case "json":
            file.write_text(json.dumps(ROWS))
        case "jsonl.gz" | "csv.gz":
            file.write_bytes(gzip.compress(plain if "json" in kind else table(ROWS).encode()))
        case "jsonl.zst":
            with pa.CompressedOutputStream(str(file), "zstd") as packed:
                packed.write(plain)
        case "csv":
            file.write_text("\ufeff" + table(ROWS))
        case "tsv":
            file.write_text(table(ROWS, "\t"))
        case "parquet":
            pyarrow.parquet.write_table(arrow, file)
        case "feather":
            pyarrow.feather.write_feather(arrow, file, compression="uncompressed")
        case "arrow":
            with pa.OSFile(str(file), "wb") as out, pa.ipc.new_stream(out, arrow.schema) as stream:
                stream.write_table(arrow)
        case "folder":
            for i in range(3):
                (folder / f"part-{i}.jsonl").write_text(lines(ROWS[3 * i : 3 * i + 3]))
            (folder / "README.md").write_text("nothing")
            return folder
        case "pattern":
            write(folder, "folder")
            return folder / "part-*.jsonl"
        case "several":
            write(folder, "folder")
            return [folder / f"part-{i}.jsonl" for i in range(3)]
    return file


KINDS = ["jsonl", "json", "jsonl.gz", "jsonl.zst", "csv", "tsv", "csv.gz", "parquet", "feather"]
KINDS += ["arrow", "folder", "pattern", "several"]


def expected() -> list[Example]:
    from spct.data.rows import convert_rows

    return list(convert_rows(ROWS))


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_input_gives_the_same_examples(tmp_path: Path, kind: str) -> None:
    assert list(read_examples(write(tmp_path, kind))) == expected()


@pytest.mark.parametrize("kind", ["jsonl", "jsonl.gz", "parquet", "csv", "arrow"])
def test_the_same_from_an_object_store(tmp_path: Path, kind: str) -> None:
    store = fsspec.filesystem("memory")
    place = f"/{tmp_path.name}/{kind}"
    store.pipe(f"{place}/rows.{kind}", write(tmp_path, kind).read_bytes())
    for name in (f"memory:/{place}/rows.{kind}", f"memory:/{place}", f"memory:/{place}/*"):
        assert list(read_examples(name)) == expected()


def test_numbers_and_lists_in_cells_of_csv(tmp_path: Path) -> None:
    file = tmp_path / "rows.csv"
    cells = [["q", "one", "two", "s1", "s2"], ["Tide?", "42", "ebb", "1", "0.5"]]
    file.write_text("\n".join(map(",".join, cells)))
    mapping = {"query": "q", "responses": "one,two", "gold": "s1,s2"}
    (example,) = read_examples(file, mapping=mapping)
    assert example.responses == ("42", "ebb") and example.gold == (1.0, 0.5)
    file.write_text('query,responses,gold\nTide?,"[""ebb"", ""flood""]","[1, 0]"\n')
    (example,) = read_examples(file)
    assert example.responses == ("ebb", "flood") and example.gold == (1.0, 0.0)


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("a.csv", b"prompt,chosen,rejected\np,a\n", r"a\.csv:2.*2 cells.*expected 3"),
        ("a.csv", b"prompt,prompt\np,a\n", "a different name for each column"),
        ("a.csv", b'prompt,chosen,rejected\np,"a,b\n', "whose quotes are closed"),
        ("a.csv", b"prompt,chosen,rejected\np,\xff,b\n", "encoding.*expected UTF-8"),
        ("a.csv", b"", "got no rows"),
        ("a.parquet", b"PAR1 and then nothing", r"reading .*a\.parquet: got Arrow"),
        ("a.arrow", b"ARROW1", r"reading .*a\.arrow: got "),
        (
            "a.jsonl.gz",
            gzip.compress(lines(ROWS).encode(), mtime=0)[:-20],
            r"reading .*a\.jsonl\.gz: got EOF",
        ),
        ("a.jsonl.zst", b"\x28\xb5\x2f\xfdxx", r"reading .*a\.jsonl\.zst: got "),
    ],
)
def test_a_damaged_file_is_named(tmp_path: Path, name: str, data: bytes, said: str) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(DataError, match=f"(?s){said}"):
        list(read_examples(tmp_path / name))


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("nowhere-*.jsonl", "matches no file"),
        ("empty", "a folder without a file of rows"),
        (
            "memory://nowhere/at/all.jsonl",
            "reading memory://nowhere/at/all.jsonl: got FileNotFound",
        ),
        ("memory://nowhere/*.jsonl", "holds no file of rows"),
        ("nope://x/rows.jsonl", "opening nope://x/rows.jsonl: .*nope"),
    ],
)
def test_a_name_of_nothing_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("empty").mkdir()
    with pytest.raises(DataError, match=f"(?s){said}"):
        list(read_examples(name))


def test_ids_are_unique_over_all_files_and_layouts_are_each_files_own(tmp_path: Path) -> None:
    one, two = tmp_path / "one.jsonl", tmp_path / "two.jsonl"
    own = {"id": "x", "query": "Tide?", "responses": ["ebb", "flood"]}
    one.write_text("\n" + lines([own | {"id": "y"}, own]))
    two.write_text(lines([own]))
    with pytest.raises(DataError, match=r"two\.jsonl:1.*one\.jsonl:3 has it too"):
        list(read_examples([one, two]))
    two.write_text(lines(ROWS))
    assert len(list(read_examples([one, two]))) == 11
    two.write_text(lines([{"prompt": "p"}]))
    with pytest.raises(DataError, match=r"two\.jsonl:1"):
        list(read_examples([one, two]))


def test_columns_that_no_row_can_keep_cost_nothing_and_needed_ones_refuse_the_row(
    tmp_path: Path,
) -> None:
    import pyarrow.parquet

    odd = {
        "nested": [[1, 2], []],
        "nan": float("nan"),
        "day": date(2026, 1, 2),
        "price": Decimal("1.50"),
        "image": {"bytes": b"\x89PNG", "path": None},
    }
    rows = [{**ROWS[0], **{k: [v] if k == "nested" else v for k, v in odd.items()}}]
    pyarrow.parquet.write_table(pa.Table.from_pylist(rows), tmp_path / "odd.parquet")
    (example,) = read_examples(tmp_path / "odd.parquet")
    assert example.responses == ("ebb", ROWS[0]["rejected"])
    assert example.meta["day"] == "2026-01-02" and example.meta["price"] == 1.5
    pyarrow.parquet.write_table(
        pa.Table.from_pylist([{**ROWS[0], "chosen": b"\x89PNG"}]), tmp_path / "bad.parquet"
    )
    with pytest.raises(DataError, match=r"bad\.parquet:1.*chosen"):
        list(read_examples(tmp_path / "bad.parquet"))


def test_a_save_to_disk_folder_is_read_in_its_order(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    made = datasets.Dataset.from_list(ROWS)
    made.save_to_disk(str(tmp_path / "one"), num_shards=3)
    assert list(read_examples(tmp_path / "one")) == expected()
    datasets.DatasetDict({"train": made}).save_to_disk(str(tmp_path / "both"))
    with pytest.raises(DataError, match=r"several splits; name one: .*train"):
        expand([tmp_path / "both"])


def test_the_command_takes_many_and_drops_bad_rows_of_each(
    run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    files = [write(tmp_path, kind) for kind in ("csv", "parquet", "jsonl")]
    with files[2].open("a") as file:
        file.write("{broken\n")
    args = ["sample", *files, "--engine", "scripted", "-k", "1", "--progress", "none"]
    code, _, err = run(*args, "-o", tmp_path / "r")
    assert code == 2 and "rows.jsonl:10" in err
    code, _, err = run(*args, "-o", tmp_path / "r", "--drop-bad")
    assert code == 0 and "27 examples" in err, err


@pytest.fixture(scope="module")
def web() -> Any:
    """A server with one file under several paths, of which some are cut, denied or stall."""
    content = lines(ROWS).encode()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: Any) -> None:
            pass

        def do_HEAD(self) -> None:
            self.do_GET()

        def do_GET(self) -> None:
            is_denied = "denied" in self.path
            self.send_response(403 if is_denied else 200)
            self.send_header("content-length", "0" if is_denied else str(len(content)))
            self.end_headers()
            if self.command == "HEAD" or is_denied:
                return
            self.close_connection = "good" not in self.path
            self.wfile.write(content if "good" in self.path else content[:200])
            if "stalled" in self.path:
                self.wfile.flush()
                over.wait(60)  # for longer than anybody should wait

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    over = threading.Event()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    over.set()
    server.shutdown()
    server.server_close()


def test_rows_come_from_a_web_address(web: str) -> None:
    assert list(read_examples(f"{web}/good/rows.jsonl")) == expected()


@pytest.mark.parametrize("how", ["cut", "denied", "stalled"])
def test_a_store_that_cuts_denies_or_stalls_is_named_and_nothing_is_judged(
    web: str, how: str, run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inputs, "STALL_S", 1.0)
    name, out = f"{web}/{how}/rows.jsonl", tmp_path / "r"
    code, _, err = run("sample", name, "--engine", "scripted", "-o", out, "--drop-bad")
    got = "got nothing from its store for 1 s" if how == "stalled" else "got"
    assert code == 2 and f"reading {name}: {got}" in err and "Traceback" not in err, err
    assert not out.exists()
