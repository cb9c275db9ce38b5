"""Stop strings in a stream: found across token borders, never shown."""

from __future__ import annotations

from collections.abc import Sequence


class StopStrings:
    """Passes text on as soon as no stop string can begin in it.

    strip_start: leading whitespace of the whole text is dropped. strip_end: trailing whitespace is held
    back and dropped when the text ends. Both belong to HugChat's format, whose reply stands between spaces.
    """

    def __init__(self, stops: Sequence[str], *, strip_start: bool = False, strip_end: bool = False) -> None:
        self._stops = tuple(stop for stop in stops if stop)
        self._strip_start = strip_start
        self._strip_end = strip_end
        self._held = ""
        self.stopped = False

    def feed(self, text: str) -> str:
        """The text that became certain. Once `stopped` is True, a stop string was found: feed no more."""
        self._held += text
        found = [at for stop in self._stops if (at := self._held.find(stop)) >= 0]
        if found:
            self.stopped = True
            return self._ended(self._held[: min(found)])
        return self._release(len(self._held) - self._open_length())

    def finish(self) -> str:
        """What was still held back, once nothing more will come."""
        return self._ended(self._held)

    def _open_length(self) -> int:
        """Length of the longest end of the held text with which a stop string begins."""
        longest = min(len(self._held), max((len(stop) - 1 for stop in self._stops), default=0))
        for length in range(longest, 0, -1):
            tail = self._held[-length:]
            if any(stop.startswith(tail) for stop in self._stops):
                return length
        return 0

    def _release(self, end: int) -> str:
        certain = self._held[:end]
        if self._strip_end:
            certain = certain.rstrip()
        self._held = self._held[len(certain) :]
        return self._stripped_start(certain)

    def _ended(self, rest: str) -> str:
        self._held = ""
        return self._stripped_start(rest.rstrip() if self._strip_end else rest)

    def _stripped_start(self, text: str) -> str:
        if self._strip_start:
            text = text.lstrip()
            self._strip_start = not text
        return text
