"""What a checkpoint that this program made says of its origin: hugchat.json in its folder.

{"made": "merge" or "convert", "from": [{"name", "path", "revision"}, ...], "at": ISO time, "version": ...}
"""

from __future__ import annotations

from pathlib import Path

from engine.checkpoints.reading import UnreadableError, read_json_object

PROVENANCE = "hugchat.json"
_LIMIT = 64 * 1024
_ORIGINS = 8
_SHOWN = 4096  # characters of a name, which may be a path


def read_provenance(directory: Path) -> tuple[str, tuple[str, ...]]:
    """("merge" or "convert", the names of what it was made of, in their order); ("", ()) when it does not say."""
    try:
        content = read_json_object(directory / PROVENANCE, _LIMIT) or {}
    except UnreadableError:
        return "", ()  # the checkpoint loads without it
    made, origins = content.get("made"), content.get("from")
    if made not in ("merge", "convert") or not isinstance(origins, list):
        return "", ()
    names = (origin.get("name") if isinstance(origin, dict) else origin for origin in origins[:_ORIGINS])
    return str(made), tuple(name[:_SHOWN] for name in names if isinstance(name, str))
