"""The checkpoint that answers in a session: how it is found, loaded, and changed for another."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

from hugchat_tui.chat.names import display_name
from hugchat_tui.chat.session_events import ConversationChanged, Notice, Phase, Status, StatusChanged
from hugchat_tui.common.tasks import start
from hugchat_tui.conversations.errors import StoreError

if TYPE_CHECKING:
    from engine.checkpoints.model import Checkpoint
    from engine.client import Worker
    from engine.errors import EngineError
    from engine.protocol import LoadProgress, ModelInfo
    from hugchat_tui.chat.session import ChatSession
    from hugchat_tui.services import Progress


class SessionModel:
    """Named by `reference`, as a person would; `info` says what is loaded, None while nothing is.

    asked_for: the person named it just now, so it may be fetched. What was here once, or is an old conversation's, and
    is gone was deleted: fetching that again is not ours to decide.
    """

    def __init__(self, session: ChatSession, reference: str) -> None:
        self.reference = reference
        self.info: ModelInfo | None = None
        self.asked_for = False
        self._before_asked_for = False
        self._session = session
        self._before: str | None = None  # what answered before the one that is being changed to
        self._loading: asyncio.Task[None] | None = None
        self._acquiring = 0  # counts calls of `acquire`: only the last one's progress is shown

    @property
    def switching(self) -> bool:
        """Whether what the person chose is being loaded."""
        return self._before is not None and self._loading is not None

    def prepare(self) -> None:
        """Load ahead, so that the first question need not wait. A question meanwhile joins the load."""
        if self._loading is None:
            self._loading = start(self._load())

    def switch(self, reference: str) -> None:
        """Let another checkpoint answer from now on and load it, after the reply that is being written if there is one.

        Should that fail or be stopped, the one before answers again.
        """
        self._cancel_load()
        if self._before is None:
            self._before, self._before_asked_for = self.reference, self.asked_for
        self.reference, self.info, self.asked_for = reference, None, True
        if self._session.busy:
            self._session.tell(Notice(f"{display_name(reference)} is loaded when this answer is complete."))
        else:
            self.prepare()
        self._session.tell(ConversationChanged())

    def resume(self) -> None:
        """A reply has ended: begin with the load that waited for it, or say what answers next."""
        if self._before is not None:
            self.prepare()
        else:
            self.show()

    def stop(self) -> bool:
        """Stop loading what the person chose; returns whether that was going on.

        A load ahead goes on: nobody asked for it, so a stray key shall not end it.
        """
        if not self.switching:
            return False
        self._cancel_load()
        chosen = self.reference
        before = self._go_back()
        self._session.tell(Notice(f"Loading {display_name(chosen)} was stopped; {display_name(before)} answers again."))
        return True

    async def unload(self) -> bool:
        """Give back the memory; False while it is answering, here or in another conversation."""
        resident = self._session.services.resident(self.reference)
        if resident is not None:
            if resident.state == "busy":
                return False
            await self._session.services.pool.unload(resident.key)
        self.show()
        return True

    def show(self) -> None:
        """Let the status say what answers here and whether it is loaded. Work that it shows stays, and a failure."""
        session = self._session
        if session.busy or self._loading is not None:
            return
        resident = session.services.resident(self.reference)
        self.info = resident.info if resident is not None else None
        status = session.status if session.status.model == self.reference else self._new_status(self.reference)
        if self.info is not None:
            status = replace(_loaded(status, self.info), phase="idle", stage="", done=0, total=0)
        elif status.phase != "failed":
            status = self._new_status(self.reference)
        session.status = status
        session.tell(StatusChanged())

    def _new_status(self, name: str) -> Status:
        """Of another checkpoint, of which nothing is known yet; the conversation is as long as before."""
        return Status(model=name, context_used=self._session.status.context_used)

    async def acquire(self, reference: str | None = None) -> Worker:
        """A worker that has the checkpoint loaded, or another one for once; what that takes is shown in the status.

        Raises EngineErrors.
        """
        session, name = self._session, reference or self.reference
        self._acquiring = turn = self._acquiring + 1

        def show(phase: Phase, stage: str, done: int = 0, total: int = 0) -> None:
            if turn == self._acquiring:
                session.set_phase(phase, stage, done, total)

        def begin(phase: Phase, stage: str) -> None:
            if session.status.phase not in {phase, "loading"}:  # else this joins what is under way
                show(phase, stage)

        def loading(progress: LoadProgress) -> None:
            show("loading", progress.stage, progress.done, progress.total)

        if session.status.model != name:
            session.status = self._new_status(name)
        begin("preparing", "looking for the checkpoint")
        checkpoint = await self._find(name, lambda stage, done, total: show("preparing", stage, done, total))
        begin("loading", "starting")
        chosen = session.services.settings.model
        beside = [session.services.resident(each) for each in session.services.shown() if each != name]
        worker = await session.services.pool.acquire(
            checkpoint,
            on_progress=loading,
            device=chosen.device,
            dtype=chosen.dtype,
            keep=[each.key for each in beside if each is not None],
        )
        if worker.info is not None:
            session.status = _loaded(session.status, worker.info)
            if name == self.reference:
                self.info = worker.info
        return worker

    async def _find(self, name: str, on_progress: Progress) -> Checkpoint:
        """The checkpoint; fetched only where the person asked for it. Raises EngineErrors."""
        from engine.checkpoints.resolve import NotDownloadedError, StarterNotInstalledError
        from engine.errors import CheckpointNotFoundError

        own = name == self.reference  # else it was chosen for this once
        try:
            found = await self._session.services.ensure_checkpoint(name, on_progress, fetch=self.asked_for or not own)
        except (NotDownloadedError, StarterNotInstalledError) as error:
            raise CheckpointNotFoundError(
                f"{name} is not on this machine any more.",
                f"f5, then u, brings back what was deleted there; /model {name} fetches it again; ^t chooses another.",
            ) from error
        if own:
            self.asked_for = False
        return found

    async def _load(self) -> None:
        from engine.errors import EngineError

        try:
            await self._session.services.ready()
            await self.acquire()
            if self._before is not None:
                self._before = None
                await self._session.store_model()
        except EngineError as error:
            self._loading = None
            self._failed(error)
        except StoreError as error:
            self._session.tell(Notice(str(error), "error"))
        finally:
            if self._loading is asyncio.current_task():  # else another load has taken its place
                self._loading = None
        self.show()
        self._session.tell(ConversationChanged())

    def _failed(self, error: EngineError) -> None:
        if self._before is not None:
            words = f"{error} {display_name(self._go_back())} answers again."
            self._session.tell(Notice(words, "error"))
        elif not self._session.busy:  # else the reply says it
            self._session.set_phase("failed", stage=error.message)
            self._session.tell(Notice(str(error), "error"))

    def _cancel_load(self) -> None:
        if self._loading is not None:
            self._loading.cancel()
            self._loading = None
            self._acquiring += 1

    def _go_back(self) -> str:
        """Let the checkpoint before answer again; returns its reference."""
        assert self._before is not None, "only a change can be taken back"
        self.reference, self._before, self.asked_for = self._before, None, self._before_asked_for
        self.show()
        self._session.tell(ConversationChanged())
        return self.reference


def _loaded(status: Status, info: ModelInfo) -> Status:
    return replace(status, device=info.device, dtype=info.dtype, context_length=info.context_length)
