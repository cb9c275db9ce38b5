"""What each setting is for, read from the schema, for help, documentation and the settings page."""

from __future__ import annotations

import ast
import inspect
from dataclasses import dataclass, fields
from functools import cache

from hugchat_tui.settings import schema
from hugchat_tui.settings.loading import environment_name
from hugchat_tui.settings.schema import SECTIONS, kinds


@dataclass(frozen=True, slots=True)
class SettingDescription:
    """words: what it may be, completing "must be ...". environment: the variable that sets it."""

    section: str
    key: str
    words: str
    default: object
    text: str
    environment: str


@cache
def describe_settings() -> tuple[SettingDescription, ...]:
    """Every setting but the keymap's, in the order of the schema."""
    texts = _field_texts()
    return tuple(
        SettingDescription(
            section,
            each.name,
            kinds(section)[each.name].words,
            each.default,
            texts[cls.__name__, each.name],
            environment_name(section, each.name),
        )
        for section, cls in SECTIONS.items()
        for each in fields(cls)
    )


def _field_texts() -> dict[tuple[str, str], str]:
    """The string below each field, by class and field name."""
    texts = {}
    for node in ast.parse(inspect.getsource(schema)).body:
        if isinstance(node, ast.ClassDef):
            for statement, below in zip(node.body, node.body[1:], strict=False):
                match statement, below:
                    case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                        texts[node.name, name] = inspect.cleandoc(text)
    return texts
