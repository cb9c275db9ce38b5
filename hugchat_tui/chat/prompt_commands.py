"""What can be typed into the prompt instead of a question: HugChat's own words and slash commands."""

from __future__ import annotations

import re
from dataclasses import dataclass
from difflib import get_close_matches

from hugchat_tui.actions import ACTIONS, BY_ID, Action
from hugchat_tui.chat.commands import Command

# HugNLP's hugchat.py compares with "<clear>" and takes what stands between "<model_name_or_path=" and the last ">".
_CLEAR = "<clear>"
_MODEL = re.compile(r"<model_name_or_path=(?P<reference>.+)>", re.DOTALL)
_SLASH = re.compile(r"(?P<word>/[a-z][a-z-]*)(?:[ \t]+(?P<argument>[^\n]*))?\Z")

TAKE_ARGUMENT = frozenset({"chat.model", "chat.rename"})
_BY_SLASH = {action.slash: action for action in ACTIONS}


@dataclass(frozen=True, slots=True)
class PromptCommand:
    """An action with what was typed after it; only those of `TAKE_ARGUMENT` take an argument."""

    action: Action
    argument: str = ""


class UnknownCommandError(Exception):
    """Says what is wrong with what looks like a command."""


def parse_command(text: str) -> PromptCommand | None:
    """The command a text is, or None when it is a question.

    A text that begins with a slash but is no word alone (a path, a regular expression) is a question, and so is one
    that begins with a blank. Raises UnknownCommandError for a single word that names no action.
    """
    stripped = text.strip()
    if stripped == _CLEAR:
        return PromptCommand(BY_ID["chat.clear"])
    if match := _MODEL.fullmatch(stripped):
        return PromptCommand(BY_ID["chat.model"], match["reference"].strip())
    match = _SLASH.match(text.rstrip())
    if match is None:
        return None
    argument = (match["argument"] or "").strip()
    action = _BY_SLASH.get(match["word"])
    if action is not None and (not argument or action.id in TAKE_ARGUMENT):
        return PromptCommand(action, argument)
    if argument:
        return None
    near = get_close_matches(match["word"], _BY_SLASH, n=1)
    meant = f" Did you mean {near[0]}?" if near else ""
    raise UnknownCommandError(
        f"There is no command {match['word']}.{meant} To ask it as a question, put a blank before it."
    )


def is_command(text: str) -> bool:
    """Whether a text is a command, or looks so much like one that it is not asked."""
    try:
        return parse_command(text) is not None
    except UnknownCommandError:
        return True


def slash_commands() -> list[Command]:
    """Every action as the prompt's completion list shows it."""
    return [Command(action.slash, action.help) for action in ACTIONS]
