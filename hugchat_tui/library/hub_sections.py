"""What is known of a repository of the Hub, as sections of the details page."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from hugchat_tui.chat.transcript import Entry
from hugchat_tui.common.format import counted, file_size, grouped, moment, parameter_count
from hugchat_tui.library.sections import facts, file_lines, section

if TYPE_CHECKING:
    from engine.checkpoints.hub_queries.messages import HubRepository
    from engine.errors import EngineError

_GATES = {"": "", "auto": "gated: access is given at once to those who ask", "manual": "gated: the authors decide"}


def repository_sections(repository: HubRepository, page: str, width: int) -> list[Entry]:
    """The whole of it, with what stands in the way. page: its address. width: cells that facts may use."""
    found = [section(1, "user", repository.repo_id, _facts(repository, page, width), repository.revision)]
    if (obstacle := _obstacle(repository)) is not None:
        found.append(obstacle)
    found.append(_pull(repository))
    if repository.left_out:
        found.append(section(4, "notice", "Not known", "\n".join(repository.left_out)))
    others = [(file.path, file.size) for file in repository.files if file.path not in repository.chosen]
    if others:
        found.append(section(5, "system", "Other files", file_lines(others), counted(len(others), "file")))
    if repository.card:
        found.append(section(6, "assistant", "Model card", repository.card))
    return found


def waiting_sections(name: str, about: str) -> list[Entry]:
    """What is known before the Hub was asked. about: the catalogue's words."""
    return [section(1, "user", name, about)]


def failure_section(error: EngineError) -> Entry:
    return section(2, "error", "Nothing more is known", f"{error.message}\n\n{error.hint}".rstrip())


def _facts(repository: HubRepository, page: str, width: int) -> str:
    access = {True: "yes", False: "no", None: ""}[repository.access] if repository.gated else ""
    return facts(
        (
            ("parameters", parameter_count(repository.parameters)),
            ("licence", repository.licence or "not said"),
            ("access", _GATES[repository.gated] or ("private" if repository.private else "")),
            ("open to you", access),
            ("adapter of", ", ".join(repository.adapter_of)),
            ("made for", repository.pipeline),
            ("library", repository.library),
            ("downloads", f"{grouped(repository.downloads)} in 30 days"),
            ("likes", grouped(repository.likes)),
            ("updated", moment(repository.updated, time.time()) if repository.updated else ""),
            ("commit", repository.sha[:12]),
            ("page", page),
        ),
        width,
    )


def _obstacle(repository: HubRepository) -> Entry | None:
    if repository.access is False:
        words = "Ask for access on its page; y copies the address. p lets you enter a token."
        return section(2, "error", "Not open to you", words)
    if repository.problem and (repository.chosen or not repository.ggufs):  # else p asks for one of its files
        return section(2, "error", "It could not be loaded here", repository.problem)
    if repository.pickle_only:
        revision = repository.safetensors_revision
        other = f"Its safetensors are in {revision}, made by the Hub's own robot; p offers them." if revision else ""
        words = other or "They are loaded as weights only; nothing in them is run. t in 1 converts them."
        return section(2, "notice", "Its weights are pickles", words)
    return None


def _pull(repository: HubRepository) -> Entry:
    """What p would fetch."""
    if repository.chosen:
        sizes = {file.path: file.size for file in repository.files}
        text = file_lines([(path, sizes.get(path, 0)) for path in repository.chosen])
        return section(3, "user", "p fetches", text, file_size(repository.chosen_bytes))
    if repository.ggufs:
        count = counted(len(repository.ggufs), "GGUF file")
        return section(3, "user", "p fetches", f"One of {count}, each a model of its own; p asks which.")
    return section(3, "notice", "p fetches nothing", "It holds no weights that can be loaded.")
