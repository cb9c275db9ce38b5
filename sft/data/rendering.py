"""Conversations as a chat template writes them, and where in that text the answers stand.

Templates from outside run here in the same process: only for processes that can be killed (sft.data.encoding_process).
"""

from __future__ import annotations

import re
import secrets
import signal
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property

import jinja2

from engine.chat_templates.sandbox import compile_template
from sft.data.conversation import Message
from sft.data.tokenizer import ChatTokenizer
from sft.errors import SftError

# A lead of white space that no template writes by itself.
_LEAD = "\n \n\n \t \n"
_THOUGHT_ENDS = "</think>"
_MEND = "Mend the chat template, or name another one in the recipe ([model] template)."


class RowRefusedError(SftError):
    """Nothing can be made of a row. reason: the short phrase by which such rows are counted."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason
        self.detail = detail


class NothingTrainedError(RowRefusedError):
    """No token of the row would be trained."""

    def __init__(self, detail: str = "") -> None:
        super().__init__("nothing to train on", detail)


class BrokenTemplateError(SftError):
    """The template is no template, or does not end."""


@dataclass(frozen=True, slots=True)
class Answer:
    """Where an answer stands in a text, as character positions, with the end of its turn. trained: as its message.

    ends: whether the template wrote an end of turn (a special token, or HugChat's blank line).
    """

    start: int
    end: int
    trained: bool
    ends: bool


@dataclass(frozen=True, slots=True)
class Rendering:
    """text: what the template made of a conversation; the keys of `spelled` stand in it for their values."""

    text: str
    answers: tuple[Answer, ...]
    spelled: Mapping[str, str]


class _RanTooLong(BaseException):
    """It ends what runs, past every `except Exception`."""


class ConversationRenderer:
    """Renders conversations with one template. Main thread only: a template that does not end is stopped by a signal.

    added_tokens: the texts of all that the tokenizer's model does not know by itself. time_limit_s: for each rendering,
    in seconds. A template that sits in one endless operation, where no signal is heard, loses the process after four
    times as much.
    """

    def __init__(self, chat: ChatTokenizer, added_tokens: Collection[str], time_limit_s: float) -> None:
        self._chat = chat
        self._time_limit_s = time_limit_s
        self._nonce = secrets.token_hex(8)  # nobody who wrote a row can know it
        self._marks = re.compile(f"\ue000{self._nonce}([se])([0-9]+)\ue001")
        self.special = re.compile(_any_of([content for content, *_ in chat.special]))
        # Some tokenizers do not call the token that ends a turn special; runs of spaces may be tokens too.
        ends = rf"\s*(?:{_any_of([token for token in added_tokens if token.strip()])})"
        self._end_of_turn = re.compile(r"[ \n]*\n\n" if chat.template_kind == "hugchat" else ends)
        try:
            with self._limited():  # jinja2 works out what is constant while it compiles
                self._template = compile_template(chat.template)
        except jinja2.TemplateSyntaxError as error:
            raise BrokenTemplateError(
                f"The chat template is broken: line {error.lineno}: {error.message}", _MEND
            ) from None
        except _RanTooLong:
            raise self._ran_too_long() from None

    def render(self, messages: Sequence[Message]) -> Rendering:
        """Raises RowRefusedError when the template refuses the messages or does not show the answers,
        BrokenTemplateError when it runs too long."""
        messages = self._with_system_merged(messages)
        disarmed, spelled = self._disarmed(messages)
        text = self._text(disarmed)
        spans = self._spans(disarmed, text)
        answers = tuple(
            self._answer(text, start, end, message.trained)
            for message, (start, end) in zip(disarmed, spans, strict=True)
            if end > start
        )
        return Rendering(text, answers, spelled)

    def _answer(self, text: str, start: int, end: int, trained: bool) -> Answer:
        closing = self._end_of_turn.match(text, end)
        return Answer(start, closing.end() if closing else end, trained, closing is not None)

    # Which part of the text is whose

    def _spans(self, messages: Sequence[Message], text: str) -> list[tuple[int, int]]:
        """For each message the characters that its answer takes up, without the end of turn; none: equal numbers.

        The messages are rendered once more with marks that nobody can guess around each answer. Marks stand beside
        characters that are no white space, so that a template may trim.
        """
        marked = [self._marked(number, message) for number, message in enumerate(messages)]
        found = self._marked_positions(self._text(marked), text)
        spans = []
        for number, message in enumerate(messages):
            if message.role != "assistant" or not message.content.strip():
                spans.append((0, 0))
                continue
            start, end = found.get(("s", number)), found.get(("e", number))
            if end is None:
                spans.append(self._span_between_prefixes(messages, number, text))
                continue
            if start is not None:
                start = self._from_prompt(text, start, message.content)
            else:
                start = self._start_behind_prompt(messages, number, text, end)
            tail = message.content[len(message.content.rstrip()) :]
            if self._opening[1] and text.startswith(tail, end):
                end += len(tail)
            spans.append((start, end))
        return spans

    def _marked(self, number: int, message: Message) -> Message:
        content = message.content
        core = content.strip()
        if message.role != "assistant" or not core:
            return message
        lead = len(content) - len(content.lstrip())
        tail = content[lead + len(core) :]
        return replace(
            message, content=f"{content[:lead]}{self._mark('s', number)}{core}{self._mark('e', number)}{tail}"
        )

    def _mark(self, kind: str, number: int) -> str:
        return f"\ue000{self._nonce}{kind}{number}\ue001"

    def _marked_positions(self, marked: str, text: str) -> dict[tuple[str, int], int]:
        """Where the marks stand in the text without marks; {} unless the text is the same without them.

        A mark that the template wrote twice, or not at all, is left out.
        """
        positions: dict[tuple[str, int], int] = {}
        twice = set()
        pieces = []
        done = length = 0
        for match in self._marks.finditer(marked):
            pieces.append(marked[done : match.start()])
            length += match.start() - done
            done = match.end()
            key = match.group(1), int(match.group(2))
            if key in positions:
                twice.add(key)
            positions[key] = length
        pieces.append(marked[done:])
        if "".join(pieces) != text:
            return {}
        return {key: at for key, at in positions.items() if key not in twice}

    def _from_prompt(self, text: str, start: int, content: str) -> int:
        """The start moved back to where the prompt for this answer ends: what stands between, the model must write."""
        opening, keeps_space = self._opening
        lead = content[: len(content) - len(content.lstrip())]
        if keeps_space and text.endswith(lead, 0, start):
            start -= len(lead)
        return start - len(opening) if text.endswith(opening, 0, start) else start

    def _start_behind_prompt(self, messages: Sequence[Message], number: int, text: str, end: int) -> int:
        """The start of an answer whose first part the template leaves out or writes its own way: a thought."""
        prompt = self._prompt(messages[:number])
        if prompt is not None and text.startswith(prompt) and len(prompt) < end:
            return len(prompt)
        before, thought, rest = messages[number].content.rpartition(_THOUGHT_ENDS)
        if thought:
            marked = list(messages)
            lead = len(rest) - len(rest.lstrip())
            content = f"{before}{thought}{rest[:lead]}{self._mark('s', number)}{rest[lead:]}"
            marked[number] = replace(messages[number], content=content)
            at = self._marked_positions(self._text(marked), text).get(("s", number))
            if at is not None:
                return at
        raise self._not_found(number)

    def _span_between_prefixes(self, messages: Sequence[Message], number: int, text: str) -> tuple[int, int]:
        """For a template that does something else to a marked answer: what it adds to the conversation before it."""
        prompt = self._prompt(messages[:number])
        core = messages[number].content.strip()
        if prompt is None or not text.startswith(prompt):
            raise self._not_found(number)
        try:
            through = self._text(messages[: number + 1])
        except RowRefusedError:
            raise self._not_found(number) from None
        at = text.rfind(core, len(prompt), len(through))
        if at < 0 or not text.startswith(through.rstrip()):
            raise self._not_found(number)
        return len(prompt), at + len(core)

    def _not_found(self, number: int) -> RowRefusedError:
        return RowRefusedError("the chat template does not show the answer", f"message {number + 1}")

    @cached_property
    def _opening(self) -> tuple[str, bool]:
        """What an answer begins with, besides its text, behind the prompt for it; and whether the template keeps
        the white space around a text.

        HugChat's prompt ends before the space that the first word brings along; Qwen 3 writes an empty thought.
        """
        question = Message("user", "?")
        content = f"{self._mark('s', 0)}x{self._mark('e', 0)}"
        prompt = self._prompt([question])
        try:
            plain = self._text([question, Message("assistant", content)])
            with_lead = self._text([question, Message("assistant", _LEAD + content)])
        except RowRefusedError:
            return "", False
        keeps_space = with_lead.partition(content)[0].endswith(_LEAD)
        before = plain.partition(content)[0]
        opening = before[len(prompt) :] if prompt is not None and before.startswith(prompt) else ""
        return opening, keeps_space

    # The system prompt, as engine.worker.prompt treats it

    def _with_system_merged(self, messages: Sequence[Message]) -> Sequence[Message]:
        leading = next((at for at, message in enumerate(messages) if message.role != "system"), len(messages))
        if not leading or self._takes_system:
            return messages
        rest = list(messages[leading:])
        first = next((at for at, message in enumerate(rest) if message.role == "user"), None)
        if first is None:
            raise RowRefusedError("no question", "the chat template has no place for the system prompt")
        system = "\n\n".join(message.content for message in messages[:leading])
        rest[first] = replace(rest[first], content=f"{system}\n\n{rest[first].content}")
        return rest

    @cached_property
    def _takes_system(self) -> bool:
        probe = self._mark("s", 0)
        try:
            return probe in self._text([Message("system", probe), Message("user", "?")], prompting=True)
        except RowRefusedError:
            return False

    # Rendering itself

    def _disarmed(self, messages: Sequence[Message]) -> tuple[Sequence[Message], dict[str, str]]:
        """The messages with a stand-in for each special token that is spelled in them, so that it stays text."""
        if not any(self.special.search(message.content) for message in messages):
            return messages, {}
        stand_ins: dict[str, str] = {}

        def stand_in(match: re.Match[str]) -> str:
            spelled = match.group()
            return stand_ins.setdefault(spelled, f"\ue000{self._nonce}-{len(stand_ins)}\ue001")

        disarmed = [replace(message, content=self.special.sub(stand_in, message.content)) for message in messages]
        return disarmed, {mark: spelled for spelled, mark in stand_ins.items()}

    def _prompt(self, messages: Sequence[Message]) -> str | None:
        try:
            return self._text(messages, prompting=True)
        except RowRefusedError:
            return None

    def _text(self, messages: Sequence[Message], *, prompting: bool = False) -> str:
        try:
            with self._limited():
                return self._template.render(
                    messages=[{"role": message.role, "content": message.content} for message in messages],
                    tools=None,
                    documents=None,
                    **self._chat.variables,
                    add_generation_prompt=prompting,
                )
        except _RanTooLong:
            raise self._ran_too_long() from None
        except Exception as error:  # noqa: BLE001 (a template can raise anything)
            raise RowRefusedError("refused by the chat template", str(error)) from None

    def _ran_too_long(self) -> BrokenTemplateError:
        return BrokenTemplateError(
            f"The chat template ran over {self._time_limit_s:g} s and was stopped.",
            f"A template should take milliseconds. {_MEND}",
        )

    @contextmanager
    def _limited(self) -> Iterator[None]:
        previous = signal.signal(signal.SIGALRM, _stop)
        before = signal.setitimer(signal.ITIMER_REAL, self._time_limit_s)
        signal.setitimer(signal.ITIMER_VIRTUAL, 4 * self._time_limit_s)  # its default action kills
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_VIRTUAL, 0)
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, previous)
            signal.setitimer(signal.ITIMER_REAL, *before)


def _any_of(texts: Sequence[str]) -> str:
    return "|".join(map(re.escape, sorted(texts, key=len, reverse=True))) or r"(?!)"


def _stop(number: int, frame: object) -> None:
    raise _RanTooLong
