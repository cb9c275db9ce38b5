"""Theme files as Textual themes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from textual.theme import Theme

from hugchat_tui.settings.themes import COLORS, ThemeRecord, load_theme, load_themes

if TYPE_CHECKING:
    from textual.app import App


def register_theme(app: App[None], name: str) -> list[str]:
    """Register and show one theme, the first thing that is painted; returns what is wrong with it, a line each."""
    record, problems = load_theme(name)
    if record is not None:
        app.register_theme(textual_theme(record))
    if name in app.available_themes:
        app.theme = name
        return []
    return problems


def register_themes(app: App[None]) -> list[str]:
    """Register every theme that ships and every one in the person's folder, beside Textual's own.

    Returns what is wrong with any of them, a line each. Reads files: call it in a thread.
    """
    records, problems = load_themes()
    for record in records:
        app.register_theme(textual_theme(record))
    return problems


def textual_theme(record: ThemeRecord) -> Theme:
    """The record as Textual takes it."""
    colors = {name: value for name in COLORS if (value := getattr(record, name)) is not None}
    return Theme(name=record.name, dark=record.dark, ansi=record.ansi, variables=dict(record.variables), **colors)
