"""The form's rows: which key stands in which line, and what is said beside and below it."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from msgspec import NODEFAULT, Struct

from hugchat_tui.common.clean import clean_line
from hugchat_tui.monitor.form_fields import MAIN, OWN, Draft, choices_at, field_at, parts_of, shown
from sft.config import Recipe
from sft.recipe_fields import FieldType, Problem, fields_of
from sft.recipe_text import allowed

_LABELS = {
    "model.base": "base",
    "data.sources": "data",
    "data.held_out": "held out",
    "method.kind": "method",
    "evaluation.prompts": "prompts",
    "method.dora": "DoRA",
    "method.rslora": "rsLoRA",
    "training.gradient_checkpointing": "recompute",
    "training.neftune_alpha": "NEFTune alpha",
    "launch.zero": "ZeRO stage",
}
UNITS = {
    "data.sources.weight": "times",
    "data.sources.cap": "rows",
    "data.max_length": "tokens",
    "data.bad_share": "share of rows",
    "data.held_out": "share of rows",
    "method.rank": "rows",
    "method.dropout": "share of inputs",
    "method.base_bits": "bits",
    "training.epochs": "epochs",
    "training.max_steps": "steps",
    "training.batch_size": "rows",
    "training.accumulation": "batches",
    "training.warmup_steps": "steps",
    "training.warmup_ratio": "share of steps",
    "evaluation.every": "steps",
    "evaluation.batch_size": "rows",
    "evaluation.max_rows": "rows",
    "evaluation.max_new_tokens": "tokens",
    "evaluation.patience": "evaluations",
    "checkpoints.every": "steps",
    "checkpoints.keep": "checkpoints",
    "launch.ranks": "processes",
    "launch.nodes": "machines",
}

_ZERO = {"training.max_steps": "as epochs say"}  # what it means, where that is the default

Kind = Literal["text", "choice", "section", "problem", "gap"]


@dataclass(frozen=True, slots=True)
class Row:
    """A line of the form. place: the key in it, the section's name of a heading. label: on the left, or its words.

    changed: the person set it. folded: of a heading whose keys are not shown, wrong: something is
    wrong with one of these.
    """

    kind: Kind
    place: str = ""
    label: str = ""
    changed: bool = False
    folded: bool = False
    wrong: bool = False


def rows(draft: Draft, unfolded: Collection[str], problems: Sequence[Problem]) -> list[Row]:
    """Every line of the form, problems below the keys they are of."""
    left = list(problems)
    found: list[Row] = []
    for place, label in _main_places(draft):
        found += _with_problems(_row(draft, place, label), left)
    for section in fields_of(Recipe):
        if section.kind is not Struct:
            continue
        places = list(_section_places(draft, section))
        folded = section.name not in unfolded
        wrong = [each for each in left if any(_belongs(each, place) for place, _ in places)] if folded else []
        changed = sum(draft.is_changed(place) for place, _ in places)
        words = (section.item.__doc__ or "").strip()
        if not folded or found[-1].kind != "section":
            found.append(Row("gap"))
        found.append(Row("section", section.name, words, bool(changed), folded, bool(wrong)))
        left = [each for each in left if each not in wrong]
        if not folded:
            for place, label in places:
                found += _with_problems(_row(draft, place, label), left)
    others = [Row("problem", "", clean_line(str(problem))) for problem in left]
    return [*others, *found]


def _with_problems(row: Row, left: list[Problem]) -> Iterator[Row]:
    """The row and the problems of its key, which are taken off the list."""
    yield row
    for problem in [each for each in left if _belongs(each, row.place)]:
        left.remove(problem)
        yield Row("problem", row.place, clean_line(problem.message))


def _belongs(problem: Problem, place: str) -> bool:
    """Whether it is of this row; what is wrong with a whole list stands at its first entry."""
    key, index, inner = parts_of(place)
    if problem.place == place:
        return True
    return index == 0 and inner in ("", "path") and problem.place in (key, f"{key}[0]")


def _row(draft: Draft, place: str, label: str) -> Row:
    return Row("choice" if choices_at(place) else "text", place, label, draft.is_changed(place))


def _main_places(draft: Draft) -> Iterator[tuple[str, str]]:
    for key in MAIN:
        if key == "method.rank" and draft.value("method.kind") == "full":
            continue
        yield from _places(draft, key)


def _section_places(draft: Draft, section: FieldType) -> Iterator[tuple[str, str]]:
    full = draft.value("method.kind") == "full"
    for field in fields_of(section.item):
        key = f"{section.name}.{field.name}"
        if key in MAIN or (section.name == "method" and full):
            continue
        yield from _places(draft, key)
    if section.name == "data":
        several = draft.count("data.sources") > 1
        for index in range(draft.count("data.sources")):
            for name in ("weight", "cap", "format"):
                yield f"data.sources[{index}].{name}", f"{name} of data {index + 1}" if several else f"{name} of data"


def _places(draft: Draft, key: str) -> Iterator[tuple[str, str]]:
    """A key's rows: one, or for a list one an entry and an empty one behind them."""
    label = label_of(key)
    if key not in ("data.sources", "evaluation.prompts"):
        yield key, label
        return
    inner = ".path" if key == "data.sources" else ""
    count = draft.count(key)
    for index in range(count + 1):
        name = label if not index else f"{label} {index + 1}" if index < count else ""
        yield f"{key}[{index}]{inner}", name


def label_of(key: str) -> str:
    """What stands on the left of its row."""
    return _LABELS.get(key, key.rpartition(".")[2].replace("_", " "))


def editable(draft: Draft, place: str) -> bool:
    """Whether a text can be edited in its line as it is: not one of several lines, or with control characters."""
    text = draft.text(place)
    return clean_line(text) == text


def placeholder(place: str, made: Mapping[str, str]) -> str:
    """What stands in an empty line. made: by place, what would be taken."""
    key, index, _ = parts_of(place)
    if place in made:
        return made[place]
    if key == "data.sources":
        return "a file, folder, glob or corpus" if not index else "one more"
    if key == "evaluation.prompts":
        return "a question that is answered at each evaluation" if not index else "one more"
    return {"model.template": "the checkpoint's own", "data.held_out_source": "none"}.get(place, "")


def note_at(place: str) -> str:
    """Unit and default of a key, for its row."""
    field = field_at(place)
    key, index, inner = parts_of(place)
    unit = UNITS.get(key if index is None else f"{key}.{inner}", "")
    known = field.default is not NODEFAULT and field.kind in (int, float, bool, Literal)
    default = ", ".join(filter(None, (f"default {shown(field.default)}", _ZERO.get(key)))) if known else ""
    return " · ".join(filter(None, (unit, default)))


def help_at(place: str) -> tuple[str, str]:
    """(what it means, its bounds and default)."""
    field = field_at(place)
    return str(field.meta.description or ""), "" if place in OWN else allowed(field)
