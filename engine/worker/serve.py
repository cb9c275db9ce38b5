"""The worker's story: say hello, import, then load and generate as asked until the channel closes."""

from __future__ import annotations

import gc
import importlib
import logging
import os
import socket
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Protocol

from engine import protocol
from engine.errors import EngineError, NotEnoughMemoryError
from engine.worker.channel import Channel

_log = logging.getLogger(__name__)

Work = protocol.Load | protocol.Adapt | protocol.Generate

_NO_TIME = protocol.Timings(queued_s=0.0, prefill_s=0.0, first_token_s=0.0, decode_s=0.0, tokens_per_second=0.0)


class LoadedSession(Protocol):
    """What this file needs of `engine.worker.session.Session`."""

    @property
    def info(self) -> protocol.ModelInfo: ...

    def adapt(self, request: protocol.Adapt, progress: Callable[[str, int, int], None]) -> LoadedSession: ...

    def generate(
        self,
        request: protocol.Generate,
        emit: Callable[[protocol.GenerationEvent], None],
        cancelled: Callable[[], bool],
        received_at: float,
    ) -> None: ...


class SessionClass(Protocol):
    def load(self, request: protocol.Load, progress: Callable[[str, int, int], None]) -> LoadedSession: ...


class Inbox:
    """Requests in the order they came, filled by the channel's thread and emptied by the computing one."""

    def __init__(self, answer: Callable[[protocol.Event], None]) -> None:
        """answer: sends an event without waiting."""
        self._answer = answer
        self._waiting: deque[tuple[Work, float]] = deque()
        self._arrived = threading.Condition()
        self._current: int | None = None
        self._cancelled = False

    def put(self, request: protocol.Request) -> None:
        received_at = time.perf_counter()
        with self._arrived:
            if not isinstance(request, protocol.Cancel):
                self._waiting.append((request, received_at))
                self._arrived.notify()
            elif request.id == self._current:
                self._cancelled = True
            else:
                self._cancel_waiting(request.id)

    def take(self) -> tuple[Work, float]:
        """The next request and when it came (time.perf_counter); the one before it is over."""
        with self._arrived:
            self._current = None
            while not self._waiting:
                self._arrived.wait()
            request, received_at = self._waiting.popleft()
            self._current = request.id
            self._cancelled = False
            return request, received_at

    def cancelled(self) -> bool:
        """Whether the request taken last is to stop."""
        return self._cancelled

    def _cancel_waiting(self, request_id: int) -> None:
        for item in self._waiting:
            if item[0].id == request_id and isinstance(item[0], protocol.Generate):
                self._waiting.remove(item)
                self._answer(
                    protocol.Finished(id=request_id, reason="stopped", prompt_tokens=0, new_tokens=0, timings=_NO_TIME)
                )
                return


def serve(sock: socket.socket, session_module: str) -> None:
    """Serve the channel until it closes, which ends the process. Never returns; raises when the imports fail.

    session_module: the module with `Session` and `warm_up`.
    """
    inbox = Inbox(lambda event: channel.send(event, wait=False))
    channel = Channel(sock, inbox.put)
    channel.start()
    channel.send(protocol.Hello(version=protocol.PROTOCOL_VERSION, pid=os.getpid()))
    session_class = _import_heavy(session_module, channel)
    session: LoadedSession | None = None
    while True:
        request, received_at = inbox.take()
        try:
            if isinstance(request, protocol.Load):
                if session is not None:
                    raise EngineError(
                        "This worker already holds a checkpoint.", "Start another worker for another one."
                    )
                session = _load(session_class, request, channel)
            elif session is None:
                raise EngineError("No checkpoint is loaded.", "Load one first.")
            elif isinstance(request, protocol.Adapt):
                session = _adapt(session, request, channel)
            else:
                _generate(session, request, channel, inbox, received_at)
        except Exception as error:  # noqa: BLE001 (whatever went wrong is reported)
            channel.send(_failed(request, error))
        if session is None:
            gc.collect()  # what a refused load had read so far; this worker may be asked to load another


def _import_heavy(session_module: str, channel: Channel) -> SessionClass:
    begun = time.perf_counter()
    module = importlib.import_module(session_module)
    module.warm_up()
    channel.send(protocol.Warm(import_s=time.perf_counter() - begun))
    session_class: SessionClass = module.Session
    return session_class


def _load(session_class: SessionClass, request: protocol.Load, channel: Channel) -> LoadedSession:
    session = session_class.load(request, _progress(request, channel))
    channel.send(protocol.Loaded(id=request.id, info=session.info))
    return session


def _adapt(session: LoadedSession, request: protocol.Adapt, channel: Channel) -> LoadedSession:
    adapted = session.adapt(request, _progress(request, channel))
    channel.send(protocol.Loaded(id=request.id, info=adapted.info))
    return adapted


def _progress(request: protocol.Load | protocol.Adapt, channel: Channel) -> Callable[[str, int, int], None]:
    def progress(stage: str, done: int, total: int) -> None:
        channel.send(protocol.LoadProgress(id=request.id, stage=stage, done=done, total=total))

    return progress


def _generate(
    session: LoadedSession, request: protocol.Generate, channel: Channel, inbox: Inbox, received_at: float
) -> None:
    finished = False

    def emit(event: protocol.GenerationEvent) -> None:
        nonlocal finished
        finished = isinstance(event, protocol.Finished)
        channel.send(event)

    session.generate(request, emit, inbox.cancelled, received_at)
    if not finished:
        raise RuntimeError("the generation ended without saying how")


def _failed(request: Work, error: Exception) -> protocol.Failed:
    failure = _as_engine_error(error, request)
    return protocol.Failed(
        id=request.id, code=failure.code, message=_sendable(failure.message), hint=_sendable(failure.hint)
    )


def _sendable(text: str) -> str:
    """Without the lone surrogates by which Python names files that are not UTF-8."""
    return text.encode(errors="replace").decode()


def _as_engine_error(error: Exception, request: Work) -> EngineError:
    """The error to report. Anything that is not an EngineError goes to the log with its traceback."""
    if isinstance(error, EngineError):
        return error
    doing = "answering" if isinstance(request, protocol.Generate) else "loading the checkpoint"
    _log.error("%s failed", doing, exc_info=error)
    if _is_out_of_memory(error):
        advice = (
            "Shorten the conversation, or load a smaller checkpoint."
            if isinstance(request, protocol.Generate)
            else "Choose a smaller or quantized checkpoint, or load it with dtype bfloat16."
        )
        return NotEnoughMemoryError(f"The memory was not enough for {doing}: {_one_line(error)}.", advice)
    return EngineError(
        f"{doing.capitalize()} failed with {type(error).__name__}: {_one_line(error)}.",
        "The log has the details.",
    )


def _is_out_of_memory(error: Exception) -> bool:
    """MemoryError, torch.OutOfMemoryError (CUDA), and the RuntimeErrors of torch's CPU and MPS allocators."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    text = str(error)
    return isinstance(error, RuntimeError) and (
        "DefaultCPUAllocator: can't allocate memory" in text
        or "DefaultCPUAllocator: not enough memory" in text
        or "backend out of memory" in text
        or "CUDA out of memory" in text
    )


def _one_line(error: Exception) -> str:
    text = " ".join(str(error).split()).rstrip(".") or "no further words"
    return text if len(text) <= 500 else f"{text[:500]} [cut, {len(text) - 500} characters more]"
