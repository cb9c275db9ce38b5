"""What deleting rows of the library would take away, to the byte, and what it would break. Nothing is touched here.

The plan is made from what lies on the disk, not from the rows' figures; trash.py carries it out.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from engine.checkpoints.library.occupied import BLOCK, Inode, entry_at, followed, walk
from engine.checkpoints.library.repository_removal import MustStayError, is_held, repository_going
from engine.checkpoints.library.rows import Places, Row
from engine.checkpoints.library.running import run_is_going
from engine.checkpoints.library.shared_store import all_content, content_of, freed_with, list_of, lock_of, store_of
from engine.checkpoints.library.unfinished import all_downloads, going_with
from engine.checkpoints.paths import full_path, models_dir, runs_dir
from engine.checkpoints.reading import reason

_REPOSITORY = re.compile(r"(?:models|datasets|spaces|kernels)--.+")
# What belongs to a checkpoint in a folder of the person's. Whatever else lies there is theirs and stays.
_WEIGHTS = re.compile(
    r".*\.safetensors|(pytorch_model|adapter_model)[\w.-]*\.bin|flax_model[\w.-]*\.msgpack|tf_model[\w.-]*\.h5",
    re.IGNORECASE,
)
_OWN_FILES = re.compile(
    r".*\.(safetensors|bin)\.index\.json|[\w.-]*config[\w.-]*\.json|tokenizer[\w.-]*\.json|special_tokens_map\.json|added_tokens\.json"
    r"|vocab\.(json|txt)|merges\.txt|chat_template[\w.-]*\.(json|jinja)|tekken\.json|[\w.-]+\.(model|tiktoken)"
    r"|(modeling|configuration|tokenization)_\w+\.py|hugchat\.json|manifest\.json|trainer_state\.json|training_args\.bin"
    r"|(optimizer|scheduler|scaler)\.pt|(all|train|eval)_results\.json|rng_state[\w.-]*\.pth|README[\w.-]*\.md|(LICEN[CS]E|NOTICE|USE_POLICY)[\w.-]*"
    r"|\.gitattributes",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Refusal:
    """A row that is not deleted, and why not."""

    row: Row
    why: str


@dataclass(frozen=True, slots=True)
class Break:
    """A row that stays and loses something, and what."""

    row: Row
    what: str


@dataclass(frozen=True, slots=True)
class Removal:
    """A deletion that was thought through.

    rows: what is deleted, without what is refused. paths: what goes, in this order, each with all that is below it;
    none lies below another. freed_bytes: what `du` counts less afterwards, folders and links included; a file that
    has another name elsewhere frees nothing. shared_bytes_kept: of what the rows refer to, what others need.
    stays: what lies in a person's own folders beside the checkpoint, so that the folders stay too.
    among, places: what the plan was made from.
    """

    rows: tuple[Row, ...]
    paths: tuple[Path, ...]
    freed_bytes: int
    shared_bytes_kept: int
    stays: tuple[Path, ...]
    breaks: tuple[Break, ...]
    refuses: tuple[Refusal, ...]
    among: tuple[Row, ...]
    places: Places


def plan_removal(rows_to_delete: Sequence[Row], all_rows: Sequence[Row], places: Places) -> Removal:
    """What deleting these rows means. all_rows: the library's, all of them.

    Reads the disk: call it in a thread. Never raises for what lies there: what cannot or must not be deleted is among
    the refusals. Whether a checkpoint is loaded right now is the caller's to know.
    """
    refuses: list[Refusal] = []
    accepted: dict[Path, list[Row]] = {}
    for row in rows_to_delete:
        try:
            accepted.setdefault(_unit(row, places), []).append(row)
        except (MustStayError, OSError) as error:
            refuses.append(Refusal(row, _why(error)))
    keys = {row.key for rows in accepted.values() for row in rows}
    staying = [row for row in all_rows if row.key not in keys]
    downloads = all_downloads(places.data_dir)
    paths: list[Path] = []
    stays: list[Path] = []
    blobs: set[Path] = set()
    needed: set[Path] = set()
    for unit, rows in list(accepted.items()):
        try:
            if _REPOSITORY.fullmatch(unit.name) and rows[0].source == "cache":
                going = repository_going(unit, rows, staying)
                dropped = going_with(unit, [Path(row.key) for row in rows], going.paths, downloads)
                found = [*going.paths, *dropped]
                blobs |= going.blobs
                needed |= going.needed
            else:
                found, others = _folder_or_file(unit, rows[0])
                stays += others
            if not found:
                raise MustStayError("There is nothing of it on the disk any more. Look through the library again.")
            paths += found
        except (MustStayError, OSError) as error:
            refuses += [Refusal(row, _why(error)) for row in accepted.pop(unit)]
    contents, kept = _store_contents(blobs, accepted)
    paths += contents
    freed, linked_elsewhere = _measure(paths)
    kept_bytes = _blocks([*needed, *kept]) + linked_elsewhere
    deleted = tuple(row for rows in accepted.values() for row in rows)
    breaks = _breaks(deleted, paths, all_rows)
    return Removal(
        deleted, tuple(paths), freed, kept_bytes, tuple(stays), breaks, tuple(refuses), tuple(all_rows), places
    )


def _why(error: MustStayError | OSError) -> str:
    return str(error) if isinstance(error, MustStayError) else f"It cannot be looked through: {reason(error)}."


def _unit(row: Row, places: Places) -> Path:
    """The repository or the path that a row is deleted with.

    Raises MustStayError for what must not be deleted, OSError where we may not look.
    """
    key = Path(row.key)
    root = next((root for root in _roots(row, places) if key.is_relative_to(root)), None)
    if root is None or not key.is_absolute() or ".." in key.parts or os.path.normpath(key) != row.key:
        raise MustStayError("It does not lie where the library looks, so it is not the library's to delete.")
    inside = key.relative_to(root).parts
    if not inside and row.source != "folder":
        raise MustStayError("It is a folder that holds other things too.")
    folder = root
    for name in inside[:-1]:
        folder /= name
        if folder.is_symlink():
            raise MustStayError(f"It lies behind the link {folder}. Delete it there, or take the link away yourself.")
    if not os.path.lexists(key):
        raise MustStayError("There is nothing of it on the disk any more. Look through the library again.")
    if row.source == "run" and run_is_going(root / inside[0]):
        raise MustStayError("Its training run is still going. Stop the run first, or wait for its end.")
    if row.source != "cache":
        return key
    folder = root
    for name in inside:
        folder /= name
        if _REPOSITORY.fullmatch(name):
            return folder
    return _stray_in_cache(key)


def _roots(row: Row, places: Places) -> tuple[Path, ...]:
    """The folders below which a row may lie. A folder of the person's may be a Hugging Face cache itself."""
    folders = tuple(map(full_path, places.folders))
    if row.source == "cache":
        return places.cache_dir, *folders
    if row.source == "folder":
        return folders
    return (runs_dir(places.data_dir),) if row.source == "run" else (models_dir(places.data_dir),)


