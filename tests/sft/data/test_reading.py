"""Files of every kind and layout: each row once, in order, with its place; reading can begin in the middle."""

from __future__ import annotations

import gzip
import io
import json
import os
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

from sft.data.conversation import Conversation
from sft.data.reading import Row, read_file
from sft.data.sources import Source, read
from sft.errors import SftError
from tests.sft.data.rows import ALPACA, alpaca, places, reason, said, write_lines

ROWS = [alpaca(number) for number in range(150)]


def questions(rows: list[Row]) -> list[str]:
    return [said(row)[0][1] for row in rows]


def dump(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def as_lines(folder: Path) -> Path:
    return write_lines(folder / "rows.jsonl", ROWS)


def as_lines_called_json(folder: Path) -> Path:
    return write_lines(folder / "rows.json", ROWS)


def as_list(folder: Path) -> Path:
    return dump(folder / "rows.json", json.dumps(ROWS).encode())


def as_list_called_jsonl(folder: Path) -> Path:
    return dump(folder / "rows.jsonl", json.dumps(ROWS, indent=1).encode())


def as_row_a_line_of_a_list(folder: Path) -> Path:
    return dump(folder / "rows.json", b"[\n" + b",\n".join(json.dumps(row).encode() for row in ROWS) + b"\n]\n")


def as_objects_over_many_lines(folder: Path) -> Path:
    return dump(folder / "rows.json", "\n".join(json.dumps(row, indent=2) for row in ROWS).encode())


def with_bom_and_crlf(folder: Path) -> Path:
    return dump(folder / "rows.jsonl", b"\xef\xbb\xbf" + b"".join(json.dumps(row).encode() + b"\r\n" for row in ROWS))


def as_list_with_bom(folder: Path) -> Path:
    return dump(folder / "rows.json", b"\xef\xbb\xbf\n " + json.dumps(ROWS).encode())


def without_ending(folder: Path) -> Path:
    return as_lines(folder).rename(folder / "rows")


def as_gz(folder: Path) -> Path:
    return dump(folder / "rows.jsonl.gz", gzip.compress(as_lines(folder).read_bytes()))


def as_gz_with_a_wrong_name(folder: Path) -> Path:
    return dump(folder / "rows.jsonl", gzip.compress(as_list(folder).read_bytes()))


def as_gz_without_ending(folder: Path) -> Path:
    return dump(folder / "rows", gzip.compress(as_list(folder).read_bytes()))


def as_zip(folder: Path) -> Path:
    path = folder / "rows.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("README.md", "rows")
        archive.writestr("__MACOSX/._b.jsonl", "\0")
        archive.writestr("data/b.jsonl", "\n".join(json.dumps(row) for row in ROWS[70:]))
        archive.writestr("data/a.json.gz", gzip.compress(json.dumps(ROWS[:70]).encode()))
    return path


def as_tar(folder: Path) -> Path:
    path = folder / "rows.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        for name, rows in (("x/b.json", ROWS[70:]), ("x/a.json", ROWS[:70])):
            data = json.dumps(rows).encode()
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def as_csv(folder: Path) -> Path:
    lines = ["instruction,input,output", *(f'"{row["instruction"]}",,{row["output"]}' for row in ROWS)]
    return dump(folder / "rows.csv", "\r\n".join(lines).encode())


def as_tsv(folder: Path) -> Path:
    lines = ["instruction\toutput", *(f"{row['instruction']}\t{row['output']}" for row in ROWS)]
    return dump(folder / "rows.tsv", "\n".join(lines).encode())


def as_parquet(folder: Path) -> Path:
    path = folder / "rows.parquet"
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(ROWS), path, row_group_size=40)
    return path


def as_folder(folder: Path) -> Path:
    data = folder / "data"
    (data / "b").mkdir(parents=True)
    write_lines(data / "b" / "rows.jsonl", ROWS[70:])
    write_lines(data / "a.json", ROWS[:70])
    (data / "README.md").write_text("Rows.")
    (data / ".hidden.jsonl").write_text("{}")
    return data


MAKERS = [
    as_lines,
    as_lines_called_json,
    as_list,
    as_list_called_jsonl,
    as_row_a_line_of_a_list,
    as_objects_over_many_lines,
    with_bom_and_crlf,
    as_list_with_bom,
    without_ending,
    as_gz,
    as_gz_with_a_wrong_name,
    as_gz_without_ending,
    as_zip,
    as_tar,
    as_csv,
    as_tsv,
    as_parquet,
    as_folder,
]


