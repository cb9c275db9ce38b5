"""A session that computes nothing: what it does is written in the path it loads and in the last message.

The process, the channel and the signals around it are the real ones.
"""

from __future__ import annotations

import ctypes
import os
import re
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from engine import protocol
from engine.errors import CheckpointRefusedError

Emit = Callable[[protocol.GenerationEvent], None]
_TIMINGS = protocol.Timings(queued_s=0, prefill_s=0, first_token_s=0, decode_s=0, tokens_per_second=0)


def warm_up() -> None:
    pass


class Session:
    """Paths: `.../refused`, `.../endless`, `.../dies`, `.../holds-N` (N MiB); any other loads at once."""

    def __init__(self, path: str) -> None:
        megabytes = int(path.rpartition("holds-")[2]) if "holds-" in path else 0
        self.ballast = b"\1" * (megabytes << 20)
        self.info = protocol.ModelInfo(
            path=path,
            family="scripted",
            parameters=0,
            weight_bytes=len(self.ballast),
            kv_bytes_per_token=0,
            device="cpu",
            device_name="",
            dtype="float32",
            context_length=1024,
            template="checkpoint",
        )

    @classmethod
    def load(cls, request: protocol.Load, progress: Callable[[str, int, int], None]) -> Session:
        for done in (1, 2, 3):
            progress("reading weights", done, 3)
        match Path(request.path).name:
            case "refused":
                raise CheckpointRefusedError("It asks for remote code in \udcff.py.", "Choose another.")
            case "endless":
                threading.Event().wait()
            case "dies":
                os.kill(os.getpid(), signal.SIGKILL)
        return cls(request.path)

    def generate(
        self, request: protocol.Generate, emit: Emit, cancelled: Callable[[], bool], received_at: float
    ) -> None:
        emit(protocol.Started(id=request.id, prompt_tokens=1, cached_tokens=0, context_length=1024, seed=0))
        verb, _, argument = request.messages[-1].content.partition(" ")
        reason: protocol.FinishReason = "done"
        for event in _script(verb, argument, request.id):
            emit(event)
            if cancelled() and verb not in ("asleep", "stuck"):
                reason = "stopped"
                break
        emit(protocol.Finished(id=request.id, reason=reason, prompt_tokens=1, new_tokens=0, timings=_TIMINGS))


def _script(verb: str, argument: str, request_id: int) -> Iterator[protocol.GenerationEvent]:
    match verb:
        case "pieces":
            for number in range(int(argument)):
                yield protocol.Piece(id=request_id, text=f"{number} ", token_ids=(number,))
        case "flood":  # 40 MB, and the end
            for number in range(4_000):
                yield protocol.Piece(id=request_id, text="x" * 10_000, token_ids=(number,))
            os.kill(os.getpid(), signal.SIGKILL)
        case "prefill":  # chunks of 10 ms, far more of them than anyone waits for
            for done in range(100_000):
                time.sleep(0.01)
                yield protocol.Prefilling(id=request_id, done=done, total=100_000)
        case "noise":
            _make_noise()
            yield protocol.Piece(id=request_id, text="quiet", token_ids=(1,))
        case "search":
            yield protocol.Piece(id=request_id, text=",".join(sys.path), token_ids=())
        case "environment":
            yield protocol.Piece(id=request_id, text=os.environ.get(argument, "unset"), token_ids=())
        case "kill":  # after so many pieces of 10 KB
            for number in range(int(argument)):
                yield protocol.Piece(id=request_id, text="x" * 10_000, token_ids=(number,))
            os.kill(os.getpid(), signal.SIGKILL)
        case "abort":
            os.abort()
        case "child":  # something that would outlive the worker
            yield protocol.Piece(id=request_id, text=str(_start_child()), token_ids=())
            os.kill(os.getpid(), signal.SIGKILL)
        case "asleep":  # a long call that lets go of the interpreter's lock
            yield protocol.Piece(id=request_id, text="asleep", token_ids=())
            threading.Event().wait()
        case "stuck":  # one that does not
            yield protocol.Piece(id=request_id, text="stuck", token_ids=())
            re.match(r"(a+)+$", "a" * 64 + "b")
        case "raise":
            raise ValueError("first line\nsecond line")
        case "memory":
            raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried 8 GiB.")


def _make_noise() -> None:
    """Everything a library might print, and bytes that look like the start of a frame."""
    print("from print")  # noqa: T201
    print("from stderr 你好", file=sys.stderr)  # noqa: T201
    os.write(1, b"\x00\x00\x00\x05hello\n\xff\xfe not UTF-8\n")
    os.write(2, b"x" * 100_000 + b"\n")
    ctypes.CDLL(None).puts(b"from C")
    ctypes.CDLL(None).fflush(None)
    os.write(1, b"no newline at the end")


def _start_child() -> int:
    pid = os.fork()
    if pid == 0:
        while True:
            signal.pause()
    return pid
