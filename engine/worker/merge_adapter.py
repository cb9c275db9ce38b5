"""Writes the sum of a base and an adapter as a standard directory of safetensors, in the base's type.

    python -m engine.worker.merge_adapter JOB

JOB and what is printed are those of convert_checkpoint. The adapter's weights are added by PEFT, which refuses a sum
that is not finite.
"""

from __future__ import annotations

from pathlib import Path

from engine.checkpoints.children import OnProgress
from engine.checkpoints.conversion import Job
from engine.worker.convert_checkpoint import carry_out


def merge(job: Job, progress: OnProgress) -> None:
    """Fill the job's directory; its origins are the base and the adapter. Raises as convert_checkpoint.convert."""
    import torch

    from engine.worker.loading import load_checkpoint
    from engine.worker.made_checkpoint import check_finite, stored_dtype, write

    base, adapter = (Path(origin.path) for origin in job.origins)
    dtype = stored_dtype(base)
    summed_in = torch.float32 if job.float32 else dtype
    loaded = load_checkpoint(adapter, base, torch.device("cpu"), summed_in, progress)
    check_finite(loaded.model.to(dtype), job)
    write(loaded, base, dtype, job, progress)


if __name__ == "__main__":
    carry_out(merge)