@pytest.mark.parametrize("make", MAKERS)
def test_every_row_is_read_once_and_in_order(tmp_path: Path, make: Callable[[Path], Path]) -> None:
    path = make(tmp_path)
    rows = list(read(Source(str(path))))
    assert [said(row) for row in rows] == [[("user", row["instruction"]), ("assistant", row["output"])] for row in ROWS]
    assert all(row.source.startswith(str(path)) for row in rows)


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize("skip", [1, 69, 70, 71, 130, 149, 150, 400])
def test_reading_goes_on_where_it_was_interrupted(tmp_path: Path, make: Callable[[Path], Path], skip: int) -> None:
    source = Source(str(make(tmp_path)))
    assert list(read(source, skip=skip)) == list(read(source))[skip:]


def test_bad_rows_count_as_rows_that_are_skipped(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "x.jsonl", [ALPACA, b"{", b"", b"  ", 5, ALPACA, {}])
    rows = list(read_file(path))
    assert places(rows) == [(1, ""), (2, "broken JSON"), (5, "not an object"), (6, ""), (7, "missing field")]
    for skip in range(7):
        assert list(read_file(path, skip=skip)) == rows[skip:]


def test_a_list_knows_the_line_each_row_begins_on(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    row = json.dumps(ALPACA, indent=1)
    path.write_text(f'[\n{row},\n\n  {row}, {row},\n"text", null,\n{{"instruction": "]}}", "output": "\\"[{{"}}\n]\n')
    rows = list(read_file(path))
    assert places(rows) == [
        (2, ""),
        (8, ""),
        (12, ""),
        (17, "not an object"),
        (17, "not an object"),
        (18, ""),
    ]
    assert said(rows[-1]) == [("user", "]}"), ("assistant", '"[{')]


@pytest.mark.parametrize("cut", [0, 1, 2, 100, 5000])
def test_rows_do_not_depend_on_how_the_file_is_cut_into_chunks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cut: int
) -> None:
    awkward = {"instruction": 'a "quoted" \\ back\\\\slash \\" {[}],: \n', "output": "}" * 50 + '\\"'}
    path = tmp_path / "x.json"
    path.write_text(json.dumps([awkward, ALPACA, awkward], indent=2))
    whole = list(read_file(path))
    assert [said(row)[0][1] for row in whole] == [awkward["instruction"], "Name a colour.", awkward["instruction"]]
    monkeypatch.setattr("sft.data.json_rows.CHUNK", cut or 3)
    assert list(read_file(path)) == whole


@pytest.mark.parametrize("first", [b'{"instruction": "Q', b"[1, ", b"{", b'{"a": 1}}', b"nonsense"])
def test_a_broken_first_line_does_not_hide_that_each_line_is_a_row(tmp_path: Path, first: bytes) -> None:
    path = write_lines(tmp_path / "x.json", [first, ALPACA, ALPACA])
    assert places(read_file(path)) == [(1, "broken JSON"), (2, ""), (3, "")]


def test_a_format_is_recognised_behind_many_broken_rows(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "x.jsonl", [*[b"{broken"] * 100, ALPACA])
    *bad, last = read_file(path)
    assert {reason(row) for row in bad} == {"broken JSON"}
    assert said(last)[1] == ("assistant", "Blue.")


@pytest.mark.parametrize("text", ["[{row},\n{row}\n]", "[{row}\n,\n{row}\n]", "[\n{row}\n]", "[{row}\n,{row}]"])
def test_a_list_of_a_few_lines_is_a_list(tmp_path: Path, text: str) -> None:
    path = dump(tmp_path / "x.jsonl", text.replace("{row}", json.dumps(ALPACA)).encode())
    rows = list(read_file(path))
    assert len(rows) == text.count("row")
    assert all(isinstance(row, Conversation) for row in rows)


