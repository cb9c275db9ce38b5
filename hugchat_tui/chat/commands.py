"""Slash commands as the prompt sees them, and which of them match what is being typed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hugchat_tui.common.fuzzy import Candidate, rank


@dataclass(frozen=True, slots=True)
class Command:
    """name: with its slash ("/new").

    argument: what has to follow it, in a word ("PATH"); empty when nothing does.
    """

    name: str
    description: str
    argument: str = ""


class CommandCompletion:
    """The commands that match a draft, best first, and the highlighted one."""

    def __init__(self) -> None:
        self.matches: tuple[Command, ...] = ()
        self.highlighted = 0
        self._commands: tuple[Command, ...] = ()
        self._candidates: list[Candidate] = []
        self._closed = False

    def set_commands(self, commands: Sequence[Command]) -> None:
        self._commands = tuple(commands)
        self._candidates = [Candidate(command.name[1:]) for command in commands]
        self.matches = ()

    @property
    def chosen(self) -> Command | None:
        """The command that enter or tab takes."""
        return self.matches[self.highlighted] if self.matches else None

    def update(self, line: str) -> None:
        """Match anew against the draft's only line; a path, or one that does not begin with a command, matches none."""
        if not line.startswith("/") or " " in line or "/" in line[1:]:
            self.matches, self.highlighted = (), 0
            self._closed = bool(line) and self._closed
            return
        if self._closed:
            return
        matches = tuple(self._commands[index] for index, _ in rank(line[1:], self._candidates))
        if matches != self.matches:
            self.matches, self.highlighted = matches, 0

    def move(self, step: int) -> None:
        """Highlight another match; the ends meet."""
        if self.matches:
            self.highlighted = (self.highlighted + step) % len(self.matches)

    def close(self) -> None:
        """Show no more matches until the prompt was empty again."""
        self._closed = True
        self.matches, self.highlighted = (), 0
