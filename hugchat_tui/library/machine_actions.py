"""What can be done with a checkpoint of this machine; the table that names the actions is hugchat_tui.actions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from textual.content import Content

from hugchat_tui.chat.background import background
from hugchat_tui.common.clean import clean, clean_line
from hugchat_tui.common.format import counted, file_size, sentences
from hugchat_tui.library.columns import COLUMNS
from hugchat_tui.library.list_view import ListView
from hugchat_tui.library.removal_words import removal_done, removal_title, removal_words
from hugchat_tui.library.table import KINDS
from hugchat_tui.library.telling import refusal, telling

if TYPE_CHECKING:
    from engine.checkpoints.library.removal import Removal
    from engine.checkpoints.library.rows import Row
    from hugchat_tui.library.screen import LibraryScreen
    from hugchat_tui.library.service import LibraryService
    from hugchat_tui.library.table import CheckpointTable

# Names of these say it all; the name of a folder or a file could be another's too.
_NAMED = frozenset({"starter", "run"})


def reference_of(row: Row) -> str:
    """What the engine resolves to this very row, now and in a month."""
    return row.name if row.source in _NAMED or (row.source == "cache" and row.refs) else row.key


class MachineActions(ListView):
    """Mixed into the view of this machine, which owns the widgets."""

    if TYPE_CHECKING:
        screen: LibraryScreen  # type: ignore[assignment]
        service: LibraryService
        table: CheckpointTable

    def _row(self) -> Row | None:
        """The one under the cursor; says so when there is none."""
        if self.table.row is None:
            self.app.notify("There is no checkpoint here. 2 shows the Hub; a adds a folder of yours.")
        return self.table.row

    def _usable(self) -> Row | None:
        """The one under the cursor if it can be loaded; else says why not."""
        row, listed = self._row(), self.table.listed
        if row is not None and listed is not None and not listed.usable:
            name = row.alias or row.name
            self.app.notify(sentences(f"{name} cannot be loaded", row.problem), severity="warning")
            return None
        return row

    # Using

    @background("dialog", exclusive=True, opens_dialog=True)
    async def action_load(self) -> None:
        """Let it answer in the chat; the rest of an unfinished download is fetched instead."""
        row = self._row()
        if row is not None and row.kind == "unfinished" and row.repository.startswith("models--"):
            await self._fetch_rest(row)
        elif (usable := self._usable()) is not None:
            await self.app.load_into_chat(reference_of(usable))

    async def _fetch_rest(self, row: Row) -> None:
        from engine.checkpoints.hub_cache import HubReference, parse_hub_reference
        from hugchat_tui.common.dialogs import ConfirmDialog

        # The name of an unfinished download says which revision or file it was of.
        repo_id = row.repository.removeprefix("models--").replace("--", "/")
        reference = parse_hub_reference(row.name) or HubReference(repo_id)
        body = Content(f"{clean(row.problem)}\n\nFetch what is missing of {clean_line(row.name)}?")
        if await self.app.push_screen_wait(ConfirmDialog("Unfinished download", body, confirm="Fetch", cancel="Leave")):
            with telling(self):
                await self.service.pull(reference)
                await self.screen.action_show_view("downloads")

    @background("dialog", exclusive=True, opens_dialog=True)
    async def action_compare(self) -> None:
        if (row := self._usable()) is not None:
            await self.app.load_into_chat(reference_of(row), beside=True)

    # Long jobs

    def action_verify(self) -> None:
        if (row := self._row()) is not None:
            self.service.jobs.verify(row)

    @background("dialog", exclusive=True, opens_dialog=True)
    async def action_merge(self) -> None:
        row = self._usable()
        if row is None or row.checkpoint is None:
            return
        base = self.service.base_of(row)
        if row.checkpoint.kind != "adapter":
            self.app.notify(f"{row.name} is not an adapter; only adapters are merged.", severity="warning")
        elif base is None:
            self.app.notify(f"Its base, {row.checkpoint.base_name or 'unknown'}, is not here.", severity="warning")
        else:
            words = f"{row.name} and its base {base.name} become one model, in the program's models folder."
            name = await self._ask_new("Merge into the base", f"{_file_name(row)}-merged", words)
            if name:
                self.service.jobs.merge(row, base, name)

    @background("dialog", exclusive=True, opens_dialog=True)
    async def action_convert(self) -> None:
        row = self._usable()
        if row is None or row.checkpoint is None:
            return
        if row.checkpoint.kind == "adapter":
            self.app.notify(f"{row.name} is an adapter; m merges it into its base.", severity="warning")
            return
        words = f"{row.name} is written as safetensors, in the program's models folder. It stays as it is."
        name = await self._ask_new("Convert to safetensors", f"{_file_name(row)}-safetensors", words)
        if name:
            self.service.jobs.convert(row, name)

    async def _ask_new(self, title: str, value: str, words: str, *, in_models: bool = True) -> str | None:
        """Ask for the name of what is made in the program's models folder, or for the path of a new folder."""
        from hugchat_tui.common.dialogs import TextDialog

        async def attempt(text: str) -> str | None:
            return await self.service.cannot_be_made(text.strip(), in_models=in_models)

        text = await self.app.push_screen_wait(TextDialog(title, value, body=Content(clean(words)), attempt=attempt))
        return text.strip() if text is not None else None

    @background("dialog", exclusive=True, opens_dialog=True)
    async def action_export(self) -> None:
        row = self._usable()
        if row is not None:
            words = f"{row.name} is copied to a folder of plain files, for other programs and machines."
            folder = f"~/{_file_name(row)}"
            destination = await self._ask_new("Export as a folder", folder, words, in_models=False)
            if destination:
                self.service.jobs.export(row, destination)

    # Deleting

    @background("dialog", exclusive=True, opens_dialog=True)
    async def action_delete(self) -> None:
        """Delete what is marked, else what is under the cursor, after a look at what that means."""
        from hugchat_tui.common.dialogs import ConfirmDialog

        row = None if self.table.marked else self._row()
        rows = [row] if row is not None else self.table.marked_rows()
        if not rows:
            return
        with telling(self):
            removal = await self.service.plan_removal(rows)
            loaded = [each for each in removal.rows if self.service.is_loaded(each)]
            body = removal_words(removal, loaded)
            if not removal.rows:
                await self.app.push_screen_wait(ConfirmDialog("Nothing can be deleted", body, confirm="OK", cancel=""))
                return
            title = removal_title(removal)
            if await self.app.push_screen_wait(
                ConfirmDialog(title, body, confirm="Delete", cancel="Keep", danger=True)
            ):
                await self._delete(removal)

    async def _delete(self, removal: Removal) -> None:
        from engine.checkpoints.library.trash import NoTrashError
        from hugchat_tui.common.dialogs import ConfirmDialog

        try:
            await self.service.discard(removal)
            self.app.notify(f"{removal_done(removal)} u brings it back until the app closes.")
        except NoTrashError as error:
            body = Content(clean(str(error)))
            dialog = ConfirmDialog("No way back", body, confirm="Delete for good", cancel="Keep", danger=True)
            if await self.app.push_screen_wait(dialog):
                await self.service.delete_for_good(removal)
                self.app.notify(removal_done(removal))

    @background("open")
    async def action_undo(self) -> None:
        with telling(self):
            rows = await self.service.undo()
            came_back = f"{counted(len(rows), 'checkpoint')} came back."
            self.app.notify(came_back if rows else "Nothing was deleted here since the app started.")

    @background("open")
    async def action_empty_trash(self) -> None:
        with telling(self):
            freed = await self.service.empty_trash()
            self.app.notify(f"{file_size(freed)} are free again." if freed else "The trash is empty.")

    # What the person says of it

    @background("dialog", exclusive=True, opens_dialog=True)
    async def action_rename(self) -> None:
        from hugchat_tui.common.dialogs import TextDialog

        row = self._row()
        if row is None:
            return

        async def attempt(alias: str) -> str | None:
            return await refusal(self.service.set_alias(row, alias.strip()))

        body = Content(clean(f"Your own name for {row.name}, here and wherever a model is asked for. Empty: none."))
        dialog = TextDialog("Rename", row.alias, body=body, placeholder="a name", attempt=attempt)
        await self.app.push_screen_wait(dialog)

    @background("dialog", exclusive=True, opens_dialog=True)
    async def action_note(self) -> None:
        from hugchat_tui.common.dialogs import TextDialog

        row = self._row()
        if row is None:
            return

        async def attempt(note: str) -> str | None:
            return await refusal(self.service.set_note(row, note))

        title = f"Note on {row.alias or row.name}"
        await self.app.push_screen_wait(TextDialog(title, row.note, multiline=True, attempt=attempt))

    def action_copy_path(self) -> None:
        if (row := self._row()) is not None:
            self.app.copy_to_clipboard(row.key)
            self.app.notify(f"Copied {row.key}", timeout=3)

    # The table

    @background("dialog", exclusive=True, opens_dialog=True)
    async def action_add_folder(self) -> None:
        from hugchat_tui.common.dialogs import TextDialog

        async def attempt(folder: str) -> str | None:
            return await refusal(self.service.add_folder(folder.strip())) if folder.strip() else None

        body = Content("Checkpoints in it, and in the folders below, are listed here and in the model picker.")
        dialog = TextDialog("Add a folder", body=body, placeholder="~/checkpoints", attempt=attempt)
        await self.app.push_screen_wait(dialog)

    def action_rescan(self) -> None:
        self.service.rescan()

    def action_mark(self) -> None:
        self.table.toggle_mark()

    def action_sort(self) -> None:
        self.table.sort_by(COLUMNS[(COLUMNS.index(self.table.column) + 1) % len(COLUMNS)])

    def action_reverse(self) -> None:
        self.table.sort_by(self.table.column, reverse=not self.table.reversed)

    def action_next_kind(self) -> None:
        self.table.filter_kind(KINDS[(KINDS.index(self.table.kind) + 1) % len(KINDS)])


def _file_name(row: Row) -> str:
    """The last part of its name, fit for a file's."""
    name = (row.alias or row.name).rstrip("/").rpartition("/")[2].removesuffix(".gguf")
    return "".join(letter if letter.isalnum() or letter in "._+-" else "-" for letter in name).lstrip(".-")
