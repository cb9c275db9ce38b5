"""What a run was asked to do; where several are overlaid, in what they differ."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec
from rich.cells import cell_len
from textual.content import Content

from hugchat_tui.common.clean import clean_line
from hugchat_tui.common.format import fit, shorten, shorten_middle
from hugchat_tui.common.tones import ACCENT, FAINT, MUTED, STRONG, WARN
from hugchat_tui.monitor.page import Page
from hugchat_tui.monitor.rows import RunRow
from sft.config import Data, Recipe, Source

_NAME_CELLS = 26


def flat(recipe: Recipe) -> dict[str, str]:
    """Every value as text, by its place: "training.learning_rate"."""
    return dict(_flat(msgspec.to_builtins(recipe), ""))


def _flat(value: object, place: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        for name, each in value.items():
            yield from _flat(each, f"{place}.{name}" if place else str(name))
    elif isinstance(value, list | tuple) and any(isinstance(each, dict) for each in value):
        for number, each in enumerate(value):
            yield from _flat(each, f"{place}[{number}]")
    else:
        yield place, _text(value)


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list | tuple):
        return ", ".join(_text(each) for each in value)
    return f"{value:g}" if isinstance(value, float) else str(value)


class RecipePane(Page):
    """Values that are not the usual ones stand out."""

    DEFAULT_CSS = """
    RecipePane { padding: 0 1; }
    """

    jump_label = "p"
    help_title = "Recipe"
    words = ("There is no recipe to be shown.",)

    def __init__(self) -> None:
        super().__init__()
        self._rows: Sequence[RunRow] = ()
        self._seen: list[tuple[str, Recipe | None, str]] = []

    def show(self, rows: Sequence[RunRow]) -> None:
        """The selected run first, then what is overlaid."""
        self._rows = rows
        seen = [(row.name, row.recipe, row.said.note) for row in rows]
        if self.display and seen != self._seen:
            self._seen = seen
            self.changed()

    def lay_out(self, width: int) -> Sequence[Content]:
        rows = [row for row in self._rows if row.recipe is not None]
        if not rows:
            problem = self._rows[0].problem if self._rows else ""
            self.words = (clean_line(problem),) if problem else RecipePane.words
            return ()
        if len(rows) > 1:
            return list(_differences(rows, width))
        return list(_recipe(rows[0], width))


def _recipe(row: RunRow, width: int) -> Iterator[Content]:
    assert row.recipe is not None
    yield Content.styled(shorten(clean_line(str(row.run.path)), width), MUTED)
    if row.said.note:
        yield from Content.assemble(("Note  ", STRONG), (row.said.note, "$foreground")).wrap(width)
    sources = tuple(Source(path="?") for _ in row.recipe.data.sources)
    usual = flat(Recipe(data=Data(sources=sources)))
    section = ""
    for place, value in flat(row.recipe).items():
        name = place
        if "." in place:
            head, _, name = place.partition(".")
            head = head.partition("[")[0]
            if place.startswith("data.sources["):
                name = place.removeprefix("data.")
            if head != section:
                section = head
                yield Content("")
                yield Content.styled(section, f"bold {ACCENT}")
        changed = usual.get(place) != value
        shown = clean_line(value) or "–"
        tone = STRONG if changed else MUTED
        rows = Content.styled(shown, tone).wrap(max(8, width - _NAME_CELLS - 2))
        yield Content.assemble("  ", (fit(name, _NAME_CELLS), "$foreground" if changed else MUTED), rows[0])
        yield from (Content.assemble(" " * (_NAME_CELLS + 2), each) for each in rows[1:])


def _differences(rows: Sequence[RunRow], width: int) -> Iterator[Content]:
    """One column a run, and a line for each value in which they are not all alike."""
    values = [flat(row.recipe) for row in rows if row.recipe is not None]
    places = list(dict.fromkeys(place for each in values for place in each))
    different = [place for place in places if len({each.get(place, "") for each in values}) > 1]
    longest = max([cell_len(place) for place in different], default=_NAME_CELLS)
    first = min(longest + 2, max(16, width // 3))
    room = max(8, (width - first) // len(rows))
    names = [Content.styled(fit(shorten_middle(clean_line(row.name), room - 1), room), STRONG) for row in rows]
    yield Content.assemble(" " * first, *names)
    if not different:
        yield Content.styled("Their recipes are alike.", MUTED)
    for place in different:
        cells = [fit(shorten_middle(clean_line(each.get(place, "")) or "–", room - 1), room) for each in values]
        tones = ["$foreground", *(WARN if cell != cells[0] else MUTED for cell in cells[1:])]
        name = fit(shorten(place, first - 1), first)
        yield Content.assemble((name, FAINT), *zip(cells, tones, strict=True))
