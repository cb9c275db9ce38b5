"""One rank of a training run: python -m sft.training RUN_DIRECTORY

Exit status 0: done or stopped as asked; 1: failed, and the run's `end` event says of what. What all of its libraries
print goes to the log that the launcher gave it.
"""

from __future__ import annotations

import logging
import os
import sys
import time
import traceback
from pathlib import Path

import torch
import torch.distributed as dist

from engine.errors import EngineError
from engine.priority import stand_back
from sft import config, events
from sft.events import EventWriter
from sft.runs import RunDirectory
from sft.training.train import train
from sft.training.world import part

_MEMORY_WORDS = ("out of memory", "can't allocate memory", "cannot allocate memory", "not enough memory")
_LOOKS, _LOOK_S = 20, 0.25  # for the word of a rank that is gone
_LOST_WORDS = (
    "connection closed by peer",
    "connection reset",
    "connection refused",
    "timed out waiting",
    "socket timeout",
)


def main() -> int:
    run, begun = Path(sys.argv[1]), time.time()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    try:
        stand_back(config.load(RunDirectory.at(run).recipe).launch.nice)
        ended = train(run)
    except KeyboardInterrupt:
        return 1
    except BaseException as error:  # noqa: BLE001 - whatever ends a run is told in it
        traceback.print_exc()
        words, hint = explained(error)
        if "is gone" not in words or not _told_meanwhile(run, begun):
            _end(run, "failed", words, hint)
        _leave_now()
    if _rank() == 0:
        _end(run, ended, "", "")
    part()
    return 0


def explained(error: BaseException) -> tuple[str, str]:
    """What happened and what to do about it."""
    text = " ".join(str(error).split())
    lowered = text.lower()
    if isinstance(error, EngineError):
        return error.message, error.hint
    if isinstance(error, MemoryError | torch.OutOfMemoryError) or any(words in lowered for words in _MEMORY_WORDS):
        return (
            "The memory was not enough for a training step.",
            "Lower training.batch_size or data.max_length, set training.gradient_checkpointing = true, train LoRA"
            " instead of all weights, or spread over more devices with launch.zero; hugchat sft run --dry-run shows"
            " the estimate.",
        )
    if any(words in lowered for words in _LOST_WORDS) or isinstance(error, dist.DistBackendError):
        return (
            f"Another rank of this run is gone: {text[:300]}",
            "See its log on its machine. hugchat sft resume goes on from the last checkpoint.",
        )
    if isinstance(error, OSError):
        return f"A file could not be read or written: {text[:300]}", "Check free disk space and the run's folder."
    return f"{type(error).__name__}: {text[:500]}", "train.log has the whole error."


def _told_meanwhile(run: Path, begun: float) -> bool:
    """Whether the rank that is gone has said why, within a few seconds; what others saw of it says less."""
    for _ in range(_LOOKS):
        records = events.last_records(run / events.EVENTS)
        if any(record["type"] == "end" and record["time"] >= begun for record in records):
            return True
        time.sleep(_LOOK_S)
    return False


def _rank() -> int:
    return int(os.environ.get("RANK", "0"))


def _end(run: Path, how: str, words: str, hint: str) -> None:
    last = next((each for each in reversed(events.last_records(run / events.EVENTS)) if "step" in each), {})
    with EventWriter(run / events.EVENTS) as writer:
        writer.write("end", how=how, step=last.get("step", 0), words=words, hint=hint)


def _leave_now() -> None:
    """Without waiting for ranks that wait for this one: leaving the process group in order would."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(1)


if __name__ == "__main__":
    sys.exit(main())
