"""Notices that keep out of the way: none lies over a dialog, and a screen can say how many it has room for."""

from __future__ import annotations

from textual.notifications import Notification, Notify, SeverityLevel
from textual.screen import Screen

from hugchat_tui.common.clean import clean
from hugchat_tui.common.type_ahead import TypeAheadApp


class NoticesApp(TypeAheadApp):
    """What is said while a dialog is open is shown when it has closed."""

    # At the top: at the bottom they would hide the prompt, where the person is. In the library and the monitor that is
    # the list, and each takes as little of it as its words need.
    CSS = """
    ToastRack { dock: top; align: right top; margin: 1 0 0 0; }
    ModalScreen Toast { display: none; }
    LibraryScreen ToastRack, MonitorScreen ToastRack { dock: bottom; align: right bottom; margin: 0 0 1 0; }
    LibraryScreen Toast, MonitorScreen Toast { width: auto; max-width: 100%; padding: 0 1; margin: 0; }
    """

    _withheld: tuple[Notification, ...] = ()

    def on_mount(self) -> None:
        self.screen_change_signal.subscribe(self, self._say_withheld)

    def notify(
        self,
        message: str,
        *,
        title: str = "",
        severity: SeverityLevel = "information",
        timeout: float | None = None,
        markup: bool = False,
    ) -> None:
        """Show a notice. Notices carry names and errors from outside, so none is markup and all are cleaned."""
        super().notify(clean(message), title=title, severity=severity, timeout=timeout, markup=False)

    def dismiss_notices(self) -> bool:
        """Take away what is shown; False when nothing is."""
        shown = bool(len(self._notifications))
        self.clear_notifications()
        return shown

    def on_notify(self, event: Notify) -> None:
        if not self._screen_stack:  # the app is ending, and nobody will read it
            return
        screen = self._screen_stack[-1]
        if screen.is_modal:
            self._withheld += (event.notification,)
            event.prevent_default()
            return
        most = getattr(screen, "most_notices", None)
        while most is not None and len(self._notifications) >= most:
            # Mistakes stay longest; among equals the oldest goes.
            oldest = min(self._notifications, key=lambda each: (each.severity == "error", each.raised_at))
            self._unnotify(oldest)

    def _say_withheld(self, screen: Screen[object]) -> None:
        if not screen.is_modal:
            withheld, self._withheld = self._withheld, ()
            for each in withheld:
                self.notify(each.message, title=each.title, severity=each.severity, timeout=each.timeout)
