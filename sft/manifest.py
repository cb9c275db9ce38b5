"""manifest.json of a checkpoint: {"files": {path below it: {"size": bytes, "sha256": 64 hex digits}}}, all but itself.

The same format is read by engine.checkpoints.library.verify.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

MANIFEST = "manifest.json"
_LIMIT = 16 * 1024 * 1024


def write_manifest(directory: Path) -> None:
    """List what is there now."""
    files = {name: {"size": path.stat().st_size, "sha256": _sha256(path)} for name, path in _files(directory)}
    (directory / MANIFEST).write_text(json.dumps({"files": files}, indent=1) + "\n", "utf-8")


def manifest_problem(directory: Path, *, hashes: bool) -> str | None:
    """What is not as the manifest says, in words; None when everything is. hashes: read the contents too."""
    path = directory / MANIFEST
    try:
        if path.stat().st_size > _LIMIT:
            return "its manifest is too large"
        listed = json.loads(path.read_bytes())["files"]
        wanted = {str(name): (int(entry["size"]), str(entry["sha256"])) for name, entry in listed.items()}
    except FileNotFoundError:
        return "it has no manifest"
    except (OSError, ValueError, OverflowError, RecursionError, LookupError, TypeError, AttributeError) as error:
        return f"its manifest cannot be read ({type(error).__name__})"
    try:
        there = dict(_files(directory))
        if missing := sorted(wanted.keys() - there.keys()):
            return f"{missing[0]} is missing"
        if foreign := sorted(there.keys() - wanted.keys()):
            return f"{foreign[0]} is not in its manifest"
        for name, (size, digest) in wanted.items():
            if there[name].stat().st_size != size:
                return f"{name} has {there[name].stat().st_size:,} bytes and should have {size:,}"
            if hashes and _sha256(there[name]) != digest:
                return f"{name} is not what was written"
    except OSError as error:
        return f"it cannot be read ({error.strerror})"
    return None


def _files(directory: Path) -> list[tuple[str, Path]]:
    found = []
    for root, _, names in os.walk(directory):
        for name in names:
            path = Path(root, name)
            inside = path.relative_to(directory).as_posix()
            if inside != MANIFEST:
                found.append((inside, path))
    return sorted(found)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
