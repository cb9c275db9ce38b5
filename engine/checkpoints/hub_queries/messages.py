"""What the Hub is asked and what it answered: one JSON object a line, between client.py and child.py.

All text in answers comes from outside and has not been cleaned. Times are seconds since the epoch, 0: unknown.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from engine.checkpoints.downloads.choosing import parts_of

SearchKind = Literal["models", "gguf", "adapters", "all"]
"""models: what the Hub lists as text generation, in any format. gguf: repositories with GGUF files. adapters: those
made with peft. all: whatever the Hub has."""

SearchSort = Literal["downloads", "likes", "updated"]

Gated = Literal["", "auto", "manual"]
"""Whether the authors give access on request, by a machine or by hand."""


class HubModel(msgspec.Struct, frozen=True, kw_only=True):
    """One result of a search. downloads: in the last 30 days. licence: the Hub's tag. parameters: 0 where the Hub
    does not say. pipeline: what the Hub lists it for ("text-generation"). adapter_of: ids of its bases, of adapters."""

    id: str
    downloads: int = 0
    likes: int = 0
    updated: float = 0.0
    licence: str = ""
    gated: Gated = ""
    private: bool = False
    parameters: int = 0
    pipeline: str = ""
    library: str = ""
    gguf: bool = False
    adapter_of: tuple[str, ...] = ()


class SearchPage(msgspec.Struct, frozen=True):
    """cursor: asks for the next page; empty when this is the last."""

    results: list[HubModel]
    cursor: str = ""


class HubFile(msgspec.Struct, frozen=True):
    """size: bytes. digest: sha256 of a large file (lfs), else the sha1 of its git blob."""

    path: str
    size: int
    digest: str
    lfs: bool


class HubRepository(msgspec.Struct, frozen=True, kw_only=True):
    """One revision of a repository, before anything of it is fetched.

    revision: as it was asked for. sha: its commit. access: whether the account's token opens the files, None where
    that could not be told. chosen: the paths that a pull would fetch; empty when there is nothing to load. problem:
    why it could not be loaded once it is here, and what to do; empty when nothing speaks against it.
    needs_remote_code: the problem is that it brings code of its own, which is never run. pickle_only: its weights are
    pickles; then safetensors_revision names the pull request in which the Hub's own robot converted these very
    weights, if there is one. card: README.md without its front matter, cut at CARD_LIMIT. left_out: sentences about
    what could not be looked up.
    """

    repo_id: str
    revision: str
    sha: str
    licence: str = ""
    gated: Gated = ""
    access: bool | None = None
    private: bool = False
    downloads: int = 0
    likes: int = 0
    updated: float = 0.0
    tags: tuple[str, ...] = ()
    pipeline: str = ""
    library: str = ""
    parameters: int = 0
    adapter_of: tuple[str, ...] = ()
    files: list[HubFile] = []
    chosen: list[str] = []
    problem: str = ""
    needs_remote_code: bool = False
    pickle_only: bool = False
    safetensors_revision: str | None = None
    card: str = ""
    left_out: tuple[str, ...] = ()

    @property
    def chosen_bytes(self) -> int:
        """What a pull would fetch into an empty cache."""
        chosen = set(self.chosen)
        return sum(file.size for file in self.files if file.path in chosen)

    @property
    def ggufs(self) -> list[HubFile]:
        """Files that can be pulled by name, each a model of its own.

        A split one is its first part, with the size of all, and is left out where parts of it are missing.
        """
        by_path = {file.path: file for file in self.files}
        found = []
        for file in self.files:
            parts = parts_of(file.path)
            if file.path.lower().endswith(".gguf") and file.path == parts[0] and by_path.keys() >= set(parts):
                found.append(msgspec.structs.replace(file, size=sum(by_path[part].size for part in parts)))
        return found


CARD_LIMIT = 256 * 1024
"""Bytes of a model card that are read."""


class Account(msgspec.Struct, frozen=True):
    """Whose token it is. variable: the environment variable that the token in use comes from; empty when it is the
    one that `hf auth login`, or this program, stored. note: what the person should know about that."""

    name: str
    variable: str = ""
    note: str = ""


class Request(msgspec.Struct, frozen=True, tag=True):
    id: int


class Search(Request, frozen=True):
    text: str
    kind: SearchKind
    sort: SearchSort
    limit: int
    cursor: str


class Info(Request, frozen=True):
    repo_id: str
    revision: str


class SaveToken(Request, frozen=True):
    token: str

    # Neither an error nor a debugger's view may show it.
    def __repr__(self) -> str:
        return f"SaveToken(id={self.id})"

    def __rich_repr__(self) -> list[tuple[str, object]]:
        return [("id", self.id)]


class Who(Request, frozen=True):
    pass


class Answer(msgspec.Struct, frozen=True, tag=True):
    """id: of the request."""

    id: int


class Found(Answer, frozen=True):
    page: SearchPage


class Described(Answer, frozen=True):
    repository: HubRepository


class LoggedIn(Answer, frozen=True):
    """account: None when there is no token."""

    account: Account | None


class Failed(Answer, frozen=True):
    """In words; see client.HubError for the reasons."""

    message: str
    hint: str
    reason: str


AnyRequest = Search | Info | SaveToken | Who
AnyAnswer = Found | Described | LoggedIn | Failed
