"""What can be typed into the prompt instead of a question: HugChat's own words and slash commands."""

from __future__ import annotations

import re
from dataclasses import dataclass

from hugchat_tui.actions import ACTIONS, BY_ID, Action
from hugchat_tui.chat.commands import Command

# HugNLP's hugchat.py compares with "<clear>" and takes what stands between "<model_name_or_path=" and the last ">".
_CLEAR = "<clear>"
_MODEL = re.compile(r"<model_name_or_path=(?P<reference>.+)>", re.DOTALL)
_SLASH = re.compile(r"(?P<word>/[a-z][a-z-]*)(?:[ \t]+(?P<argument>[^\n]*))?\Z")

_BY_SLASH = {action.slash: action for action in ACTIONS}


@dataclass(frozen=True, slots=True)
class PromptCommand:
    """An action with what was typed after it; only "chat.model" takes an argument."""

    action: Action
    argument: str = ""


def parse_command(text: str) -> PromptCommand | None:
    """The command a text is, or None when it is a question.

    A text that begins with a slash but names no action (a path, a regular expression) is a question.
    """
    stripped = text.strip()
    if stripped == _CLEAR:
        return PromptCommand(BY_ID["chat.clear"])
    if match := _MODEL.fullmatch(stripped):
        return PromptCommand(BY_ID["chat.model"], match["reference"].strip())
    match = _SLASH.match(stripped)
    if match is None or match["word"] not in _BY_SLASH:
        return None
    action = _BY_SLASH[match["word"]]
    argument = (match["argument"] or "").strip()
    if argument and action.id != "chat.model":
        return None
    return PromptCommand(action, argument)


def slash_commands() -> list[Command]:
    """Every action as the prompt's completion list shows it."""
    return [Command(action.slash, action.help) for action in ACTIONS]
