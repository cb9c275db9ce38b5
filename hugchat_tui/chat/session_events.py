"""What a session shows and says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from hugchat_tui.conversations.model import Message

Phase = Literal["idle", "preparing", "loading", "waiting", "prefilling", "generating", "failed"]


@dataclass(slots=True)
class Status:
    """What the status line shows. done and total count bytes, tensors or tokens, by phase; total 0: unknown."""

    phase: Phase = "idle"
    model: str = ""
    device: str = ""
    dtype: str = ""
    stage: str = ""
    done: int = 0
    total: int = 0
    since: float = 0.0  # time.monotonic() when the phase began
    tokens_per_second: float = 0.0
    first_token_s: float = 0.0
    context_used: int = 0
    context_length: int = 0


@dataclass(frozen=True, slots=True)
class BranchChanged:
    """Another branch is shown: read it anew."""


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
    """Its title, checkpoint or place in the list changed."""


@dataclass(frozen=True, slots=True)
class Notice:
    text: str
    severity: Literal["information", "warning", "error"] = "information"


SessionEvent = BranchChanged | MessageAdded | TextAdded | MessageChanged | StatusChanged | ConversationChanged | Notice
