"""Reading takes no more memory for a larger file, whatever its layout."""

from __future__ import annotations

import gzip
import itertools
import json
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

# VmHWM, not ru_maxrss: that begins with what the process had that started this one (Linux keeps it across exec).
_READ = """
import re, sys
from pathlib import Path
from sft.data.duplicates import Duplicates
from sft.data.language import language
from sft.data.reading import read_file
rows = 0
for row in read_file(sys.argv[1]):
    rows += 1
peak = re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())
print(rows, int(peak[1]) // 1024)
"""


def rows(count: int) -> Iterator[dict[str, str]]:
    for number in range(count):
        yield {"instruction": f"Question {number}", "input": "", "output": f"{number} and more words. " * 20}


def write(path: Path, count: int) -> None:
    lines = (json.dumps(row).encode() + b"\n" for row in rows(count))
    if path.name.endswith(".gz"):
        with gzip.open(path, "wb", compresslevel=1) as file:
            file.writelines(lines)
    elif path.suffix == ".parquet":
        made = rows(count)
        batches = iter(lambda: list(itertools.islice(made, 5000)), [])
        schema = pyarrow.Table.from_pylist([next(rows(1))]).schema
        with pyarrow.parquet.ParquetWriter(path, schema) as writer:
            for batch in batches:
                writer.write_table(pyarrow.Table.from_pylist(batch, schema=schema))
    elif path.suffix == ".json":
        with path.open("wb") as file:
            file.write(b"[")
            file.writelines(b"," * bool(number) + line for number, line in enumerate(lines))
            file.write(b"]")
    else:
        with path.open("wb") as file:
            file.writelines(lines)


def peak(path: Path) -> tuple[int, int]:
    """Rows read and MiB resident at most."""
    done = subprocess.run([sys.executable, "-c", _READ, str(path)], capture_output=True, check=True, timeout=250)
    count, mib = map(int, done.stdout.split())
    return count, mib


@pytest.mark.slow
@pytest.mark.parametrize("name", ["x.jsonl", "x.json", "x.jsonl.gz", "x.parquet"])
def test_memory_does_not_grow_with_the_file(tmp_path: Path, name: str) -> None:
    small, large = tmp_path / f"small-{name}", tmp_path / f"large-{name}"
    write(small, 2_000)
    write(large, 200_000)  # some 100 MB of JSON
    few, before = peak(small)
    many, after = peak(large)
    assert (few, many) == (2_000, 200_000)
    assert after < before + 60
    assert after < 300


@pytest.mark.slow
def test_a_line_of_200_mb_is_not_held(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    with path.open("wb") as file:
        file.write(json.dumps(next(rows(1))).encode() + b'\n{"instruction": "')
        for _ in range(200):
            file.write(b"x" * 2**20)
        file.write(b'", "output": "y"}\n')
    count, mib = peak(path)
    assert count == 2
    assert mib < 250


@pytest.mark.slow
def test_the_first_rows_are_not_all_held_where_they_are_long(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    with path.open("wb") as file:
        for _ in range(60):
            file.write(b'{"text": "' + b"x" * (10 * 2**20) + b'"}\n')
    count, mib = peak(path)
    assert count == 60
    assert mib < 350


@pytest.mark.slow
@pytest.mark.parametrize("opening", [b"", b'[{"text": "'])
def test_an_archive_that_unpacks_to_a_gigabyte_is_not_held(tmp_path: Path, opening: bytes) -> None:
    path = tmp_path / "x.zip"
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
        archive.open("x.json", "w", force_zip64=True) as member,
    ):
        member.write(opening)
        for _ in range(1024):
            member.write(b"x" * 2**20)
    count, mib = peak(path)
    assert count == 1
    assert mib < 250
