"""Makes new checkpoints out of those that are here: GGUF or .bin to safetensors, and adapters merged into their base.

The work is done by a child process (engine/worker/convert_checkpoint.py, merge_adapter.py): cancelling kills it. What
comes out is a standard directory below the data folder's models/, whole or absent, with two files of this program:

    hugchat.json    {"made": "merge" | "convert", "from": [{"name", "path", "revision"}, ...], "at": ISO 8601 time,
                    "version": of this program, "notes": [...]}; `from` begins with the base of a merge
    manifest.json   what library.verify checks it against
"""

from __future__ import annotations

import asyncio
import errno
import json
import os
import re
import shutil
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Literal

import msgspec

from engine import memory
from engine.checkpoints.children import ChildFailedError, OnProgress, run_module
from engine.checkpoints.making import alone, put_in_place, remove_leftovers, temporary_directory
from engine.checkpoints.model import Checkpoint
from engine.checkpoints.paths import models_dir
from engine.checkpoints.reading import UnreadableError
from engine.checkpoints.starter import STARTER
from engine.checkpoints.weights import find_weights
from engine.errors import CheckpointRefusedError, EngineError, NotEnoughMemoryError, error_from_code

SHARD_BYTES = 2_000_000_000  # of the files written; a shard lies in memory twice while it is written

_LOCK = ".making.lock"
_TEMPORARY = ".making-tmp-"
_NAME = re.compile(r"\w(?:[\w.+ -]*[\w+-])?")
_LONGEST_NAME = 200  # bytes; file systems allow 255, and what is made beside it needs some
_SMALL_FILES = 100_000_000  # space for tokenizer, card and the like
_POLL_S = 0.2
_WIDTHS = {"float64": 8, "float32": 4, "F32": 4}
_NARROW = 2  # bytes a weight of every other kind, packed ones once unpacked


class ConversionError(EngineError):
    """A checkpoint could not be converted or merged for a reason that lies outside of it: name, space, a crash."""

    code = "conversion"


class Origin(msgspec.Struct, frozen=True):
    """A checkpoint that another one was made from."""

    name: str
    path: str
    revision: str = ""


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """What a child is to do. directory: an empty one, to be filled. float32: merge in it and round the result."""

    made: Literal["merge", "convert"]
    name: str
    directory: str
    origins: tuple[Origin, ...]
    licence: str = ""
    float32: bool = False


async def convert(checkpoint: Checkpoint, name: str, data_dir: Path, on_progress: OnProgress) -> Path:
    """Write a GGUF file or a model of .bin files as safetensors into models/NAME of the data folder.

    Weights of a GGUF file that are packed are unpacked to bfloat16; all others keep their type. on_progress: stages of
    loading, then "writing" and "checksums" in bytes. Raises CheckpointRefusedError, with loading's words where loading
    would refuse it, CheckpointNotFoundError, NotEnoughMemoryError or ConversionError.
    """
    if checkpoint.kind == "adapter":
        raise CheckpointRefusedError(f"{checkpoint.name} is an adapter.", "Merge it into its base instead.")
    _check_usable(checkpoint)
    await asyncio.to_thread(_check_needs_it, checkpoint)
    job = Job(made="convert", name=name, directory="", origins=(_origin(checkpoint),), licence=checkpoint.licence)
    out = _bytes_written(checkpoint)
    width = _WIDTHS.get(checkpoint.dtype, _NARROW)
    await _check_memory(name, _bytes_loaded(checkpoint, width) + min(out, SHARD_BYTES))
    return await _make("engine.worker.convert_checkpoint", job, data_dir, out, on_progress)


async def merge(adapter: Checkpoint, base: Checkpoint, name: str, data_dir: Path, on_progress: OnProgress) -> Path:
    """Add an adapter to its base's weights and write the sum, in the base's type, into models/NAME.

    The sum is taken in float32 where the memory allows it, else in the base's type. The tokenizer and the chat
    template are those that a chat with the adapter uses: its own if it has both files of a tokenizer, else the base's.
    on_progress and errors as in convert.
    """
    if adapter.kind != "adapter":
        raise CheckpointRefusedError(f"{adapter.name} is no adapter.", "Choose an adapter to merge.")
    _check_usable(base)
    out = _bytes_written(base)
    width = _WIDTHS.get(base.dtype, _NARROW)
    writing = min(out, SHARD_BYTES)
    free = (await asyncio.to_thread(memory.ram)).available
    wide = memory.with_overhead(_bytes_loaded(base, 4) + _bytes_loaded(adapter, 4) + writing) <= free
    if not wide:
        await _check_memory(name, _bytes_loaded(base, width) + _bytes_loaded(adapter, width) + writing)
    job = Job(
        made="merge",
        name=name,
        directory="",
        origins=(_origin(base), _origin(adapter)),
        licence=base.licence,
        float32=wide,
    )
    return await _make("engine.worker.merge_adapter", job, data_dir, out, on_progress)


def _check_usable(checkpoint: Checkpoint) -> None:
    if checkpoint.problem is not None:
        raise CheckpointRefusedError(f"{checkpoint.name} cannot be loaded. {checkpoint.problem}")


