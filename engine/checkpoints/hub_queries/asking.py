"""What the child process asks the Hub, and what it makes of the answers.

Imports the Hub's client: nothing but the child imports this module.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from itertools import islice
from pathlib import Path
from typing import TypeVar
from urllib.parse import parse_qs, urlsplit

from huggingface_hub import HfApi, constants, get_session, hf_hub_url, hf_raise_for_status
from huggingface_hub.errors import GatedRepoError
from huggingface_hub.hf_api import ModelInfo
from huggingface_hub.utils._headers import build_hf_headers

from engine.checkpoints.downloads.choosing import choose_files
from engine.checkpoints.hub_errors import FetchFailedError
from engine.checkpoints.hub_queries.facts import clipped, count, gated_how, parameters_of, seconds, tagged, tags_of
from engine.checkpoints.hub_queries.failures import failure_of
from engine.checkpoints.hub_queries.messages import (
    CARD_LIMIT,
    HubFile,
    HubModel,
    HubRepository,
    Info,
    Search,
    SearchPage,
)
from engine.checkpoints.native import architecture_problem, foreign_classes
from engine.checkpoints.reading import UnreadableError, parse_json_object

LIBRARY = "hugchat-tui"  # as which we ask

_FILTERS = {
    "models": {"pipeline_tag": "text-generation"},
    "gguf": {"filter": "gguf"},
    "adapters": {"filter": "peft"},
    "all": {},
}
_SORTS = {"downloads": "downloads", "likes": "likes", "updated": "lastModified"}
_FACTS = (
    "downloads",
    "likes",
    "lastModified",
    "gated",
    "private",
    "tags",
    "pipeline_tag",
    "library_name",
    "safetensors",
)
_CONFIG_LIMIT = 1024 * 1024
_PROBLEM_LIMIT = 2000  # characters
_FRONT_MATTER = re.compile(r"---[ \t]*\r?\n(?:.*?\n)?---[ \t]*(?:\r?\n|$)\s*", re.DOTALL)
# It turns pickles into safetensors: https://huggingface.co/spaces/safetensors/convert. What anybody else proposes to
# a repository may be anything, and is recommended to nobody.
_ROBOT = "SFconvertbot"
_LOOKS = 4  # at its pull requests, the newest first

_T = TypeVar("_T")


def search(request: Search) -> SearchPage:
    """One page of results, asked for as the client's list_models does, which keeps the cursor to itself."""
    parameters: dict[str, str | int | Sequence[str]] = {
        "sort": _SORTS[request.sort],
        "limit": request.limit,
        # With "gguf" comes half of a file's header, chat template and all: only where nothing else tells the size.
        "expand": (*_FACTS, "gguf") if request.kind == "gguf" else _FACTS,
        **_FILTERS[request.kind],
    }
    if request.text:
        parameters["search"] = request.text
    if request.cursor:
        parameters["cursor"] = request.cursor
    url = f"{constants.ENDPOINT}/api/models"
    response = get_session().get(url, params=parameters, headers=build_hf_headers(library_name=LIBRARY))
    hf_raise_for_status(response)
    # Of the next page's address only the cursor is taken: followed, it could lead the token anywhere.
    following = urlsplit(response.links.get("next", {}).get("url", ""))
    cursor = parse_qs(following.query).get("cursor", [""])[0]
    return SearchPage([_model(item) for item in response.json()], cursor)


def _model(item: dict[str, object]) -> HubModel:
    tags = tags_of(item.get("tags"))
    return HubModel(
        id=clipped(item["id"]),
        downloads=count(item.get("downloads")),
        likes=count(item.get("likes")),
        updated=seconds(item.get("lastModified")),
        licence=", ".join(tagged(tags, "license:")),
        gated=gated_how(item.get("gated")),
        private=item.get("private") is True,
        parameters=parameters_of(item.get("safetensors"), item.get("gguf")),
        pipeline=clipped(item.get("pipeline_tag")),
        library=clipped(item.get("library_name")),
        gguf="gguf" in tags,
        adapter_of=tagged(tags, "base_model:adapter:"),
    )


