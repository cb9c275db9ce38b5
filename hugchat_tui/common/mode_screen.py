"""The screen of a mode: one that is left and shown again, many times."""

from __future__ import annotations

from typing import Any

from textual import events
from textual.app import App
from textual.screen import Screen


class ModeScreen(Screen[None]):
    """Shown again it is not styled anew, as no screen is below a dialog that closes: that took 50 ms a switch.

    Classes change styles when they change, on any screen; another theme is told otherwise.
    """

    _shown_before = False

    async def build(self, app: App[Any]) -> None:
        """Mount it and lay it out before it is shown: that takes longer than a key should, drawing it does not."""
        _, mounted = app._get_screen(self)
        await mounted
        self._refresh_layout(app.size)

    def _on_screen_resume(self, event: events.ScreenResume) -> None:
        event.refresh_styles = not self._shown_before
        self._shown_before = True
