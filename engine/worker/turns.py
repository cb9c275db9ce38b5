"""A conversation as a system prompt and turns, of which the oldest may be left out."""

from __future__ import annotations

from collections.abc import Sequence

from engine.protocol import ChatMessage


class Turns:
    """A turn is a question and all replies that follow it; what stands before the first question belongs to
    it.

    Every method counts messages by their index in the sequence given.
    """

    def __init__(self, messages: Sequence[ChatMessage]) -> None:
        self._messages = list(messages)
        self._system_end = next((at for at, message in enumerate(messages) if message.role != "system"), len(messages))
        questions = [at for at, message in enumerate(messages) if message.role == "user" and at >= self._system_end]
        self._starts = [self._system_end, *questions[1:]]

    def __len__(self) -> int:
        return len(self._starts)

    @property
    def system(self) -> str:
        """The system prompt; "" when there is none."""
        return "\n\n".join(message.content for message in self._messages[: self._system_end])

    @property
    def characters(self) -> int:
        return sum(len(message.content) for message in self._messages)

    def omitted(self, turns: int) -> tuple[int, ...]:
        """Indices of the messages that the oldest `turns` turns consist of."""
        return tuple(range(self._system_end, self._starts[turns]))

    def without(self, turns: int, *, merge_system: bool) -> list[ChatMessage]:
        """The messages without the oldest turns.

        merge_system: the system prompt stands at the start of the first question, not in a message of its
        own.
        """
        rest = self._messages[self._starts[turns] :]
        if not merge_system:
            return self._messages[: self._system_end] + rest
        at = next(at for at, message in enumerate(rest) if message.role == "user")
        rest[at] = ChatMessage("user", f"{self.system}\n\n{rest[at].content}")
        return rest
