"""Asks the Hub from the event loop: search, a repository's facts, the person's account."""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from contextlib import suppress

import msgspec

from engine.checkpoints.hub_cache import MAIN
from engine.checkpoints.hub_queries.messages import (
    Account,
    AnyAnswer,
    AnyRequest,
    Described,
    Failed,
    Found,
    HubRepository,
    Info,
    LoggedIn,
    SaveToken,
    Search,
    SearchKind,
    SearchPage,
    SearchSort,
    Who,
)
from engine.errors import EngineError

_DEADLINE_S = 60.0  # the child itself gives up earlier; one that does not is killed, whatever else it is asked
_CLOSE_GRACE_S = 1.0
_LINE_LIMIT = 64 * 1024 * 1024  # bytes of one answer: a repository of 100,000 files
_LOG_CHUNK = 1 << 16

_answers: msgspec.json.Decoder[AnyAnswer] = msgspec.json.Decoder(AnyAnswer)
_log = logging.getLogger(__name__)


class HubError(EngineError):
    """A question to the Hub failed. reason: not-found, gated, token, network, server, offline, unusable or
    unexpected, as of a DownloadError."""

    code = "hub"

    def __init__(self, message: str, hint: str, reason: str) -> None:
        super().__init__(message, hint)
        self.reason = reason


def _closing() -> HubError:
    return HubError("The program is closing; the Hub is not asked any more.", "", "unexpected")


class HubQueries:
    """Questions to the Hub. The process that asks it starts with the first question, and anew when it died.

    Questions may overlap. Cancelling one only stops waiting for it. Each raises HubError. Belongs to one event loop.
    """

    def __init__(self) -> None:
        self._ids = itertools.count(1)
        self._starting = asyncio.Lock()
        self._child: _Child | None = None
        self._closed = False

    async def search(
        self,
        text: str,
        *,
        kind: SearchKind = "models",
        sort: SearchSort = "downloads",
        limit: int = 50,
        cursor: str = "",
    ) -> SearchPage:
        """Models whose ids contain the text, the most downloaded, liked or fresh first; all of them without a text.

        cursor: of the page before, with everything else as it was then. limit: results a page.
        """
        answer = await self._ask(Search(next(self._ids), text.strip(), kind, sort, limit, cursor))
        assert isinstance(answer, Found)
        return answer.page

    async def info(self, repo_id: str, revision: str = MAIN) -> HubRepository:
        """All that is to be known before anything is fetched."""
        answer = await self._ask(Info(next(self._ids), repo_id, revision))
        assert isinstance(answer, Described)
        return answer.repository

    async def save_token(self, token: str) -> Account:
        """Store a token where `hf auth login` does, once the Hub said whose it is; the note tells what overrides it.

        The token travels over the pipe to the process that asks, and to the Hub.
        """
        answer = await self._ask(SaveToken(next(self._ids), token))
        assert isinstance(answer, LoggedIn) and answer.account is not None
        return answer.account

    async def who(self) -> Account | None:
        """Whose token is in use; None when there is none."""
        answer = await self._ask(Who(next(self._ids)))
        assert isinstance(answer, LoggedIn)
        return answer.account

    async def close(self) -> None:
        """End the process; questions that wait fail."""
        self._closed = True
        async with self._starting:
            if self._child is not None:
                await self._child.close()

    async def _ask(self, request: AnyRequest) -> AnyAnswer:
        try:
            line = msgspec.json.encode(request) + b"\n"
        except UnicodeEncodeError:
            raise HubError("It holds characters that cannot be sent to the Hub.", "Type it anew.", "unusable") from None
        child = await self._running_child()
        try:
            async with asyncio.timeout(_DEADLINE_S):
                answer = await child.ask(request.id, line)
        except TimeoutError:
            child.kill()
            if self._child is child:
                self._child = None
            raise HubError(
                f"The Hub did not answer within {_DEADLINE_S:.0f} seconds.",
                "Check the network and the proxy, then try again.",
                "network",
            ) from None
        if isinstance(answer, Failed):
            raise HubError(answer.message, answer.hint, answer.reason)
        return answer

    async def _running_child(self) -> _Child:
        async with self._starting:
            if self._closed:
                raise _closing()
            if self._child is None or self._child.ended:
                try:
                    self._child = await _Child.start()
                except OSError as error:
                    raise HubError(
                        f"The process that asks the Hub could not be started: {error.strerror or error}.",
                        "Make room (processes, open files or memory ran out) and try again.",
                        "unexpected",
                    ) from error
            return self._child


class _Child:
    """One process, and who waits for which of its answers."""

    def __init__(self, process: Process) -> None:
        self.ended = False
        self._process = process
        self._waiting: dict[int, asyncio.Future[AnyAnswer]] = {}
        self._closing = False
        self._last_words = ""
        self._reading = asyncio.create_task(self._read(), name=f"hub queries {process.pid}")

    @classmethod
    async def start(cls) -> _Child:
        """Raises OSError."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-m", "engine.checkpoints.hub_queries.child"),
            stdin=PIPE,
            stdout=PIPE,
            stderr=PIPE,
            limit=_LINE_LIMIT,
            start_new_session=True,
        )
        return cls(process)

    async def ask(self, number: int, line: bytes) -> AnyAnswer:
        """line: a request of that number. Raises HubError when the process ends first."""
        assert self._process.stdin is not None and not self.ended
        self._process.stdin.write(line)
        answer: asyncio.Future[AnyAnswer] = asyncio.get_running_loop().create_future()
        self._waiting[number] = answer
        try:
            return await answer
        finally:
            del self._waiting[number]

    def kill(self) -> None:
        if self._process.returncode is None:
            with suppress(ProcessLookupError):  # it ended by itself meanwhile
                os.killpg(self._process.pid, signal.SIGKILL)

    async def close(self) -> None:
        """The end of its input ends it; if that does not help, it is killed."""
        assert self._process.stdin is not None
        self._closing = True
        self._process.stdin.close()
        done, _ = await asyncio.wait([self._reading], timeout=_CLOSE_GRACE_S)
        if not done:
            self.kill()
            await self._reading

    async def _read(self) -> None:
        """Deliver answers until the process is gone, then tell whoever still waits."""
        stdout, stderr = self._process.stdout, self._process.stderr
        assert stdout is not None and stderr is not None
        log = asyncio.create_task(self._keep_log(stderr))
        why = ""
        try:
            async for line in stdout:
                answer = _answers.decode(line)
                waiting = self._waiting.get(answer.id)
                if waiting is not None and not waiting.done():  # else whoever asked does not wait any more
                    waiting.set_result(answer)
        except (ValueError, msgspec.DecodeError) as error:  # ValueError: a line beyond the limit
            why = f"it answered what cannot be read: {error}"
        self.kill()
        await log
        status = await self._process.wait()
        self.ended = True
        for waiting in self._waiting.values():
            if not waiting.done():
                waiting.set_exception(
                    self._failure(why or f"it ended with status {status}. {self._last_words}".rstrip())
                )

    async def _keep_log(self, stderr: asyncio.StreamReader) -> None:
        """What the process prints goes to the program's log."""
        while chunk := await stderr.read(_LOG_CHUNK):
            said = chunk.decode("utf-8", "replace").rstrip()
            _log.info("process %d: %s", self._process.pid, said)
            self._last_words = said.rpartition("\n")[2]

    def _failure(self, why: str) -> HubError:
        if self._closing:
            return _closing()
        return HubError(f"The process that asks the Hub broke off: {why}", "Try again.", "unexpected")
