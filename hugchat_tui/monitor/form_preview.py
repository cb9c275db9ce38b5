"""Beside the form: what the run would do, before it is started."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.content import Content

from hugchat_tui.common.clean import clean, clean_line
from hugchat_tui.common.format import counted, duration, file_size, memory_size, parameter_count, rate, shorten
from hugchat_tui.common.line_list import LineList
from hugchat_tui.common.tones import ACCENT, BAD, FAINT, GOOD, MUTED, STRONG, WARN
from hugchat_tui.library.at_once import at_once
from hugchat_tui.monitor.form_facts import DataView, Facts
from hugchat_tui.monitor.form_rows import label_of
from sft.config import Recipe
from sft.data.histogram import Bin, Histogram
from sft.data.preview import Shown
from sft.data.shards import Meta

_BAR = 24  # cells of the longest bar of the histogram
_TRAINED = f"{GOOD} underline"
_SHOWN_CHARACTERS = 2000  # of a row
FEW_STEPS = 10  # fewer teach nothing that could be noticed


class PreviewPane(LineList, inherit_bindings=False):
    """Lines to read: it scrolls, and has no cursor."""

    BINDINGS: ClassVar[list[BindingType]] = at_once(
        (
            Binding("up,k", "scroll_rows(-1)", "Up", show=False, id="preview.up"),
            Binding("down,j", "scroll_rows(1)", "Down", show=False, id="preview.down"),
            Binding("pageup", "scroll_pages(-1)", "Page up", show=False, id="preview.page_up"),
            Binding("pagedown", "scroll_pages(1)", "Page down", show=False, id="preview.page_down"),
            Binding("home,g", "scroll_home(False)", "Top", show=False, id="preview.top"),
            Binding("end,G", "scroll_end(False)", "End", show=False, id="preview.end"),
        )
    )

    DEFAULT_CSS = """
    PreviewPane { border-left: vkey $panel; padding: 0 1; scrollbar-gutter: stable; }
    """

    jump_label = "p"
    help_title = "Preview"

    def __init__(self) -> None:
        super().__init__()
        self._facts: Facts | None = None
        self._data = DataView()
        self._lines: list[Content] = []

    def show(self, facts: Facts | None, data: DataView) -> None:
        self._facts, self._data = facts, data
        self._lay_out()

    def on_resize(self) -> None:
        self._lay_out()

    def _lay_out(self) -> None:
        width = self.scrollable_content_region.width
        self._lines = list(_lines(self._facts, self._data, width)) if width > 10 else []
        self.rows_changed()

    def row_count(self) -> int:
        return len(self._lines)

    def can_choose(self, row: int) -> bool:
        return False

    def draw_row(self, row: int, line: int, width: int) -> Content:
        return self._lines[row]

    def action_scroll_rows(self, rows: int) -> None:
        self.scroll_relative(y=rows, animate=False)

    def action_scroll_pages(self, pages: int) -> None:
        self.scroll_relative(y=pages * max(1, self.size.height - 1), animate=False)


def _lines(facts: Facts | None, data: DataView, width: int) -> Iterator[Content]:
    if facts is None:
        yield Content.styled("Looking at what this would do…", MUTED)
        return
    yield from _part("Data", _data_lines(data, facts, width), width)
    if data.counted is not None:
        yield from _part("Length", _length_lines(data.counted.meta.lengths, data.counted.meta.too_long, width), width)
    yield from _part("Steps and time", _time_lines(facts, data), width)
    yield from _part("Memory", _memory_lines(facts), width)
    if data.rows:
        heading = Content.assemble("First rows, ", ("trained", _TRAINED), (" and not", MUTED))
        yield from _part(heading, _row_lines(data.rows), width)
    yield from _part("Command", _command_lines(facts), width)


def _part(title: str | Content, lines: Iterator[Content], width: int) -> Iterator[Content]:
    """A titled part, its lines wrapped."""
    wrapped = [piece for line in lines for piece in (line.wrap(width) if line.plain else [line])]
    if wrapped:
        yield (title if isinstance(title, Content) else Content(title)).stylize(f"bold {ACCENT}")
        yield from wrapped
        yield Content("")


def _data_lines(data: DataView, facts: Facts, width: int) -> Iterator[Content]:
    words = data.problem.message if data.problem is not None else data.died
    if words:
        yield Content.styled(clean(words), BAD)
    if data.counted is not None:
        yield from _counted_lines(data.counted.meta)
    elif data.large:
        size = f"{file_size(data.large)} of rows are not counted yet: ^l counts them; starting does so in any case."
        yield Content.styled(size, MUTED)
    if data.stage:
        share = f" {100 * data.done // data.total} %" if data.total else ""
        yield Content.styled(f"{data.stage}{share}…", MUTED)
    elif not facts.recipe.data.sources:
        yield Content.styled("Rows are counted once there is data.", MUTED)
    elif facts.starter:
        yield Content.styled("The starter is installed when the run starts; rows are counted then.", MUTED)
    elif not facts.can_be_read:
        keys = " and ".join(map(label_of, facts.unread))
        yield Content.styled(f"Rows are counted once {keys} can be read.", MUTED)


def _counted_lines(meta: Meta) -> Iterator[Content]:
    left_out = [counted(meta.duplicates, "duplicate")] if meta.duplicates else []
    left_out += [
        f"{count:,} {what}" for count, what in ((meta.bad_rows, "unusable"), (meta.dropped, "too long")) if count
    ]
    verb = "becomes" if meta.rows == 1 else "become"
    kept = f"{counted(meta.rows, 'row')} {verb} {counted(meta.documents, 'document')}"
    yield Content.assemble((kept, "$foreground"), (f"; left out: {', '.join(left_out)}" if left_out else "", WARN))
    share = 100 * meta.trained_tokens / max(1, meta.tokens)
    tokens = f"{counted(meta.tokens, 'token')}, {meta.trained_tokens:,} trained ({share:.0f} %)"
    yield Content.styled(tokens, "$foreground")
    if meta.held_out:
        yield Content.styled(f"{counted(meta.held_out, 'document')} held out for the evaluation", MUTED)
    for reason in meta.bad:
        first = reason.places[0] if reason.places else None
        where = f", the first: {first.source}, line {first.line:,}" if first is not None else ""
        yield Content.styled(clean_line(f"{reason.rows:,} × {reason.reason}{where}"), WARN)


def _length_lines(lengths: Histogram, too_long: str, width: int) -> Iterator[Content]:
    filled = [each for each in lengths.bins if each.documents]
    last = lengths.bins.index(filled[-1]) + 1 if filled else 0
    most = max((each.documents for each in filled), default=0)
    for each in lengths.bins[:last]:
        cells = math.ceil(min(_BAR, max(1, width - 26)) * each.documents / most)
        longer = each.first > lengths.max_length
        bar = ("▇" * cells, WARN if longer else GOOD)
        yield Content.assemble((f"{_range(each):>12} ", MUTED), bar, (f" {each.documents:,}", "$foreground"))
    yield Content.styled(lengths.sentence(too_long), MUTED)


def _range(each: Bin) -> str:
    return f"{each.first:,}–{each.last:,}" if each.last else f"from {each.first:,}"


def steps_of(recipe: Recipe, packs: int) -> int:
    """Optimizer steps of the whole run. packs: input rows of an epoch."""
    if recipe.training.max_steps:
        return recipe.training.max_steps
    return max(1, math.ceil(recipe.training.epochs * packs / _rows_a_step(recipe)))


def _rows_a_step(recipe: Recipe) -> int:
    return recipe.training.batch_size * recipe.training.accumulation * recipe.world_size


def _time_lines(facts: Facts, data: DataView) -> Iterator[Content]:
    recipe = facts.recipe
    a_step = _rows_a_step(recipe)
    if data.counted is None:
        if recipe.training.max_steps:
            yield Content.styled(f"{counted(recipe.training.max_steps, 'step')} of {counted(a_step, 'input row')}")
            yield from _few_lines(recipe, recipe.training.max_steps)
        return
    packs = data.counted.packs
    steps = steps_of(recipe, packs)
    epochs = steps * a_step / max(1, packs)
    times = f"{epochs:,.0f}" if epochs >= 9.95 else f"{epochs:.2g}"
    words = f"{counted(steps, 'step')} of {counted(a_step, 'input row')}: {times} times {counted(packs, 'input row')}"
    yield Content.styled(words, "$foreground")
    yield from _few_lines(recipe, steps)
    if facts.speed is None:
        yield Content.styled("How long that takes is not known: no run with this base and method was here yet.", MUTED)
        return
    meta = data.counted.meta
    tokens = meta.tokens * (1 - meta.held_out / max(1, meta.documents)) * epochs
    seconds = tokens / facts.speed.tokens_per_s
    took = f"{seconds / 60:.0f} min" if 600 <= seconds < 3600 else duration(seconds)
    yield Content.assemble(
        (f"about {took}", STRONG),
        (
            f" at the {rate(facts.speed.tokens_per_s)} tokens/s of {clean_line(facts.speed.run)}, without evaluations",
            MUTED,
        ),
    )


def _few_lines(recipe: Recipe, steps: int) -> Iterator[Content]:
    """A warning where the run has too few steps."""
    if steps < FEW_STEPS:
        by_epochs = "Set max steps, more epochs or a smaller accumulation."
        change = "Raise max steps." if recipe.training.max_steps else by_epochs
        yield Content.styled(f"{counted(steps, 'step')} in all: too few to learn anything. {change}", f"bold {WARN}")


def _memory_lines(facts: Facts) -> Iterator[Content]:
    found = facts.estimate
    if found is None:
        return
    device = "each GPU" if found.on_gpu else "each process"
    free = f", {memory_size(found.available)} free" if found.available is not None else ""
    needed = (memory_size(found.total), STRONG if found.fits else f"bold {BAD}")
    yield Content.assemble(needed, (f" for {device}{free}", MUTED))
    parts = ", ".join(f"{name} {memory_size(size)}" for name, size in found.parts.items() if size)
    yield Content.styled(parts, MUTED)
    if found.host:
        yield Content.styled(f"offloaded {memory_size(found.host)} of {memory_size(found.host_available)} free", MUTED)
    trained = f"{parameter_count(found.trainable)} of {parameter_count(found.parameters)} parameters are trained"
    yield Content.styled(trained, MUTED)
    for problem in found.problems:
        yield Content.styled(f"It would not fit: {problem}", BAD)


def _row_lines(shown: list[Shown]) -> Iterator[Content]:
    for number, row in enumerate(shown):
        if number:
            yield Content("")
        place = shorten(clean_line(f"{row.source.rpartition('/')[2]}, line {row.line:,}"), 60)
        if row.refused:
            yield Content.assemble((f"{place}: ", FAINT), (f"left out, {clean_line(row.refused)}", WARN))
        elif not row.pieces:
            yield Content.assemble((f"{place}: ", FAINT), (f"left out, {row.full_tokens:,} tokens are too many", WARN))
        else:
            changed = f", {row.changed} from {row.full_tokens:,}" if row.changed else ""
            tokens = f"{counted(row.tokens, 'token')}, {row.trained_tokens:,} trained{changed}"
            yield Content.styled(f"{place}: {tokens}", FAINT)
            yield from _pieces(row)


def _pieces(row: Shown) -> Iterator[Content]:
    """The text as the model sees it, a Content a line."""
    parts = [(clean(each.text), _TRAINED if each.trained else MUTED) for each in row.pieces]
    whole = Content.assemble(*parts)
    cut = whole[:_SHOWN_CHARACTERS]
    yield from cut.split("\n", allow_blank=False)
    if len(whole.plain) > _SHOWN_CHARACTERS:
        yield Content.styled(f"… and {len(whole.plain) - _SHOWN_CHARACTERS:,} characters more", FAINT)


def _command_lines(facts: Facts) -> Iterator[Content]:
    if facts.place is None or facts.plan is None:
        return
    yield Content.styled(clean(str(facts.place.path)), "$foreground")
    if facts.plan.script:
        yield from (Content.styled(clean(line), MUTED) for line in facts.plan.script.splitlines())
        return
    yield Content.styled(clean(facts.plan.commands["start"].shell()), MUTED)
    yield Content.styled("prepares the data, then starts", FAINT)
    yield Content.styled(clean(facts.plan.commands["ranks"].shell()), MUTED)
