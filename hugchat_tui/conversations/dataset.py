"""Replies that the person marked as a data set: JSON lines that `sft` reads as OpenAI messages.

    {"messages": [{"role": "system", "content": ...},
                  {"role": "user", "content": ...}, {"role": "assistant", "content": ..., "weight": 0},
                  {"role": "user", "content": ...}, {"role": "assistant", "content": ...}],
     "rejected": [{"role": "assistant", "content": ...}]}

A row is the branch down to a reply marked good, as the model heard it: with the conversation's system prompt, without
questions that nobody answered. `weight` 0 says that an earlier reply is not trained: it is not marked good, or another
row trains it. `rejected` are the replies to the same question that are marked bad; an earlier reply that is trained has
them beside its content.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from hugchat_tui.conversations.model import MarkedConversation, Message

_LONGEST_NAME = 48


class _Turn(msgspec.Struct, omit_defaults=True):
    role: str
    content: str
    weight: int = 1
    rejected: list[_Turn] = []


class _Row(msgspec.Struct, omit_defaults=True):
    messages: list[_Turn]
    rejected: list[_Turn] = []


@dataclass(frozen=True, slots=True)
class Dataset:
    """rows: a JSON document each. trained, rejected: replies in them. left_out: marked replies that are in no row,
    because they have no words, or are bad ones that have no good one beside them.
    """

    rows: tuple[bytes, ...]
    trained: int
    rejected: int
    left_out: int

    @property
    def content(self) -> bytes:
        """The file."""
        return b"".join(row + b"\n" for row in self.rows)


def dataset(conversations: Iterable[MarkedConversation]) -> Dataset:
    """What the person marked, as rows."""
    rows: list[bytes] = []
    marked: set[int] = set()
    trained: set[int] = set()
    rejected: set[int] = set()
    for each in conversations:
        bad: defaultdict[int | None, list[Message]] = defaultdict(list)
        for reply in each.bad:
            bad[reply.parent_id].append(reply)
        marked.update(reply.id for reply in each.bad)
        for branch in each.good:
            marked.update(message.id for message in branch if message.mark == "good")
            turns: list[_Turn] = []
            end = 0
            for question, reply in _exchanges(branch):
                turns += [_Turn("user", question), _Turn("assistant", reply.content, weight=0)]
                if reply.mark == "good" and reply.id not in trained:
                    worse = [other for other in bad[reply.parent_id] if other.content.strip()]
                    turns[-1].weight = 1
                    turns[-1].rejected = [_Turn("assistant", other.content) for other in worse]
                    trained.add(reply.id)
                    rejected.update(other.id for other in worse)
                    end = len(turns)
            if end:
                rows.append(_row(each.conversation.system_prompt, turns[:end]))
    return Dataset(tuple(rows), len(trained), len(rejected), len(marked - trained - rejected))


def _exchanges(branch: Sequence[Message]) -> Iterator[tuple[str, Message]]:
    """The questions of a branch with their replies, where both have words."""
    question = ""
    for message in branch:
        if message.role == "user":
            question = message.content
        elif message.role == "assistant" and question.strip() and message.content.strip():
            yield question, message
            question = ""


def _row(system_prompt: str, turns: list[_Turn]) -> bytes:
    opening = [_Turn("system", system_prompt)] if system_prompt.strip() else []
    last = turns[-1]
    rejected, last.rejected = last.rejected, []
    return msgspec.json.encode(_Row([*opening, *turns], rejected))


def file_name(title: str) -> str:
    """A name for the data set of a conversation, without a title for that of several: its letters and digits."""
    words = "-".join(re.findall(r"\w+", title.lower()))[:_LONGEST_NAME].strip("-_")
    return f"{words or 'conversations'}.jsonl"


def free_path(folder: Path, name: str, content: bytes) -> Path:
    """Where a data set may go: a file of this name that holds the same, or the first of NAME, NAME-2, ... that is free.

    A run may still be reading what lies there. Raises OSError.
    """
    path, number = folder / name, 1
    while path.exists() and (path.stat().st_size != len(content) or path.read_bytes() != content):
        number += 1
        path = folder / f"{Path(name).stem}-{number}{Path(name).suffix}"
    return path


def write(path: Path, content: bytes) -> None:
    """Write a data set whole or not at all, and its folder if need be. Raises OSError."""
    from engine.checkpoints.library.notes import write_atomically

    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, content)
