"""Stored messages as transcript entries: what stands above and below each text."""

from __future__ import annotations

from datetime import datetime

from hugchat_tui.chat.names import display_name
from hugchat_tui.chat.session_events import Status
from hugchat_tui.chat.transcript import Entry
from hugchat_tui.common.format import counted
from hugchat_tui.conversations.model import Message, ReplyDetails

_ENDED = {"done": "", "stopped": "stopped", "length": "cut off at the length limit", "error": "failed"}


def entry_of(message: Message, *, streaming: bool = False) -> Entry:
    """The entry for a message; a reply that failed says why in its footer."""
    details = message.reply
    return Entry(
        key=message.id,
        role="assistant" if message.role == "assistant" else "user" if message.role == "user" else "system",
        title=_title(message),
        text=message.content,
        detail=_detail(message),
        footer="" if streaming or details is None else reply_footer(details),
        streaming=streaming,
        mark=message.mark or "",
    )


def waiting_footer(status: Status) -> str:
    """What a reply that has not begun is waiting for; empty when it has."""
    match status.phase:
        case "preparing" | "loading":
            words = f"{status.phase} {display_name(status.model)} · {status.stage}"
        case "waiting":
            words = status.stage or "waiting"
        case "prefilling":
            words = "reading the prompt"
        case _:
            return ""
    return f"{words} {100 * min(status.done, status.total) // status.total} %" if status.total else words


def reply_footer(details: ReplyDetails) -> str:
    """How a reply ended and what it took, as one line of parts."""
    parts = [_ENDED[details.ended] if details.ended else "interrupted"]
    if details.error:
        parts.append(details.error)
    if details.new_tokens:
        parts.append(counted(details.new_tokens, "token"))
    if details.tokens_per_second:
        parts.append(f"{details.tokens_per_second:.1f} tok/s")
    if details.first_token_s:
        parts.append(f"first token {details.first_token_s:.2f} s")
    if details.omitted:
        parts.append(f"{details.omitted} earlier messages did not fit into the context and were left out")
    return " · ".join(part for part in parts if part)


def _title(message: Message) -> str:
    if message.role == "user":
        return "You"
    if message.role == "system":
        return "System"
    if message.reply is None:
        return "Your answer"
    return display_name(message.reply.model) if message.reply.model else "Reply"


def _detail(message: Message) -> str:
    when = datetime.fromtimestamp(message.created_at).astimezone().strftime("%H:%M")
    if len(message.siblings) > 1:
        place = message.siblings.index(message.id) + 1 if message.id in message.siblings else len(message.siblings)
        return f"‹{place}/{len(message.siblings)}› {when}"
    return when
