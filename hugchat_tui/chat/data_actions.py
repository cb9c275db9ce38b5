"""The chat mode's actions that make training data of conversations."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from textual.content import Content

from hugchat_tui.chat.background import background
from hugchat_tui.chat.pane_actions import PaneActions
from hugchat_tui.common.clean import clean_line
from hugchat_tui.common.format import counted

if TYPE_CHECKING:
    from hugchat_tui.conversations.dataset import Dataset


class _Export(NamedTuple):
    """A data set, and the file of the data folder that it is to become."""

    dataset: Dataset
    path: Path


class DataActions(PaneActions):
    """Mixed into the chat screen."""

    @background("dialog", exclusive=True, opens_dialog=True)
    async def action_export_marked(self) -> None:
        """Write the marked replies to a file that the person names."""
        from hugchat_tui.common.dialogs import TextDialog

        export = await self._marked("Export marked replies")
        if export is None:
            return
        dataset = export.dataset

        async def attempt(text: str) -> str | None:
            try:
                path = await asyncio.to_thread(_write, text, dataset.content)
            except OSError as error:
                return f"It could not be written: {error}."
            self.notify(clean_line(f"Wrote {_words(dataset)} to {path}"))
            return None

        dialog = TextDialog(
            "Export marked replies",
            str(export.path),
            body=Content(f"{_words(dataset)}. A file that is there already is replaced."),
            check=lambda text: None if text.strip() else "Name a file.",
            attempt=attempt,
        )
        await self.app.push_screen_wait(dialog)

    @background("form", exclusive=True, opens_dialog=True)
    async def action_train_marked(self) -> None:
        """Export the marked replies and open the form of a run on them."""
        view = self.panes.active
        export = await self._marked("Train on marked replies")
        if view is None or export is None:
            return
        try:
            path = await asyncio.to_thread(_write, str(export.path), export.dataset.content)
        except OSError as error:
            self.notify(clean_line(f"The data set could not be written: {error}."), severity="error")
            return
        from hugchat_tui.monitor.form import new_run

        base = await self._trainable(view.session.model.reference)
        made = await new_run(self.app, base=base, data=[str(path)])
        if made is not None:
            (await self.app.show_monitor()).select(made.name)

    async def _trainable(self, reference: str) -> str:
        """The checkpoint that a reference names, or the base of an adapter, which is what can be trained on."""
        from engine.checkpoints.paths import data_dir, full_path
        from engine.checkpoints.resolve import resolve
        from engine.errors import EngineError

        resident = self.app.services.resident(reference)
        folders = [full_path(Path(folder)) for folder in self.app.services.settings.model.folders]
        try:
            found = (
                resident.checkpoint
                if resident is not None
                else await asyncio.to_thread(resolve, reference, data_dir=data_dir(), folders=folders)
            )
        except (EngineError, OSError):  # the form says what is wrong with it
            return reference
        return str(found.base) if found.kind == "adapter" and found.base is not None else reference

    async def _marked(self, title: str) -> _Export | None:
        """What is marked in this conversation or in all, as the person chooses where there is a difference."""
        from hugchat_tui.common.dialogs import ChoiceDialog
        from hugchat_tui.conversations.dataset import dataset, file_name

        await self.app.services.ready()
        found = await self.app.services.store.marked()
        view = self.panes.active
        current = view.session.conversation.id if view is not None and view.session.conversation is not None else None
        here = [each for each in found if each.conversation.id == current]
        everything, this = await asyncio.to_thread(lambda: (dataset(found), dataset(here)))
        if not everything.rows:
            left_out = f" {_left_out(everything)}" if everything.left_out else ""
            self.notify(f"No reply is marked good.{left_out} On a reply: + good, - bad, w writes the better answer.")
            return None
        key: str | None = "t" if this.rows else "a"
        if 0 < len(this.rows) < len(everything.rows):
            choices = [("t", f"This conversation: {_words(this)}"), ("a", f"All conversations: {_words(everything)}")]
            key = await self.app.push_screen_wait(ChoiceDialog(title, choices))
        if key is None:
            return None
        chosen, name = (this, file_name(here[0].conversation.title)) if key == "t" else (everything, file_name(""))
        if chosen.left_out:
            self.notify(_left_out(chosen), severity="warning")
        try:
            return _Export(chosen, await asyncio.to_thread(_free_path, name, chosen.content))
        except OSError as error:
            self.notify(clean_line(f"The folder of data sets cannot be read: {error}."), severity="error")
            return None


def _words(dataset: Dataset) -> str:
    """As "3 good answers, 2 rejected"."""
    good = counted(dataset.trained, "good answer")
    return f"{good}, {dataset.rejected:,} rejected" if dataset.rejected else good


def _left_out(dataset: Dataset) -> str:
    return (
        f"Left out: {counted(dataset.left_out, 'marked answer')}, bad without a good one beside it, or without words."
    )


def _free_path(name: str, content: bytes) -> Path:
    from engine.checkpoints.paths import data_dir, datasets_dir
    from hugchat_tui.conversations.dataset import free_path

    return free_path(datasets_dir(data_dir()), name, content)


def _write(path: str, content: bytes) -> Path:
    """Write the file a person named. Raises OSError."""
    from engine.checkpoints.paths import full_path
    from hugchat_tui.conversations.dataset import write

    place = full_path(Path(path.strip()))
    write(place, content)
    return place
