"""The transcript's colours: component styles, all from the theme's variables, and their combinations."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from rich.style import Style

from hugchat_tui.chat.transcript.flags import BOLD, CODE, DIM, ITALIC, LINK, STRIKE

if TYPE_CHECKING:
    from pygments.token import _TokenType
    from textual.widget import Widget

_PREFIX = "transcript--"
_NAMES = (
    *("user", "assistant", "system", "notice", "error", "good", "bad", "detail", "footer"),
    *("error-text", "quiet-text"),
    *("heading1", "heading2", "heading3", "inline-code", "link", "address", "marker", "done", "formula"),
    *("quote", "quote-bar", "rule", "table-head", "table-line", "panel", "panel-label", "panel-mark", "badge"),
    *("keyword", "type", "string", "number", "comment", "function", "class", "builtin", "operator", "tag"),
    *("attribute", "invalid", "inserted", "deleted", "cursor", "match", "current-match", "pill", "caret"),
)
COMPONENT_CLASSES = frozenset(_PREFIX + name for name in _NAMES)

DEFAULT_CSS = """
TranscriptView {
    height: 1fr;
    overflow-x: hidden;
    overflow-y: scroll;
    scrollbar-size-vertical: 1;
    background: $background;
    color: $foreground;
    & > .transcript--user { color: $text-primary; text-style: bold; }
    & > .transcript--assistant { color: $text-accent; text-style: bold; }
    & > .transcript--system { color: $text-secondary; text-style: bold; }
    & > .transcript--notice { color: $text-warning; text-style: bold; }
    & > .transcript--error { color: $text-error; text-style: bold; }
    & > .transcript--good { color: $text-success; text-style: bold; }
    & > .transcript--bad { color: $text-error; text-style: bold; }
    & > .transcript--detail, & > .transcript--footer, & > .transcript--quiet-text { color: $foreground 60%; }
    & > .transcript--error-text { color: $text-error; }
    & > .transcript--heading1 { color: $text-primary; text-style: bold underline; }
    & > .transcript--heading2 { color: $text-primary; text-style: bold; }
    & > .transcript--heading3 { color: $foreground; text-style: bold; }
    & > .transcript--inline-code { color: $text-warning; background: $panel; }
    & > .transcript--link { color: $text-primary; text-style: underline; }
    & > .transcript--address { color: $foreground 60%; }
    & > .transcript--marker { color: $text-accent; }
    & > .transcript--done { color: $text-success; }
    & > .transcript--formula { color: $text-secondary; }
    & > .transcript--quote { color: $foreground 80%; }
    & > .transcript--quote-bar { color: $text-secondary; }
    & > .transcript--rule, & > .transcript--table-line { color: $foreground 35%; }
    & > .transcript--table-head { color: $text-primary; text-style: bold; }
    & > .transcript--panel { background: $panel; }
    & > .transcript--panel-label, & > .transcript--panel-mark { color: $foreground 55%; }
    & > .transcript--badge { color: $text; background: $accent; text-style: bold; }
    & > .transcript--keyword { color: $text-accent; }
    & > .transcript--type { color: $text-accent; }
    & > .transcript--string { color: $text-success; }
    & > .transcript--number { color: $text-warning; }
    & > .transcript--comment { color: $foreground 55%; text-style: italic; }
    & > .transcript--function { color: $text-primary; }
    & > .transcript--class { color: $text-primary; text-style: bold; }
    & > .transcript--builtin { color: $text-secondary; }
    & > .transcript--operator { color: $foreground 80%; }
    & > .transcript--tag { color: $text-primary; }
    & > .transcript--attribute { color: $text-warning; }
    & > .transcript--invalid { color: $text-error; }
    & > .transcript--inserted { color: $text-success; }
    & > .transcript--deleted { color: $text-error; }
    & > .transcript--cursor { color: $accent; }
    & > .transcript--match { color: $text; background: $warning-muted; }
    & > .transcript--current-match { color: $text; background: $warning; }
    & > .transcript--pill { color: $text; background: $accent; text-style: bold; }
    & > .transcript--caret { color: $accent; }
    &:ansi {
        & > .transcript--detail, & > .transcript--footer, & > .transcript--quiet-text { text-style: dim; }
        & > .transcript--address, & > .transcript--rule, & > .transcript--table-line { text-style: dim; }
        & > .transcript--panel-label, & > .transcript--panel-mark { text-style: dim; }
        & > .transcript--comment { text-style: dim italic; }
        & > .transcript--match { color: ansi_black; background: ansi_cyan; }
        & > .transcript--current-match { color: ansi_black; background: ansi_yellow; }
        & > .transcript--badge, & > .transcript--pill { color: ansi_black; background: ansi_cyan; }
    }
}
"""

# Pygments' token types by name; a type without an entry looks like its parent.
_TOKENS = {
    "Token.Keyword": "keyword",
    "Token.Keyword.Type": "type",
    "Token.Keyword.Constant": "number",
    "Token.Literal": "number",
    "Token.Literal.String": "string",
    "Token.Literal.Number": "number",
    "Token.Comment": "comment",
    "Token.Name.Function": "function",
    "Token.Name.Class": "class",
    "Token.Name.Exception": "class",
    "Token.Name.Namespace": "class",
    "Token.Name.Builtin": "builtin",
    "Token.Name.Decorator": "attribute",
    "Token.Name.Attribute": "attribute",
    "Token.Name.Tag": "tag",
    "Token.Name.Entity": "number",
    "Token.Operator": "operator",
    "Token.Operator.Word": "keyword",
    "Token.Punctuation": "operator",
    "Token.Generic.Heading": "heading2",
    "Token.Generic.Subheading": "heading3",
    "Token.Generic.Inserted": "inserted",
    "Token.Generic.Deleted": "deleted",
    "Token.Generic.Error": "invalid",
    "Token.Generic.Prompt": "comment",
}

_LOOKS = {BOLD: Style(bold=True), ITALIC: Style(italic=True), STRIKE: Style(strike=True)}


class Palette:
    """Styles by name for one theme. resolve: a component class to its style."""

    def __init__(self, resolve: Callable[[str], Style], base: Style) -> None:
        self.base = base
        self._styles = {name: resolve(_PREFIX + name) for name in _NAMES}
        self._marked: dict[tuple[Style, int], Style] = {}
        self._tokens: dict[_TokenType, Style | None] = {}

    def __getitem__(self, name: str) -> Style:
        return self._styles[name]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Palette) and (self.base, self._styles) == (other.base, other._styles)

    def __hash__(self) -> int:
        return hash((self.base, tuple(self._styles.values())))

    def marked(self, base: Style, flags: int) -> Style:
        """A style with a sum of the `flags` on top."""
        style = self._marked.get((base, flags))
        if style is None:
            style = base
            for flag, look in _LOOKS.items():
                if flags & flag:
                    style += look
            for flag, name in ((CODE, "inline-code"), (LINK, "link"), (DIM, "address")):
                if flags & flag:
                    style += self._styles[name]
            self._marked[base, flags] = style
        return style

    def token(self, token: _TokenType) -> Style | None:
        """The style of a Pygments token type, None for plain text."""
        if token not in self._tokens:
            kind: _TokenType | None = token
            while kind is not None and str(kind) not in _TOKENS:
                kind = kind.parent
            self._tokens[token] = None if kind is None else self._styles[_TOKENS[str(kind)]]
        return self._tokens[token]


def palette_of(widget: Widget) -> Palette:
    """The palette of the present theme. What a component inherits from the widget is left out."""

    def resolve(name: str) -> Style:
        whole = widget.get_component_rich_style(name)
        own = widget.get_component_rich_style(name, partial=True)
        return own + Style.from_color(whole.color, own.bgcolor)

    return Palette(resolve, widget.rich_style)


def plain_palette() -> Palette:
    """A palette without colours: for layouts that nobody sees, such as measuring."""
    return Palette(lambda _: Style.null(), Style.null())
