"""A program in a real pseudo-terminal, behind a terminal emulator: what the person would see, and every raw byte."""

from __future__ import annotations

import codecs
import fcntl
import os
import pty
import re
import select
import signal
import struct
import termios
import time
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Self

import pyte

_KEYS = {
    "enter": "\r", "tab": "\t", "escape": "\x1b", "esc": "\x1b", "backspace": "\x7f", "space": " ",
    "shift+tab": "\x1b[Z",
    "up": "\x1b[A", "down": "\x1b[B", "right": "\x1b[C", "left": "\x1b[D", "home": "\x1b[H", "end": "\x1b[F",
    "pageup": "\x1b[5~", "pagedown": "\x1b[6~", "delete": "\x1b[3~", "f1": "\x1bOP", "f2": "\x1bOQ", "f3": "\x1bOR",
    "f4": "\x1bOS", "f5": "\x1b[15~", "f6": "\x1b[17~", "f7": "\x1b[18~", "f8": "\x1b[19~", "f9": "\x1b[20~",
}  # fmt: skip
# Sequences that pyte 0.8 would print as text: Kitty keyboard, mode reports, device strings, window reports.
_UNKNOWN_TO_PYTE = re.compile(
    r"\x1b\[[<>=][0-9;]*[a-zA-Z]|\x1b\[\?[0-9;]*\$p|\x1b\[[0-9;]*\$p|\x1bP.*?\x1b\\|\x1b\[[0-9;]*t", re.DOTALL
)
_INCOMPLETE = re.compile(r"\x1b(?:\[[0-9;<>=?$]*|P[^\x1b]*|\][^\x07\x1b]*)?$")


def key_bytes(key: str) -> bytes:
    """What a terminal sends for a key named as Textual names it; a single character is itself."""
    if key in _KEYS:
        return _KEYS[key].encode()
    if key.startswith("ctrl+") and len(key) == 6:
        return bytes([ord(key[5].lower()) & 0x1F])
    if key.startswith("alt+"):
        return b"\x1b" + key_bytes(key[4:])
    return key.encode()


class PtyApp:
    """Starts a command and reads what it draws. Times are `time.perf_counter()`.

    raw: all bytes so far. eof: the program closed its terminal. status: its exit code once it is known, minus the
    signal's number when it was killed. first_paint: seconds from the start to the first visible cell.
    """

    def __init__(
        self,
        command: Sequence[str],
        size: tuple[int, int] = (120, 40),
        env: Mapping[str, str] | None = None,
        cwd: str | os.PathLike[str] | None = None,
    ) -> None:
        columns, rows = size
        self.raw = bytearray()
        self.eof = False
        self.status: int | None = None
        self.first_paint: float | None = None
        self._screen = pyte.Screen(columns, rows)
        self._stream = pyte.Stream(self._screen)
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._held = ""
        environment = {**os.environ, "TERM": "xterm-256color", "COLORTERM": "truecolor", **(env or {})}
        for name in ("NO_COLOR", "COLUMNS", "LINES"):  # those of the terminal that the tests were started in
            environment.pop(name, None)
        self._began = time.perf_counter()
        self.pid, self._terminal = pty.fork()
        if self.pid == 0:
            try:
                fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
                if cwd is not None:
                    os.chdir(cwd)
                os.execvpe(command[0], list(command), environment)
            finally:
                os._exit(127)

    def text(self) -> str:
        """The screen as lines of text."""
        return "\n".join(self._screen.display)

    def pump(self, timeout: float = 0.0) -> float | None:
        """Read one chunk, waiting for it so many seconds; when it was read, None when nothing came."""
        if self.eof or not select.select([self._terminal], [], [], timeout)[0]:
            return None
        try:
            data = os.read(self._terminal, 65_536)
        except OSError:  # how Linux says that the other side is closed
            data = b""
        now = time.perf_counter()
        if not data:
            self.eof = True
            return None
        self.raw += data
        text = self._held + self._decoder.decode(data)
        self._held = ""
        if (match := _INCOMPLETE.search(text)) is not None:
            text, self._held = text[: match.start()], text[match.start() :]
        self._stream.feed(_UNKNOWN_TO_PYTE.sub("", text))
        if self.first_paint is None and any(line.strip() for line in self._screen.display):
            self.first_paint = now - self._began
        return now

    def send(self, data: bytes) -> None:
        """Write all of it, reading meanwhile so that neither side waits for the other."""
        os.set_blocking(self._terminal, False)
        try:
            while data:
                readable, writable, _ = select.select([self._terminal], [self._terminal], [], 10)
                if readable:
                    self.pump()
                if writable:
                    data = data[os.write(self._terminal, data[:4096]) :]
                if not readable and not writable:
                    raise TimeoutError("the program does not read its input")
        finally:
            os.set_blocking(self._terminal, True)

    def press(self, *keys: str) -> None:
        """Press keys, by Textual's names; a single character is itself."""
        for key in keys:
            self.send(key_bytes(key))

    def resize(self, columns: int, rows: int) -> None:
        """Give the terminal another size, as a person does who drags its window."""
        self._screen.resize(rows, columns)
        fcntl.ioctl(self._terminal, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        os.kill(self.pid, signal.SIGWINCH)

    def wait(self, until: Callable[..., bool], timeout: float = 10.0) -> float | None:
        """Read until a condition holds; when the chunk that made it true was read, None when none did in time."""
        if until(self):
            return time.perf_counter()
        end = time.monotonic() + timeout
        while not self.eof and (left := end - time.monotonic()) > 0:
            now = self.pump(min(left, 0.25))
            if until(self):
                return now or time.perf_counter()
        return None

    def wait_text(self, pattern: str, timeout: float = 10.0) -> float | None:
        """`wait` for a regular expression that matches the screen."""
        compiled = re.compile(pattern)
        return self.wait(lambda app: compiled.search(app.text()) is not None, timeout)

    def wait_end(self, timeout: float = 10.0) -> int | None:
        """Read until the program has ended; its exit code, None when it does not end in time."""
        self.wait(lambda app: app._reap(), timeout)
        if self.eof:
            end = time.monotonic() + timeout
            while not self._reap() and time.monotonic() < end:
                time.sleep(0.01)  # it closed its terminal and is not gone yet
        return self.status

    def hang_up(self, timeout: float = 10.0) -> int | None:
        """Close the terminal, as losing a connection does; the exit code, None when it does not end in time."""
        os.close(self._terminal)
        self._terminal, self.eof = -1, True
        return self.wait_end(timeout)

    def close(self) -> None:
        """End the program, by force if it does not go."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            if self._reap():
                break
            os.kill(self.pid, number)
            end = time.monotonic() + 3
            while not self._reap() and time.monotonic() < end:
                if self.pump(0.05) is None and self.eof:
                    time.sleep(0.01)
        if self._terminal >= 0:
            os.close(self._terminal)
            self._terminal = -1

    def _reap(self) -> bool:
        if self.status is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.status = os.waitstatus_to_exitcode(status)
        return self.status is not None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
