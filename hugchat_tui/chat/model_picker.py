"""Choosing a checkpoint: a fuzzy filter over what is on disk, or a Hub id or path typed in full."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Input, Static

from engine.checkpoints.model import Checkpoint
from engine.fit import Fit
from hugchat_tui.chat.checkpoint_list import CheckpointList
from hugchat_tui.common.clean import clean_line
from hugchat_tui.common.fits import fit_line
from hugchat_tui.common.format import shorten_start
from hugchat_tui.common.inputs import LineInput
from hugchat_tui.common.line_list import LineList
from hugchat_tui.common.tones import BAD, MUTED, WARN

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*")


@dataclass(frozen=True, slots=True)
class PickerResult:
    """What was picked.

    reference: what the engine resolves: a checkpoint's path, or the Hub id or path as typed.
    """

    reference: str
    checkpoint: Checkpoint | None = None


def typed_reference(text: str) -> Literal["hub", "path"] | None:
    """What a typed text names by its looks: a path, a Hub id ("org/name" or a bare name), or neither."""
    if text.startswith(("/", "~", "./", "../")) or text.endswith(".gguf"):
        return "path"
    return "hub" if _HUB_ID.fullmatch(text) or _HUB_NAME.fullmatch(text) else None


class ModelPicker(ModalScreen[PickerResult | None]):
    """Ends with what was picked, or None. It may be opened before the checkpoints are known."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "cancel", "Leave", id="picker.cancel"),
        Binding("up", "move('cursor_by(-1)')", "Up", show=False, id="picker.up"),
        Binding("down", "move('cursor_by(1)')", "Down", show=False, id="picker.down"),
        Binding("pageup", "move('cursor_page(-1)')", "Page up", show=False, id="picker.page_up"),
        Binding("pagedown", "move('cursor_page(1)')", "Page down", show=False, id="picker.page_down"),
    ]

    DEFAULT_CSS = """
    ModelPicker {
        align: center middle;
        background: $background 60%;
        & > Vertical {
            width: 94%;
            max-width: 120;
            height: 84%;
            max-height: 36;
            background: $surface;
            border: round $primary;
            border-title-color: $text-primary;
            border-subtitle-color: $foreground 60%;
            padding: 0 1;
        }
        LineInput { padding: 0 1; }
        #picker-rule { height: 1; color: $foreground 25%; }
        CheckpointList { height: 1fr; }
        #picker-detail { height: auto; max-height: 5; padding: 1 1 0 1; }
    }
    """

    help_title = "Model picker"

    def __init__(
        self,
        checkpoints: Sequence[Checkpoint] | None = None,
        *,
        current: str = "",
        title: str = "Choose a model",
    ) -> None:
        """checkpoints None: still being looked for.

        current: a checkpoint's name or key.
        """
        super().__init__()
        self._list = CheckpointList(current)
        self._input = LineInput(placeholder="type to filter, or a Hub id or path", id="picker-filter")
        self._detail = Static(id="picker-detail")
        self._heading = title
        if checkpoints is not None:
            self._list.set_checkpoints(checkpoints)

    def compose(self) -> ComposeResult:
        with Vertical() as box:
            box.border_title = Content(self._heading)
            box.border_subtitle = Content("enter choose · esc leave")
            yield self._input
            yield Static(Content("─" * 200), id="picker-rule")
            yield self._list
            yield self._detail

    def on_mount(self) -> None:
        self._filter()
        self._input.focus()

    def set_checkpoints(self, checkpoints: Sequence[Checkpoint]) -> None:
        """Show what was found; what is typed keeps filtering it."""
        self._list.set_checkpoints(checkpoints)
        if self.is_mounted:
            self._filter()

    def set_fits(self, fits: Mapping[str, Fit]) -> None:
        """Say by checkpoint.key how they fit into memory."""
        self._list.set_fits(fits)
        if self.is_mounted:
            self._show_detail()

    def set_error(self, message: str) -> None:
        """Say that looking for checkpoints failed; an id or path can still be typed."""
        self._list.set_error(clean_line(message))
        if self.is_mounted:
            self._filter()

    @on(Input.Changed)
    def _filter(self) -> None:
        text = self._input.value.strip()
        self._list.filter(text, typed_reference(text))

    @on(Input.Submitted)
    def _submitted(self) -> None:
        self._list.action_choose()

    @on(LineList.Chosen)
    def _chosen(self, message: LineList.Chosen) -> None:
        picked = self._list.at(message.row)
        if isinstance(picked, str):
            self.dismiss(PickerResult(picked))
        elif picked.problem is None:
            self.dismiss(PickerResult(picked.key, picked))
        else:
            self.app.bell()

    @on(LineList.Moved)
    def _show_detail(self) -> None:
        self._detail.update(self._describe())

    def on_resize(self) -> None:
        self.call_after_refresh(self._show_detail)

    def _describe(self) -> Content:
        """The place of the highlighted checkpoint, and all that speaks against it."""
        picked = self._list.at(self._list.cursor) if self._list.cursor >= 0 else None
        if picked is None:
            return Content("")
        width = max(20, self._list.size.width - 2)
        if isinstance(picked, str):
            words = "It is fetched first when it is not on this machine." if typed_reference(picked) == "hub" else ""
            return Content.styled(words, MUTED)
        lines = [Content.styled(shorten_start(clean_line(str(picked.path)), width), MUTED)]
        if picked.kind == "adapter":
            base = clean_line(picked.base_name) or "unknown"
            lines.append(Content.styled(f"adapter on {base}", MUTED))
        if picked.problem is not None:
            lines.append(Content.styled(clean_line(picked.problem), BAD))
        elif line := fit_line(self._list.fit_of(picked)):
            lines.append(Content.styled(line, WARN if self._list.fits_badly(picked) else MUTED))
        return Content("\n").join(lines)

    async def action_move(self, action: str) -> None:
        await self._list.run_action(action)

    def action_cancel(self) -> None:
        self.dismiss(None)
