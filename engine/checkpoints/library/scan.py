"""Takes stock of the library in a child process of low priority, and passes rows on as they are found.

python -m engine.checkpoints.library.scan CACHE DATA [FOLDER ...]
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from engine.checkpoints.children import ChildFailedError, end_with_parent, run_module
from engine.checkpoints.library.index import load_known, save_index
from engine.checkpoints.library.inventory import Stocktaking
from engine.checkpoints.library.read_ahead import read_ahead
from engine.checkpoints.library.rows import Inventory, Places, Row, row_from_plain, to_json
from engine.checkpoints.paths import models_dir, runs_dir
from engine.checkpoints.reading import reason
from engine.errors import EngineError
from engine.priority import lower_priority

__all__ = ["Inventory", "Places", "scan"]

_NICENESS = 10
_BATCH = 64  # rows
_BATCH_S = 0.05


class ScanError(EngineError):
    """The library could not be looked through."""

    code = "scan"


async def scan(places: Places, on_rows: Callable[[Sequence[Row]], None]) -> Inventory:
    """Everything that lies in these places. The index is written anew, so that the next scan is a fast one.

    on_rows: is called in this event loop with rows as they are found, and once more with those that became different
    because of others (an adapter's base, shared bytes, lineage); a row replaces the one with its key. Cancelling ends
    the child. Raises ScanError.
    """
    found: dict[str, Row] = {}
    totals: dict[str, int] = {}

    def on_line(line: str) -> None:
        message = json.loads(line)
        totals.update(message["totals"])
        rows = [row_from_plain(row) for row in message["rows"]]
        found.update((row.key, row) for row in rows)
        if rows:
            on_rows(rows)

    arguments = [str(path) for path in (places.cache_dir, places.data_dir, *places.folders)]
    try:
        await run_module(("engine.checkpoints.library.scan", *arguments), on_line)
    except ChildFailedError as error:
        why = error.tail[-1] if error.tail else f"its process ended with status {error.status}"
        raise ScanError(f"The library could not be looked through: {why}", "Try again.") from error
    except (OSError, ValueError) as error:  # ValueError: a NUL in a folder's path
        raise ScanError(
            f"The library could not be looked through: {reason(error)}.",
            "Make room (processes, open files or memory ran out) and try again.",
        ) from error
    return Inventory(tuple(found.values()), totals["shared_bytes"], totals["total_bytes"])


def main() -> None:
    cache, data, *folders = map(Path, sys.argv[1:])
    places = Places(cache, data, tuple(folders))
    known = load_known(data)
    lower_priority(_NICENESS)
    # Not the person's folders: much else may lie there.
    ahead = read_ahead([str(path) for path in (cache, models_dir(data), runs_dir(data))]) if not known else 0
    end_with_parent()
    stocktaking = Stocktaking(places, known)
    sent: dict[str, Row] = {}
    batch: list[Row] = []
    begun = time.monotonic()
    for row in stocktaking.rows():
        batch.append(row)
        if len(batch) == _BATCH or time.monotonic() - begun > _BATCH_S:
            _send(batch)
            sent.update((each.key, each) for each in batch)
            batch, begun = [], time.monotonic()
    if ahead:
        os.kill(ahead, signal.SIGKILL)  # all was read; it is a child of ours, so the id is still its own
    inventory = stocktaking.inventory()
    unsent = [row for row in inventory.rows if sent.get(row.key) != row]
    for first in range(0, len(unsent), _BATCH):
        _send(unsent[first : first + _BATCH])
    _send([], shared_bytes=inventory.shared_bytes, total_bytes=inventory.total_bytes)
    try:
        save_index(places, inventory.rows, stocktaking.known)
    except OSError as error:
        # What was found was passed on; only the next scan will be slower.
        sys.stderr.write(f"the library's index could not be written: {error}\n")


def _send(rows: Sequence[Row], **totals: int) -> None:
    sys.stdout.write(to_json({"rows": rows, "totals": totals}) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
