"""Small questions over the screen: yes or no, one of several, or a text.

Escape always leaves without an answer.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import ClassVar

from textual import events, on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Button, Input, Static, TextArea

from hugchat_tui.common.clean import clean_line
from hugchat_tui.common.format import fit
from hugchat_tui.common.inputs import LineInput
from hugchat_tui.common.line_list import LineList
from hugchat_tui.common.plain_editor import PlainEditor
from hugchat_tui.common.tones import ACCENT, BAD
from hugchat_tui.common.type_ahead import TypeAheadApp

_BOX_CSS = """
{name} {{
    align: center middle;
    background: $background 60%;
    & > Vertical {{
        width: {width};
        max-width: 94%;
        height: auto;
        max-height: 90%;
        background: $surface;
        border: round $primary;
        border-title-color: $text-primary;
        border-subtitle-color: $foreground 60%;
        padding: 1 2;
    }}
    .dialog-body {{ height: auto; padding-bottom: 1; }}
    {more}
}}
"""


class ConfirmDialog(ModalScreen[bool]):
    """A question with two buttons: True for `confirm`. With `cancel` empty there is nothing to decide, and one button.

    Each answers to its first letter; danger starts at `cancel`.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "answer(False)", "Leave", id="dialog.cancel"),
        Binding("left", "app.focus_previous", "Previous button", show=False, id="dialog.previous"),
        Binding("right", "app.focus_next", "Next button", show=False, id="dialog.next"),
    ]
    DEFAULT_CSS = _BOX_CSS.format(
        name="ConfirmDialog",
        width=64,
        more="""
    Horizontal { height: auto; align-horizontal: right; }
    Button { margin-left: 2; min-width: 12; background: $foreground 10%; }
    Button:focus { background: $primary; color: $block-cursor-foreground; text-style: bold !important; }
    Button.-danger:focus { background: $error; color: auto; }
    """,
    )
    help_title = "Question"

    def __init__(
        self, title: str, body: Content, *, confirm: str = "Yes", cancel: str = "No", danger: bool = False
    ) -> None:
        super().__init__()
        self._heading = clean_line(title)
        self._body = body
        self._confirm = Button(_with_key(confirm), compact=True, classes="-danger" if danger else "")
        self._cancel = Button(_with_key(cancel), compact=True)
        self._cancel.display = bool(cancel)
        self._answers = {confirm[0].lower(): True, cancel[:1].lower(): False}
        self._first = self._cancel if danger else self._confirm

    def compose(self) -> ComposeResult:
        with Vertical() as box:
            box.border_title = Content(self._heading)
            yield Static(self._body, classes="dialog-body")
            with Horizontal():
                yield self._confirm
                yield self._cancel

    def on_mount(self) -> None:
        self._first.focus()

    def on_key(self, event: events.Key) -> None:
        answer = self._answers.get(event.key)
        if answer is not None:
            event.stop()
            self.dismiss(answer)

    @on(Button.Pressed)
    def _pressed(self, message: Button.Pressed) -> None:
        self.dismiss(message.button is self._confirm)

    def action_answer(self, answer: bool) -> None:
        self.dismiss(answer)


def _with_key(label: str) -> Content:
    return Content.assemble((label[:1], "underline"), label[1:])


class _Choices(LineList):
    DEFAULT_CSS = """
    _Choices { height: auto; }
    """

    def __init__(self, choices: Sequence[tuple[str, str]]) -> None:
        super().__init__()
        self.choices = choices

    def on_mount(self) -> None:
        self.rows_changed(0)

    def row_count(self) -> int:
        return len(self.choices)

    def draw_row(self, row: int, line: int, width: int) -> Content:
        key, label = self.choices[row]
        return Content.assemble((f" {key}  ", ACCENT), (fit(clean_line(label), width - 4), "$foreground"))


class ChoiceDialog(ModalScreen[str | None]):
    """One of several answers, each (key, label): ends with the key of the one taken, or None."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "cancel", "Leave", id="dialog.cancel")]
    DEFAULT_CSS = _BOX_CSS.format(name="ChoiceDialog", width=60, more="")
    help_title = "Question"

    def __init__(self, title: str, choices: Sequence[tuple[str, str]], body: Content | None = None) -> None:
        super().__init__()
        self._heading = clean_line(title)
        self._body = body
        self._list = _Choices(choices)

    def compose(self) -> ComposeResult:
        with Vertical() as box:
            box.border_title = Content(self._heading)
            box.border_subtitle = Content("enter choose · esc leave")
            if self._body is not None:
                yield Static(self._body, classes="dialog-body")
            yield self._list

    def on_mount(self) -> None:
        self._list.focus()

    def on_key(self, event: events.Key) -> None:
        # Before the list's own letters (j, k, g): a choice's key is what the person sees.
        keys = {key for key, _ in self._list.choices}
        if event.character in keys:
            event.stop()
            self.dismiss(event.character)

    @on(LineList.Chosen)
    def _chosen(self, message: LineList.Chosen) -> None:
        self.dismiss(self._list.choices[message.row][0])

    def action_cancel(self) -> None:
        self.dismiss(None)


class _TextEditor(PlainEditor):
    """Enter saves as it does in the prompt; ^j starts a new line."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "screen.submit", "Save", id="dialog.submit"),
        Binding("ctrl+j,shift+enter,alt+enter", "newline", "New line", id="dialog.newline", key_display="^j"),
    ]


