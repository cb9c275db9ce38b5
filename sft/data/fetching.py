"""Fetches a corpus or a Hub data set into the Hugging Face cache, where `read` finds it."""

from __future__ import annotations

from pathlib import Path

from engine.checkpoints.hub_cache import parse_hub_reference
from engine.checkpoints.hub_errors import in_words
from engine.checkpoints.paths import hub_cache_dir
from sft.data.corpora import CORPORA
from sft.data.sources import HUB
from sft.errors import SftError

# Everything that can be read as rows, and what says what it is.
_PATTERNS = tuple(
    f"*.{ending}{packed}"
    for ending in ("json", "jsonl", "ndjson", "csv", "tsv", "parquet", "txt")
    for packed in ("", ".gz")
)
_ALWAYS = ("README.md", "LICENSE*")
_ARCHIVES = ("*.zip", "*.tar", "*.tgz")


def fetch(name: str) -> Path:
    """Fetch a corpus by name, or "hub:org/name", and return the folder of its newest revision.

    What the cache has is not fetched again. It takes minutes to hours, imports the Hub's client and shows its progress
    on stderr: call it where it can be interrupted. Raises SftError.
    """
    corpus = CORPORA.get(name)
    if corpus is not None:
        repo_id, patterns = corpus.hub, corpus.files
    elif name.startswith(HUB):
        repo_id, _, pattern = name.removeprefix(HUB).partition(":")
        patterns = (pattern,) if pattern else (*_PATTERNS, *_ARCHIVES)
    else:
        raise SftError(f"{name} is no corpus.", f"The corpora: {', '.join(CORPORA)}; or {HUB}org/name.")
    if parse_hub_reference(repo_id) is None:
        raise SftError(f"{repo_id} is no id of a data set.", f"It is written {HUB}org/name.")
    from huggingface_hub import snapshot_download

    try:
        found = snapshot_download(
            repo_id, repo_type="dataset", allow_patterns=[*patterns, *_ALWAYS], cache_dir=hub_cache_dir()
        )
    except Exception as error:  # whatever the client raises, a person reads why
        problem = in_words(error, f"datasets/{repo_id}")
        raise SftError(problem.message, problem.hint) from error
    return Path(found)
