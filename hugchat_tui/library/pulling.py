"""Fetching a repository of the Hub: what there is to be asked before it begins."""

from __future__ import annotations

from typing import TYPE_CHECKING

from textual.content import Content

from engine.checkpoints.hub_cache import MAIN, HubReference
from engine.checkpoints.hub_queries.messages import HubFile, HubRepository
from hugchat_tui.chat.background import background
from hugchat_tui.common.clean import clean, clean_line
from hugchat_tui.common.format import file_size, shorten_middle
from hugchat_tui.library.list_view import ListView
from hugchat_tui.library.telling import refusal, telling

if TYPE_CHECKING:
    from hugchat_tui.library.hub_list import HubList
    from hugchat_tui.library.screen import LibraryScreen
    from hugchat_tui.library.service import LibraryService

_KEYS = "123456789abdefghijklmnopqrstuvwxyz"  # c is for leaving


class Pulling(ListView):
    """Mixed into the Hub's view, which owns the widgets."""

    if TYPE_CHECKING:
        screen: LibraryScreen  # type: ignore[assignment]
        service: LibraryService
        hub_list: HubList

        async def described(self, repo_id: str) -> HubRepository: ...
        def forget(self, repo_id: str) -> None: ...

    @background("dialog", exclusive=True, opens_dialog=True)
    async def action_pull(self) -> None:
        """Fetch what is under the cursor, after the questions that it raises."""
        repo_id = self.hub_list.chosen
        if not repo_id:
            self.app.notify("There is no repository under the cursor.")
            return
        with telling(self):
            repository = await self.described(repo_id)
            if repository.access is False:
                if not await self._ask_for_access(repository):
                    return
                self.forget(repo_id)
                repository = await self.described(repo_id)
            reference = await self._choose(repository)
            if reference is not None:
                await self.service.pull(reference)
                self.app.notify(f"Downloading {repo_id}. 3 shows how far it is.")

    async def _choose(self, repository: HubRepository) -> HubReference | None:
        """What of the repository is meant; None when the person leaves."""
        repo_id = repository.repo_id
        if repository.pickle_only and repository.safetensors_revision:
            revision = repository.safetensors_revision
            body = "Its weights are pickles, a format that can hold code. The Hub's robot converted them."
            choices = [("s", f"Fetch the safetensors, from {revision}"), ("b", "Fetch the pickles all the same")]
            answer = await self._ask(f"{repo_id} has no safetensors", choices, body)
            if answer is None:
                return None
            return HubReference(repo_id, revision if answer == "s" else MAIN)
        if not repository.chosen and repository.ggufs:
            return await self._choose_file(repository)
        if not repository.chosen:
            self.app.notify(repository.problem or "It holds no weights that can be loaded.", severity="warning")
            return None
        if repository.problem:
            choices = [("f", "Fetch it all the same")]
            if await self._ask(f"{repo_id} could not be loaded here", choices, repository.problem) is None:
                return None
        return HubReference(repo_id, repository.revision)

    async def _choose_file(self, repository: HubRepository) -> HubReference | None:
        files: list[HubFile] = sorted(repository.ggufs, key=lambda file: file.size)
        width = max(len(clean_line(file.path)) for file in files)
        choices = [
            (key, f"{shorten_middle(clean_line(file.path), 40):<{min(width, 40)}}  {file_size(file.size)}")
            for key, file in zip(_KEYS, files, strict=False)
        ]
        left_out = len(files) - len(choices)
        body = f"Each file is a model of its own.{f' {left_out} larger ones are not listed.' if left_out else ''}"
        answer = await self._ask("Which file?", choices, body)
        if answer is None:
            return None
        return HubReference(repository.repo_id, repository.revision, files[_KEYS.index(answer)].path)

    async def _ask_for_access(self, repository: HubRepository) -> bool:
        """Say how to get access; True when the person entered a token."""
        page = self.service.page_of(repository.repo_id)
        who = "by hand" if repository.gated == "manual" else "at once"
        gated = f"Its authors give access {who} to those who ask for it on its page:\n{page}\n\n"
        body = f"{gated if repository.gated else ''}The token in use, if there is one, does not open it."
        choices = [("t", "Enter a token"), ("y", "Copy the address of the page")]
        answer = await self._ask(f"{repository.repo_id} is not open to you", choices, body)
        if answer == "y":
            self.app.copy_to_clipboard(page)
            self.app.notify(f"Copied {page}")
        return answer == "t" and await self.ask_for_token()

    async def ask_for_token(self) -> bool:
        """Let the person enter a token; True when the Hub knew it and it was stored."""
        from hugchat_tui.library.token_dialog import TokenDialog

        async def attempt(token: str) -> str | None:
            return await refusal(self._log_in(token)) if token else None

        page = self.service.page_of("settings/tokens")
        token = await self.app.push_screen_wait(TokenDialog(page, attempt))
        return bool(token)

    async def _log_in(self, token: str) -> None:
        account = await self.service.hub.save_token(token)
        self.app.notify(f"Logged in as {account.name}. {account.note}".strip())

    async def _ask(self, title: str, choices: list[tuple[str, str]], body: str) -> str | None:
        from hugchat_tui.common.dialogs import ChoiceDialog

        dialog = ChoiceDialog(title, [*choices, ("c", "Leave")], Content(clean(body)))
        answer = await self.app.push_screen_wait(dialog)
        return None if answer == "c" else answer

    def action_copy_page(self) -> None:
        if repo_id := self.hub_list.chosen:
            page = self.service.page_of(repo_id)
            self.app.copy_to_clipboard(page)
            self.app.notify(f"Copied {page}", timeout=3)
