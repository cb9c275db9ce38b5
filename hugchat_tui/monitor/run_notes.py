"""What the person says of a run, and which runs were going when the program was last seen.

    runs.json in the data folder: {"version": 1, "runs": {path: {"tag", "note", "archived"}}, "going": [path, ...]}

Writers take turns by a lock, and the file is replaced at once, so readers need none.
"""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from engine.checkpoints.library.notes import write_atomically
from engine.checkpoints.reading import JSON_LIMIT, UnreadableError, parse_json_object, read_whole
from sft.errors import SftError

NOTE_LIMIT = 4000  # characters
TAG_LIMIT = 24
_FILE = "runs.json"
_VERSION = 1


@dataclass(frozen=True, slots=True)
class Said:
    """Of one run. archived: it is not listed unless archived runs are asked for."""

    tag: str = ""
    note: str = ""
    archived: bool = False


@dataclass(slots=True)
class RunNotes:
    """The whole file. runs: by the run's path. going: paths of runs that were going when somebody last looked."""

    runs: dict[str, Said] = field(default_factory=dict)
    going: tuple[str, ...] = ()

    def of(self, path: Path) -> Said:
        return self.runs.get(str(path), Said())


def load_notes(data: Path) -> RunNotes:
    """Everything that was said; nothing when the file is not there, damaged or of a newer version."""
    try:
        return _read(data / _FILE) or RunNotes()
    except UnreadableError:
        return RunNotes()


def set_tag(data: Path, run: Path, tag: str) -> None:
    """Give a run a word to filter by; an empty one takes it away. Raises SftError and OSError."""
    tag = tag.strip()
    if len(tag) > TAG_LIMIT or not tag.isprintable() or len(tag.split()) > 1:
        raise SftError(f"A tag is one word of at most {TAG_LIMIT} characters.", "Use a note for more.")
    _update(data, lambda notes: _set(notes, run, replace(notes.of(run), tag=tag)))


def set_note(data: Path, run: Path, text: str) -> None:
    """Keep a note of at most NOTE_LIMIT characters; an empty one is removed. Raises SftError and OSError."""
    if len(text) > NOTE_LIMIT:
        raise SftError(f"The note has {len(text):,} characters; {NOTE_LIMIT:,} are kept.", "Shorten it.")
    _update(data, lambda notes: _set(notes, run, replace(notes.of(run), note=text.strip())))


def set_archived(data: Path, run: Path, archived: bool) -> None:
    """Raises OSError."""
    _update(data, lambda notes: _set(notes, run, replace(notes.of(run), archived=archived)))


def set_going(data: Path, runs: Iterable[str]) -> None:
    """Remember which runs go now, for the next start to tell of those that ended meanwhile. Raises OSError."""

    def change(notes: RunNotes) -> None:
        notes.going = tuple(runs)

    _update(data, change)


def forget(data: Path, run: Path) -> None:
    """Of a run that is deleted nothing needs to be known. Raises OSError."""
    _update(data, lambda notes: _set(notes, run, Said()))


def _set(notes: RunNotes, run: Path, said: Said) -> None:
    notes.runs[str(run)] = said


def _update(data: Path, change: Callable[[RunNotes], None]) -> None:
    from filelock import FileLock  # slow to import, and readers need none

    data.mkdir(parents=True, exist_ok=True)
    path = data / _FILE
    with FileLock(data / ".runs.lock"):
        try:
            notes = _read(path)
        except UnreadableError as error:
            raise OSError(f"{error}. It stays as it is, so nothing new can be kept in {data}.") from error
        if notes is None:
            aside = (path.with_name(f"{_FILE}.damaged{number or ''}") for number in itertools.count())
            path.replace(next(each for each in aside if not os.path.lexists(each)))  # not ours to throw away
            notes = RunNotes()
        change(notes)
        runs = {key: _plain(said) for key, said in notes.runs.items() if said != Said()}
        document = {"version": _VERSION, "runs": runs, "going": notes.going}
        write_atomically(path, json.dumps(document, indent=1).encode())


def _plain(said: Said) -> dict[str, object]:
    return {name: value for name, value in asdict(said).items() if value}


def _read(path: Path) -> RunNotes | None:
    """What the file says, None when it is damaged. Raises UnreadableError for one that is to be left as it is."""
    data = read_whole(path, JSON_LIMIT)
    if data is None:
        return RunNotes()
    try:
        content = parse_json_object(path, data)
    except UnreadableError:
        return None
    version, runs, going = content.get("version"), content.get("runs"), content.get("going")
    if isinstance(version, int) and version > _VERSION:
        raise UnreadableError(f"{path.name} was written by a newer version of this program")
    if version != _VERSION or not isinstance(runs, dict) or not isinstance(going, list):
        return None
    said = {key: _said(value) for key, value in runs.items() if isinstance(value, dict)}
    return RunNotes(said, tuple(each for each in going if isinstance(each, str)))


def _said(value: dict[str, object]) -> Said:
    tag, note = value.get("tag"), value.get("note")
    return Said(
        tag if isinstance(tag, str) else "", note if isinstance(note, str) else "", value.get("archived") is True
    )
