"""The screen's side of an engine worker: start it, load a checkpoint, generate, and hear of its death."""

from __future__ import annotations

import asyncio
import copy
import itertools
import signal
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from engine import protocol
from engine.channel import Channel, open_channel
from engine.errors import EngineError, ProtocolMismatchError, WorkerDiedError, error_from_code
from engine.generation import BACKLOG_HIGH, BACKLOG_LOW, CANCEL_PATIENCE_S, Generation
from engine.process import WorkerLog, WorkerProcess

WORKER_NICE = 10
DEFAULT_SESSION = "engine.worker.session"

_CLOSE_GRACE_S = 0.5  # for a worker that was told to end
_CRASH_GRACE_S = 2.0  # for one that closed its channel by itself: on its way out, with an exit code to give
_DRAIN_S = 0.5  # for what a dead worker had still sent and printed

ProgressCallback = Callable[[protocol.LoadProgress], None]
_T = TypeVar("_T")


class _Loading:
    """A Load or Adapt that was not answered yet. what: its path."""

    def __init__(self, what: str, on_progress: ProgressCallback | None) -> None:
        self.what = what
        self.on_progress = on_progress
        self.answer: asyncio.Future[protocol.ModelInfo | EngineError] = asyncio.get_running_loop().create_future()


class Worker:
    """One worker process, which holds at most one checkpoint. It belongs to the event loop that spawned it."""

    def __init__(self, process: WorkerProcess, pid: int, channel: Channel, log: WorkerLog) -> None:
        """Use `spawn`."""
        self._loop = asyncio.get_running_loop()
        self.pid = pid
        self.info: protocol.ModelInfo | None = None  # of the loaded checkpoint
        self.last_active = self._loop.time()  # when a request last came or ended
        self._died: asyncio.Future[EngineError | None] = self._loop.create_future()
        self._process = process
        self._channel = channel
        self._log = log
        self._ids = itertools.count(1)
        self._hello: asyncio.Future[None] = self._loop.create_future()
        self._warm: asyncio.Future[float] = self._loop.create_future()
        self._loads: dict[int, _Loading] = {}
        self._generations: dict[int, Generation] = {}
        self._idle = asyncio.Event()
        self._idle.set()
        self._held = False
        self._failure: EngineError | None = None  # why it ended, or is being ended
        self._closing = False
        self.was_busy = False  # when it died
        self._watching = asyncio.create_task(self._watch(), name=f"worker {pid}")
        log.pid = pid
        channel.listen(self._on_event, self._on_garbage)

    @classmethod
    async def spawn(cls, *, nice: int = WORKER_NICE, session: str = DEFAULT_SESSION) -> Worker:
        """Start a worker. Returns as soon as it speaks; its imports go on, and requests may be sent
        meanwhile.

        nice: added to this program's niceness. session: the module from which the worker takes `Session` and
        `warm_up`; tests of the process itself name a light one. Raises WorkerDiedError,
        ProtocolMismatchError, or EngineError when no process can be started.
        """
        try:
            channel, log, their_channel, their_log = await open_channel()
        except OSError as error:
            raise _not_started(error) from error
        process = WorkerProcess(["--nice", str(nice), "--session", session], their_channel, their_log)
        try:
            pid = await process.started
        except BaseException as error:
            process.signal_group(signal.SIGKILL)
            channel.abort()
            log.close()
            if isinstance(error, OSError):
                raise _not_started(error) from error
            raise
        worker = cls(process, pid, channel, log)
        try:
            await worker._answer(worker._hello)
        except BaseException:
            await worker.close()
            raise
        return worker

    @property
    def died(self) -> asyncio.Future[EngineError | None]:
        """Done when the process is gone and nothing of it is left.

        With the error that pending requests failed with and later ones will, or None when it was closed on purpose.
        """
        return asyncio.shield(self._died)

    @property
    def busy(self) -> bool:
        """Whether it is loading or generating, or about to."""
        return not self._idle.is_set()

    @property
    def alive(self) -> bool:
        """Whether requests can be sent. False as soon as it is known to end, a little before `died`."""
        return self._failure is None

    @property
    def log_tail(self) -> tuple[str, ...]:
        """The last lines it printed."""
        return self._log.lines

    async def wait_warm(self) -> float:
        """Wait for its imports; returns the seconds they took. Raises WorkerDiedError when they failed."""
        return await self._answer(self._warm)

    async def wait_idle(self) -> None:
        """Wait until it is not busy, or gone."""
        await self._idle.wait()

    async def load(
        self,
        path: Path,
        *,
        base: Path | None = None,
        device: str = "auto",
        dtype: str = "auto",
        spare: int = 0,
        on_progress: ProgressCallback | None = None,
    ) -> protocol.ModelInfo:
        """Load a checkpoint from absolute paths (see protocol.Load). Raises the EngineError that the worker
        reports or dies with.

        A load can be stopped only by ending the process: cancelling this kills the worker.
        """
        request = protocol.Load(
            id=next(self._ids),
            path=str(path),
            base=None if base is None else str(base),
            device=device,
            dtype=dtype,
            spare=spare,
        )
        return await self._load(request, request.path, on_progress)

    async def adapt(
        self, adapter: Path | None, *, spare: int = 0, on_progress: ProgressCallback | None = None
    ) -> protocol.ModelInfo:
        """Put another adapter into the base that is loaded, or none (see protocol.Adapt). Raises and is cancelled as
        `load`; after an error that the worker reports, it holds what it held before.
        """
        path = None if adapter is None else str(adapter)
        request = protocol.Adapt(id=next(self._ids), adapter=path, spare=spare)
        return await self._load(request, path or "no adapter", on_progress)

    async def _load(
        self, request: protocol.Load | protocol.Adapt, what: str, on_progress: ProgressCallback | None
    ) -> protocol.ModelInfo:
        loading = self._loads[request.id] = _Loading(what, on_progress)
        self._note_activity()
        self._channel.send(request)
        try:
            answer = await self._answer(loading.answer)
        except asyncio.CancelledError:
            self._kill(EngineError("Loading was cancelled."))
            raise
        finally:
            self._loads.pop(request.id, None)
            self._note_activity()
        if isinstance(answer, EngineError):
            raise answer
        self.info = answer
        return answer

    def generate(
        self, messages: Sequence[protocol.ChatMessage], sampling: protocol.Sampling, *, conversation: str = ""
    ) -> Generation:
        """Ask for a reply (see protocol.Generate), at once; several wait for each other in the worker.

        Every failure, also that the worker is gone, is raised by iterating the result.
        """
        request = protocol.Generate(
            id=next(self._ids), conversation=conversation, messages=tuple(messages), sampling=sampling
        )
        generation = Generation(
            lambda: self._channel.send(protocol.Cancel(id=request.id)), self._balance, self._give_up_on_cancel
        )
        if self._failure is not None:
            generation.fail(self._failure)
            return generation
        try:
            self._channel.send(request)
        except ValueError as error:  # half a surrogate pair in a message, or a conversation beyond the frame limit
            generation.fail(
                EngineError(f"The conversation cannot be sent to the engine: {error}.", "Edit the message.")
            )
            return generation
        self._generations[request.id] = generation
        self._note_activity()
        return generation

    async def close(self) -> None:
        """End the process and wait until it is gone: channel closed, then SIGTERM, then SIGKILL to its group.

        What it was still asked fails with an EngineError. May be called again, and also after its death.
        """
        if self._failure is None:
            self._failure = EngineError(
                "The checkpoint was unloaded before the reply was complete.",
                "Ask again to load it once more.",
            )
            self._closing = True
        self._channel.abort()
        await asyncio.shield(self._watching)

    # Events.

    def _on_event(self, event: protocol.Event) -> None:
        if not self._hello.done() and not isinstance(event, protocol.Hello):
            self._on_garbage("the first message is not Hello")
        elif isinstance(event, protocol.Hello):
            self._on_hello(event)
        elif isinstance(event, protocol.Warm):
            self._warm.set_result(event.import_s)
        elif isinstance(event, protocol.LoadProgress | protocol.Loaded):
            self._on_load_event(event)
        elif isinstance(event, protocol.Failed):
            self._on_failed(event)
        elif generation := self._generations.get(event.id):
            generation.deliver(event)
            if isinstance(event, protocol.Finished):
                self._end_generation(event.id)

    def _on_hello(self, hello: protocol.Hello) -> None:
        if hello.version == protocol.PROTOCOL_VERSION:
            self._hello.set_result(None)
            return
        self._kill(
            ProtocolMismatchError(
                f"The engine worker speaks version {hello.version} of the protocol, this program version "
                f"{protocol.PROTOCOL_VERSION}: it was updated while it ran.",
                "Quit and start it again.",
            )
        )

    def _on_garbage(self, problem: str) -> None:
        self._kill(
            ProtocolMismatchError(
                f"The engine worker sent what this program does not understand ({problem}).",
                "If hugchat was just updated, quit and start it again.",
            )
        )

    def _on_load_event(self, event: protocol.LoadProgress | protocol.Loaded) -> None:
        loading = self._loads.get(event.id)
        if loading is None or loading.answer.done():
            return
        if isinstance(event, protocol.Loaded):
            loading.answer.set_result(event.info)
        elif loading.on_progress is not None:
            self._loop.call_soon(loading.on_progress, event)  # its exceptions are not the channel's

    def _on_failed(self, event: protocol.Failed) -> None:
        error = error_from_code(event.code, event.message, event.hint)
        loading = self._loads.get(event.id)
        if loading is not None and not loading.answer.done():
            loading.answer.set_result(error)
        if generation := self._generations.get(event.id):
            generation.fail(error)
            self._end_generation(event.id)

    def _end_generation(self, request_id: int) -> None:
        del self._generations[request_id]
        self._note_activity()
        self._balance()

    def _note_activity(self) -> None:
        self.last_active = self._loop.time()
        if self._loads or self._generations:
            self._idle.clear()
        else:
            self._idle.set()

    def _balance(self) -> None:
        """Stop reading while a reply is not taken up, but never while a Cancel awaits its answer."""
        generations = self._generations.values()
        bound = BACKLOG_LOW + 1 if self._held else BACKLOG_HIGH
        held = any(generation.backlog >= bound for generation in generations)
        held = held and not any(generation.stopping for generation in generations)
        if held != self._held:
            self._held = held
            self._channel.hold(held)

    # The end.

    async def _answer(self, future: asyncio.Future[_T]) -> _T:
        either: list[asyncio.Future[_T] | asyncio.Future[EngineError | None]] = [future, self._died]
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        if future.done():
            return future.result()
        assert self._failure is not None
        raise copy.copy(self._failure)

    def _kill(self, reason: EngineError) -> None:
        if self._failure is None:
            self._failure = reason
        self._process.signal_group(signal.SIGKILL)

    def _give_up_on_cancel(self) -> None:
        self._kill(
            WorkerDiedError(
                f"The engine worker did not stop within {CANCEL_PATIENCE_S:.0f} s and was ended.",
                "The next request starts a new one.",
                log_tail=self._log.lines,
            )
        )

    async def _watch(self) -> None:
        """Runs as long as the process: learns of its end, makes sure of it, and tells everyone who waits."""
        exited = self._process.exited
        either: list[asyncio.Future[int] | asyncio.Future[None]] = [exited, self._channel.lost]
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        grace = _CRASH_GRACE_S if self._failure is None else _CLOSE_GRACE_S
        ended_by_us = False
        for number in (signal.SIGTERM, signal.SIGKILL):
            done, _ = await asyncio.wait([exited], timeout=grace)
            if done:
                break
            ended_by_us = True
            self._process.signal_group(number)
        code = await exited
        self._channel.hold(False)
        await asyncio.wait([self._channel.lost, self._log.ended], timeout=_DRAIN_S)
        self._channel.abort()
        self._log.close()
        if self._failure is None:
            self._failure = self._death(code, ended_by_us)
        self.was_busy = self.busy
        for generation in self._generations.values():
            generation.fail(self._failure)
        self._generations.clear()
        self._loads.clear()
        self._note_activity()
        self._died.set_result(None if self._closing else self._failure)

    def _death(self, code: int, ended_by_us: bool) -> WorkerDiedError:
        number = signal.Signals(-code) if code < 0 else None
        last_line = self._log.lines[-1] if self._log.lines else ""
        if len(last_line) > 300:
            last_line = f"{last_line[:300]} [cut]"
        last_words = f" The last line of its log: {last_line}" if last_line else ""
        hint = "The next request starts a new worker."
        if ended_by_us:
            reason = "closed its channel without ending, and was ended"
        elif number is signal.SIGKILL:
            reason = "was killed, probably out of memory,"
            last_words = ""
            hint = "Close other programs or choose a smaller checkpoint. The next request starts a new worker."
        elif number is not None:
            reason = f"was ended by {number.name} ({signal.strsignal(number)})"
        else:
            reason = f"exited with code {code}"
        return WorkerDiedError(
            f"The engine worker {reason} {self._doing()}.{last_words}",
            hint,
            exit_code=None if number else code,
            signal=number,
            log_tail=self._log.lines,
        )

    def _doing(self) -> str:
        if not self._hello.done():
            return "while starting"
        if not self._warm.done():
            return "while importing its libraries"
        if self._loads:
            return f"while loading {next(iter(self._loads.values())).what}"
        return "while answering" if self._generations else "while idle"


def _not_started(error: OSError) -> EngineError:
    return EngineError(
        f"The engine worker cannot be started: {error.strerror or error}.",
        "Make room (processes, open files or memory ran out, or Python was moved) and try again.",
    )
