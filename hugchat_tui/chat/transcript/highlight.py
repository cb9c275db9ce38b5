"""Syntax colours for code that may still grow, in small steps of time.

A growing fence is not lexed from its beginning with every line: lexing starts again at a checkpoint a screen back, with
the lexer's states as they were there. When no more lines will come, the fence is lexed once from the beginning, a few
milliseconds at a time, because a comment or a string that ends late may change lines far above. So what was coloured
while it streamed ends up as what is coloured afresh.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from hugchat_tui.chat.transcript.lexers import LEXERS

if TYPE_CHECKING:
    from pygments.lexer import Lexer, RegexLexer
    from pygments.token import _TokenType

_WINDOW = 24  # lines lexed again when lines come
_LONGEST_LINE = 2_000  # characters; on longer lines some lexers take quadratic time
_LARGEST = 200_000  # characters of a fence
# Time for one fence altogether, and more for each line: some lexers take quadratic time on plain words.
_BUDGET_S, _BUDGET_A_LINE_S = 0.5, 0.005


class TokenSpan(NamedTuple):
    """Characters [start, end) of a line of code and what they are."""

    start: int
    end: int
    token: _TokenType


Spans = list[TokenSpan]
States = tuple[str, ...]  # a lexer's stack of states
_ROOT: States = ("root",)


class Highlighter:
    """spans: the token spans of each line; partial: those of the line that is still being written.

    A fence that is too large, has a line that is too long, or takes too much time stays plain from there on.
    """

    def __init__(self, language: str) -> None:
        self.language = language
        self.lines: list[str] = []
        self.spans: list[Spans] = []
        self.partial: Spans = []
        self._size = 0
        self._spent = 0.0
        self._too_much = False
        self._exact = True  # the last lexing began at the beginning and went to the end
        self._checkpoints: list[tuple[int, States]] = []  # a line, and the states at its beginning
        self._pass: Iterator[tuple[int, Spans, States | None]] | None = None
        self._finishing = False
        self._closed = False
        self._last = ""

    @property
    def closed(self) -> bool:
        """Whether nothing will follow."""
        return self._closed

    @property
    def busy(self) -> bool:
        """Whether `advance` has something to do."""
        return self._finishing

    def extend(self, lines: Sequence[str], partial: str = "") -> int:
        """Add complete lines and replace the partial one. Returns the first line whose spans may have changed."""
        self._closed = self._finishing = False  # three backticks may turn out to begin a line of code
        first = changed = len(self.lines)
        self._add(lines)
        lexer = self._usable_lexer(len(partial))
        if lexer is None:
            self.partial = []
            self._exact = False
            return first
        keep = first - _WINDOW
        while self._checkpoints and self._checkpoints[-1][0] > keep:
            self._checkpoints.pop()
        begin, states = self._checkpoints[-1] if self._checkpoints else (max(0, keep), _ROOT)
        began = time.perf_counter()
        for number, spans, stack in lex(lexer, [*self.lines[begin:], partial], states):
            line = begin + number
            if line == len(self.lines):
                self.partial = spans
                break
            if spans != self.spans[line]:
                self.spans[line] = spans
                changed = min(changed, line)
            if stack is not None:
                self._checkpoints.append((line + 1, stack))
        self._spent += time.perf_counter() - began
        self._exact = begin == 0 and not partial
        return changed

    def close(self, lines: Sequence[str] = (), partial: str = "") -> None:
        """Add the last lines; nothing will follow. Their colours, and those that they change, come by `advance`.

        partial: a last line without a newline; its spans are not among those of the lines.
        """
        self._add(lines)
        self._closed = True
        self._last = partial
        self._exact = self._exact and not lines and not partial
        self._finishing = not self._exact
        self._pass = None

    def advance(self, deadline: float) -> range:
        """Lex from the beginning until `time.perf_counter()` passes the deadline. Returns the lines that changed.

        While the lexer is not loaded, nothing is done.
        """
        if not LEXERS.is_known(self.language):
            return range(0)
        lexer = self._usable_lexer(len(self._last))
        if lexer is None:
            self._finishing = False
            return range(0)
        if self._pass is None:
            self._pass = lex(lexer, [*self.lines, self._last], _ROOT)
        first, last = len(self.lines), 0
        began = time.perf_counter()
        for number, spans, _ in self._pass:
            if number == len(self.lines):
                self.partial = spans
            elif spans != self.spans[number]:
                self.spans[number] = spans
                first, last = min(first, number), number + 1
            if time.perf_counter() >= deadline:
                break
        else:
            self._finishing, self._exact = False, True
        self._spent += time.perf_counter() - began
        return range(first, last)

    def _add(self, lines: Sequence[str]) -> None:
        if not lines:
            return
        self.lines += lines
        self.spans += [[] for _ in lines]
        self._size += sum(map(len, lines))
        self._too_much = self._too_much or max(map(len, lines)) > _LONGEST_LINE

    def _usable_lexer(self, partial: int) -> Lexer | None:
        if self._too_much or partial > _LONGEST_LINE or self._size > _LARGEST:
            return None
        if self._spent > _BUDGET_S + _BUDGET_A_LINE_S * len(self.lines):
            return None
        return LEXERS.get(self.language)


def lex(lexer: Lexer, lines: Sequence[str], states: States) -> Iterator[tuple[int, Spans, States | None]]:
    """Each line's number, spans, and the lexer's states at its end where the lexer can start again from there."""
    text = "\n".join(lines) + "\n"
    number, column = 0, 0
    spans: Spans = []
    for batch, stack in _batches(lexer, text, states):
        done: list[tuple[int, Spans]] = []
        for token, value in batch:
            # Pieces of a value that spans lines belong to each of them.
            for at, piece in enumerate(value.split("\n")):
                if at:
                    done.append((number, spans))
                    number, column, spans = number + 1, 0, []
                if piece:
                    spans.append(TokenSpan(column, column + len(piece), token))
                    column += len(piece)
        for each, found in done:
            last = each == number - 1 and column == 0
            yield each, found, stack if last else None


def _batches(lexer: Lexer, text: str, states: States) -> Iterator[tuple[list[tuple[_TokenType, str]], States | None]]:
    """Tokens, and the states behind them where they are known."""
    from pygments.lexer import RegexLexer

    if isinstance(lexer, RegexLexer) and (type(lexer).get_tokens_unprocessed is RegexLexer.get_tokens_unprocessed):
        yield from _regex_batches(lexer, text, states)
    else:
        for _, token, value in lexer.get_tokens_unprocessed(text):
            yield [(token, value)], None


def _regex_batches(
    lexer: RegexLexer, text: str, states: States
) -> Iterator[tuple[list[tuple[_TokenType, str]], States | None]]:
    """Run a RegexLexer's state machine as its documentation describes it, keeping hold of the stack of states."""
    from pygments.token import Error, Text, _TokenType

    table = vars(type(lexer))["_tokens"]  # the processed form of `tokens`, made when the lexer is
    stack = list(states)
    position = 0
    while True:
        for match_at, action, transition in table[stack[-1]]:
            match = match_at(text, position)
            if match is None:
                continue
            position = match.end()
            tokens: list[tuple[_TokenType, str]] = []
            if type(action) is _TokenType:
                tokens.append((action, match.group()))
            elif action is not None:
                tokens += [(token, value) for _, token, value in action(lexer, match)]
            _change(stack, transition)
            yield tokens, tuple(stack)
            break
        else:
            if position >= len(text):
                return
            character = text[position]
            position += 1
            if character == "\n":
                stack = ["root"]
            yield [(Text if character == "\n" else Error, character)], tuple(stack)


def _change(stack: list[str], transition: str | int | tuple[str, ...] | None) -> None:
    """Apply a rule's transition: names push, "#pop" and negative numbers pop, the root state always stays."""
    if transition is None:
        return
    if isinstance(transition, int):
        del stack[max(1, len(stack) + transition) :]
        return
    for state in transition if isinstance(transition, tuple) else (transition,):
        if state == "#pop":
            del stack[max(1, len(stack) - 1) :]
        else:
            stack.append(stack[-1] if state == "#push" else state)
