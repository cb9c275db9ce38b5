"""The conversation tree as plain records.

A message never changes its place and is never destroyed by a new one.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

Role = Literal["system", "user", "assistant"]
Ended = Literal["done", "stopped", "length", "error"]
Mark = Literal["good", "bad"]


@dataclass(slots=True)
class ReplyDetails:
    """Where a reply came from and how it went.

    ended None: still streaming, or its program was killed meanwhile.
    """

    model: str = ""  # the checkpoint's name
    model_path: str = ""
    revision: str = ""
    adapter: str = ""
    device: str = ""
    dtype: str = ""
    sampling: dict[str, object] = field(default_factory=dict)  # protocol.Sampling as a mapping
    seed: int | None = None
    prompt_tokens: int = 0
    new_tokens: int = 0
    context_length: int = 0
    omitted: int = 0  # messages of the conversation that did not fit into the context
    first_token_s: float = 0.0
    tokens_per_second: float = 0.0
    ended: Ended | None = None
    error: str = ""


@dataclass(slots=True)
class Message:
    """One node. parent_id None: a first message. Siblings share a parent and are ordered by id.

    reply: how the assistant's came about; without it, the person wrote the assistant's message. mark: what the person
    thinks of a reply.
    """

    id: int
    conversation_id: int
    parent_id: int | None
    role: Role
    content: str
    created_at: float  # seconds since the epoch
    reply: ReplyDetails | None = None
    siblings: tuple[int, ...] = ()  # ids of all children of the same parent, this one included
    mark: Mark | None = None


@dataclass(slots=True)
class Conversation:
    """leaf_id: the last message of the branch that is shown. model: the checkpoint it was last used with."""

    id: int
    title: str
    created_at: float
    updated_at: float
    model: str = ""
    system_prompt: str = ""
    draft: str = ""
    leaf_id: int | None = None
    message_count: int = 0


@dataclass(frozen=True, slots=True)
class MarkedConversation:
    """What the person marked in a conversation.

    good: the branches from the first message to a reply marked good, less those that another of them goes on from. bad:
    the replies marked bad.
    """

    conversation: Conversation
    good: tuple[tuple[Message, ...], ...]
    bad: tuple[Message, ...]


@dataclass(frozen=True, slots=True)
class SearchHit:
    """A message that matched.

    snippet: text around the match; spans: (start, end) of the matched words in it.
    """

    conversation_id: int
    conversation_title: str
    message_id: int
    role: Role
    created_at: float
    snippet: str
    spans: tuple[tuple[int, int], ...]
