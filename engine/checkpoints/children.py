"""Child processes for long jobs: read line by line, killed when the job is cancelled, gone when we are gone.

A child holds the read end of a pipe whose write end only its parent has. When the parent ends, however it
ends, the pipe reports the end of file and the child kills its own process group. Run as a script, this module
does so for any other module:

    python -m engine.checkpoints.children pip download ...
"""

from __future__ import annotations

import asyncio
import json
import os
import runpy
import signal
import sys
import threading
from asyncio.subprocess import PIPE, Process
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping, Sequence

_READ_SIZE = 65_536
_TAIL_LINES = 40

OnProgress = Callable[[str, int, int], None]
"""Progress of a long job: its stage in a word ("downloading"), bytes done, bytes in all (0: unknown)."""


Report = Callable[[Mapping[str, str | int]], None]
"""Sends one message from a child to its parent."""


class ChildFailedError(Exception):
    """The child ended with a status other than 0 (negative: minus the signal). tail: its last error lines."""

    def __init__(self, status: int, tail: Sequence[str]) -> None:
        super().__init__(f"exit status {status}")
        self.status = status
        self.tail = tuple(tail)


async def run_module(arguments: Sequence[str], on_line: Callable[[str], None]) -> None:
    """Run `python -m ARGUMENTS` as a child, giving each line of its stdout to on_line, until it ends.

    arguments: a module that calls end_with_parent, and what it is given. Cancelling kills the child and all
    that it started. Raises ChildFailedError, and OSError when it cannot be started.
    """
    # -P: a folder that happens to be called "engine" or "pip" in the current directory is not what we mean.
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-m", *arguments),
        stdin=PIPE,
        stdout=PIPE,
        stderr=PIPE,
        start_new_session=True,
    )
    tail: deque[str] = deque(maxlen=_TAIL_LINES)
    try:
        await asyncio.gather(_each_line(process.stdout, on_line), _each_line(process.stderr, tail.append))
        status = await process.wait()
    finally:
        if process.returncode is None:
            _kill(process)
            await process.wait()
    if status != 0:
        raise ChildFailedError(status, tail)


def _kill(process: Process) -> None:
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        return  # it ended by itself meanwhile


async def _each_line(stream: asyncio.StreamReader | None, on_line: Callable[[str], None]) -> None:
    async for line in _lines(stream):
        on_line(line)


async def _lines(stream: asyncio.StreamReader | None) -> AsyncIterator[str]:
    """Lines of any length; StreamReader.readline gives up at 64 KiB."""
    if stream is None:
        return
    pending = b""
    while chunk := await stream.read(_READ_SIZE):
        *lines, pending = (pending + chunk).split(b"\n")
        for line in lines:
            yield line.decode("utf-8", "replace")
    if pending:
        yield pending.decode("utf-8", "replace")


def end_with_parent() -> None:
    """Called first in a child that run_module starts: from now on it ends when its parent is gone."""
    threading.Thread(target=_wait_for_end_of_stdin, daemon=True).start()


def connect_to_parent() -> Report:
    """end_with_parent, and a function that sends a JSON line on stdout, which is the caller's alone from now on.

    What libraries print goes to stderr instead, so that it can never be taken for a report.
    """
    end_with_parent()
    channel = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def report(message: Mapping[str, str | int]) -> None:
        channel.write(json.dumps(message) + "\n")
        channel.flush()

    return report


def _wait_for_end_of_stdin() -> None:
    # The descriptor, not sys.stdin: its lock held by a daemon thread would make the interpreter abort at its
    # end.
    while os.read(0, _READ_SIZE):
        pass
    os.killpg(os.getpgrp(), signal.SIGKILL)


def main() -> None:
    end_with_parent()
    del sys.argv[0]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