class TextDialog(ModalScreen[str | None]):
    """Asks for a text, one line or several: ends with it, or with None.

    check: says what is wrong with a text, or None when it will do. attempt: does what the text is for, and says the
    same; what was typed is there as long as it is refused. password: one line, not shown. A changed multi-line text is
    left only by a second escape, because it may be long.
    """

    SLOW: ClassVar[bool] = False
    """Whether an attempt may take long: then keys are not kept for what comes after, and escape still leaves."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "cancel", "Leave", id="dialog.cancel")]
    DEFAULT_CSS = _BOX_CSS.format(
        name="TextDialog",
        width=80,
        more="""
    LineInput { background: $foreground 8%; padding: 0 1; }
    _TextEditor {
        height: auto; min-height: 6; max-height: 18; border: none; padding: 0 1; background: $foreground 8%;
        scrollbar-size-vertical: 1;
    }
    _TextEditor:focus { border: none; }
    .dialog-problem { height: auto; color: $text-error; display: none; padding-top: 1; }
    """,
    )
    help_title = "Text"

    def __init__(
        self,
        title: str,
        value: str = "",
        *,
        multiline: bool = False,
        body: Content | None = None,
        placeholder: str = "",
        password: bool = False,
        check: Callable[[str], str | None] | None = None,
        attempt: Callable[[str], Awaitable[str | None]] | None = None,
    ) -> None:
        super().__init__()
        self._heading = clean_line(title)
        self._body = body
        self._editor: LineInput | _TextEditor
        if multiline:
            self._editor = _TextEditor(value)
        else:
            self._editor = LineInput(clean_line(value), placeholder=placeholder, password=password)
        self._before = self._text
        self._check = check
        self._attempt = attempt
        self._trying = False
        self._warned = False
        self._box = Vertical()
        self._problem = Static(classes="dialog-problem")

    @property
    def _text(self) -> str:
        return self._editor.value if isinstance(self._editor, LineInput) else self._editor.text

    def compose(self) -> ComposeResult:
        with self._box:
            self._box.border_title = Content(self._heading)
            self._box.border_subtitle = self._hint()
            if self._body is not None:
                yield Static(self._body, classes="dialog-body")
            yield self._editor
            yield self._problem

    def _hint(self) -> Content:
        line = "" if isinstance(self._editor, LineInput) else "^j new line · "
        return Content(f"enter save · {line}esc leave")

    def on_mount(self) -> None:
        if isinstance(self._editor, PlainEditor):
            self._editor.move_cursor(self._editor.document.end)
        self._editor.focus()

    @on(Input.Changed)
    @on(TextArea.Changed)
    def _changed(self) -> None:
        if self._warned:
            self._warned = False
            self._box.border_subtitle = self._hint()

    @on(Input.Submitted)
    def action_submit(self) -> None:
        """End with the text, if it will do."""
        text = self._text
        problem = self._check(text) if self._check is not None else None
        if problem is not None:
            self._refuse(problem)
        elif self._attempt is None:
            self.dismiss(text)
        elif not self._trying:
            self._trying = True
            self._box.border_subtitle = Content("one moment…")
            if isinstance(self.app, TypeAheadApp) and not self.SLOW:
                self.app.hold_keys()  # what is typed now is meant for what lies below, unless this stays
            self.run_worker(self._try(self._attempt(text), text))

    async def _try(self, attempt: Awaitable[str | None], text: str) -> None:
        try:
            problem = await attempt
        finally:
            self._trying = False
            self._box.border_subtitle = self._hint()
        if problem is None:
            self.dismiss(text)
            return
        self._refuse(problem)
        if isinstance(self.app, TypeAheadApp):
            self.app.hand_on_keys()

    def _refuse(self, problem: str) -> None:
        self._problem.update(Content(clean_line(problem)))
        self._problem.display = True

    def action_cancel(self) -> None:
        changed = self._text != self._before
        if changed and not self._warned and not isinstance(self._editor, LineInput):
            self._warned = True
            self._box.border_subtitle = Content.styled("esc again drops the changes", BAD)
            return
        self.dismiss(None)
