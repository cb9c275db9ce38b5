"""What the three views share: a list, and details beside it, or instead of it where the screen is narrow."""

from __future__ import annotations

from typing import TYPE_CHECKING

from textual.containers import Horizontal
from textual.widgets import Input

from hugchat_tui.common.line_list import LineList
from hugchat_tui.library.details_page import DetailsPage

if TYPE_CHECKING:
    from hugchat_tui.app import HugChatApp


class ListView(Horizontal):
    """Where the screen is narrow the details take the place of the list while they have the focus."""

    if TYPE_CHECKING:
        app: HugChatApp

    # Not in a file of its own: Textual reads all of its style sheets anew for each that comes, 50 ms at every first f5.
    SCOPED_CSS = False  # the screen's width is told by a class of its own
    DEFAULT_CSS = """
    ListView {
        height: 1fr;
        & > Vertical { width: 1fr; padding-right: 1; }
        & > DetailsPage { width: 44%; max-width: 84; }
    }
    .-narrow ListView {
        & > Vertical { padding-right: 0; }
        & > DetailsPage { display: none; width: 1fr; max-width: 100%; border-left: none; }
        &.-details > Vertical { display: none; }
        &.-details > DetailsPage { display: block; }
    }
    """

    def __init__(self) -> None:
        super().__init__()
        self.display = False
        self.details = DetailsPage()

    @property
    def listing(self) -> LineList:
        raise NotImplementedError

    def focus_list(self) -> None:
        self.remove_class("-details")
        # At once, not behind the keys that are waiting to be handled: they are meant for this list.
        self.screen.set_focus(self.listing)

    def toggle_details(self) -> None:
        if self.details.has_focus:
            self.focus_list()
        else:
            self.add_class("-details")
            self.screen.set_focus(self.details)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """What is typed into an input is not a command."""
        return not isinstance(self.screen.focused, Input)

    def find(self) -> None:
        """Let the person type what to look for, where there is something to find."""

    def leave(self) -> bool:
        """Leave the details or what was typed; False when there is nothing to leave."""
        if self.details.has_focus:
            self.focus_list()
            return True
        return False
