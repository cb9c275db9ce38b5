"""Paths in a recipe made absolute: a run reads them again later, wherever it is resumed from."""

from __future__ import annotations

import glob
import os
from pathlib import Path

from engine.checkpoints.paths import full_path
from engine.checkpoints.runs import RUN_PREFIX
from engine.checkpoints.starter import STARTER
from sft.config import Recipe, with_values
from sft.data.corpora import CORPORA
from sft.data.sources import HUB


def anchored(recipe: Recipe) -> Recipe:
    """The recipe with the paths of this moment's current folder; what names no file here stays as it is."""
    data = recipe.data
    return with_values(
        recipe,
        {
            "model.base": _base(recipe.model.base),
            "model.template": _existing(recipe.model.template),
            "data.sources": [
                {"path": _source(each.path), "weight": each.weight, "cap": each.cap, "format": each.format}
                for each in data.sources
            ],
            "data.held_out_source": _source(data.held_out_source),
            "launch.hostfile": _existing(recipe.launch.hostfile),
        },
    )


def _base(text: str) -> str:
    """As resolve reads it: the starter and runs win over a folder of that name."""
    return text if text == STARTER or text.startswith(RUN_PREFIX) else _existing(text)


def _source(text: str) -> str:
    """As sft.data.sources reads it: a corpus wins over a file of its name, "corpus:PATH" has a path in it."""
    corpus, colon, path = text.partition(":")
    if text.startswith(HUB) or (corpus in CORPORA and not colon):
        return text
    if corpus in CORPORA:
        return f"{corpus}:{_existing(path)}"
    return str(full_path(Path(text))) if text and glob.has_magic(text) else _existing(text)


def _existing(text: str) -> str:
    path = full_path(Path(text))
    return str(path) if text and os.path.lexists(path) else text
