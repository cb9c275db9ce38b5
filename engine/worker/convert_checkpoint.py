"""Writes a GGUF file or a model of .bin files as a standard directory of safetensors.

    python -m engine.worker.convert_checkpoint JOB

JOB: a conversion.Job as JSON. Lines of JSON on stdout: {"stage", "done", "total"}, and at the end, if it failed,
{"code", "message", "hint"}.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec

from engine.checkpoints.children import OnProgress, connect_to_parent
from engine.checkpoints.conversion import Job
from engine.priority import lower_priority

_NICENESS = 10


def convert(job: Job, progress: OnProgress) -> None:
    """Fill the job's directory. Raises what load_checkpoint raises, OSError or SafetensorError."""
    import torch

    from engine.worker.loading import load_checkpoint
    from engine.worker.made_checkpoint import stored_dtype, write

    source = Path(job.origins[0].path)
    dtype = stored_dtype(source)
    loaded = load_checkpoint(source, None, torch.device("cpu"), dtype, progress)
    write(loaded, source, dtype, job, progress)


def carry_out(make: Callable[[Job, OnProgress], None]) -> None:
    """What both converters do around their work; libraries are imported only once the environment is set."""
    report = connect_to_parent()
    lower_priority(_NICENESS)
    os.environ["HF_HUB_OFFLINE"] = "1"
    from engine.worker.made_checkpoint import run

    run(msgspec.json.decode(sys.argv[1], type=Job), report, make)


if __name__ == "__main__":
    carry_out(convert)
