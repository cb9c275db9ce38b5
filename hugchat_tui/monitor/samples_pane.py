"""What the run answers to its fixed prompts at each evaluation, this one against the one before."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from textual.binding import Binding, BindingType
from textual.content import Content

from hugchat_tui.common.clean import clean
from hugchat_tui.common.line_list import justify
from hugchat_tui.common.tones import ACCENT, FAINT, GOOD, MUTED, STRONG
from hugchat_tui.library.at_once import at_once
from hugchat_tui.monitor.differences import marked
from hugchat_tui.monitor.page import Page

if TYPE_CHECKING:
    from hugchat_tui.monitor.history import RunHistory, Sample

_STYLES = {"": "$foreground", "new": f"{GOOD} underline", "gone": f"{FAINT} strike"}
_NONE = (
    "It has answered nothing yet.",
    "",
    "Prompts of the recipe (evaluation.prompts) are answered at each evaluation, to be read here.",
)


class SamplesPane(Page, inherit_bindings=False):
    """Shows the newest answers; earlier ones by key. back: how many evaluations before the newest one."""

    BINDINGS: ClassVar[list[BindingType]] = [
        *Page.BINDINGS,
        *at_once(
            (
                Binding("left", "step_back(1)", "Earlier", id="samples.earlier", tooltip="The evaluation before"),
                Binding("right", "step_back(-1)", "Later", id="samples.later", tooltip="The evaluation after"),
            )
        ),
    ]
    DEFAULT_CSS = """
    SamplesPane { padding: 0 1; }
    """

    jump_label = "s"
    help_title = "Samples"
    words = _NONE

    def __init__(self) -> None:
        super().__init__()
        self.back = 0
        self._history: RunHistory | None = None
        self._seen: tuple[object, ...] = ()
        self._laid_out: dict[tuple[object, ...], list[Content]] = {}

    def show(self, history: RunHistory | None) -> None:
        """Show the samples of a run, or of another one."""
        if history is not self._history:
            self._history, self.back, self._seen = history, 0, ()
            self._laid_out.clear()
        self.histories_changed()

    def histories_changed(self) -> None:
        """More may have come."""
        samples = self._history.samples if self._history is not None else {}
        # The answers too: after a resume the same step may be answered otherwise.
        seen = tuple((index, *each) for index, each in samples.items())
        if self.display and seen != self._seen:
            self._seen = seen
            self.changed()

    def lay_out(self, width: int) -> Sequence[Content]:
        if self._history is None or not self._history.samples:
            return ()
        samples = self._history.samples
        steps = sorted({sample.step for each in samples.values() for sample in each})
        self.back = max(0, min(self.back, len(steps) - 1))
        place = len(steps) - 1 - self.back
        at = steps[place]
        title = f"step {at:,} against step {steps[place - 1]:,}" if place else f"step {at:,}, the first evaluation"
        right = Content.styled(f"evaluation {place + 1} of {len(steps)} · ← → others ", MUTED)
        lines = [justify(Content.styled(title, STRONG), right, width)]
        legend = Content.assemble(("new", _STYLES["new"]), "  ", ("gone", _STYLES["gone"]))
        lines.append(legend if place else Content(""))
        for index in sorted(samples):
            now = next((each for each in samples[index] if each.step == at), None)
            earlier = [each for each in samples[index] if each.step < at]
            if now is not None:
                lines += self._sample(now, earlier[-1] if earlier else None, width)
        return lines

    def _sample(self, now: Sample, before: Sample | None, width: int) -> list[Content]:
        key = (now, before, width)
        if key not in self._laid_out:
            if len(self._laid_out) > 500:
                self._laid_out.clear()
            self._laid_out[key] = list(self._lines(now, before, width))
        return self._laid_out[key]

    @staticmethod
    def _lines(now: Sample, before: Sample | None, width: int) -> list[Content]:
        question = Content.styled(clean(now.prompt).strip(), f"bold {ACCENT}").wrap(max(1, width - 2))
        answer = clean(now.answer).strip()
        if before is None:
            text = Content.styled(answer, "$foreground")
        else:
            parts = marked(clean(before.answer).strip(), answer)
            text = Content.assemble(*((part, _STYLES[kind]) for part, kind in parts))
        if not answer:
            text = Content.assemble(text, ("(an empty answer)", MUTED))
        same = before is not None and before.answer.strip() == now.answer.strip() and answer
        found = [Content.assemble(("› " if not place else "  "), line) for place, line in enumerate(question)]
        found += [Content.assemble("  ", line) for line in text.wrap(max(1, width - 4))]
        if same:
            found.append(Content.styled("  the same as before", MUTED))
        return [*found, Content("")]

    def action_step_back(self, by: int) -> None:
        """Show an earlier evaluation, or a later one."""
        self.back += by
        self.changed()
        self.scroll_home(animate=False)
