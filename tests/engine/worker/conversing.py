"""Drives a Session as the worker's process side does, and keeps every event."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from engine import protocol
from engine.protocol import ChatMessage, Sampling
from engine.worker.session import Session

_Event = TypeVar("_Event")
GREEDY = Sampling(temperature=0, max_new_tokens=40)


def load(path: Path, *, base: str | None = None, device: str = "cpu", dtype: str = "float32") -> Session:
    """On the CPU in float32 unless told otherwise: what the tests compare must not depend on the machine."""
    request = protocol.Load(id=1, path=str(path), base=base, device=device, dtype=dtype)
    return Session.load(request, lambda stage, done, total: None)


@dataclass
class Reply:
    events: list[protocol.GenerationEvent] = field(default_factory=list)

    def of(self, kind: type[_Event]) -> list[_Event]:
        return [event for event in self.events if isinstance(event, kind)]

    @property
    def text(self) -> str:
        return "".join(piece.text for piece in self.of(protocol.Piece))

    @property
    def token_ids(self) -> list[int]:
        return [token_id for piece in self.of(protocol.Piece) for token_id in piece.token_ids]

    @property
    def started(self) -> protocol.Started:
        return self.of(protocol.Started)[0]

    @property
    def finished(self) -> protocol.Finished:
        return self.of(protocol.Finished)[0]


def ask(
    session: Session,
    *contents: str,
    sampling: Sampling = GREEDY,
    conversation: str = "c",
    system: str | None = None,
    cancelled: Callable[[], bool] = lambda: False,
    on_event: Callable[[protocol.GenerationEvent], None] = lambda event: None,
) -> Reply:
    """contents: the question, the reply, the next question and so on; an even number continues the last reply."""
    messages = [ChatMessage("system", system)] if system is not None else []
    messages += [ChatMessage("assistant" if at % 2 else "user", content) for at, content in enumerate(contents)]
    reply = Reply()

    def emit(event: protocol.GenerationEvent) -> None:
        reply.events.append(event)
        on_event(event)

    request = protocol.Generate(id=9, conversation=conversation, messages=tuple(messages), sampling=sampling)
    session.generate(request, emit, cancelled, time.perf_counter())
    return reply
