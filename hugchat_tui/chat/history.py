"""What of a conversation the model hears."""

from __future__ import annotations

from collections.abc import Sequence

from engine.protocol import ChatMessage
from hugchat_tui.conversations.model import Message

UNANSWERED = "The model does not hear questions that were never answered."


def what_is_heard(branch: Sequence[Message], system_prompt: str, start: str = "") -> tuple[ChatMessage, ...]:
    """The branch up to its last question, with the `start` of a reply to go on from.

    A question without an answer, because that failed or was stopped before its first word, is left out: one that was
    too long would otherwise spoil every question after it.
    """
    turns = [ChatMessage("system", system_prompt)] if system_prompt.strip() else []
    question = ""
    for message in branch:
        if message.role == "user":
            question = message.content
        elif message.role == "assistant" and _answers(message):
            turns += [ChatMessage("user", question), ChatMessage("assistant", message.content)]
            question = ""
    turns.append(ChatMessage("user", question))
    if start:
        turns.append(ChatMessage("assistant", start))
    return tuple(turns)


def has_unanswered(branch: Sequence[Message]) -> bool:
    """Whether a question of the branch is left out for want of an answer."""
    questions = sum(message.role == "user" for message in branch)
    return questions > sum(message.role == "assistant" and _answers(message) for message in branch)


def _answers(reply: Message) -> bool:
    return bool(reply.content) or (reply.reply is not None and reply.reply.ended in {"done", "length"})
