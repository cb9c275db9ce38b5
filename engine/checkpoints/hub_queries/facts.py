"""Values out of the Hub's answers. None of these raises for a value of the wrong kind or size: it counts as unknown."""

from __future__ import annotations

from datetime import datetime

from engine.checkpoints.hub_queries.messages import Gated

_TAGS = 500
_LARGEST = 2**63 - 1
_LATEST_S = 2.0**35  # since the epoch: calendars end somewhere


def clipped(value: object, limit: int = 200) -> str:
    """A string of at most `limit` characters that can be encoded; not cleaned otherwise."""
    if not isinstance(value, str):
        return ""
    return value[:limit].encode("utf-8", "replace").decode()  # JSON may spell lone surrogates


def count(value: object) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _LARGEST else 0


def seconds(value: object) -> float:
    """Seconds since the epoch of a date as the Hub writes it, "2026-01-02T03:04:05.000Z", or as its client reads it."""
    try:
        date = datetime.fromisoformat(value) if isinstance(value, str) else value
        moment = date.timestamp() if isinstance(date, datetime) else 0.0
    except (ValueError, OverflowError):
        return 0.0
    return moment if 0 < moment < _LATEST_S else 0.0


def gated_how(value: object) -> Gated:
    if not value:
        return ""
    return "auto" if value == "auto" else "manual"


def parameters_of(safetensors: object, gguf: object) -> int:
    """How many parameters the Hub counted in the headers of the files; 0 when it did not."""
    for counted in (safetensors, gguf):
        total = count(counted.get("total")) if isinstance(counted, dict) else 0
        if total:
            return total
    return 0


def tags_of(value: object) -> tuple[str, ...]:
    return tuple(clipped(tag) for tag in value[:_TAGS]) if isinstance(value, list) else ()


def tagged(tags: tuple[str, ...], prefix: str) -> tuple[str, ...]:
    """What follows the prefix in the tags that have it: "apache-2.0" of "license:apache-2.0"."""
    return tuple(tag.removeprefix(prefix) for tag in tags if tag.startswith(prefix))
