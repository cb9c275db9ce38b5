"""What the conversation store can fail with. Each error says what happened, why, and what to do next."""

from __future__ import annotations


class StoreError(Exception):
    """Base of the store's errors: `message` says what happened and why, `hint` what to do next (may be
    empty).
    """

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".rstrip()


class DatabaseTooNewError(StoreError):
    """The database was written by a newer version of the program. It has not been touched."""


class DatabaseUnusableError(StoreError):
    """The file cannot be opened, is no SQLite database, or is damaged."""


class StoreBusyError(StoreError):
    """Another program held the database longer than the busy timeout."""


class NotFoundError(StoreError):
    """No conversation, message or deletion has the given id (any more)."""


class StoreClosedError(StoreError):
    """The store was asked something after it had been closed."""
