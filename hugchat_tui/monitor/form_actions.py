"""What a person does in the form: the actions of hugchat_tui.actions, and the keys of its lines."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from textual.app import SuspendNotSupported
from textual.content import Content
from textual.screen import Screen

from engine.checkpoints.paths import data_dir, full_path
from engine.checkpoints.starter import STARTER
from engine.errors import EngineError
from hugchat_tui.chat.background import background
from hugchat_tui.common.clean import clean
from hugchat_tui.common.dialogs import ChoiceDialog, ConfirmDialog, TextDialog
from hugchat_tui.common.editor import EditorError, edit_text
from hugchat_tui.common.format import shorten_start
from hugchat_tui.monitor.form_completion import candidates, gone_on
from hugchat_tui.monitor.form_facts import Facts, find_facts
from hugchat_tui.monitor.form_fields import FIRST_DATA, NAME, OUTPUT, RECIPE, Draft, is_path
from hugchat_tui.monitor.form_rows import editable
from hugchat_tui.run_starting import make_run, read_recipe
from sft import config
from sft.config import Recipe
from sft.launch import LaunchError, start
from sft.packaged import recipe_for
from sft.recipe_fields import Problem

if TYPE_CHECKING:
    from hugchat_tui.app import HugChatApp
    from hugchat_tui.monitor.form_facts import FactFinder
    from hugchat_tui.monitor.form_list import FormBody
    from hugchat_tui.monitor.form_preview import PreviewPane
    from sft.runs import RunDirectory

_CHOICE_KEYS = "abcdefghilmnop"  # without those that move in a list
_CHOICE_CELLS = 50


class FormActions(Screen["RunDirectory | None"]):
    """Base of the form's screen, which owns the widgets.

    given: the recipe that the form was opened with. tried: the person wanted to start, so every problem is shown.
    doing: what is being done for the start, "" when nothing is.
    """

    if TYPE_CHECKING:
        app: HugChatApp
        draft: Draft
        given: Recipe | None
        body: FormBody
        preview: PreviewPane

        @property
        def finder(self) -> FactFinder: ...
        def show_problems(self) -> list[Problem]: ...
        def show_doing(self, words: str) -> None: ...
        def candidates_changed(self) -> None: ...
        def ask_soon(self) -> None: ...

    tried = False
    doing = ""
    recipe_problem: Problem | None = None
    refused: Sequence[Problem] = ()  # why it was not started the last time
    candidates: tuple[str, ...] = ()  # of the path that is being typed
    typing_at = ""  # where something was typed since the cursor came there
    _candidates_of = ("", "")
    _begun_as: tuple[str, str] | None = None  # what was typed for the recipe, and the base
    _text_left: str | None = None  # what came from the editor and is no recipe
    _ends_with: tuple[RunDirectory | None] | None = None  # as soon as it is shown again

    # The lines

    async def action_move(self, action: str) -> None:
        await self.body.list.run_action(action)

    def action_choose(self, step: int) -> None:
        """Another value of the key under the cursor, or a section folded or unfolded."""
        row = self.body.list.row
        if row is None:
            return
        if row.kind == "section":
            self._fold(row.place, folded=step < 0)
        else:
            self.draft.choose(row.place, step)
            self.show_problems()
            self.ask_soon()

    def _fold(self, section: str, *, folded: bool) -> None:
        (self.body.unfolded.discard if folded else self.body.unfolded.add)(section)
        self.body.draw(section)

    async def action_open(self) -> None:
        """Unfold a section, choose a base, write a long text; on every other line, go on to the next."""
        row = self.body.list.row
        if row is None:
            return
        if row.kind == "section":
            self._fold(row.place, folded=not row.folded)
        elif row.place == "model.base":
            self.action_pick_base()
        elif row.place == FIRST_DATA and self.candidates and not self.draft.text(row.place):
            self._choose_data()
        elif row.kind == "text" and not editable(self.draft, row.place):
            self._edit_long(row.place)
        else:
            self.body.list.action_cursor_by(1)

    @background("dialog", exclusive=True, opens_dialog=True)
    async def _choose_data(self) -> None:
        """Choose among exported conversations, files of the current folder, and corpora."""
        keys = dict(zip(_CHOICE_KEYS, self.candidates, strict=False))
        labels = [(key, shorten_start(path, _CHOICE_CELLS)) for key, path in keys.items()]
        key = await self.app.push_screen_wait(ChoiceDialog("Train on", labels))
        if key is not None:
            self.draft.put(FIRST_DATA, keys[key])
            self._changed_elsewhere()

    @background("dialog", exclusive=True, opens_dialog=True)
    async def _edit_long(self, place: str) -> None:
        """A text of several lines does not fit into one."""
        text = await self.app.push_screen_wait(TextDialog(place, self.draft.text(place), multiline=True))
        if text is not None:
            self.draft.put(place, text)
            self._changed_elsewhere()

    def _changed_elsewhere(self) -> None:
        """The draft was changed by something else than typing."""
        self.refused = ()
        self.body.reload()
        self.body.focus_row()
        self.begin_anew()
        self.show_problems()
        self.ask_soon()

    # Completion

    def find_candidates(self) -> None:
        """Look for what the text under the cursor could be gone on with."""
        place = self.body.place
        wanted = (place, self.draft.text(place)) if is_path(place) else ("", "")
        if wanted != self._candidates_of:
            self._candidates_of, self.candidates = wanted, ()
            if place == wanted[0]:
                self.run_worker(self._find_candidates(*wanted), group="candidates", exclusive=True)

    async def _find_candidates(self, place: str, text: str) -> None:
        found = await asyncio.to_thread(candidates, place, text)
        if self._candidates_of == (place, text):
            self.candidates = tuple(each for each in found if each != text)
            self.candidates_changed()

    @background("complete", exclusive=True, opens_dialog=True)
    async def action_complete(self) -> None:
        """Go on with the path as far as there is only one way; where there is none, to the next line."""
        place = self.body.place
        text = self.draft.text(place) if is_path(place) else ""
        if text:
            found = await asyncio.to_thread(candidates, place, text)
            longer = gone_on(text, found) if found else text
            if longer != text or len(found) > 1:
                self.draft.put(place, longer)
                self.body.reload()
                self.find_candidates()
                self.ask_soon()
                return
        self.body.list.action_cursor_by(1)

    # What it begins as

    def begin_anew(self) -> None:
        """Begin as the recipe that is named, or as the one made for the base, when those are others now."""
        if self._wanted_start() != self._begun_as:
            self.run_worker(self._begin_anew(), group="recipe", exclusive=True)

    def _wanted_start(self) -> tuple[str, str]:
        named = self.draft.recipe_name
        return named, "" if named or self.given is not None else str(self.draft.value("model.base"))

    async def _begin_anew(self) -> None:
        """As the last line says; what the person changed stays."""
        wanted = self._wanted_start()
        if wanted == self._begun_as:
            return
        named, base = wanted
        made, problem = "", None
        try:
            if named:
                recipe = await asyncio.to_thread(read_recipe, str(full_path(Path(named))) if "/" in named else named)
            elif self.given is not None:
                recipe, made = self.given, "as the form was opened with"
            else:
                packaged = await asyncio.to_thread(recipe_for, base)
                recipe = await asyncio.to_thread(packaged.recipe) if packaged is not None else Recipe()
                made = f"{packaged.name}, made for this base" if packaged is not None else "defaults"
        except EngineError as error:
            problem = Problem(RECIPE, str(error))
        else:
            self.body.commit()  # what is being typed stays, too
            before = self.body.text
            self.draft.begin_as(recipe)
            if self.body.text != before:
                self.body.reload()
        self._begun_as, self.recipe_problem = wanted, problem
        self.body.list.made = {**self.body.list.made, RECIPE: made}
        self.show_problems()
        self.ask_soon()

    @background("dialog", exclusive=True, opens_dialog=True)
    async def action_pick_base(self) -> None:
        """Choose among the checkpoints of this machine."""
        if self.app.chat is None:
            return
        reference = await self.app.chat.pick_model(str(self.draft.value("model.base")), "Choose a base")
        if reference is not None:
            self.draft.put("model.base", reference)
            self._changed_elsewhere()

    # The recipe as text

    @background("dialog", exclusive=True)
    async def action_edit_toml(self) -> None:
        """The whole recipe in the person's own editor; what is no recipe is kept for another attempt."""
        self.body.settle()
        recipe, problems = self.draft.read()
        if recipe is None:
            self._refuse(problems)
            return
        text = self._text_left if self._text_left is not None else config.dumps(recipe)
        while True:
            try:
                text = await edit_text(self.app, text, "recipe.toml")
            except SuspendNotSupported:
                self.notify("This terminal cannot be lent to an editor.", severity="error")
                return
            except EditorError as error:
                self.notify(str(error), severity="error")
                return
            try:
                edited = config.parse(text)
            except config.RecipeError as error:
                self._text_left = text
                words = Content(clean("\n".join(map(str, error.problems[:12]))))
                title = f"The recipe has {len(error.problems)} problem{'s' if len(error.problems) != 1 else ''}"
                again = ConfirmDialog(title, words, confirm="Edit again", cancel="Later")
                if not await self.app.push_screen_wait(again):
                    self.notify("What you wrote is kept: ^g opens it again.")
                    return
            else:
                self._text_left = None
                self.draft.take(edited)
                self._changed_elsewhere()
                self.body.draw()
                return

    # The preview

    def action_toggle_preview(self) -> None:
        if self.preview.has_focus:
            self.remove_class("-preview")
            self.body.focus_row()
        else:
            self.add_class("-preview")
            self.set_focus(self.preview)
        self.refresh_bindings()

    def action_count_rows(self) -> None:
        self.finder.count()

    # Leaving and starting

    @background("dialog", exclusive=True)
    async def action_leave(self) -> None:
        """Take notices away; leave the preview; at last the form, which asks when something was typed."""
        if self.app.dismiss_notices():
            return
        if self.preview.has_focus:
            self.action_toggle_preview()
            return
        if self.doing:
            self.notify("The run is being started.")
            return
        self.body.settle()
        if self.draft.changed or self._text_left is not None:
            words = Content("What was filled in is dropped.")
            question = ConfirmDialog("Leave the form?", words, confirm="Leave", cancel="Stay", danger=True)
            if not await self.app.push_screen_wait(question):
                return
        self._end(None)

    @background("start")
    async def action_start(self) -> None:
        """Check everything, make the run's directory, and start it detached."""
        if self.doing:
            return
        self.body.settle()
        self.typing_at = ""
        try:
            made = await self._started()
        finally:
            self.show_doing("")
        if made is not None:
            self._end(made)

    def _end(self, made: RunDirectory | None) -> None:
        """Close the form, when it is shown again if another mode or a dialog is over it now."""
        if self.is_active:
            self.dismiss(made)
        else:
            self._ends_with = (made,)
            self.show_doing("closing…")

    def on_screen_resume(self) -> None:
        if self._ends_with is not None and self.is_active:
            made, self._ends_with = self._ends_with[0], None
            self.dismiss(made)

    async def _started(self) -> RunDirectory | None:
        """The run, None when it was not started; then the screen says why."""
        self.show_doing("checking…")
        await self._begin_anew()
        recipe, problems = self.draft.read()
        if self.recipe_problem is not None:
            problems = [self.recipe_problem, *problems]
        if recipe is None or problems:
            self._refuse(problems)
            return None
        facts = await self._facts_of(recipe)
        if facts is None:
            return None
        if facts.estimate is not None and facts.estimate.problems:
            words = Content(clean("\n".join(facts.estimate.problems)))
            question = ConfirmDialog("This may not fit", words, confirm="Start anyway", cancel="Change it", danger=True)
            if not await self.app.push_screen_wait(question):
                return None
        self.show_doing("starting…")
        await self.finder.close()  # it may be preparing the same data
        return await self._start(facts.recipe)

    async def _facts_of(self, recipe: Recipe) -> Facts | None:
        """What is known of it with its base there; None when something is wrong, which is shown."""
        folders = [full_path(Path(folder)) for folder in self.app.services.settings.model.folders]
        try:
            if recipe.model.base == STARTER:
                await self.app.services.ensure_checkpoint(
                    STARTER, lambda stage, done, total: self.show_doing(f"the starter: {stage}…")
                )
        except EngineError as error:
            self._refuse([Problem("model.base", str(error))])
            return None
        facts = await asyncio.to_thread(find_facts, recipe, self.draft.name, self.draft.output, folders)
        if facts.problems:
            self._refuse(facts.problems)
            return None
        problem = await self.finder.data_problem(facts)
        if problem is not None:
            self._refuse([problem])
            return None
        return facts

    async def _start(self, recipe: Recipe) -> RunDirectory | None:
        try:
            made, script = await asyncio.to_thread(make_run, recipe, data_dir(), self.draft.name, self.draft.output)
        except (EngineError, OSError) as error:
            self._refuse([self._not_made(error)])
            return None
        if script is not None:
            self.app.notify(f"{made.name} is ready. Start it with: sbatch {script}", timeout=30)
            return made
        try:
            await asyncio.to_thread(start, recipe, made)
        except LaunchError as error:  # its directory is there, and the list of runs shows why it did not start
            self.app.notify(str(error), severity="error", timeout=20)
        return made

    def _not_made(self, error: EngineError | OSError) -> Problem:
        """Why the run's directory was not made, at the field that it is about."""
        output = str(full_path(Path(self.draft.output))) if self.draft.output else ""
        message = str(error)
        if isinstance(error, OSError):
            message = f"{output or 'The folder of the run'} cannot be made: {error.strerror or message}"
        return Problem(OUTPUT if output and output in message else NAME, message)

    def _refuse(self, problems: list[Problem]) -> None:
        """Show what is wrong at its fields, and go to the first."""
        self.tried = True
        self.refused = tuple(problems)
        self.remove_class("-preview")
        self.show_problems()
        self.body.go_to_problem()
        self.body.focus_row()
        self.refresh_bindings()
        self.ask_soon()