def describe(request: Info) -> HubRepository:
    """What a repository holds, and what would become of it here.

    Only the Hub's word on the repository itself must be had; what else cannot be looked up is told in left_out.
    """
    api = HfApi(library_name=LIBRARY)
    info = api.model_info(request.repo_id, revision=request.revision, files_metadata=True)
    if info.sha is None:
        raise FetchFailedError(f"The Hub names no commit for {request.revision}.", "Try again later.", "server")
    files = _files(info)
    names = {file.path for file in files}
    try:
        chosen, unusable = choose_files([file.path for file in files], ""), ""
    except FetchFailedError as error:
        chosen, unusable = [], f"{error.message} {error.hint}"
    pickles = [file for file in files if file.path.endswith(".bin") and file.path in chosen]
    gated = gated_how(info.gated)
    tags = tags_of(info.tags)

    looks = _Looks(request.repo_id)
    access = looks.attempt("Your access", lambda: _has_access(api, info.id), None) if gated else True
    readable = names if access is not False else set()
    told = info.config if isinstance(info.config, dict) else {}  # what the Hub itself took from config.json
    commit = info.sha
    with ThreadPoolExecutor(3) as pool:

        def begin(what: str, ask: Callable[[], _T], otherwise: _T) -> Callable[[], _T]:
            return pool.submit(copy_context().run, looks.attempt, what, ask, otherwise).result

        config = begin("config.json", lambda: _config(info.id, commit) if "config.json" in readable else told, told)
        card = begin("The model card", lambda: _card(info.id, commit) if "README.md" in readable else "", "")
        converted = begin("A safetensors version", lambda: _converted(api, info.id, pickles) if pickles else None, None)
    is_model = bool(chosen) and "adapter_config.json" not in names and bool(config())
    return HubRepository(
        repo_id=clipped(info.id),
        revision=request.revision,
        sha=commit,
        licence=_licence(info, tags),
        gated=gated,
        access=access,
        private=info.private is True,
        downloads=count(info.downloads),
        likes=count(info.likes),
        updated=seconds(info.last_modified),
        tags=tags,
        pipeline=clipped(info.pipeline_tag),
        library=clipped(info.library_name),
        parameters=parameters_of(info.safetensors, info.gguf),
        adapter_of=tagged(tags, "base_model:adapter:"),
        files=files,
        chosen=chosen,
        problem=clipped(unusable or (architecture_problem(config()) if is_model else ""), _PROBLEM_LIMIT),
        needs_remote_code=is_model and bool(foreign_classes(config())),
        pickle_only=bool(pickles),
        safetensors_revision=converted(),
        card=card(),
        left_out=tuple(looks.left_out),
    )


class _Looks:
    """Questions beside the main one: what goes wrong with them is told and spoils nothing else."""

    def __init__(self, repo_id: str) -> None:
        self.left_out: list[str] = []
        self._repo_id = repo_id

    def attempt(self, what: str, ask: Callable[[], _T], otherwise: _T) -> _T:
        try:
            return ask()
        except Exception as error:  # noqa: BLE001 - whatever it is, the rest is worth showing
            self.left_out.append(f"{what} could not be looked up. {failure_of(error, self._repo_id).message}")
            return otherwise


def _files(info: ModelInfo) -> list[HubFile]:
    return [
        HubFile(
            path=clipped(sibling.rfilename, 4096),
            size=count(sibling.lfs.size if sibling.lfs else sibling.size),
            digest=clipped(sibling.lfs.sha256 if sibling.lfs else sibling.blob_id),
            lfs=sibling.lfs is not None,
        )
        for sibling in info.siblings or []
    ]


def _licence(info: ModelInfo, tags: tuple[str, ...]) -> str:
    licence = ", ".join(tagged(tags, "license:"))
    own_name = clipped(getattr(info.card_data, "license_name", None))
    return own_name if licence == "other" and own_name else licence


def _has_access(api: HfApi, repo_id: str) -> bool:
    try:
        api.auth_check(repo_id)
    except GatedRepoError:
        return False
    return True


def _config(repo_id: str, commit: str) -> dict[str, object]:
    content = _content(repo_id, commit, "config.json", _CONFIG_LIMIT)
    if len(content) == _CONFIG_LIMIT:
        raise UnreadableError(f"config.json has more than the {_CONFIG_LIMIT:,} bytes expected at most")
    return parse_json_object(Path("config.json"), content)


def _card(repo_id: str, commit: str) -> str:
    card = _content(repo_id, commit, "README.md", CARD_LIMIT).decode("utf-8", "replace")
    front = _FRONT_MATTER.match(card)  # only there: to look for it anywhere takes minutes for some cards
    return card[front.end() :] if front is not None else card


def _content(repo_id: str, commit: str, name: str, limit: int) -> bytes:
    """The first `limit` bytes of a small file."""
    url = hf_hub_url(repo_id, name, revision=commit)
    content = bytearray()
    with get_session().stream("GET", url, headers=build_hf_headers(library_name=LIBRARY)) as response:
        hf_raise_for_status(response)
        for chunk in response.iter_bytes():
            content += chunk
            if len(content) >= limit:
                break
    return bytes(content[:limit])


def _converted(api: HfApi, repo_id: str, pickles: list[HubFile]) -> str | None:
    """The pull request of the Hub's robot that holds these very pickles as safetensors too."""
    wanted = {(file.path, file.digest) for file in pickles}
    proposals = api.get_repo_discussions(repo_id, author=_ROBOT, discussion_type="pull_request")
    for proposal in islice(proposals, _LOOKS):
        revision = proposal.git_reference
        if proposal.author != _ROBOT or proposal.status != "open" or revision is None:
            continue
        files = _files(api.model_info(repo_id, revision=revision, files_metadata=True))
        same = wanted <= {(file.path, file.digest) for file in files}
        if same and not any(name.endswith(".bin") for name in choose_files([file.path for file in files], "")):
            return revision
    return None