def test_a_broken_row_of_a_list_costs_that_row_alone(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    row = json.dumps(ALPACA).encode()
    path.write_bytes(b'[%s,\n{"instruction": tru},\n{"output": "\xff"},\n,\n%s %s,\n%s,\n]' % (row, row, row, row))
    assert places(read_file(path)) == [
        (1, ""),
        (2, "broken JSON"),
        (3, "broken UTF-8"),
        (4, "broken JSON"),
        (5, "broken JSON"),
        (6, ""),
    ]


@pytest.mark.parametrize(
    ("text", "line", "detail"),
    [
        ("[\n{row},\n{row}", 3, "the file ends in the middle"),
        ("[\n{row},\n{row},\n", 4, "the file ends before its list does"),
        ('[\n{row},\n{"instruction": "Q', 3, "the file ends in the middle"),
        ('[\n{row},\n{"instruction": "Q\\', 3, "the file ends in the middle"),
        ("[\n{row}\n]\n{row}", 4, "there is more behind"),
        ('{"instances": [\n{row},\n{row', 3, "the file ends in the middle"),
    ],
)
def test_a_list_that_is_cut_off_says_where(tmp_path: Path, text: str, line: int, detail: str) -> None:
    path = tmp_path / "x.json"
    path.write_text(text.replace("{row}", json.dumps(ALPACA)))
    *good, last = read_file(path, "alpaca")
    assert all(isinstance(row, Conversation) for row in good)
    assert (last.line, reason(last)) == (line, "rest of the file unreadable")
    assert detail in last.detail  # type: ignore[union-attr]


@pytest.mark.parametrize("make", [as_gz, as_zip, as_tar, as_parquet])
def test_an_archive_that_is_cut_off_is_not_taken_for_whole(tmp_path: Path, make: Callable[[Path], Path]) -> None:
    path = make(tmp_path)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 2 // 3])
    try:
        rows = list(read_file(path))
    except SftError as error:
        assert str(path) in error.message and "damaged" in error.message
    else:
        assert reason(rows[-1]) == "rest of the file unreadable"
        assert list(read_file(path, skip=len(rows) - 1)) == rows[-1:]
        assert list(read_file(path, skip=len(rows))) == []


def test_a_flipped_byte_in_an_archive_is_noticed(tmp_path: Path) -> None:
    path = as_zip(tmp_path)
    data = bytearray(path.read_bytes())
    at = data.index(b"data/b.jsonl") + 60
    data[at] ^= 0xFF
    path.write_bytes(data)
    assert "rest of the file unreadable" in [reason for _, reason in places(read_file(path))]


def test_csv_with_line_breaks_in_cells_keeps_its_lines(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_bytes(
        b'\xef\xbb\xbfinstruction,output\r\n"Two\r\nlines","a ""b"""\r\n\r\none\r\nx,\xff\r\n'
        b'x,y,z\r\nQ,A\r\n"x"y,z\r\nR,B\r\n"never'
    )
    rows = list(read_file(path))
    assert places(rows) == [
        (2, ""),
        (5, "wrong number of columns"),
        (6, "broken UTF-8"),
        (7, "wrong number of columns"),
        (8, ""),
        (9, "broken CSV"),
        (10, ""),
        (11, "broken CSV"),
    ]
    assert said(rows[0]) == [("user", "Two\r\nlines"), ("assistant", 'a "b"')]


def test_a_table_may_hold_messages_as_json_and_use_semicolons(tmp_path: Path) -> None:
    turns = json.dumps([{"role": "user", "content": "Q"}, {"role": "assistant", "content": "A"}]).replace('"', '""')
    path = tmp_path / "x.csv"
    path.write_text(f'id;messages\n1;"{turns}"\n')
    assert [said(row) for row in read_file(path)] == [[("user", "Q"), ("assistant", "A")]]


def test_a_parquet_file_has_nested_fields_and_rows_by_number(tmp_path: Path) -> None:
    rows = [
        {"conversations": [{"from": "human", "value": "Q"}, {"from": "gpt", "value": "A"}]},
        {"conversations": None},
    ]
    path = tmp_path / "x.parquet"
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    assert places(read_file(path)) == [(1, ""), (2, "missing field")]


def test_a_parquet_file_with_broken_text_loses_that_row_alone(tmp_path: Path) -> None:
    questions = pyarrow.array([b"Q", b"\xff", b"R"]).view(pyarrow.string())
    table = pyarrow.table({"prompt": questions, "completion": pyarrow.array(["A", "A", "A"])})
    path = tmp_path / "x.parquet"
    pyarrow.parquet.write_table(table, path)
    assert places(read_file(path)) == [(1, ""), (2, "broken UTF-8"), (3, "")]


def test_row_groups_of_a_parquet_file_that_are_skipped_are_not_read(tmp_path: Path) -> None:
    path = as_parquet(tmp_path)
    whole = list(read_file(path))
    data = bytearray(path.read_bytes())
    data[4:40] = b"\xff" * 36  # in the first group
    path.write_bytes(data)
    assert reason(next(read_file(path, "alpaca"))) == "rest of the file unreadable"
    assert list(read_file(path, "alpaca", skip=40)) == whole[40:]


def test_each_line_of_a_text_file_is_a_text(tmp_path: Path) -> None:
    path = dump(tmp_path / "x.txt", "Eins.\r\n\nZwei é.\n".encode() + b"\xff\n")
    rows = list(read_file(path))
    assert places(rows) == [(1, ""), (3, ""), (4, "broken UTF-8")]
    assert said(rows[1]) == [("assistant", "Zwei é.")]


def test_what_python_writes_and_json_does_not_know_is_read(tmp_path: Path) -> None:
    path = dump(
        tmp_path / "x.jsonl", b'{"instruction": "a\tb", "output": "A", "score": NaN, "n": 1%s}\n' % (b"0" * 400)
    )
    assert [said(row)[0][1] for row in read_file(path)] == ["a\tb"]


def test_a_long_row_is_neither_held_nor_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sft.data.json_rows.ROW_LIMIT", 1000)
    monkeypatch.setattr("sft.data.json_stream.ROW_LIMIT", 1000)
    monkeypatch.setattr("sft.data.tables.ROW_LIMIT", 1000)
    monkeypatch.setattr("sft.data.json_rows.CHUNK", 100)
    long = {"instruction": "x" * 3000, "input": "\n", "output": "y"}
    expected = [(1, ""), (2, "row too long"), (3, ""), (4, "row too long")]
    lines = write_lines(tmp_path / "a.jsonl", [ALPACA, long, ALPACA, long])
    assert places(read_file(lines)) == expected
    listed = tmp_path / "b.json"
    listed.write_text("[" + ",\n".join(json.dumps(row) for row in (ALPACA, long, ALPACA, long)) + "]")
    assert places(read_file(listed)) == expected
    table = tmp_path / "c.csv"
    table.write_text("instruction,output\nQ,A\nx," + "y" * 3000 + "\nQ,A\nx," + "y" * 3000)
    assert places(read_file(table)) == [(line + 1, why) for line, why in expected]


def test_deep_nesting_is_a_bad_row(tmp_path: Path) -> None:
    deep = b'{"instruction": ' + b"[" * 200_000 + b"]" * 200_000 + b"}"
    lines = write_lines(tmp_path / "x.jsonl", [ALPACA, deep, ALPACA])
    assert places(read_file(lines)) == [(1, ""), (2, "nested too deeply"), (3, "")]
    listed = dump(tmp_path / "x.json", b"[" + deep + b",\n" + json.dumps(ALPACA).encode() + b"]")
    assert places(read_file(listed, "alpaca")) == [(1, "nested too deeply"), (2, "")]


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("x.jsonl", "{}".encode("utf-16"), "UTF-16"),
        ("x.bin", b"\x00\x01", "of no kind"),
        ("x.zip", b"PK\x03\x04", "no zip archive"),
        ("x.tar.gz", b"\x1f\x8b", "no tar archive"),
        ("x.parquet", b"PAR1", "no parquet file"),
        ("x.csv", b'"a', "the columns' names is broken"),
    ],
)
def test_a_file_that_cannot_be_read_at_all(tmp_path: Path, name: str, data: bytes, words: str) -> None:
    with pytest.raises(SftError, match=words) as caught:
        list(read_file(dump(tmp_path / name, data)))
    assert name in caught.value.message and caught.value.hint


def test_an_archive_without_rows_or_with_a_password(tmp_path: Path) -> None:
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("README.md", "no rows")
    with pytest.raises(SftError, match=r"README\.md"):
        list(read_file(path))
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x.jsonl", json.dumps(ALPACA))
    data = bytearray(path.read_bytes())
    for signature, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(signature) + flags] |= 1  # says that it is encrypted
    path.write_bytes(data)
    with pytest.raises(SftError, match="cannot be unpacked"):
        list(read_file(path))


@pytest.mark.parametrize("data", [b"", b"\n\n", b"[]", b" [ ] \n", b'{"type": "text_only", "instances": []}'])
def test_a_file_without_rows_has_none(tmp_path: Path, data: bytes) -> None:
    assert list(read_file(dump(tmp_path / "x.json", data))) == []


def test_a_name_need_not_be_utf_8(tmp_path: Path) -> None:
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.jsonl"))
    write_lines(path, [ALPACA])
    (row,) = read(Source(str(path)))
    assert row.source.encode().endswith(rb"\udcff.jsonl")
