"""The recipes that ship: one for each row of HugChat's model table, and for today's small models."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from difflib import get_close_matches
from importlib.resources import files

from sft import config
from sft.config import Recipe
from sft.errors import SftError


@dataclass(frozen=True, slots=True)
class Packaged:
    """name: as a person asks for it ("opt-1.3b"). note: what it is for, the file's first line. text: of the file."""

    name: str
    note: str
    text: str

    def recipe(self) -> Recipe:
        return config.parse(self.text, f"the recipe {self.name}")


def packaged_recipes() -> list[Packaged]:
    """All of them, by name. They hold only what differs from the defaults."""
    found = []
    for file in files("sft").joinpath("recipes").iterdir():
        name, dot, ending = file.name.rpartition(".")
        if dot and ending == "toml":
            text = file.read_text(encoding="utf-8")
            found.append(Packaged(name, text.partition("\n")[0].removeprefix("#").strip(), text))
    return sorted(found, key=lambda packaged: packaged.name.casefold())


def packaged_recipe(name: str) -> Packaged:
    """The recipe of that name. Raises SftError with the nearest names."""
    recipes = packaged_recipes()
    found = next((recipe for recipe in recipes if recipe.name.casefold() == name.casefold()), None)
    if found is not None:
        return found
    near = get_close_matches(name, [recipe.name for recipe in recipes], n=3, cutoff=0.4)
    hint = f"Nearest: {', '.join(near)}." if near else "See what there is: hugchat sft init --list"
    raise SftError(f"No recipe is called {name[:100]!r}.", hint)


def recipe_for(base: str) -> Packaged | None:
    """The recipe made for a base, by its reference or by the last part of it; None when there is none."""
    wanted = base.rpartition("/")[2].casefold()
    recipes = packaged_recipes()
    bases = {recipe.name: str(tomllib.loads(recipe.text)["model"]["base"]) for recipe in recipes}
    exact = [recipe for recipe in recipes if bases[recipe.name].casefold() == base.casefold()]
    alike = [r for r in recipes if wanted in (r.name.casefold(), bases[r.name].rpartition("/")[2].casefold())]
    return next(iter([*exact, *alike]), None)
