"""Settings from flags, the environment and the file, in this order of precedence, over the usual values."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from hugchat_tui.settings.errors import SettingsError, did_you_mean, quoted
from hugchat_tui.settings.paths import config_file
from hugchat_tui.settings.schema import (
    KEYMAP,
    SECTIONS,
    AppearanceSettings,
    ChatSettings,
    EngineSettings,
    ModelSettings,
    MonitorSettings,
    SamplingSettings,
    Settings,
    kinds,
)
from hugchat_tui.settings.toml_lines import place, syntax_problem

ENVIRONMENT_PREFIX = "HUGCHAT_"

# What each of these sends is, in many terminals, the byte of another key.
_INDISTINCT_KEYS = {"ctrl+m": "enter", "ctrl+i": "tab", "ctrl+h": "backspace", "ctrl+left_square_bracket": "escape"}


def load_settings(flags: Mapping[str, object] | None = None, *, bindings: Collection[str] | None = None) -> Settings:
    """All settings. flags: values by "section.key", as text or as the setting's own type; None: not given.

    The environment names a setting HUGCHAT_SECTION_KEY. bindings: the ids that the keymap may name; None: any.
    Raises SettingsError with everything that is wrong anywhere; its `usable` is what to go on with.
    """
    reader = _Reader(bindings)
    reader.read_file(config_file())
    reader.read_environment(os.environ)
    reader.read_flags(flags or {})
    settings = reader.settings()
    if reader.problems:
        raise SettingsError(reader.problems, settings)
    return settings


def environment_name(section: str, key: str) -> str:
    """The environment variable of a setting."""
    return f"{ENVIRONMENT_PREFIX}{section}_{key}".upper()


def check_value(section: str, key: str, value: object, *, from_text: bool = False) -> object:
    """The value as the setting holds it; from_text: given as text that stands for it.

    Raises ValueError with a sentence that says what is wrong.
    """
    if section not in SECTIONS:
        raise ValueError(f"[{section}] is not a section{did_you_mean(section, [*SECTIONS, KEYMAP])}")
    kind = kinds(section).get(key)
    if kind is None:
        elsewhere = next((other for other in SECTIONS if key in kinds(other)), None)
        hint = f"; did you mean {key} in [{elsewhere}]?" if elsewhere else did_you_mean(key, kinds(section))
        raise ValueError(f"[{section}] {key} is not a setting{hint}")
    try:
        return kind.check(kind.parse(value) if from_text and isinstance(value, str) else value)
    except ValueError:
        raise ValueError(f"[{section}] {key} must be {kind.words}, not {quoted(value)}.") from None


def check_binding(binding: str, keys: object, bindings: Collection[str] | None = None) -> str:
    """The keys of a binding, separated by commas. Raises ValueError with a sentence that says what is wrong."""
    if bindings is not None and binding not in bindings:
        raise ValueError(f"[{KEYMAP}] {binding} is not a binding{did_you_mean(binding, bindings)}")
    if not isinstance(keys, str) or not re.fullmatch(r"[^\s,]+(,[^\s,]+)*", keys):
        raise ValueError(f'[{KEYMAP}] {binding} must be keys such as "ctrl+n" or "f7,f8", not {quoted(keys)}.')
    for key in keys.split(","):
        if other := _INDISTINCT_KEYS.get(key.lower()):
            raise ValueError(f"[{KEYMAP}] {binding}: many terminals cannot tell {key} from {other}.")
    return keys


class _Reader:
    """The values found so far, later sources over earlier ones, and what was wrong with the others."""

    def __init__(self, bindings: Collection[str] | None) -> None:
        self.problems: list[str] = []
        self._bindings = bindings
        self._values: dict[str, dict[str, Any]] = {section: {} for section in SECTIONS}
        self._keymap: dict[str, str] = {}

    def settings(self) -> Settings:
        """What was right, and the usual values for the rest."""
        values = self._values
        return Settings(
            model=ModelSettings(**values["model"]),
            sampling=SamplingSettings(**values["sampling"]),
            chat=ChatSettings(**values["chat"]),
            appearance=AppearanceSettings(**values["appearance"]),
            engine=EngineSettings(**values["engine"]),
            monitor=MonitorSettings(**values["monitor"]),
            keymap=self._keymap,
        )

    def read_file(self, path: Path) -> None:
        """A file that is not there is no mistake."""
        try:
            text = path.read_bytes().decode("utf-8-sig")
            document = tomllib.loads(text)
        except FileNotFoundError:
            return
        except tomllib.TOMLDecodeError as error:
            self.problems.append(syntax_problem(path.name, error))
            return
        except (OSError, UnicodeDecodeError) as error:
            self.problems.append(f"{path} cannot be read: {error}.")
            return
        for keys, value in _entries(document):
            try:
                self._take(keys, value)
            except ValueError as error:
                self.problems.append(f"{place(path.name, text, keys)}: {error}")

    def read_environment(self, environment: Mapping[str, str]) -> None:
        """Other variables that begin like a section are mistakes; HUGCHAT_DATA_DIR and the like are not settings."""
        known = {environment_name(section, key): (section, key) for section in SECTIONS for key in kinds(section)}
        sections = tuple(environment_name(section, "") for section in [*SECTIONS, KEYMAP])
        for name in sorted(environment):
            try:
                if name in known:
                    self._take(known[name], environment[name], from_text=True)
                elif name.startswith(sections):
                    raise ValueError(f"it names no setting{did_you_mean(name, known)}")
            except ValueError as error:
                self.problems.append(f"environment variable {name}: {error}")

    def read_flags(self, flags: Mapping[str, object]) -> None:
        for name, value in flags.items():
            try:
                if value is not None:
                    self._take(name.split(".", 1), value, from_text=True)
            except ValueError as error:
                self.problems.append(f"command line: {error}")

    def _take(self, keys: Sequence[str], value: object, *, from_text: bool = False) -> None:
        """Keep a value. Raises ValueError with a sentence that says what is wrong."""
        section, key = keys[0], ".".join(keys[1:])
        if not key:
            raise ValueError(_outside_message(section, value))
        if section == KEYMAP:
            self._keymap[key] = check_binding(key, value, self._bindings)
        else:
            self._values[section][key] = check_value(section, key, value, from_text=from_text)


def _entries(document: Mapping[str, object]) -> Iterator[tuple[tuple[str, ...], object]]:
    """The keys of every setting in the file, and its value. What is no known section comes as a whole.

    Binding ids have dots; unless they are quoted TOML makes tables of them.
    """
    for section, content in document.items():
        if not isinstance(content, dict) or section not in (*SECTIONS, KEYMAP):
            yield (section,), content
        elif section == KEYMAP:
            yield from _leaves((KEYMAP,), content)
        else:
            for key, value in content.items():
                yield (section, key), value


def _leaves(keys: tuple[str, ...], table: Mapping[str, object]) -> Iterator[tuple[tuple[str, ...], object]]:
    for key, value in table.items():
        if isinstance(value, dict):
            yield from _leaves((*keys, key), value)
        else:
            yield (*keys, key), value


def _outside_message(name: str, value: object) -> str:
    if name in (*SECTIONS, KEYMAP):
        return f"[{name}] must be a section, not {quoted(value)}."
    if isinstance(value, dict):
        return f"[{name}] is not a section{did_you_mean(name, [*SECTIONS, KEYMAP])}"
    section = next((section for section in SECTIONS if name in kinds(section)), None)
    hint = f"; did you mean {name} in [{section}]?" if section else did_you_mean(name, [*SECTIONS, KEYMAP])
    return f"{name} is not a section{hint}"
