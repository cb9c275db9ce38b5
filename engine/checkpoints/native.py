"""Which architectures the installed transformers has itself, read from its source text and never imported.

A checkpoint whose auto_map names a class that is not among them needs code from its repository, which is
never run. Worse, `THUDM/glm-2b` says model_type "glm", a name that transformers gave to another architecture
later: loaded as native it becomes a wrong model without a word.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from functools import cache
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

_TABLES = ("MODEL_FOR_CAUSAL_LM_MAPPING_NAMES", "MODEL_MAPPING_NAMES")
_NO_GENERATOR = re.compile(r"For(MaskedLM|SequenceClassification|TokenClassification|QuestionAnswering)$")
_SHOWN = 80  # characters of a name from outside that a message quotes


@cache
def native_classes() -> dict[str, frozenset[str]]:
    """model_type -> names of its native classes, with and without head, for all that generate text."""
    spec = find_spec("transformers")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError("transformers is not installed; reinstall hugchat-tui")
    source = (Path(spec.origin).parent / "models" / "auto" / "modeling_auto.py").read_text("utf-8")
    causal, base = (_table(source, name) for name in _TABLES)
    return {kind: names | base.get(kind, frozenset()) for kind, names in causal.items()}


def _table(source: str, name: str) -> dict[str, frozenset[str]]:
    """One `NAME = OrderedDict([(model_type, class or classes), ...])` of transformers' source."""
    match = re.search(rf"^{name} = OrderedDict\((.*?)^\)", source, re.DOTALL | re.MULTILINE)
    if match is None:
        raise ValueError(f"{name} was not found in the installed transformers: its version is not supported")
    pairs = ast.literal_eval(match[1].strip())
    return {kind: frozenset((names,) if isinstance(names, str) else names) for kind, names in pairs}


def architecture_problem(config: Mapping[str, object]) -> str | None:
    """Why transformers' own code cannot load a model with this config.json; None when it can.

    config: parsed config.json, not trusted.
    """
    kind = config.get("model_type")
    if not isinstance(kind, str) or not kind:
        return (
            "Its config.json names no model_type, so its architecture is unknown. "
            "Choose a checkpoint saved by transformers."
        )
    native = native_classes().get(kind)
    foreign = foreign_classes(config)
    if native is None and foreign:
        return (
            f"It needs code from its own repository ({foreign[0]}), and code from a checkpoint is never run "
            "here. Look for the same model in transformers' own format, often published with -hf in its name."
        )
    if native is None:
        return (
            f"transformers {version('transformers')} knows no text-generating model of the type "
            f'"{kind[:_SHOWN]}". Choose another checkpoint.'
        )
    if foreign:
        return (
            f'It says model_type "{kind[:_SHOWN]}" but means a class of its own repository ({foreign[0]}): '
            f"transformers' {kind[:_SHOWN]} is another architecture and would load as a wrong model, and "
            "code from a checkpoint is never run here. Look for the same model in transformers' own format, "
            "often published with -hf in its name."
        )
    architectures = config.get("architectures")
    names = [name for name in architectures if isinstance(name, str)] if isinstance(architectures, list) else []
    if names and all(_NO_GENERATOR.search(name) for name in names):
        return f"It was trained as {names[0][:_SHOWN]}, which does not generate text. Choose a causal language model."
    return None


def foreign_classes(config: Mapping[str, object]) -> list[str]:
    """The model classes that a config asks its own repository for and transformers does not have."""
    kind = config.get("model_type")
    native = native_classes().get(kind, frozenset()) if isinstance(kind, str) else frozenset()
    return [name for name in _classes_of_its_own(config) if name.rpartition(".")[2] not in native]


def _classes_of_its_own(config: Mapping[str, object]) -> list[str]:
    """The model classes ("modeling_glm.GLMModel") that auto_map names: the causal one, else all.

    An auto_map that is no mapping of names still asks for code.
    """
    auto_map = config.get("auto_map")
    if not auto_map:
        return []
    if not isinstance(auto_map, dict):
        return ["auto_map"]
    causal = auto_map.get("AutoModelForCausalLM")
    wanted = [causal] if causal else [value for key, value in auto_map.items() if str(key).startswith("AutoModel")]
    return [str(name)[:_SHOWN] for name in wanted]
