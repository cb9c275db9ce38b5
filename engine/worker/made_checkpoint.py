"""Writes a model that was loaded here as a standard directory; what convert_checkpoint and merge_adapter share."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import traceback
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import msgspec
import torch
from safetensors import SafetensorError
from transformers import PreTrainedModel

from engine.checkpoints.children import Report
from engine.checkpoints.conversion import SHARD_BYTES, ConversionError, Job
from engine.checkpoints.describe import describe
from engine.checkpoints.hub_cache import parse_hub_reference
from engine.checkpoints.library.verify import MANIFEST
from engine.checkpoints.making import flush_tree
from engine.checkpoints.provenance import PROVENANCE
from engine.checkpoints.reading import UnreadableError
from engine.checkpoints.weights import find_weights
from engine.errors import CheckpointRefusedError, EngineError, NotEnoughMemoryError
from engine.worker.loading import LoadedCheckpoint, Progress, refusing
from engine.worker.refusal import check_model_directory, read_json

_CARD = "README.md"
TOKENIZER_FILES = re.compile(
    r"tokenizer\.json|tokenizer_config\.json|special_tokens_map\.json|added_tokens\.json|vocab\.(json|txt)|merges\.txt"
    r"|chat_template\.(jinja|json)|tekken\.json|[\w.-]+\.(model|tiktoken)"
)
LICENCE_FILES = re.compile(r"(LICEN[CS]E|NOTICE|COPYING|USE_POLICY)[\w.-]*", re.IGNORECASE)
_LICENCE_NAME = re.compile(r"[\w.+-]{1,60}")
_CHUNK = 4 * 1024 * 1024


def run(job: Job, report: Report, make: Callable[[Job, Progress], None]) -> None:
    """Make the checkpoint and report progress; a failure that can be put into words is the last report."""

    def progress(stage: str, done: int, total: int) -> None:
        report({"stage": stage, "done": done, "total": total})

    try:
        make(job, progress)
    except EngineError as error:
        failure = error
    except (MemoryError, torch.OutOfMemoryError):
        traceback.print_exc()
        failure = NotEnoughMemoryError(
            f"The memory was not enough to make {job.name}.", "Unload models or close other programs, then try again."
        )
    except (OSError, SafetensorError) as error:
        traceback.print_exc()
        failure = ConversionError(f"{job.name} could not be written: {error}", "Check free disk space and try again.")
    else:
        return
    report({"code": failure.code, "message": failure.message, "hint": failure.hint})


def stored_dtype(path: Path) -> torch.dtype:
    """The type most weights of a model directory or GGUF file have; bfloat16 for packed GGUF blocks.

    Raises CheckpointRefusedError for weights that are packed by a quantisation of their own, which merging and
    rewriting would lose or misread, and for files that cannot be read.
    """
    if path.is_file():
        return {"F32": torch.float32, "F16": torch.float16}.get(describe(path).dtype, torch.bfloat16)
    check_model_directory(path)
    if quantization := read_json(path / "config.json").get("quantization_config"):
        method = quantization.get("quant_method") if isinstance(quantization, dict) else ""
        raise CheckpointRefusedError(
            f"The weights of {path.name} are packed ({str(method)[:80]}).",
            "Choose the version of this checkpoint that is not quantized.",
        )
    counts: dict[torch.dtype, int] = {}
    try:
        files = find_weights(path)
    except UnreadableError as error:
        raise CheckpointRefusedError(f"{path.name} cannot be loaded. {error}.", "Fetch it again.") from error
    with refusing(path):
        for file in files:
            for dtype, elements in _elements(file):
                counts[dtype] = counts.get(dtype, 0) + elements
    return max(counts, key=counts.__getitem__, default=torch.float32)


def _elements(file: Path) -> Iterable[tuple[torch.dtype, int]]:
    """(type, count) of each floating-point tensor; no tensor is read."""
    if file.suffix == ".safetensors":
        from safetensors import safe_open

        with safe_open(file, framework="pt") as opened:
            names = list(opened.keys())
            tensors = [opened.get_slice(name) for name in names]
            found = [(_DTYPES.get(each.get_dtype()), torch.Size(each.get_shape()).numel()) for each in tensors]
        return [(dtype, count) for dtype, count in found if dtype is not None]
    content = torch.load(file, map_location="meta", weights_only=True)
    return [(each.dtype, each.numel()) for each in content.values() if each.is_floating_point()]


_DTYPES = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}


def check_finite(model: PreTrainedModel, job: Job) -> None:
    """Refuse a sum that float16 cannot hold, or that was not finite to begin with."""
    for name, parameter in model.named_parameters():
        if not torch.isfinite(parameter).all():
            raise CheckpointRefusedError(
                f"{job.name} would hold infinite or undefined weights in {name} ({parameter.dtype}).",
                "The adapter or its base is broken, or they do not belong together.",
            )


def write(loaded: LoadedCheckpoint, model_path: Path, dtype: torch.dtype, job: Job, progress: Progress) -> None:
    """Fill the job's directory and flush it to disk.

    model_path: the directory or GGUF file that the weights came from. config.json, generation_config.json, tokenizer
    and template are copied as they are where there are files of them, and written out of a GGUF file's header else.
    """
    directory = Path(job.directory)
    progress("writing", 0, 0)
    loaded.model.to(dtype).save_pretrained(directory, max_shard_size=SHARD_BYTES)
    if model_path.is_dir():
        copy_files(model_path, directory, re.compile(r"(generation_)?config\.json"))
    if loaded.tokenizer_path.is_dir():
        copy_files(loaded.tokenizer_path, directory, TOKENIZER_FILES)
    else:
        loaded.tokenizer.save_pretrained(directory)
    copy_files(model_path if model_path.is_dir() else model_path.parent, directory, LICENCE_FILES)
    if model_path.is_dir() and job.made == "convert" and (model_path / _CARD).is_file():
        shutil.copyfile(model_path / _CARD, directory / _CARD)
    else:
        (directory / _CARD).write_text(_card(job), "utf-8")
    origin = {
        "made": job.made,
        "from": [msgspec.to_builtins(each) for each in job.origins],
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "version": version("hugchat-tui"),
        "notes": list(loaded.notes),
    }
    (directory / PROVENANCE).write_text(json.dumps(origin, indent=2, ensure_ascii=False) + "\n", "utf-8")
    _write_manifest(directory, progress)
    flush_tree(directory)


def copy_files(source: Path, directory: Path, names: re.Pattern[str]) -> None:
    """Copy the regular files of a directory whose whole name matches."""
    for path in source.iterdir():
        if names.fullmatch(path.name) and path.is_file():
            shutil.copyfile(path, directory / path.name)


def _card(job: Job) -> str:
    """A model card. Names come from outside: only those that are Hub ids enter its header."""
    head = ["pipeline_tag: text-generation"]
    if _LICENCE_NAME.fullmatch(job.licence):
        head.append(f"license: {job.licence}")
    ids = [each.name for each in job.origins if parse_hub_reference(each.name) and "/" in each.name]
    if ids:
        head.append("base_model:")
        head += [f"- {name.partition('@')[0]}" for name in ids]
    what = "An adapter merged into its base" if job.made == "merge" else "Converted to safetensors"
    made_from = [f"- {' '.join(each.name.split())}" for each in job.origins]
    lines = ["---", *head, "---", f"# {job.name}", "", f"{what} by HugChat, from:", "", *made_from]
    return "\n".join(lines) + "\n"


def _write_manifest(directory: Path, progress: Progress) -> None:
    """What library.verify compares the files with; it describes the format."""
    paths = sorted(path for path in directory.iterdir() if path.is_file())
    total = sum(path.stat().st_size for path in paths)
    files: dict[str, dict[str, str | int]] = {}
    done = 0
    for path in paths:
        digest = hashlib.sha256()
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
                done += len(chunk)
                progress("checksums", done, total)
        files[path.name] = {"size": path.stat().st_size, "sha256": digest.hexdigest()}
    (directory / MANIFEST).write_text(json.dumps({"files": files}, indent=2) + "\n", "utf-8")
