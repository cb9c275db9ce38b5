"""The prompt with the list of matching commands above it."""

from __future__ import annotations

from rich.cells import cell_len
from textual import on
from textual.app import ComposeResult, RenderResult
from textual.containers import Vertical
from textual.content import Content
from textual.reactive import reactive
from textual.widget import Widget

from hugchat_tui.chat.commands import Command
from hugchat_tui.chat.prompt import Prompt
from hugchat_tui.common.format import fit
from hugchat_tui.common.tones import ACCENT, MUTED, STRONG

_MOST_SHOWN = 8


class CommandMenu(Widget):
    """The commands that match, the highlighted one marked; drawn over what lies above the prompt."""

    DEFAULT_CSS = """
    CommandMenu {
        overlay: screen;
        display: none;
        width: 100%;
        height: auto;
        background: $panel;
        pointer: default;
    }
    """

    matches: reactive[tuple[Command, ...]] = reactive((), layout=True)
    highlighted: reactive[int] = reactive(0)

    def watch_matches(self, matches: tuple[Command, ...]) -> None:
        shown = min(len(matches), _MOST_SHOWN)
        self.display = bool(matches)
        self.styles.offset = (0, -shown)

    def render(self) -> RenderResult:
        first = max(0, min(self.highlighted - _MOST_SHOWN // 2, len(self.matches) - _MOST_SHOWN))
        shown = self.matches[first : first + _MOST_SHOWN]
        names = [f"  {command.name} {command.argument}".rstrip() for command in shown]
        column = min(30, max(map(cell_len, names), default=0) + 3)
        lines = []
        for index, (command, name) in enumerate(zip(shown, names, strict=True), first):
            chosen = index == self.highlighted
            description = fit(command.description, max(0, self.content_size.width - column))
            line = Content.assemble((fit(name, column), STRONG if chosen else ACCENT), (description, MUTED))
            if chosen and self.app.native_ansi_color:
                line = line.without_spans.stylize("$block-cursor-foreground on $block-cursor-background")
            elif chosen:
                line = line.stylize_before("on $primary 40%")
            lines.append(line)
        return Content("\n").join(lines)


class PromptBox(Vertical):
    """Joins a Prompt and its CommandMenu. The prompt's messages pass through to the screen."""

    DEFAULT_CSS = """
    PromptBox { height: auto; }
    """

    def __init__(self, prompt: Prompt) -> None:
        super().__init__()
        self.prompt = prompt
        self._menu = CommandMenu()

    def compose(self) -> ComposeResult:
        yield self._menu
        yield self.prompt

    @on(Prompt.CompletionChanged)
    def _show_matches(self, message: Prompt.CompletionChanged) -> None:
        message.stop()
        self._menu.matches = message.matches
        self._menu.highlighted = message.highlighted
