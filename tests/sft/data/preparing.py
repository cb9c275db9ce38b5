"""Prepares a set in a process of its own, which tells its progress and waits for a word after each time:

    python -m tests.sft.data.preparing CHAT_TOKENIZER DATA_DIR ROWS WORKERS

A line {"rows", "documents"} on stdout for each progress, after which it waits to read one; then {"done": path} or
{"error"}.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from sft.data import filling, prepare
from sft.data.sources import Source
from sft.data.tokenizer import ChatTokenizer
from sft.errors import SftError

SHARD_TOKENS = 5000
SHARD_ROWS = 300
BATCH_ROWS = 32


def selection(rows: Path) -> prepare.Selection:
    """Two sources, the first with a weight and a cap; most of the second repeats the first."""
    sources = Source(str(rows), weight=1.5, cap=2100), Source(str(rows), format="alpaca", cap=1400)
    return prepare.Selection(sources=sources, max_length=64, held_out=0.1)


def say(**words: object) -> None:
    sys.stdout.write(json.dumps(words) + "\n")
    sys.stdout.flush()


def progress(rows: int, done: int, total: int, documents: int, tokens: int) -> None:
    say(rows=rows, documents=documents)
    sys.stdin.readline()


def main() -> None:
    filling.SHARD_TOKENS = SHARD_TOKENS
    filling.SHARD_ROWS = SHARD_ROWS
    filling.BATCH_ROWS = BATCH_ROWS
    prepare._REPORT_EVERY_S = 0.0
    chat, data_dir, rows, workers = sys.argv[1:]
    try:
        made = prepare.prepare(
            selection(Path(rows)),
            ChatTokenizer.load(Path(chat)),
            Path(data_dir),
            workers=int(workers),
            progress=progress,
        )
    except SftError as error:
        say(error=str(error))
    else:
        say(done=str(made.path))


if __name__ == "__main__":
    main()
