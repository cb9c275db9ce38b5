"""What the loopback Hub of hub_server.py says about repositories: search, facts, proposals, accounts."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import urlencode

if TYPE_CHECKING:
    from tests.hub_server import Repository

Query = Mapping[str, Sequence[str]]


@dataclass(slots=True)
class Proposal:
    """A pull request; its files are the repository's under the revision refs/pr/NUMBER."""

    number: int
    author: str
    status: str


@dataclass(slots=True)
class Facts:
    """What the Hub tells of a repository beside its files. gated_how: of a gated one. card: cardData's own keys."""

    downloads: int = 7
    likes: int = 3
    updated: str = "2026-01-02T03:04:05.000Z"
    pipeline: str | None = "text-generation"
    library: str | None = "transformers"
    licence: str = ""
    tags: tuple[str, ...] = ()
    parameters: int = 0
    gguf_parameters: int = 0
    gated_how: str = "manual"
    card: Mapping[str, object] = field(default_factory=dict)
    proposals: list[Proposal] = field(default_factory=list)

    def all_tags(self) -> list[str]:
        """The Hub makes tags of the other facts too."""
        made = [self.library, self.pipeline, f"license:{self.licence}" if self.licence else None]
        return [tag for tag in (*made, *self.tags) if tag]


def info(repo_id: str, repository: Repository, siblings: Iterable[Mapping[str, object]]) -> dict[str, object]:
    facts = repository.facts
    content: dict[str, object] = {
        "_id": "0",
        "id": repo_id,
        "modelId": repo_id,
        "sha": repository.commit,
        "private": repository.access is not None and not repository.gated,
        "gated": facts.gated_how if repository.gated else False,
        "disabled": False,
        "downloads": facts.downloads,
        "likes": facts.likes,
        "lastModified": facts.updated,
        "createdAt": "2025-01-01T00:00:00.000Z",
        "tags": facts.all_tags(),
        "cardData": {"license": facts.licence, **facts.card} if facts.licence else dict(facts.card),
        "config": _config(repository),
        "siblings": list(siblings),
        "spaces": [],
    }
    optional = {"pipeline_tag": facts.pipeline, "library_name": facts.library}
    content |= {key: value for key, value in optional.items() if value is not None}
    if facts.parameters:
        content["safetensors"] = {"parameters": {"BF16": facts.parameters}, "total": facts.parameters}
    if facts.gguf_parameters:
        content["gguf"] = {"total": facts.gguf_parameters, "architecture": "llama", "context_length": 2048}
    return content


def _config(repository: Repository) -> dict[str, object]:
    """The few keys that the Hub takes out of config.json."""
    try:
        config = json.loads(repository.files["config.json"])
    except (KeyError, ValueError, RecursionError):
        return {}
    return {key: config[key] for key in ("architectures", "model_type", "auto_map") if key in config}


def listing(
    repositories: Mapping[str, Repository], query: Query, token: str | None, url: str
) -> tuple[list[dict[str, object]], dict[str, str]]:
    """One page of /api/models, and the Link header with the address of the next."""
    found = [
        info(repo_id, repository, [])
        for repo_id, repository in repositories.items()
        if "@" not in repo_id
        and (repository.access is None or repository.gated or token in repository.access)
        and _first(query, "search").lower() in repo_id.lower()
        and set(query.get("filter", ())) <= set(repository.facts.all_tags())
        and _first(query, "pipeline_tag") in ("", repository.facts.pipeline)
    ]
    by = _first(query, "sort") or "downloads"
    found.sort(key=lambda item: str(item[by]).rjust(30), reverse=True)
    start, limit = int(_first(query, "cursor") or 0), int(_first(query, "limit") or 1000)
    wanted = {"_id", "id", *query["expand"]} if "expand" in query else set(found[0] if found else ())
    page = [{key: value for key, value in item.items() if key in wanted} for item in found[start : start + limit]]
    if start + limit >= len(found):
        return page, {}
    following = urlencode({**query, "cursor": start + limit}, doseq=True)
    return page, {"Link": f'<{url}/api/models?{following}>; rel="next"'}


def discussions(repo_id: str, facts: Facts, query: Query) -> dict[str, object]:
    """The first page, the newest first, which holds all of them here."""
    author = _first(query, "author")
    chosen = [proposal for proposal in reversed(facts.proposals) if author in ("", proposal.author)]
    entries = [
        {
            "num": proposal.number,
            "title": "Adding `safetensors` variant of this model",
            "author": {"name": proposal.author},
            "status": proposal.status,
            "isPullRequest": True,
            "createdAt": facts.updated,
            "repo": {"name": repo_id, "type": "model"},
        }
        for proposal in chosen
    ]
    return {"discussions": entries, "count": len(entries), "start": 0}


def _first(query: Query, name: str) -> str:
    return next(iter(query.get(name, ())), "")
