"""The last line of defence of the terminal: whatever a widget draws, no control character leaves the program."""

from __future__ import annotations

import re
from typing import Any

from rich.segment import Segment
from rich.style import Style
from textual.app import App
from textual.color import Color
from textual.filter import LineFilter

from hugchat_tui.common.clean import clean_line

_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")
_SAFE_LINK = re.compile(r"(?:https?|mailto):[!-~]+")


class ControlFilter(LineFilter):
    """Makes control characters visible and drops hyperlinks (OSC 8) that are not plain web or mail addresses."""

    def apply(self, segments: list[Segment], background: Color) -> list[Segment]:
        for text, style, _ in segments:
            if _CONTROL.search(text) or (style is not None and style.link):
                return [_safe(segment) for segment in segments]
        return segments


def _safe(segment: Segment) -> Segment:
    text, style, _ = segment
    if _CONTROL.search(text):
        text = clean_line(text)
    if style is not None and style.link and not _SAFE_LINK.fullmatch(style.link):
        style = _without_link(style)
    return Segment(text, style)


def _without_link(style: Style) -> Style:
    return style.update_link(None)


def guard(app: App[Any]) -> None:
    """Put the filter at the end of the app's line filters, after those that change colours. Once is enough."""
    filters = app._filters  # Textual has no public way to add one
    if not any(isinstance(each, ControlFilter) for each in filters):
        filters.append(ControlFilter())
