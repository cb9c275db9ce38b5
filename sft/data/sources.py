"""Where training rows come from, and reading them: one pass, in bounded memory, always in the same order.

A source is a file, a folder, a glob, "hub:org/name" (a Hub data set in the cache; "hub:org/name:PATTERN" for some of
its files), a corpus by name, or "alpaca:PATH" for a corpus that lies elsewhere.
"""

from __future__ import annotations

import fnmatch
import glob
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from engine.checkpoints.hub_cache import repository_snapshots
from engine.checkpoints.paths import full_path, hub_cache_dir
from engine.checkpoints.reading import is_folder
from sft.data.corpora import CORPORA, Corpus
from sft.data.opening import Skip, is_data, parts_of
from sft.data.reading import AUTO, Row, read_file, read_parts
from sft.errors import SftError

__all__ = ["AUTO", "HUB", "Row", "Source", "corpus_of", "files_of", "read", "read_file"]

HUB = "hub:"
# What a folder of a data set holds besides its rows.
_NO_DATA = ("dataset_infos.json", "dataset_info.json", "dataset_dict.json", "state.json", "metadata.json", "README.txt")


@dataclass(frozen=True)
class Source:
    """path: as the module says. format: one of FORMATS, or "auto". weight: how often each row is taken on average; 0.25
    takes a quarter of them, 2 all of them twice. cap: at most so many rows, 0 for all."""

    path: str
    format: str = AUTO
    weight: float = 1.0
    cap: int = 0


@dataclass(frozen=True, slots=True)
class _Place:
    """What a source's path means. Its files are shown as `shown`:path, relative to `base`, where there is one."""

    files: list[Path]
    corpus: Corpus | None = None
    shown: str = ""
    base: Path | None = None

    def name(self, path: Path) -> str:
        shown = f"{self.shown}:{path.relative_to(self.base).as_posix()}" if self.base is not None else str(path)
        return shown.encode("utf-8", "backslashreplace").decode()  # a name need not be UTF-8


def corpus_of(source: Source) -> Corpus | None:
    """The corpus that a source names, None for other sources. "./alpaca" is a folder, "alpaca" the corpus."""
    return CORPORA.get(source.path.partition(":")[0])


def files_of(source: Source) -> list[Path]:
    """The files of a source, sorted. Raises SftError when there are none or they cannot be looked at."""
    return _place_of(source).files


def read(source: Source, *, skip: int = 0) -> Iterator[Row]:
    """Every row of a source, as a conversation or as what is wrong with it, from the one after `skip` on.

    Neither weight nor cap is looked at: see mixing. Raises SftError when a file cannot be opened, or is of no format
    that is known.
    """
    place = _place_of(source)
    left = Skip(skip)
    usual = place.corpus.format if place.corpus is not None else None
    for path in place.files:
        yield from read_parts(parts_of(path, place.name(path)), source.format, usual, left)


def _place_of(source: Source) -> _Place:
    corpus = corpus_of(source)
    if corpus is not None:
        _, colon, path = source.path.partition(":")
        if not colon:
            place = _hub_place(corpus.hub, corpus.files, corpus.name, f"hugchat sft data fetch {corpus.name}")
            return _Place(place.files, corpus, corpus.name, place.base)
        return _Place(_local_files(path), corpus)
    if source.path.startswith(HUB):
        repo_id, _, pattern = source.path.removeprefix(HUB).partition(":")
        patterns = (pattern,) if pattern else ()
        return _hub_place(repo_id, patterns, f"{HUB}{repo_id}", f"hugchat sft data fetch {HUB}{repo_id}")
    return _Place(_local_files(source.path))


def _hub_place(repo_id: str, patterns: tuple[str, ...], shown: str, fetch: str) -> _Place:
    """The newest revision in the cache; without patterns its files named train, where there are such, else all."""
    repository = hub_cache_dir() / f"datasets--{repo_id.replace('/', '--')}"
    snapshots = repository_snapshots(repository)
    if not snapshots:
        raise SftError(f"The data set {repo_id} is not on this machine.", f"Fetch it: {fetch}")
    base = snapshots[0].path
    names = {path: path.relative_to(base).as_posix() for path in _files_below(base)}
    if patterns:
        files = [path for path, name in names.items() if any(fnmatch.fnmatch(name, pattern) for pattern in patterns)]
    else:
        files = [path for path, name in names.items() if "train" in name.lower()] or list(names)
    if not files:
        wanted = f" that matches {' or '.join(patterns)}" if patterns else ""
        raise SftError(f"The data set {repo_id} has no file with rows{wanted} on this machine.", f"Fetch it: {fetch}")
    return _Place(sorted(files), None, shown, base)


def _local_files(text: str) -> list[Path]:
    path = full_path(Path(text)) if text.startswith("~") else Path(text)
    if is_folder(path):
        return _folder(path)
    if os.path.lexists(path):
        return [path]
    if glob.has_magic(text):
        found: set[Path] = set()
        for match in map(Path, glob.glob(str(path), recursive=True)):  # noqa: PTH207 - Path.glob takes no absolute pattern
            found.update(_folder(match, empty=True) if is_folder(match) else [match])
        if found:
            return sorted(found)
        raise SftError(f"No file matches {text}.", "Check the pattern.")
    known = f"The corpora: {', '.join(CORPORA)}; a Hub data set is written {HUB}org/name."
    raise SftError(f"{text or 'The empty path'} is no file, folder or corpus.", known)


def _folder(path: Path, *, empty: bool = False) -> list[Path]:
    files = _files_below(path)
    if not files and not empty:
        raise SftError(
            f"The folder {path} holds no file with rows.", "It takes .jsonl, .json, .parquet, .csv, .zip, ..."
        )
    return sorted(files)


def _files_below(folder: Path) -> list[Path]:
    """Data files in a folder and those in it, without hidden ones. Links to folders are not followed: they may lead
    round.

    Raises SftError for what cannot be looked at.
    """

    def refuse(error: OSError) -> None:
        raise SftError(f"{error.filename} cannot be looked into: {error.strerror}.", "Check its permissions.")

    found: list[Path] = []
    for here, folders, files in os.walk(folder, onerror=refuse):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [
            Path(here, name) for name in files if is_data(name) and not name.startswith(".") and name not in _NO_DATA
        ]
    return found
