"""What can be done to a run; the table that names the actions is hugchat_tui.actions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from textual.content import Content

from hugchat_tui.chat.background import background
from hugchat_tui.common.clean import clean, clean_line
from hugchat_tui.common.format import counted, file_size
from hugchat_tui.common.mode_screen import ModeScreen
from hugchat_tui.library.telling import refusal, telling
from hugchat_tui.monitor.steering import cadence_problem, learning_rate_problem, read_cadence

if TYPE_CHECKING:
    from hugchat_tui.app import HugChatApp
    from hugchat_tui.monitor.rows import RunRow
    from hugchat_tui.monitor.run_table import RunTable
    from hugchat_tui.monitor.service import MonitorService
    from sft.runs import RunDirectory

_OF_A_DONE_RUN = "b starts another run from one of its steps, y with changes."


class RunActions(ModeScreen):
    """Mixed into the monitor's screen, which owns the widgets.

    What takes a while after its dialog is a worker of a group that no key cancels: its threads would go on unheard.
    """

    if TYPE_CHECKING:
        app: HugChatApp
        service: MonitorService
        table: RunTable

        def select(self, name: str) -> None: ...
        def show_run(self) -> None: ...

    def _row(self) -> RunRow | None:
        """The one under the cursor; says so when there is none."""
        if self.table.row is None:
            self.app.notify("There is no run here. n starts one.")
        return self.table.row

    def _going(self, instead: str = "") -> RunRow | None:
        """The one under the cursor if it is going; else says that it cannot be asked for that, and what it can."""
        row = self._row()
        if row is not None and not row.going:
            instead = instead or ("r resumes it." if row.status.resumable else _OF_A_DONE_RUN)
            self.app.notify(f"{row.name} is not going: it is {row.status.state}. {instead}", severity="warning")
            return None
        return row

    # Looking and chatting

    def action_open_run(self) -> None:
        if self._row() is not None:
            self.show_run()

    @background("dialog", exclusive=True, opens_dialog=True)
    async def action_chat_with_run(self) -> None:
        if (row := self._row()) is not None:
            with telling(self):
                await self.app.load_into_chat(await self.service.newest_reference(row))

    @background("dialog", exclusive=True, opens_dialog=True)
    async def action_compare_run(self) -> None:
        """Its base answers in the active pane, and it beside that; both draw with the same seed."""
        row = self._row()
        if row is None:
            return
        with telling(self):
            reference = await self.service.newest_reference(row)
            base = self.service.recipe_of(row).model.base
            await self.app.compare_in_chat(base, reference)

    # Steering

    @background("work")
    async def _ask(self, row: RunRow, words: str, command: str, /, **values: object) -> None:
        with telling(self):
            await self.service.send(row, words, command, **values)

    def action_save_run(self) -> None:
        if (row := self._going()) is not None:
            self._ask(row, "save", "save")

    def action_pause_run(self) -> None:
        if (row := self._going()) is not None:
            command = "continue" if self.service.asked.will_be_paused(row) else "pause"
            self._ask(row, command, command)

    @background("dialog", exclusive=True, opens_dialog=True)
    async def action_stop_run(self) -> None:
        from hugchat_tui.common.dialogs import ChoiceDialog

        row = self._going("There is nothing to stop.")
        if row is None:
            return
        choices = [
            ("k", "Stop and keep: save a checkpoint and the result"),
            ("w", "Stop without saving"),
            ("e", "End its processes at once, if it does not answer"),
            ("g", "Leave it going"),
        ]
        resumed = "It can be resumed from its checkpoints."
        if not await self.service.whole_steps(row):
            resumed = "It has no checkpoint yet: resumed without one, it starts from the beginning."
        body = Content(clean(f"{row.name} is at step {row.status.step:,}. {resumed}"))
        choice = await self.app.push_screen_wait(ChoiceDialog("Stop this run?", choices, body))
        if choice == "k":
            self._ask(row, "stop and keep", "stop")
        elif choice == "w":
            self._ask(row, "stop without saving", "stop", save=False)
        elif choice == "e":
            self._kill(row)

    @background("work")
    async def _kill(self, row: RunRow) -> None:
        with telling(self):
            if not await self.service.kill(row):
                where = f" ({row.status.host})" if row.status.host else ""
                self.app.notify(f"Its processes are not this machine's{where}.", severity="warning")

    @background("dialog", exclusive=True, opens_dialog=True)
    async def action_set_learning_rate(self) -> None:
        from hugchat_tui.common.dialogs import TextDialog

        row = self._going("y duplicates it with another learning rate.")
        if row is None:
            return
        usual = f"{row.recipe.training.learning_rate:g}" if row.recipe is not None else ""
        words = f"The peak of the schedule; the recipe says {usual}. It counts from the next step."
        dialog = TextDialog("Learning rate", usual, body=Content(words), check=learning_rate_problem)
        text = await self.app.push_screen_wait(dialog)
        if text is not None:
            self._ask(row, f"learning rate {text.strip()}", "set", learning_rate=float(text))

    @background("dialog", exclusive=True, opens_dialog=True)
    async def action_set_cadence(self) -> None:
        from hugchat_tui.common.dialogs import TextDialog

        row = self._going("y duplicates it with another cadence.")
        if row is None:
            return
        recipe = row.recipe
        usual = f"{recipe.evaluation.every} {recipe.checkpoints.every}" if recipe is not None else "50 50"
        words = "Steps between evaluations, and steps between checkpoints: two numbers; 0 is never."
        text = await self.app.push_screen_wait(TextDialog("Cadence", usual, body=Content(words), check=cadence_problem))
        if text is not None:
            evaluation, checkpoint = read_cadence(text)
            asked = f"evaluation every {evaluation:,}, checkpoint every {checkpoint:,}"
            self._ask(row, asked, "set", eval_every=evaluation, checkpoint_every=checkpoint)

    # Starting

    @background("work")
    async def action_resume_run(self) -> None:
        row = self._row()
        if row is None:
            return
        if row.going:
            self.app.notify(f"{row.name} is going already.")
        elif not row.status.resumable:
            self.app.notify(f"{row.name} is done. {_OF_A_DONE_RUN}")
        else:
            self.app.notify(f"Starting {row.name} again…", timeout=3)
            with telling(self):
                await self.service.resume(row)

    @background("dialog", exclusive=True, opens_dialog=True)
    async def action_new_run(self) -> None:
        from hugchat_tui.monitor.form import new_run

        if self.is_current:  # else the form is open already
            self._started(await new_run(self.app))

    @background("dialog", exclusive=True, opens_dialog=True)
    async def action_duplicate_run(self) -> None:
        from hugchat_tui.monitor.form import new_run

        row = self._row()
        if row is None or not self.is_current:
            return
        with telling(self):
            self._started(await new_run(self.app, recipe=self.service.recipe_of(row)))

    def _started(self, made: RunDirectory | None) -> None:
        if made is not None:
            self.select(made.name)

    @background("dialog", exclusive=True, opens_dialog=True)
    async def action_restart_run(self) -> None:
        from hugchat_tui.common.dialogs import ChoiceDialog

        row = self._row()
        if row is None:
            return
        with telling(self):
            total = row.status.total_steps
            steps = [step for step in await self.service.whole_steps(row) if not total or step < total]
            if not steps:
                words = f"{row.name} has no whole checkpoint with steps left to do. y starts another run."
                self.app.notify(words, severity="warning")
                return
            choices = [(str(number), f"Step {step:,}") for number, step in enumerate(steps[:9], 1)]
            body = Content(clean(f"Another run goes on from there; {row.name} stays as it is."))
            choice = await self.app.push_screen_wait(ChoiceDialog("Restart from a step", choices, body))
            if choice is not None:
                self._branch(row, steps[int(choice) - 1])

    @background("work")
    async def _branch(self, row: RunRow, step: int) -> None:
        self.app.notify(f"Branching off {row.name} at step {step:,}…", timeout=3)
        with telling(self):
            made = await self.service.branch(row, step)
            self.select(made.name)
            self.app.notify(f"{made.name} has started.")

    # What the person says of it

    @background("dialog", exclusive=True, opens_dialog=True)
    async def action_delete_run(self) -> None:
        from hugchat_tui.common.dialogs import ConfirmDialog

        row = self._row()
        if row is None:
            return
        if row.going:
            self.app.notify(f"{row.name} is going. Stop it first: x", severity="warning")
            return
        with telling(self):
            size = await self.service.size(row)
            lines = [
                f"{clean_line(row.name)} goes with its checkpoints and its log. There is no way back.",
                clean(str(row.run.path)),
            ]
            if names := self.service.trained_from(row):
                lines.append(f"Trained from it: {', '.join(map(clean_line, names))}.")
            title = f"Delete this run, {file_size(size)}"
            body = Content("\n\n".join(lines))
            dialog = ConfirmDialog(title, body, confirm="Delete", cancel="Keep", danger=True)
            if await self.app.push_screen_wait(dialog):
                self._delete(row, size)

    @background("work")
    async def _delete(self, row: RunRow, size: int) -> None:
        self.app.notify(f"Deleting {row.name}…", timeout=3)
        with telling(self):
            await self.service.delete(row)
            self.app.notify(f"Deleted {row.name}; {file_size(size)} are free again.")

    @background("dialog", exclusive=True, opens_dialog=True)
    async def action_tag_run(self) -> None:
        from hugchat_tui.common.dialogs import TextDialog

        row = self._row()
        if row is None:
            return

        async def attempt(tag: str) -> str | None:
            return await refusal(self.service.set_tag(row, tag))

        body = Content("A word beside its name; / tag:WORD shows runs that have it. Empty: none.")
        await self.app.push_screen_wait(TextDialog("Tag", row.said.tag, body=body, attempt=attempt))

    @background("dialog", exclusive=True, opens_dialog=True)
    async def action_note_run(self) -> None:
        from hugchat_tui.common.dialogs import TextDialog

        row = self._row()
        if row is None:
            return

        async def attempt(note: str) -> str | None:
            return await refusal(self.service.set_note(row, note))

        title = f"Note on {row.name}"
        await self.app.push_screen_wait(TextDialog(title, row.said.note, multiline=True, attempt=attempt))

    @background("archive")
    async def action_archive_run(self) -> None:
        if (row := self._row()) is not None:
            with telling(self):
                await self.service.set_archived(row, not row.said.archived)
                if row.said.archived:
                    self.app.notify(f"{row.name} is listed again.")
                else:
                    self.app.notify(f"{row.name} is archived; A shows archived runs.")

    # The list

    def action_show_archived(self) -> None:
        self.table.show_archived(not self.table.archived)
        if self.table.archived:
            count = sum(row.said.archived for row in self.service.rows)
            self.app.notify(f"{counted(count, 'archived run')} listed too." if count else "No run is archived.")

    def action_overlay_run(self) -> None:
        self.table.toggle_overlay()

    def action_sort_runs(self) -> None:
        self.table.sort_by_next()

    def action_reverse_runs(self) -> None:
        self.table.reverse()
