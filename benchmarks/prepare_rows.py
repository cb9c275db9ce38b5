"""Prepare 100 MB and 1 GB of rows: python -m benchmarks.prepare_rows [--megabytes N]

Time and the memory of all its processes together. Exits 1 when a bar is missed: 1.5 GB resident, and ten times the rows
in at most 12 times the time (what is left over is for a machine that other work shares).
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

from benchmarks.sft import WORDS
from engine.checkpoints.paths import data_dir
from engine.checkpoints.starter import starter_installed, starter_path

BAR_BYTES = 1.5e9
BAR_RATIO = 12.0
_LOOK_S = 0.2

PREPARE = """
import sys
from pathlib import Path
from engine.checkpoints.describe import describe
from sft.data.prepare import Selection, prepare
from sft.data.sources import Source
from sft.data.tokenizer import read_chat_tokenizer
if __name__ == "__main__":
    base, rows, folder = map(Path, sys.argv[1:])
    chat = read_chat_tokenizer(describe(base))
    selection = Selection(sources=(Source(str(rows)),), max_length=512)
    print(len(prepare(selection, chat, folder)))
"""


def write_rows(path: Path, size: int) -> int:
    """So many bytes of questions and answers, no two alike; how many rows they are."""
    chance = random.Random(0)
    written = rows = 0
    with path.open("w", encoding="utf-8") as file:
        while written < size:
            answer = " ".join(chance.choices(WORDS, k=chance.randint(10, 120)))
            row = {"instruction": f"What of number {rows}?", "input": "", "output": answer}
            written += file.write(json.dumps(row) + "\n")
            rows += 1
    return rows


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megabytes", type=int, default=1000, help="of the larger file")
    largest = parser.parse_args().megabytes
    if not starter_installed(data_dir()):
        print("The starter model is not installed: hugchat --model starter")
        return 1
    times, peaks = [], []
    for megabytes in (largest // 10, largest):
        with tempfile.TemporaryDirectory() as name:
            rows = Path(name, "rows.jsonl")
            count = write_rows(rows, megabytes * 1_000_000)
            took, peak = _measured(rows, Path(name, "data"), count)
        times.append(took)
        peaks.append(peak)
        print(f"{megabytes:,} MB, {count:,} rows: {took:.0f} s, {peak / 1e6:,.0f} MB resident", flush=True)
    ratio = times[1] / times[0]
    print(f"ten times the rows take {ratio:.1f} times the time (bar {BAR_RATIO:.0f})")
    return int(ratio > BAR_RATIO or max(peaks) > BAR_BYTES)


def _measured(rows: Path, folder: Path, count: int) -> tuple[float, int]:
    """(seconds, the most bytes that its processes had resident at one time)."""
    program = folder.with_name("prepare.py")  # a file, which its child processes can import
    program.write_text(PREPARE)
    folder.mkdir()
    begun = time.perf_counter()
    child = subprocess.Popen(
        [sys.executable, str(program), str(starter_path(data_dir())), str(rows), str(folder)],
        stdout=subprocess.PIPE,
        text=True,
    )
    peak = 0
    while child.poll() is None:
        peak = max(peak, _resident(child.pid))
        time.sleep(_LOOK_S)
    assert child.stdout is not None
    if child.returncode or int(child.stdout.read()) != count:
        raise SystemExit("the rows were not all prepared")
    return time.perf_counter() - begun, peak


def _resident(pid: int) -> int:
    """What is shared between the processes counts once: the proportional set size."""
    total = 0
    try:
        process = psutil.Process(pid)
        for each in (process, *process.children(recursive=True)):
            total += each.memory_full_info().pss
    except psutil.Error:
        pass
    return total


if __name__ == "__main__":
    sys.exit(main())
