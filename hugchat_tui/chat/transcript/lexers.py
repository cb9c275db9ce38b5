"""Pygments' lexers by name, imported away from the event loop."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pygments.lexer import Lexer

_COMMON = ("python", "bash", "json", "javascript", "html", "css", "sql", "c", "java", "rust", "go", "yaml", "toml")
_LONGEST_NAME = 40
_MOST_NAMES = 500  # names come from outside


class Lexers:
    """Lexers by name, imported by a thread because an import takes up to 50 ms."""

    def __init__(self) -> None:
        self._lexers: dict[str, Lexer | None] = {}
        self._loading: dict[str, Future[None]] = {}
        self._thread: ThreadPoolExecutor | None = None

    def get(self, name: str) -> Lexer | None:
        """The lexer, None when there is none or it is not loaded yet."""
        return self._lexers.get(name.lower())

    def is_known(self, name: str) -> bool:
        """Whether `get` gives the final answer."""
        return not name or name.lower() in self._lexers

    def load(self, name: str) -> None:
        """Import a lexer here and now."""
        name = name.lower()
        if name in self._lexers:
            return
        from pygments.lexers import get_lexer_by_name
        from pygments.util import ClassNotFound

        try:
            lexer = get_lexer_by_name(name, stripnl=False) if len(name) <= _LONGEST_NAME else None
        except ClassNotFound:
            lexer = None
        if len(self._lexers) >= _MOST_NAMES:
            self._lexers.clear()
        self._lexers[name] = lexer

    def request(self, name: str, done: Callable[[], None]) -> None:
        """Import a lexer in a thread; `done` is called from that thread."""
        name = name.lower()
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, "lexers")
        future = self._loading.get(name)
        if future is None:
            future = self._loading[name] = self._thread.submit(self.load, name)
        future.add_done_callback(lambda _: done())


LEXERS = Lexers()


def warm_up() -> None:
    """Import what rendering needs, the parser and the lexers that models use most: for a thread, after first paint."""
    import hugchat_tui.chat.transcript.rendering  # noqa: F401
    from hugchat_tui.chat.transcript.dialect import parse

    parse("**warm** `up`")
    for name in _COMMON:
        LEXERS.load(name)
