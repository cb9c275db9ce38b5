"""What the person says of a checkpoint: another name and a note; and when it was loaded last.

    library.json in the data folder: {"version": 1, "entries": {key: {"alias", "note", "used"}}}

A key is a row's, or a Checkpoint's, which is the same but for a folder that means the one GGUF file in it. What is said
of a cached revision that a ref names is kept under the ref, "REPOSITORY/refs/NAME" or "REPOSITORY/refs/NAME:FILE": the
name and the note go on to the revision that the next pull brings. Only `used` is a revision's own. (Once all of it was
kept under the revision, and still is for those that no ref names.) Writers take turns by a lock, and the file is
replaced at once, so readers need none.
"""

from __future__ import annotations

import itertools
import json
import os
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from engine.checkpoints.hub_cache import MODELS_PREFIX, repository_snapshots
from engine.checkpoints.reading import JSON_LIMIT, UnreadableError, parse_json_object, read_whole
from engine.checkpoints.runs import RUN_PREFIX
from engine.errors import EngineError

NOTE_LIMIT = 4000  # characters
ALIAS_LIMIT = 60
_FILE = "library.json"
_VERSION = 1
_LATEST_S = 2.0**35  # since the epoch; what claims to be later makes no sense
# A ref's name holds no colon: git-check-ref-format(1).
_REF_KEY = re.compile(rf"(.*/{MODELS_PREFIX}[^/]+)/refs/([^:]+)(?::(.+))?", re.DOTALL)


class AliasError(EngineError):
    """A name that cannot be given to a checkpoint, or not to two."""

    code = "alias"


@dataclass(frozen=True, slots=True)
class Entry:
    """used: when it was loaded last, in seconds since the epoch; 0: never."""

    alias: str = ""
    note: str = ""
    used: float = 0.0


def load_entries(data: Path) -> dict[str, Entry]:
    """Everything that was said, by key; nothing when the file is not there, damaged or of a newer version."""
    try:
        return _read(data / _FILE) or {}
    except UnreadableError:
        return {}


def said_of(entries: Mapping[str, Entry], key: str, refs: Sequence[str]) -> Entry:
    """What was said of a row. refs: the row's."""
    own = entries.get(key, Entry())
    lasting = entries.get(_lasting(key, refs), own)
    return Entry(lasting.alias or own.alias, lasting.note or own.note, own.used)


def aliased(data: Path, alias: str) -> str:
    """The path of what the person calls `alias`, "" when nothing is called so."""
    found = (_place(key) for key, entry in load_entries(data).items() if alias and entry.alias == alias)
    return next(filter(None, found), "")


def set_alias(data: Path, key: str, alias: str) -> None:
    """Call a checkpoint `alias` wherever one is asked for; an empty one takes the name away.

    key: a row's. Raises AliasError for a name that means something else already, OSError when it cannot be written.
    """
    alias = alias.strip()
    if alias:
        _check_alias(alias)

    def change(entries: dict[str, Entry]) -> None:
        kept = _kept_under(entries, key)
        for other, entry in list(entries.items()):
            if alias and entry.alias == alias and other != kept:
                place = _place(other)
                if place and os.path.lexists(place):
                    raise AliasError(f"Another checkpoint is called {alias} already: {place}", "Choose another name.")
                entries[other] = replace(entry, alias="")  # what is gone needs its name no more
        entries[kept] = replace(entries.get(kept, Entry()), alias=alias)

    _update(data, change)


def set_note(data: Path, key: str, text: str) -> None:
    """Keep a note of at most NOTE_LIMIT characters; an empty one is removed. key: a row's.

    Raises OSError and EngineError.
    """
    if len(text) > NOTE_LIMIT:
        raise EngineError(f"The note has {len(text):,} characters; {NOTE_LIMIT:,} are kept.", "Shorten it.")

    def change(entries: dict[str, Entry]) -> None:
        kept = _kept_under(entries, key)
        entries[kept] = replace(entries.get(kept, Entry()), note=text.strip())

    _update(data, change)


def mark_used(data: Path, key: str) -> None:
    """Remember that the checkpoint was loaded now. Raises OSError."""

    def change(entries: dict[str, Entry]) -> None:
        entries[key] = replace(entries.get(key, Entry()), used=time.time())

    _update(data, change)