def _stray_in_cache(key: Path) -> Path:
    """A file that belongs to no repository, or the store's unused content."""
    if key.name == ".locks":
        raise MustStayError("Other programs hold these locks while they download. They are all but empty.")
    if key.is_dir() and not key.is_symlink() and store_of(key.parent) != key:
        raise MustStayError("Nothing is known of this folder. Delete it yourself if it is not needed.")
    return key


def _folder_or_file(path: Path, row: Row) -> tuple[list[Path], list[Path]]:
    """(what goes, what stays beside it). A link goes without what lies behind it.

    What this program made goes whole; in a folder of the person's only what belongs to a checkpoint.
    """
    if path.is_symlink() or not path.is_dir():
        return [path], []
    if row.source == "cache":  # the store, of which only content goes that nobody uses
        unused = [each for content in freed_with(all_content(path), set()) for each in (content, list_of(content))]
        if not unused:
            raise MustStayError("Repositories use what is in it. It goes with the last of them.")
        return unused, []
    if row.source != "folder":
        return [path], []
    entries = sorted(path.iterdir())
    own = [entry for entry in entries if _is_own(entry, row)]
    others = [entry for entry in entries if entry not in own]
    # Many a folder that has nothing to do with checkpoints holds a config.json, a README and a licence.
    if not any(_is_weights(entry, row) for entry in own):
        raise MustStayError("It holds no weights, so it may be something else. Delete it yourself if it is not needed.")
    return (own, others) if others else ([path], [])


