"""The form's draft: a recipe that is being filled in, and what is wrong with it."""

from __future__ import annotations

import re
from functools import cache
from typing import Any

from msgspec import Meta, Struct

from sft import config
from sft.config import Recipe
from sft.recipe_checks import check_sources
from sft.recipe_fields import FieldType, Problem, fields_of, plain, replaced
from sft.recipe_text import written

RECIPE, NAME, OUTPUT = "recipe", "name", "output"
FIRST_DATA = "data.sources[0].path"
MAIN = (
    RECIPE,
    "model.base",
    "data.sources",
    "method.kind",
    "method.rank",
    "data.max_length",
    "training.epochs",
    "training.max_steps",
    "training.learning_rate",
    "evaluation.prompts",
    NAME,
    OUTPUT,
)
OWN = {
    RECIPE: "What the rest is set to: a recipe that ships, or the path of one. Empty: the one made for the base.",
    NAME: "What the run is called: letters, digits and . _ - beginning with a letter or a digit. Empty: made of base, "
    "data and date.",
    OUTPUT: "Folder that the run is written to; it must be new or empty. Empty: below runs/ of the data folder.",
}
_PATHS = ("data.sources", "data.held_out_source", "model.template", "launch.hostfile", RECIPE, OUTPUT)
_EXACT = 1e15  # below it a float that is whole is shown as one
_INDEX = re.compile(r"\[(\d+)\]")


class Draft:
    """A recipe that began as `start` and was changed. name, output: of the run, empty where they are to be made.

    recipe_name: what the person typed for the recipe, of which `start` was made.
    """

    def __init__(self, start: Recipe) -> None:
        self.start = start
        self.recipe_name = ""
        self.name = ""
        self.output = ""
        self._changes: dict[str, Any] = {}  # by place without an index: tables and lists of TOML's own types
        self._whole = start  # as it was when nothing was wrong with it

    # What is in it

    def value(self, place: str) -> Any:
        """What stands there: of the key's type, or the text that is none of it; None behind the end of a list."""
        if place in OWN:
            return {RECIPE: self.recipe_name, NAME: self.name, OUTPUT: self.output}[place]
        key, index, inner = parts_of(place)
        value = self._changes.get(key, self._started(key))
        if index is None:
            return value
        if index >= len(value):
            return None
        return value[index].get(inner, field_at(place).default) if inner else value[index]

    def text(self, place: str) -> str:
        """What stands there as a person would type it."""
        value = self.value(place)
        if isinstance(value, list):
            return ", ".join(map(str, value))
        return "" if value is None else shown(value)

    def count(self, key: str) -> int:
        """Entries of a list."""
        return len(self.value(key))

    def is_changed(self, place: str) -> bool:
        if place in OWN:
            return bool(self.value(place))
        key, index, inner = parts_of(place)
        if key not in self._changes:
            return False
        before = self._started(key)
        if index is None:
            return bool(self._changes[key] != before)
        old: Any = before[index] if index < len(before) else {} if inner else None
        if inner:
            old = old.get(inner, field_at(place).default)
        return bool(self.value(place) not in (None, "", old))

    @property
    def changed(self) -> bool:
        """Whether the person typed anything."""
        typed = (key for key in self._changes if self._changes[key] != self._started(key))
        return bool(self.name or self.output or self.recipe_name or any(typed))

    def read(self) -> tuple[Recipe | None, list[Problem]]:
        """The recipe, None where it is none; and all that is wrong, at the places of the form."""
        try:
            recipe = config.from_document(replaced(self.start, self._tidied()))
        except config.RecipeError as error:
            return None, list(error.problems)
        self._whole = recipe
        if check_sources(recipe):
            return recipe, [Problem("data.sources", "is empty: name a file, a folder, a glob or a corpus")]
        return recipe, []

    def readable(self) -> Recipe | None:
        """The recipe, what is wrong in it as it was before; None where there is none even so."""
        recipe, problems = self.read()
        if recipe is not None:
            return recipe
        before = plain(self._whole)
        values = self._tidied()
        for key in {parts_of(problem.place)[0] for problem in problems}:
            section, _, name = key.partition(".")
            if name in before.get(section, ()):
                values[key] = before[section][name]
        try:
            return config.from_document(replaced(self.start, values))
        except config.RecipeError:
            return None

    # What the person does

    def put(self, place: str, text: str) -> None:
        """Take what was typed or chosen at a place; one behind the end of a list lengthens it."""
        if place in OWN:
            setattr(self, {RECIPE: "recipe_name", NAME: "name", OUTPUT: "output"}[place], text.strip())
            return
        key, index, inner = parts_of(place)
        value = _parsed(field_at(place), text)
        if index is None:
            self._set(key, value)
            return
        entries = [dict(each) if isinstance(each, dict) else each for each in self.value(key)]
        if index >= len(entries):
            if not text:
                return
            entries.append({} if inner else "")
            index = len(entries) - 1
        if inner:
            entries[index][inner] = value
        else:
            entries[index] = value
        self._set(key, entries)

    def choose(self, place: str, step: int) -> None:
        """The next or the previous of the values that a key may have."""
        choices = choices_at(place)
        at = choices.index(self.value(place)) if self.value(place) in choices else -1
        self._set(parts_of(place)[0], choices[(at + step) % len(choices)])

    def tidy(self, place: str) -> tuple[str, bool]:
        """Take entries that were emptied off their lists: (where a place is then, whether there were any)."""
        key, index, inner = parts_of(place)
        if index is not None:
            gone = sum(_is_empty(each) for each in self.value(key)[:index])
            place = f"{key}[{index - gone}]{'.' if inner else ''}{inner}"
        tidied = self._tidied()
        fewer = tidied != self._changes
        self._changes = tidied
        return place, fewer

    def begin_as(self, start: Recipe) -> None:
        """Begin as another recipe; what was changed stays."""
        self.start = start

    def take(self, recipe: Recipe) -> None:
        """Let the changes be those that make this recipe of the one it began as."""
        self._changes = {}
        for section in fields_of(Recipe):
            if section.kind is Struct:
                wanted = plain(getattr(recipe, section.name))
                for name, value in wanted.items():
                    self._set(f"{section.name}.{name}", value)

    def _set(self, key: str, value: Any) -> None:
        if type(value) is type(self._started(key)) and value == self._started(key):
            self._changes.pop(key, None)
        else:
            self._changes[key] = value

    def _started(self, key: str) -> Any:
        section, _, name = key.partition(".")
        value = getattr(getattr(self.start, section), name)
        if isinstance(value, tuple):
            return [plain(each) if isinstance(each, Struct) else each for each in value]
        return value

    def _tidied(self) -> dict[str, Any]:
        tidied = {}
        for key, value in self._changes.items():
            tidied[key] = [each for each in value if not _is_empty(each)] if isinstance(value, list) else value
        return tidied


