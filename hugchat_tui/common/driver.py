"""Textual's driver, for a terminal that may go away."""

from __future__ import annotations

from contextlib import suppress
from io import TextIOWrapper
from typing import TYPE_CHECKING, Any, TextIO, cast

from textual.drivers.linux_driver import LinuxDriver

if TYPE_CHECKING:
    from textual.app import App


class TerminalDriver(LinuxDriver):
    """Goes on without its terminal: the program has conversations to store and workers to end before it ends.

    Textual's thread that writes dies of the first write that fails (8.2.8). Whoever writes after that waits for it for
    ever: a closed terminal left a process behind that only SIGKILL could end.
    """

    def __init__(self, app: App[Any], *, debug: bool = False, mouse: bool = True, size: tuple[int, int] | None = None):
        super().__init__(app, debug=debug, mouse=mouse, size=size)
        self._file = cast(TextIOWrapper, _Output(self._file))


class _Output:
    """A file whose writes come to nothing once nobody reads them."""

    def __init__(self, file: TextIO | None) -> None:
        assert file is not None
        self._file = file

    def write(self, text: str) -> None:
        with suppress(OSError):
            self._file.write(text)

    def flush(self) -> None:
        with suppress(OSError):
            self._file.flush()

    def isatty(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._file.fileno()
