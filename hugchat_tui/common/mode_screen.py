"""The screen of a mode: one that is left and shown again, many times."""

from __future__ import annotations

from textual import events
from textual.screen import Screen


class ModeScreen(Screen[None]):
    """Shown again it is not styled anew, as no screen is below a dialog that closes: that took 50 ms a switch.

    Classes change styles when they change, on any screen; another theme is told otherwise.
    """

    _shown_before = False

    def _on_screen_resume(self, event: events.ScreenResume) -> None:
        event.refresh_styles = not self._shown_before
        self._shown_before = True
