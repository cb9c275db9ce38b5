"""A session that computes nothing: what it answers is written in the question, how it loads in the checkpoint's name.

The process, the channel and the signals around it are the real ones. A test lets it go on by making files in the folder
that HUGCHAT_TEST_GATES names.
"""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from engine import protocol
from engine.errors import CheckpointRefusedError, QuestionTooLongError

Emit = Callable[[protocol.GenerationEvent], None]
CONTEXT = 1000
_POLL_S = 0.002


def warm_up() -> None:
    pass


def _opened(gate: str) -> bool:
    return (Path(os.environ["HUGCHAT_TEST_GATES"]) / gate).exists()


class Session:
    """Names: `refused`; `dies`; `slow`, whose load waits for the gate `load`; any other loads at once."""

    def __init__(self, path: str, base: str) -> None:
        self._name = Path(path).name
        self._base = base
        self.info = protocol.ModelInfo(
            path=path,
            family="scripted",
            parameters=135_000_000,
            weight_bytes=0,
            kv_bytes_per_token=0,
            device="cpu",
            device_name="",
            dtype="float32",
            context_length=CONTEXT,
            template="checkpoint",
            notes=("float32 because a test says so",),
        )

    @classmethod
    def load(cls, request: protocol.Load, progress: Callable[[str, int, int], None]) -> Session:
        name = Path(request.path).name
        progress("reading weights", 1, 4)
        if name == "refused":
            raise CheckpointRefusedError("It asks for \x1b[31mremote code\x1b[0m.", "Choose another.")
        if name == "dies":
            os.kill(os.getpid(), signal.SIGKILL)
        while name == "slow" and not _opened("load"):
            time.sleep(_POLL_S)
        progress("reading weights", 4, 4)
        return cls(request.path, request.base or request.path)

    def adapt(self, request: protocol.Adapt, progress: Callable[[str, int, int], None]) -> Session:
        progress("merging the adapter", 0, 0)
        return Session(request.adapter or self._base, self._base)

    def generate(
        self, request: protocol.Generate, emit: Emit, cancelled: Callable[[], bool], received_at: float
    ) -> None:
        prompt = sum(len(message.content.split()) for message in request.messages)
        emit(
            protocol.Started(
                id=request.id, prompt_tokens=prompt, cached_tokens=0, context_length=CONTEXT, seed=7, notes=()
            )
        )
        reason: protocol.FinishReason = "done"
        count = 0
        for piece in self._answer(request.messages, cancelled):
            emit(protocol.Piece(id=request.id, text=piece, token_ids=(count,)))
            count += 1
            if cancelled():
                reason = "stopped"
                break
        timings = protocol.Timings(
            queued_s=0, prefill_s=0, first_token_s=0.25, decode_s=1, tokens_per_second=float(count)
        )
        emit(protocol.Finished(id=request.id, reason=reason, prompt_tokens=prompt, new_tokens=count, timings=timings))

    def _answer(self, messages: tuple[protocol.ChatMessage, ...], cancelled: Callable[[], bool]) -> Iterator[str]:
        last = messages[-1]
        if last.role == "assistant":
            yield " and on"
            return
        verb, _, rest = last.content.partition(" ")
        match verb:
            case "say":
                yield rest
            case "decode":  # what cannot be typed
                yield json.loads(rest)
            case "who":
                yield f"I am {self._name}."
            case "history":
                yield json.dumps([[message.role, message.content] for message in messages])
            case "until":  # until GATE WORDS: the words, then nothing until the gate is open
                gate, _, words = rest.partition(" ")
                yield from (f"{word} " for word in words.split())
                while not _opened(gate) and not cancelled():
                    time.sleep(_POLL_S)
                yield "" if cancelled() else "and the end."
            case "long":
                raise QuestionTooLongError("The question has 2,000 tokens; the context holds 1,000.", "Shorten it.")
            case "die":
                yield "the last words"
                os.kill(os.getpid(), signal.SIGKILL)
            case _:
                yield f"You said: {last.content}"
