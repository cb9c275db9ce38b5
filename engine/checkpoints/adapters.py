"""Adapters and the base models they stand on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from engine.checkpoints.describe import describe
from engine.checkpoints.hub_cache import parse_hub_reference
from engine.checkpoints.model import Checkpoint

Locate = Callable[[str], Checkpoint | None]
"""A checkpoint on this machine by the name or path an adapter's config gives its base; None when it is not here."""


def with_base(adapter: Checkpoint, locate: Locate) -> Checkpoint:
    """The adapter with its base's place, family and context, or with a problem naming the missing base.

    An adapter that has a problem of its own keeps that one. Anything but an adapter comes back as it is.
    """
    if adapter.kind != "adapter" or adapter.problem is not None:
        return adapter
    base = locate(adapter.base_name) or _at_path(adapter.base_name)
    if base is None:
        return replace(adapter, problem=_missing(adapter.base_name))
    found = replace(
        adapter,
        base=base.path,
        family=base.family,
        context_length=base.context_length,
        kv_bytes_per_token=base.kv_bytes_per_token,
        has_chat_template=adapter.has_chat_template or base.has_chat_template,
        template_source=adapter.template_source or ("base" if base.has_chat_template else ""),
    )
    if base.kind == "adapter":
        return replace(
            found,
            problem=f"Its base {_quoted(base.name)} is an adapter too. Merge that one into its base first.",
        )
    if base.problem is not None:
        return replace(found, problem=f"Its base {_quoted(base.name)} cannot be loaded: {base.problem}")
    return found


def _at_path(name: str) -> Checkpoint | None:
    try:
        path = Path(name).expanduser()
        return describe(path) if path.is_absolute() and path.exists() else None
    except (OSError, ValueError, RuntimeError):
        return None  # no path at all: too long, with a NUL, of an unknown user


def _missing(name: str) -> str:
    if parse_hub_reference(name) is not None:
        return f"Its base model {_quoted(name)} is not on this machine. Get it first: hugchat --model {name}"
    return (
        f"Its base model {_quoted(name)} is not on this machine. Put it there, or set base_model_name_or_path "
        "in adapter_config.json to where it lies."
    )


def _quoted(name: str) -> str:
    return name if len(name) <= 120 else f"{name[:60]}...{name[-50:]}"
