"""What a transcript is given: one record a message."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypedDict

EntryRole = Literal["user", "assistant", "system", "notice", "error"]
EntryMark = Literal["", "good", "bad"]


@dataclass(slots=True)
class Entry:
    """A message as it is shown. The texts may come from anywhere: the transcript cleans them.

    An assistant's text is Markdown; every other role's is shown as it was written.
    """

    key: int  # the message's id, unique in the transcript
    role: EntryRole
    title: str  # "You", the checkpoint's name
    text: str
    detail: str = ""  # right of the title, dim: "2/3", the time
    footer: str = ""  # below the text, dim: "stopped · 212 tokens · 31.2 tok/s · seed 7"
    streaming: bool = False
    mark: EntryMark = ""  # behind the title, in its colour


class Changes(TypedDict, total=False):
    """What `update_entry` may change."""

    title: str
    text: str
    detail: str
    footer: str
    streaming: bool
    role: EntryRole
    mark: EntryMark
