"""The form that starts a run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from rich.cells import cell_len
from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.content import Content
from textual.widgets import Static

from engine.checkpoints.paths import full_path
from hugchat_tui.actions import bindings
from hugchat_tui.chat.key_bar import KeyBar
from hugchat_tui.common.alarm import Alarm
from hugchat_tui.common.clean import clean_line
from hugchat_tui.common.format import counted, memory_size, shorten, shorten_start
from hugchat_tui.common.line_list import LineList, justify
from hugchat_tui.common.tones import ACCENT, FAINT, GOOD, MUTED, STRONG, WARN
from hugchat_tui.common.wrapping import wrapped
from hugchat_tui.monitor.form_actions import FormActions
from hugchat_tui.monitor.form_facts import FactFinder
from hugchat_tui.monitor.form_fields import FIRST_DATA, NAME, OUTPUT, Draft, is_path, parts_of
from hugchat_tui.monitor.form_list import FormBody
from hugchat_tui.monitor.form_preview import FEW_STEPS, PreviewPane, steps_of
from hugchat_tui.monitor.form_rows import help_at
from sft.config import Recipe
from sft.recipe_fields import Problem

if TYPE_CHECKING:
    from hugchat_tui.app import HugChatApp
    from sft.runs import RunDirectory

_ASK_AFTER_S = 0.3  # of quiet
_HELP_ROWS = 4
_CHANGING = ("choose", "open", "complete", "pick_base", "edit_toml")  # not while the run is being started


async def new_run(
    app: HugChatApp, *, base: str = "", data: Sequence[str] = (), recipe: Recipe | None = None
) -> RunDirectory | None:
    """Let the person fill in a recipe and start a run of it; returns the run, None when they leave.

    base, data: filled in already. recipe: to begin with, such as an earlier run's. Call it in a worker.
    """
    return await app.push_screen_wait(RunFormScreen(base=base, data=data, recipe=recipe))


class RunFormScreen(FormActions):
    """Joins the form, the preview and what is found out about the recipe meanwhile."""

    help_title = "New run"
    AUTO_FOCUS = None
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (124, "-wide")]  # noqa: RUF012 - an instance variable to Textual
    BINDINGS: ClassVar[list[BindingType]] = [
        *bindings("form"),
    ]

    SCOPED_CSS = False  # the screen's width is told by a class of its own
    DEFAULT_CSS = """
    RunFormScreen {
        #form-title { height: 1; background: $panel; }
        #form-help { height: 5; padding: 0 1; border-top: solid $panel; }
        #form-parts { height: 1fr; }
        PreviewPane { width: 46%; }
    }
    RunFormScreen.-narrow {
        PreviewPane { display: none; width: 1fr; border-left: none; }
        &.-preview FormBody, &.-preview #form-help { display: none; }
        &.-preview PreviewPane { display: block; }
    }
    """

    def __init__(self, *, base: str = "", data: Sequence[str] = (), recipe: Recipe | None = None) -> None:
        super().__init__()
        self.draft = Draft(recipe or Recipe())
        self.given = recipe
        if base:
            self.draft.put("model.base", base)
        for index, path in enumerate(data):
            self.draft.put(f"data.sources[{index}].path", path)
        self.body = FormBody(self.draft)
        self.preview = PreviewPane()
        self.key_bar = KeyBar()
        self._title = Static(id="form-title")
        self._help = Static(id="form-help")
        self._asking = Alarm(self, self._ask)
        self._finder: FactFinder | None = None

    def compose(self) -> ComposeResult:
        yield self._title
        with Horizontal(id="form-parts"):
            yield self.body
            yield self.preview
        yield self._help
        yield self.key_bar

    def on_mount(self) -> None:
        folders = [full_path(Path(folder)) for folder in self.app.services.settings.model.folders]
        self._finder = FactFinder(folders, self._found)
        self.body.focus_row()
        self.begin_anew()
        self._show_help()

    async def on_unmount(self) -> None:
        self._asking.cancel()
        if self._finder is not None:
            await self._finder.close()

    def on_resize(self) -> None:
        self.call_after_refresh(self._show_help)
        self.call_after_refresh(self._show_title)

    @property
    def finder(self) -> FactFinder:
        if self._finder is None:
            raise RuntimeError("the form is not shown yet")
        return self._finder

    # What is found out

    def ask_soon(self) -> None:
        self._asking.cancel()
        self._asking.set(_ASK_AFTER_S)

    def _ask(self) -> None:
        recipe = self.draft.readable()
        if recipe is not None:
            self.finder.ask(recipe, self.draft.name, self.draft.output, typing=self.typing_at)

    def _found(self) -> None:
        """The facts or the view of the data are others."""
        facts = self.finder.facts
        if facts is not None and facts.place is not None:
            self.body.list.made = {**self.body.list.made, NAME: facts.place.name, OUTPUT: str(facts.place.path)}
        self.preview.show(facts, self.finder.data)
        self.show_problems()
        self._show_title()

    def show_problems(self) -> list[Problem]:
        """Show what is wrong where it is wrong, but for what the person is just typing; returns all of it."""
        _, problems = self.draft.read()
        found = [*([self.recipe_problem] if self.recipe_problem is not None else []), *problems]
        wrong = {each.place for each in problems}  # what was found out is about another value of these
        found += [each for each in self.finder.problems if each.place not in wrong]
        found += [each for each in self.refused if each not in found]
        hidden = () if self.tried else (self.body.place, "data.sources")
        self.body.problems = [each for each in found if each.place not in hidden]
        self.body.draw()
        return found

    # What the person does

    @on(FormBody.Typed)
    def _typed(self, event: FormBody.Typed) -> None:
        self.tried = False
        self.typing_at = event.place
        key, _, _ = parts_of(event.place)
        self.refused = tuple(each for each in self.refused if parts_of(each.place)[0] != key)
        if event.place == self.body.place:
            self.find_candidates()
        self.show_problems()
        self.ask_soon()

    @on(FormBody.Moved)
    def _moved(self, event: FormBody.Moved) -> None:
        if event.left:
            if is_path(self.typing_at):
                self.ask_soon()
            self.typing_at = ""
            self.begin_anew()
            self.show_problems()
        self.find_candidates()
        self._show_help()

    @on(LineList.Chosen)
    async def _clicked(self, event: LineList.Chosen) -> None:
        row = self.body.list.row
        if event.line_list is self.body.list and row is not None and row.kind != "text":
            await (self.run_action("open") if row.kind == "section" else self.run_action("choose(1)"))

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if self.doing and action in _CHANGING:
            return False
        row = self.body.list.row
        return action != "choose" or (row is not None and row.kind in ("choice", "section"))

    def footer_label(self, binding: Binding) -> str:
        """What the key would do now."""
        return "Form" if binding.id == "form.preview" and self.preview.has_focus else binding.description

    # What is shown around the form

    def candidates_changed(self) -> None:
        self._show_help()

    def _show_title(self) -> None:
        facts, data = self.finder.facts, self.finder.data
        parts = []
        if self.doing:
            parts.append((self.doing, ACCENT))
        elif facts is not None:
            if data.counted is not None:
                steps = steps_of(facts.recipe, data.counted.packs)
                parts.append((counted(steps, "step"), WARN if steps < FEW_STEPS else MUTED))
            if facts.estimate is not None:
                words = f"{memory_size(facts.estimate.total)}, {'fits' if facts.estimate.fits else 'may not fit'}"
                parts.append((words, GOOD if facts.estimate.fits else WARN))
        right = Content(" · ").join(Content.styled(words, tone) for words, tone in parts)
        left = Content.assemble((" New training run", STRONG))
        self._title.update(justify(left, Content.assemble(right, " "), self.size.width))

    def show_doing(self, words: str) -> None:
        """What is being done for the start; empty: nothing."""
        self.doing = words
        if self.body.input.locked != bool(words):
            self.body.input.locked = bool(words)
            self.refresh_bindings()
        self._show_title()

    def _show_help(self) -> None:
        """What the field under the cursor means, and what it could be gone on with."""
        width = max(20, self.size.width - 2)
        row = self.body.list.row
        if row is None:
            return
        if row.kind == "section":
            words = f"enter {'shows' if row.folded else 'folds'} these keys"
            self._help.update(Content.assemble((f"[{row.place}] ", STRONG), (words, MUTED)))
            return
        about, bounds = help_at(row.place)
        lines = [
            Content.assemble((row.place, STRONG), (f"  {shorten(bounds, width - cell_len(row.place) - 2)}", FAINT))
        ]
        hint = self._hint(row.place, width)
        room = _HELP_ROWS - 1 - (hint is not None)
        lines += [Content.styled(clean_line(each), MUTED) for each in wrapped(about, width)[:room]]
        self._help.update(Content("\n").join([*lines, *([hint] if hint is not None else [])]))

    def _hint(self, place: str, width: int) -> Content | None:
        if place == "model.base":
            return Content.styled("enter or ^t: choose among the checkpoints of this machine", ACCENT)
        if not is_path(place) or not self.candidates:
            return None
        key = "enter" if place == FIRST_DATA and not self.draft.text(place) else "tab"
        names = [clean_line(each[each.rstrip("/").rfind("/") + 1 :]) for each in self.candidates]
        if len(names) == 1:
            return Content.styled(shorten_start(f"{key}: {clean_line(self.candidates[0])}", width), ACCENT)
        return Content.styled(shorten(f"{key}: {'  '.join(names)}", width), ACCENT)