def _lasting(key: str, refs: Sequence[str]) -> str:
    """Under what the name and the note of a row with these refs are kept."""
    path = Path(key)
    for snapshot in (path, *path.parents) if refs else ():
        repository = snapshot.parent.parent
        if snapshot.parent.name == "snapshots" and repository.name.startswith(MODELS_PREFIX):
            file = "" if snapshot == path else f":{path.relative_to(snapshot).as_posix()}"
            return f"{repository}/refs/{refs[0]}{file}"
    return key


def _place(key: str) -> str:
    """Where that lies now of which something was said; "" for a ref that is not there any more."""
    match = _REF_KEY.fullmatch(key)
    if match is None:
        return key
    found = (each.path for each in repository_snapshots(Path(match[1])) if match[2] in each.refs)
    return next((str(path / (match[3] or "")) for path in found), "")


def _kept_under(entries: dict[str, Entry], key: str) -> str:
    """Under what a row's name and note are to be kept; what was kept under its revision once is moved there."""
    path = Path(key)
    repository = next((each for each in path.parents if each.name.startswith(MODELS_PREFIX)), None)
    revisions = repository_snapshots(repository) if repository is not None else []
    lasting = _lasting(key, next((each.refs for each in revisions if path.is_relative_to(each.path)), ()))
    if lasting != key:
        old, new = entries.get(key, Entry()), entries.get(lasting, Entry())
        entries[lasting] = replace(new, alias=new.alias or old.alias, note=new.note or old.note)
        entries[key] = Entry(used=old.used)
    return lasting


def _check_alias(alias: str) -> None:
    from engine.checkpoints.starter import STARTER  # brings asyncio with it

    if len(alias) > ALIAS_LIMIT or not alias.isprintable():
        raise AliasError(
            f"A name has at most {ALIAS_LIMIT} characters, all of them visible.", "Choose a shorter or plainer one."
        )
    if alias == STARTER or alias.startswith((RUN_PREFIX, ".", "~")) or set("/\\@") & set(alias):
        raise AliasError(
            f"{alias} would be taken for a path, a Hub id, a run or the starter.",
            "Choose a name without / \\ or @ that does not begin with a dot or ~.",
        )


def _update(data: Path, change: Callable[[dict[str, Entry]], None]) -> None:
    from filelock import FileLock  # slow to import, and readers need none

    data.mkdir(parents=True, exist_ok=True)
    path = data / _FILE
    with FileLock(data / ".library.lock"):
        try:
            entries = _read(path)
        except UnreadableError as error:
            raise OSError(f"{error}. It stays as it is, so nothing new can be kept in {data}.") from error
        if entries is None:
            aside = (path.with_name(f"{_FILE}.damaged{number or ''}") for number in itertools.count())
            path.replace(next(each for each in aside if not os.path.lexists(each)))  # not ours to throw away
            entries = {}
        change(entries)
        kept = {key: _said(entry) for key, entry in entries.items() if entry != Entry()}
        write_atomically(path, json.dumps({"version": _VERSION, "entries": kept}, indent=1).encode())


def _read(path: Path) -> dict[str, Entry] | None:
    """What the file says, None when it is damaged. Raises UnreadableError for one that is to be left as it is: that
    cannot be read now, or that a newer version wrote."""
    data = read_whole(path, JSON_LIMIT)
    if data is None:
        return {}
    try:
        content = parse_json_object(path, data)
    except UnreadableError:
        return None
    version, entries = content.get("version"), content.get("entries")
    if isinstance(version, int) and version > _VERSION:
        raise UnreadableError(f"{path.name} was written by a newer version of this program")
    if version != _VERSION or not isinstance(entries, dict):
        return None
    return {key: _entry(value) for key, value in entries.items() if isinstance(value, dict)}


def _said(entry: Entry) -> dict[str, object]:
    return {name: value for name, value in asdict(entry).items() if value}


def _entry(value: dict[str, object]) -> Entry:
    alias, note, used = value.get("alias"), value.get("note"), value.get("used")
    return Entry(
        alias if isinstance(alias, str) else "",
        note if isinstance(note, str) else "",
        float(used) if isinstance(used, int | float) and 0 < used < _LATEST_S else 0.0,
    )


def write_atomically(path: Path, content: bytes) -> None:
    """Replace a file so that readers, and whoever comes after a crash, see the old or the new one. Raises OSError."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