def _is_empty(entry: object) -> bool:
    return (entry.get("path") if isinstance(entry, dict) else entry) == ""


def parts_of(place: str) -> tuple[str, int | None, str]:
    """The key, the place in its list, and the key in that entry: ("data.sources", 0, "path")."""
    match = _INDEX.search(place)
    if match is None:
        return place, None, ""
    return place[: match.start()], int(match[1]), place[match.end() :].removeprefix(".")


@cache
def field_at(place: str) -> FieldType:
    """The type of a key, of an entry of a list, or of a key in one."""
    if place in OWN:
        return FieldType(place, str, None, (), Meta(description=OWN[place]), "")
    key, index, inner = parts_of(place)
    section, _, name = key.partition(".")
    held = next(field.item for field in fields_of(Recipe) if field.name == section)
    field = next(field for field in fields_of(held) if field.name == name)
    if index is None:
        return field
    if inner:
        return next(each for each in fields_of(field.item) if each.name == inner)
    return FieldType(name, str, None, (), Meta(description=field.meta.description), "")


def choices_at(place: str) -> tuple[Any, ...]:
    """The values that a key may have; empty where it is to be typed."""
    field = field_at(place)
    return (True, False) if field.kind is bool else field.choices


def is_path(place: str) -> bool:
    key, _, inner = parts_of(place)
    return key in _PATHS and inner in ("", "path")


def is_folded(place: str) -> bool:
    """Whether a key stands in a section, not among the first ones."""
    key, _, inner = parts_of(place)
    return key not in MAIN or inner in ("weight", "cap", "format")


def _parsed(field: FieldType, text: str) -> object:
    """What was typed as the key's type; the text itself where it is none, for the error to show."""
    if field.kind is tuple:
        return [each.strip() for each in text.split(",") if each.strip()]
    stripped = text.strip()
    if field.kind in (int, float):
        try:
            return int(stripped) if field.kind is int else float(stripped)
        except ValueError:
            return stripped
    return text if field.name == "prompts" else stripped


def shown(value: object) -> str:
    """A value as a person would type it."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float) and value.is_integer() and abs(value) < _EXACT:
        return str(int(value))
    return str(value) if isinstance(value, str | int | float) else written(value)
