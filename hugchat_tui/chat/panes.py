"""Tabs and panes: which conversations are open, and which one or two of them are on the screen."""

from __future__ import annotations

from typing import Literal

from textual.containers import Container
from textual.events import DescendantFocus
from textual.message import Message

from hugchat_tui.chat.view import ConversationView

Direction = Literal["right", "down"]


class PaneArea(Container):
    """Every open conversation is a tab; one or two of the tabs are shown, side by side or one above the other.

    `tabs` is in the order of opening, `shown` holds the panes' views in the order of the screen, and `active` is the
    one that keys and commands mean.
    """

    class LayoutChanged(Message):
        """Tabs were opened, closed, shown or focused."""

    def __init__(self) -> None:
        super().__init__(id="panes")
        self.tabs: list[ConversationView] = []
        self.shown: list[ConversationView] = []
        self.active_pane = 0
        self.direction: Direction = "right"
        self.zoomed = False

    @property
    def active(self) -> ConversationView | None:
        return self.shown[self.active_pane] if self.shown else None

    @property
    def is_split(self) -> bool:
        return len(self.shown) == 2

    def adopt(self, view: ConversationView) -> None:
        """Take a first view before anything is mounted; compose yields it."""
        self.tabs, self.shown = [view], [view]

    async def open(self, view: ConversationView, *, focus: bool = True) -> None:
        """Mount a new view as a tab and show it in the active pane."""
        self.tabs.append(view)
        view.display = False
        await self.mount(view)
        self.show(view, focus=focus)

    def show(self, view: ConversationView, *, focus: bool = True) -> None:
        """Show a tab in the active pane, or go to the pane that shows it already."""
        if view in self.shown:
            self.active_pane = self.shown.index(view)
        elif self.shown:
            self.shown[self.active_pane] = view
        else:
            self.shown = [view]
        self._arrange(focus)

    async def split(self, view: ConversationView, direction: Direction, *, focus: bool = True) -> None:
        """Show `view` in a second pane beside or below the active one; an existing second pane is replaced."""
        if view not in self.tabs:
            self.tabs.append(view)
            view.display = False
            await self.mount(view)
        active = self.active
        if active is None or active is view:
            return
        self.direction, self.zoomed = direction, False
        self.shown = [active, view]
        self.active_pane = 1 if focus else 0
        self._arrange(focus=True)

    def close_pane(self) -> bool:
        """Close the active pane of two; its conversation stays open as a tab. False when there is only one."""
        if not self.is_split:
            return False
        del self.shown[self.active_pane]
        self.active_pane, self.zoomed = 0, False
        self._arrange()
        return True

    async def close_tab(self, view: ConversationView) -> None:
        """Close a tab; the tab beside it takes its place, and the last one is never closed here."""
        if len(self.tabs) < 2 or view not in self.tabs:
            return
        place = self.tabs.index(view)
        self.tabs.remove(view)
        if view in self.shown:
            pane = self.shown.index(view)
            hidden = [tab for tab in self.tabs if tab not in self.shown]
            if self.is_split and not hidden:
                del self.shown[pane]
                self.active_pane, self.zoomed = 0, False
            else:
                self.shown[pane] = min(hidden, key=lambda tab: abs(self.tabs.index(tab) - place))
        self._arrange()
        await view.remove()

    def next_pane(self) -> None:
        if self.is_split:
            self.active_pane = 1 - self.active_pane
            self._arrange()
        elif self.active is not None:
            self.active.focus_prompt()

    def step_tab(self, step: int) -> None:
        """Show the next or previous tab in the active pane, round and round."""
        active = self.active
        if active is not None and len(self.tabs) > 1:
            place = (self.tabs.index(active) + step) % len(self.tabs)
            self.show(self.tabs[place])

    def toggle_zoom(self) -> None:
        if self.is_split:
            self.zoomed = not self.zoomed
            self._arrange()

    def _arrange(self, focus: bool = True) -> None:
        """Make the widgets show what the state says."""
        if self.is_split and self.children.index(self.shown[0]) > self.children.index(self.shown[1]):
            self.move_child(self.shown[0], before=self.shown[1])
        self.set_class(self.is_split and self.direction == "right", "-right")
        self.set_class(self.is_split and self.direction == "down", "-down")
        visible = [self.active] if self.zoomed else self.shown
        for view in self.tabs:
            view.display = view in visible
            view.headed = self.is_split
            view.set_class(view is self.active, "-active")
            view.set_class(self.is_split and not self.zoomed and view is self.shown[1], "-second")
        if focus and self.active is not None:
            self.active.focus_prompt()
        self.post_message(self.LayoutChanged())

    def on_descendant_focus(self, event: DescendantFocus) -> None:
        for pane, view in enumerate(self.shown):
            if view in event.widget.ancestors_with_self and pane != self.active_pane:
                self.active_pane = pane
                self._arrange(focus=False)
