"""Processes that encode rows, for a parent that reads them: light ones, as many as are needed, gone when it is."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from multiprocessing.connection import Connection
from types import TracebackType

import msgspec

from sft.data.conversation import Conversation
from sft.data.encoding_process import NOTE, WHOLE_BATCH, EncodedBatch, Failure, Note, Setup
from sft.errors import SftError

# One thread each: there are as many processes as there are cores.
_ENVIRONMENT = {"TOKENIZERS_PARALLELISM": "false", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
_ANSWER = msgspec.msgpack.Decoder(EncodedBatch | Failure)


class EncodingPool:
    """Encodes batches of conversations side by side. A process is started when there is work for it.

    Close it, or leave its `with` block: that kills the processes, whatever they are doing.
    """

    def __init__(self, setup: Setup, workers: int) -> None:
        self._setup = msgspec.msgpack.encode(setup)
        self._threads = ThreadPoolExecutor(workers, thread_name_prefix="encoding")
        self._mine = threading.local()
        self._lock = threading.Lock()
        self._processes: list[_EncodingProcess] = []
        self._closed = False

    def __enter__(self) -> EncodingPool:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def pids(self) -> list[int]:
        """Of the processes that were started."""
        with self._lock:
            return [process.pid for process in self._processes]

    def submit(self, conversations: Sequence[Conversation]) -> Future[EncodedBatch]:
        """The future raises SftError, naming file and line, when the template does not end or the process dies."""
        return self._threads.submit(self._encode, conversations)

    def close(self) -> None:
        with self._lock:
            self._closed = True
            for process in self._processes:
                process.kill()
        self._threads.shutdown(cancel_futures=True)
        for process in self._processes:
            process.wait()

    def _encode(self, conversations: Sequence[Conversation]) -> EncodedBatch:
        """In a thread that has a process of its own: sent, then waited for, so neither side waits to be read."""
        process: _EncodingProcess | None = getattr(self._mine, "process", None)
        if process is None:
            with self._lock:
                if self._closed:
                    raise SftError("Preparing was stopped.")
                process = self._mine.process = _EncodingProcess()
                self._processes.append(process)
            process.set_up(self._setup)
        return process.encode(conversations)


class _EncodingProcess:
    def __init__(self) -> None:
        ours, theirs = socket.socketpair()
        with tempfile.TemporaryFile() as file, theirs:
            file.truncate(NOTE.size)
            self._note = Note(file.fileno())
            # -P: a folder that happens to be called "sft" in the current directory is not what we mean.
            arguments = ["-P", "-m", "sft.data.encoding_process", str(theirs.fileno()), str(file.fileno())]
            self._process = subprocess.Popen(
                [sys.executable, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(), file.fileno()),
                env={**os.environ, **_ENVIRONMENT},
            )
        self._channel = Connection(ours.detach())
        self.pid = self._process.pid

    def set_up(self, setup: bytes) -> None:
        answer = self._exchange(setup, ())
        if answer:
            self._fail(_ANSWER.decode(answer), ())

    def encode(self, conversations: Sequence[Conversation]) -> EncodedBatch:
        answer = _ANSWER.decode(self._exchange(msgspec.msgpack.encode(conversations), conversations))
        if isinstance(answer, Failure):
            self._fail(answer, conversations)
        assert isinstance(answer, EncodedBatch)
        return answer

    def kill(self) -> None:
        self._process.kill()

    def wait(self) -> None:
        self._process.wait()
        self._channel.close()

    def _exchange(self, message: bytes, conversations: Sequence[Conversation]) -> bytes:
        try:
            self._channel.send_bytes(message)
            return self._channel.recv_bytes()
        except (EOFError, OSError):
            raise self._death(conversations) from None

    def _fail(self, answer: EncodedBatch | Failure, conversations: Sequence[Conversation]) -> None:
        assert isinstance(answer, Failure)
        row = conversations[answer.row] if answer.row >= 0 else None
        where = f" At {row.source}, line {row.line:,}." if row else ""
        raise SftError(f"{answer.error}{where}", answer.hint)

    def _death(self, conversations: Sequence[Conversation]) -> SftError:
        code = self._process.wait()
        at = self._note.read()
        if not conversations:
            where = "it started"
        elif at == WHOLE_BATCH:
            first, last = conversations[0], conversations[-1]
            where = f"it made tokens of {first.source}, line {first.line:,}, to {last.source}, line {last.line:,}"
        else:
            row = conversations[min(at, len(conversations) - 1)]
            where = f"it was at {row.source}, line {row.line:,}"
        if code == -signal.SIGVTALRM:
            return SftError(
                f"The chat template did not end and its process was killed when {where}.",
                "A template should take milliseconds. Mend it, or name another one in the recipe.",
            )
        how = f"signal {-code}" if code < 0 else f"exit code {code}"
        return SftError(
            f"A process that encodes rows died ({how}) when {where}.",
            "If the memory was short, close other programs. What is finished is kept: start it again.",
        )
