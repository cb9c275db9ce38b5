"""Shows hostile text in every part of a transcript, streamed and at once, in a real terminal."""

from __future__ import annotations

from typing import get_args

from textual.app import App, ComposeResult

from hugchat_tui.chat.transcript import Entry, EntryRole, Transcript
from hugchat_tui.common.line_filter import guard

ESCAPES = (
    "\x1b]52;c;cHduZWQ=\x07 \x1b]8;;http://evil.example\x1b\\link\x1b]8;;\x1b\\ \x1b[38;5;199mpink \x1b]0;title\x07"
)
C1 = "\x9b38;5;198m \x9d52;c;cHduZWQ=\x9c \x90q\x9c"
BIDI = "abc\u202egpj.exe\u2066x\u2069 \u2028 \ufeff"
MARKUP = "[@click=app.bell]click me[/] [/bold] [bold red on blue]loud"
ENTITIES = "&#27;]52;c;cHduZWQ=&#7; &#x202e;turned &#x9b;38;5;197m"
LINKS = "[go](http://a.b/%1b]52;c;x%07) <http://a.b/%E2%80%AEx> ![i](x%1b%5d8)"
TEXT = "\n\n".join([ESCAPES, C1, BIDI, MARKUP, ENTITIES, LINKS])
CODE = f"```{ESCAPES.split()[0]}\n{ESCAPES}\n{C1}\n{BIDI}\n{MARKUP}\n```"
TABLE = f"| {MARKUP} | b |\n|---|---|\n| {C1} | {BIDI.replace(chr(10), ' ')} |\n"


class HostileApp(App[None]):
    def __init__(self) -> None:
        super().__init__()
        guard(self)

    def compose(self) -> ComposeResult:
        yield Transcript()

    def on_mount(self) -> None:
        transcript = self.query_one(Transcript)
        hostile_line = ESCAPES + C1 + BIDI + MARKUP
        for key, role in enumerate(get_args(EntryRole)):
            transcript.append(Entry(key, role, hostile_line, TEXT, hostile_line, hostile_line))
        transcript.append(Entry(10, "assistant", "code", f"{CODE}\n\n{TABLE}"))
        transcript.append(Entry(11, "user", "long", "x" * 1_000_000))
        transcript.append(Entry(12, "assistant", "long", "y" * 1_000_000 + "\n\n`" + "z" * 300_000))
        transcript.append(Entry(13, "assistant", "marks", "e" + "\u0301" * 100_000 + " end of marks"))
        transcript.append(Entry(14, "assistant", "streamed", "", streaming=True))
        for character in f"{TEXT}\n\n{CODE}\n\n{TABLE}":
            transcript.feed(14, character)
        transcript.update_entry(14, streaming=False)
        transcript.append(Entry(15, "notice", "Everything", "is shown"))
        transcript.focus()


if __name__ == "__main__":
    HostileApp().run()