def _is_own(entry: Path, row: Row) -> bool:
    if entry.is_dir() and not entry.is_symlink():
        # What the Hub's client keeps in folders it downloads to.
        return entry.name == ".cache" and [child.name for child in entry.iterdir()] == ["huggingface"]
    return _is_weights(entry, row) or _OWN_FILES.fullmatch(entry.name) is not None


def _is_weights(entry: Path, row: Row) -> bool:
    is_row = row.checkpoint is not None and entry == row.checkpoint.path
    return is_row or _WEIGHTS.fullmatch(entry.name) is not None


def _store_contents(blobs: set[Path], units: Iterable[Path]) -> tuple[list[Path], list[Path]]:
    """(what goes of the caches' shared stores with these blobs, what stays)."""
    going: list[Path] = []
    staying: list[Path] = []
    for cache in {blob.parent.parent.parent for blob in blobs}:
        store = store_of(cache)
        if store is None:
            continue
        contents = {content for blob in blobs if (content := content_of(blob, store)) is not None}
        freed = set(freed_with(sorted(contents), blobs))
        freed = {content for content in freed if not _may_be_held(lock_of(content))}
        going += [path for content in sorted(freed) for path in (content, list_of(content))]
        staying += sorted(contents - freed)
    return going, staying


def _may_be_held(lock: Path) -> bool:
    try:
        return is_held(lock)
    except OSError:  # another account's, or no lock at all
        return True


def _measure(paths: Sequence[Path]) -> tuple[int, int]:
    """(bytes freed, bytes that stay because the file has another name elsewhere) when all of this goes."""
    folders = 0
    files: dict[Inode, os.stat_result] = {}
    names: Counter[Inode] = Counter()
    for path in paths:
        top = entry_at(str(path))
        for entry in walk(str(path)) if top is not None and top.is_folder else filter(None, [top]):
            if entry.is_folder:
                folders += entry.status.st_blocks * BLOCK
            else:
                inode = entry.status.st_dev, entry.status.st_ino
                files[inode] = entry.status
                names[inode] += 1
    elsewhere = sum(each.st_blocks * BLOCK for inode, each in files.items() if names[inode] < each.st_nlink)
    return folders + sum(each.st_blocks * BLOCK for each in files.values()) - elsewhere, elsewhere


def _blocks(paths: Iterable[Path]) -> int:
    """What these files take up, each once, with the store's content behind a link; nothing of what is gone."""
    found: dict[Inode, int] = {}
    for path in map(str, paths):
        entry = entry_at(path)
        for status in (entry and entry.status, followed(path)):
            if status is not None:
                found[status.st_dev, status.st_ino] = status.st_blocks * BLOCK
    return sum(found.values())


def _breaks(deleted: Sequence[Row], paths: Sequence[Path], all_rows: Sequence[Row]) -> tuple[Break, ...]:
    keys = {row.key for row in deleted}
    staying = [row for row in all_rows if row.key not in keys]
    names = {row.name for row in deleted} - {row.name for row in staying}
    found = []
    for row in staying:
        base = row.checkpoint.base if row.checkpoint is not None else None
        if base is not None and (str(base) in keys or any(base.is_relative_to(path) for path in paths)):
            found.append(Break(row, "an adapter, which cannot be loaded without it"))
        elif names.intersection(row.lineage[:-1]):
            found.append(Break(row, "made from it: it goes on working, but could not be made again"))
    return tuple(found)
