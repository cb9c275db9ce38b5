"""Everything the engine can fail with. Each error says what happened, why, and what to do next."""

from __future__ import annotations


class EngineError(Exception):
    """Base of the engine's errors.

    `message` says what happened and why, in one line fit for the screen; `hint` says what to do next and may be
    empty. Neither has been cleaned: both may carry text from outside.
    """

    code = "engine"

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        # What another program said may have no full stop of its own.
        stop = "." if self.hint and self.message and self.message[-1] not in ".!?:…)" else ""
        return f"{self.message}{stop} {self.hint}".rstrip()


class CheckpointNotFoundError(EngineError):
    """No checkpoint answers to the reference."""

    code = "not-found"


class CheckpointRefusedError(EngineError):
    """The checkpoint is there but must not or cannot be loaded: missing tensors, remote code, broken files."""

    code = "refused"


class NotEnoughMemoryError(EngineError):
    """Loading would not fit in the memory at hand."""

    code = "memory"


class TemplateError(EngineError):
    """The chat template failed, refused the conversation, or ran away and was killed."""

    code = "template"


class QuestionTooLongError(EngineError):
    """The system prompt and the last question alone exceed the context."""

    code = "too-long"


class WorkerDiedError(EngineError):
    """The worker process ended while it was needed."""

    code = "worker-died"

    def __init__(
        self,
        message: str,
        hint: str = "",
        *,
        exit_code: int | None = None,
        signal: int | None = None,
        log_tail: tuple[str, ...] = (),
    ) -> None:
        super().__init__(message, hint)
        self.exit_code = exit_code
        self.signal = signal
        self.log_tail = log_tail


class ProtocolMismatchError(EngineError):
    """The worker speaks another version of the protocol than this program."""

    code = "protocol"


_BY_CODE: dict[str, type[EngineError]] = {
    cls.code: cls
    for cls in (
        EngineError,
        CheckpointNotFoundError,
        CheckpointRefusedError,
        NotEnoughMemoryError,
        TemplateError,
        QuestionTooLongError,
        ProtocolMismatchError,
    )
}


def error_from_code(code: str, message: str, hint: str) -> EngineError:
    """The typed error for a `protocol.Failed`; an unknown code becomes a plain EngineError."""
    return _BY_CODE.get(code, EngineError)(message, hint)
