"""Changing one setting in the file, leaving the rest of it as the person wrote it."""

from __future__ import annotations

import copy
import os
import stat
import tempfile
import tomllib
from pathlib import Path
from typing import Any

import tomli_w

from hugchat_tui.settings.errors import SettingsError
from hugchat_tui.settings.loading import check_binding, check_value
from hugchat_tui.settings.paths import config_file
from hugchat_tui.settings.schema import KEYMAP, SECTIONS, Settings, kinds
from hugchat_tui.settings.toml_lines import key_lines, syntax_problem


def save_setting(name: str, value: object) -> None:
    """Write one setting, "section.key", to the file; None removes it, so that the usual value holds again.

    Comments and all other settings stay, wrong ones too; a file whose layout defeats that is written anew without its
    comments. The file is replaced in one step. Raises SettingsError when the value is not allowed or the file is
    no TOML (it is left as it is), OSError when it cannot be written.
    """
    section, _, key = name.partition(".")
    path = config_file()
    try:
        text = path.read_bytes().decode("utf-8-sig") if path.exists() else ""
        document = tomllib.loads(text)
        written = _checked(section, key, value)
        wanted = _changed(document, section, key, written)
    except tomllib.TOMLDecodeError as error:
        raise SettingsError([f"{syntax_problem(path.name, error)} Nothing was saved."], Settings()) from error
    except ValueError as error:
        raise SettingsError([str(error)], Settings()) from error
    edited = _edited(text, section, key, written)
    _replace(path, edited if _means(edited, wanted) else tomli_w.dumps(wanted))


def _checked(section: str, key: str, value: object) -> object:
    """The value as TOML has it; None when the key is to go. Raises ValueError."""
    if section == KEYMAP:
        return None if value is None else check_binding(key, value)
    if value is None and section in SECTIONS and key in kinds(section):
        return None
    checked = check_value(section, key, value)
    return kinds(section)[key].to_toml(checked)


def _changed(document: dict[str, Any], section: str, key: str, value: object) -> dict[str, Any]:
    wanted = copy.deepcopy(document)
    table = wanted.setdefault(section, {})
    if not isinstance(table, dict):
        raise ValueError(f"[{section}] in the file is not a section; nothing was saved.")
    table.pop(key, None)
    if value is not None:
        table[key] = value
    return wanted


def _edited(text: str, section: str, key: str, value: object) -> str:
    """The text with the lines of the key changed, or new ones; whether it means the right thing is to be checked."""
    lines = text.split("\n")
    statement = [] if value is None else tomli_w.dumps({key: value}).rstrip("\n").split("\n")
    if place := key_lines(text, (section, key)):
        lines[place[0] - 1 : place[1]] = statement
    elif place := key_lines(text, (section,)):
        lines[place[1] : place[1]] = statement
    else:
        while lines and not lines[-1].strip():
            lines.pop()
        lines += [*([""] if lines else []), f"[{section}]", *statement, ""]
    return "\n".join(lines)


def _means(text: str, document: dict[str, Any]) -> bool:
    try:
        return tomllib.loads(text) == document
    except tomllib.TOMLDecodeError:
        return False


def _replace(path: Path, text: str) -> None:
    """Write the file whole or not at all. A link, as people keep in their dotfiles, goes on pointing where it did."""
    path = path.resolve()
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=".config-", suffix=".toml")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(text.encode())
            file.flush()
            os.fsync(file.fileno())
        mode = stat.S_IMODE(path.stat().st_mode) if path.exists() else 0o644
        Path(temporary).chmod(mode)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
