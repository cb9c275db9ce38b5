"""What is known of a checkpoint before any of its weights are read."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Kind = Literal["model", "adapter", "gguf"]
Source = Literal["starter", "cache", "folder", "run"]


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A checkpoint on disk, described from its config and its headers alone.

    name: what a person calls it: "starter", a Hub id, a folder's or a file's name; never cleaned. path: model
    or adapter directory, or GGUF file. base: where an adapter's base lies, None when it is not here
    (base_name still says which it is). size_bytes: of the weights on disk. parameters and context_length: 0
    when unknown. problem: why it cannot be loaded, in words, with what to do; None when it can.
    """

    name: str
    path: Path
    kind: Kind
    source: Source
    family: str = ""
    dtype: str = ""
    parameters: int = 0
    size_bytes: int = 0
    context_length: int = 0
    has_chat_template: bool = False
    base: Path | None = None
    base_name: str = ""
    revision: str = ""
    problem: str | None = None

    @property
    def key(self) -> str:
        """Identifies the checkpoint among loaded ones: its path, which names one revision of one thing."""
        return str(self.path)
