"""What a session shows and says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from hugchat_tui.conversations.model import Message

Phase = Literal["unloaded", "idle", "preparing", "loading", "waiting", "prefilling", "generating", "failed"]


@dataclass(slots=True)
class Status:
    """What the status line shows. done and total count bytes, tensors or tokens, by phase; total 0: unknown.

    Phases: unloaded, the model has to be loaded before it can answer; preparing, its checkpoint is looked for,
    downloaded or converted; loading; idle, it can answer; waiting, it was asked and has not begun; prefilling, it reads
    the prompt; generating; failed, stage says why.
    """

    phase: Phase = "unloaded"
    model: str = ""
    device: str = ""
    dtype: str = ""
    stage: str = ""
    done: int = 0
    total: int = 0
    since: float = 0.0  # time.monotonic() when the phase and its stage began
    tokens_per_second: float = 0.0
    first_token_s: float = 0.0
    context_used: int = 0
    context_length: int = 0


@dataclass(frozen=True, slots=True)
class BranchChanged:
    """Another branch is shown: read it anew."""


@dataclass(frozen=True, slots=True)
class Returned:
    """A question could not be stored, and the person must not lose it. editing: the message it was to replace."""

    text: str
    editing: int | None = None


@dataclass(frozen=True, slots=True)
class MessageAdded:
    message: Message


@dataclass(frozen=True, slots=True)
class TextAdded:
    message_id: int
    text: str


@dataclass(frozen=True, slots=True)
class MessageChanged:
    message: Message


@dataclass(frozen=True, slots=True)
class StatusChanged:
    pass


@dataclass(frozen=True, slots=True)
class ConversationChanged:
    """Its title, its checkpoint, its place in the list, or whether it is busy changed."""


@dataclass(frozen=True, slots=True)
class Notice:
    text: str
    severity: Literal["information", "warning", "error"] = "information"


SessionEvent = (
    BranchChanged | ConversationChanged | MessageAdded | MessageChanged | Notice | Returned | StatusChanged | TextAdded
)