def _check_needs_it(checkpoint: Checkpoint) -> None:
    if checkpoint.kind == "gguf":
        return
    try:
        files = find_weights(checkpoint.path)
    except (UnreadableError, OSError) as error:
        raise CheckpointRefusedError(f"{checkpoint.name} cannot be read: {error}.", "Fetch it again.") from error
    if all(file.suffix == ".safetensors" for file in files):
        raise CheckpointRefusedError(f"{checkpoint.name} is in safetensors already.", "There is nothing to convert.")


def _origin(checkpoint: Checkpoint) -> Origin:
    return Origin(checkpoint.name, str(checkpoint.path), checkpoint.revision)


def _bytes_written(checkpoint: Checkpoint) -> int:
    if checkpoint.kind == "gguf":
        return checkpoint.parameters * _WIDTHS.get(checkpoint.dtype, _NARROW)
    return checkpoint.size_bytes


def _bytes_loaded(checkpoint: Checkpoint, width: int) -> int:
    """At the peak of loading: transformers unpacks all of a GGUF file to float32 before it casts."""
    parameters = checkpoint.parameters or checkpoint.size_bytes // _NARROW
    return parameters * (width + 4 if checkpoint.kind == "gguf" else width)


async def _check_memory(name: str, held: int) -> None:
    needed = memory.with_overhead(held)
    free = (await asyncio.to_thread(memory.ram)).available
    if needed > free:
        raise NotEnoughMemoryError(
            f"Making {name} needs about {memory.human(needed)} of memory; {memory.human(free)} is free.",
            "Unload models or close other programs, or use a machine with more memory.",
        )


async def _make(module: str, job: Job, data_dir: Path, size: int, on_progress: OnProgress) -> Path:
    if len(job.name.encode(errors="replace")) > _LONGEST_NAME or not _NAME.fullmatch(job.name):
        raise ConversionError(
            f"{job.name[:_LONGEST_NAME]!r} cannot be the name of a checkpoint.",
            "Use letters, digits, spaces and . _ + - for it, beginning with a letter or a digit.",
        )
    models = models_dir(data_dir)
    target = models / job.name
    try:
        await asyncio.to_thread(models.mkdir, parents=True, exist_ok=True)
        _check_free(target)
        async with alone(models / _LOCK, on_progress):
            await asyncio.to_thread(remove_leftovers, models, _TEMPORARY)
            _check_space(models, size + _SMALL_FILES)
            async with temporary_directory(models, _TEMPORARY) as directory:
                await _run(module, msgspec.structs.replace(job, directory=str(directory)), directory, size, on_progress)
                _check_free(target)
                await asyncio.to_thread(put_in_place, directory, target)
    except OSError as error:
        raise ConversionError(
            f"{job.name} could not be written to {models}: {error.strerror or error}.",
            "Make room or give access there, or choose another data folder with HUGCHAT_DATA_DIR.",
        ) from error
    return target


def _check_free(target: Path) -> None:
    if target.name.casefold() == STARTER or os.path.lexists(target):
        raise ConversionError(f"There is a {target.name} already.", "Choose another name, or delete that one first.")


def _check_space(models: Path, needed: int) -> None:
    free = shutil.disk_usage(models).free
    if needed > free:
        raise ConversionError(
            f"The result needs {needed / 1e9:.2f} GB in {models}; {free / 1e9:.2f} GB are free.",
            "Make room there, or choose another data folder with HUGCHAT_DATA_DIR.",
        )


async def _run(module: str, job: Job, directory: Path, size: int, on_progress: OnProgress) -> None:
    failure: dict[str, str] = {}
    stage = ""

    def on_line(line: str) -> None:
        nonlocal stage
        message = json.loads(line)
        if "stage" in message:
            stage = message["stage"]
            on_progress(stage, message["done"], message["total"])
        else:
            failure.update(message)

    async def watch() -> None:
        # From here, as safetensors lets no other thread of its process run while it writes.
        while True:
            await asyncio.sleep(_POLL_S)
            if stage == "writing":
                written = await asyncio.to_thread(_bytes_in, directory)
                on_progress("writing", min(written, size), size)

    watcher = asyncio.create_task(watch())
    try:
        await run_module((module, msgspec.json.encode(job).decode()), on_line)
    except ChildFailedError as error:
        raise _crashed(job.name, error) from error
    finally:
        watcher.cancel()
        with suppress(asyncio.CancelledError):
            await watcher
    if failure:
        code, message, hint = failure["code"], failure["message"], failure["hint"]
        if code == ConversionError.code:
            raise ConversionError(message, hint)
        raise error_from_code(code, message, hint)


def _bytes_in(directory: Path) -> int:
    with suppress(OSError):
        return sum(path.stat().st_size for path in directory.iterdir())
    return 0


def _crashed(name: str, error: ChildFailedError) -> EngineError:
    if error.status == -9:  # SIGKILL: not ours, a cancelled job raises no ChildFailedError
        return NotEnoughMemoryError(
            f"Making {name} was ended by the system, most likely because memory ran out.",
            "Unload models or close other programs, then try again.",
        )
    why = error.tail[-1] if error.tail else f"its process ended with status {error.status}"
    return ConversionError(f"{name} could not be made: {why}", _hint(error.tail))


def _hint(tail: Sequence[str]) -> str:
    if any(os.strerror(errno.ENOSPC) in line for line in tail):
        return "Make room on the disk, then try again."
    return "Try again; if it stays so, the lines above that one in the log tell more."
