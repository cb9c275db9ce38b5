"""What is typed behind a key that opens a dialog goes into the dialog.

Textual hands a key to whatever has the focus when it is read. A dialog takes some 50 ms to be there, and over a slow
line "^t, the model's name, enter" arrives at once: the name would stand in the prompt, and enter would send it.
"""

from __future__ import annotations

from textual import events
from textual.app import App
from textual.screen import Screen


class TypeAheadApp(App[None]):
    """Keeps what is typed while a dialog opens. The key that opens it must be a priority binding, or it comes late."""

    _held: list[events.Event] | None = None

    def on_mount(self) -> None:
        self.screen_change_signal.subscribe(self, self._hand_on_to)

    def hold_keys(self) -> None:
        """Something takes the focus in a moment: keep the keys until then."""
        if self._held is None:
            self._held = []

    def hand_on_keys(self) -> None:
        """It has the focus, or asked for it, or will not come: the keys may go on."""
        if self._held is not None:
            self.call_later(self._replay)  # behind a change of focus that was asked for

    def _hand_on_to(self, screen: Screen[object]) -> None:
        if self._held is not None:
            screen.call_after_refresh(self.hand_on_keys)

    async def on_event(self, event: events.Event) -> None:
        if self._held is not None and isinstance(event, events.Key | events.Paste) and not event.is_forwarded:
            self._held.append(event)
        else:
            await super().on_event(event)

    async def _replay(self) -> None:
        held, self._held = self._held or [], None
        for place, event in enumerate(held):
            if self._held is not None:  # one of them opened another dialog
                self._held += held[place:]
                return
            await super().on_event(event)
