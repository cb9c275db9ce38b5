"""Colour themes as data: TOML files read into records that are known to be right. A bad file is a message, no crash.

A theme file holds `title`, `dark` (true or false), the colours of COLORS, of which `primary` is required, and a table
`variables` for single parts of the screen, as described under "Themes" in Textual's guide. Its name is the file's.
A colour is #rgb, #rrggbb or one of the terminal's own, ansi_red or ansi_default; a theme keeps to one of the two sorts.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from hugchat_tui.settings.errors import did_you_mean, quoted
from hugchat_tui.settings.paths import config_dir
from hugchat_tui.settings.toml_lines import place, syntax_problem

COLORS = (
    *("primary", "secondary", "warning", "error", "success", "accent"),
    *("foreground", "background", "surface", "panel", "boost"),
)

_ANSI = "black|red|green|yellow|blue|magenta|cyan|white"
_ANSI_COLOR = re.compile(rf"ansi_(?:default|(?:bright_)?(?:{_ANSI}))")
_COLOR = re.compile(rf"#(?:[0-9a-fA-F]{{3}}){{1,2}}|{_ANSI_COLOR.pattern}")
_VARIABLE_COLOR = re.compile(rf"(?:{_COLOR.pattern})(?: \d{{1,3}}%)?|transparent|auto(?: \d{{1,3}}%)?")
_TEXT_STYLE = re.compile(
    r"none|(?:not )?(?:{0})(?: (?:not )?(?:{0}))*".format("bold|italic|underline|reverse|strike|dim")
)
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")


def _parts(prefix: str, *names: str) -> list[str]:
    return [f"{prefix}-{name}" for name in names]


_SHADED = ("primary", "secondary", "primary-background", "secondary-background", *COLORS[2:])
# The variables Textual's own styles are written with.
VARIABLES = frozenset(
    [
        *(f"{name}-{way}-{step}" for name in _SHADED for way in ("lighten", "darken") for step in (1, 2, 3)),
        *_parts("text", "primary", "secondary", "warning", "error", "success", "accent", "muted", "disabled"),
        *(f"{name}-muted" for name in (*COLORS[:6], "foreground")),
        *("text", "primary-background", "secondary-background", "foreground-disabled", "surface-active"),
        *("border", "border-blurred", "ansi-background", "ansi-foreground"),
        *_parts("block-cursor", "foreground", "background", "text-style"),
        *_parts("block-cursor-blurred", "foreground", "background", "text-style"),
        *("block-hover-background", "button-foreground", "button-color-foreground", "button-focus-text-style"),
        *("footer-foreground", "footer-background", "footer-item-background"),
        *_parts("footer-key", "foreground", "background"),
        *_parts("footer-description", "foreground", "background"),
        *_parts("input-cursor", "foreground", "background", "text-style"),
        *_parts("input-selection", "foreground", "background"),
        *_parts("screen-selection", "foreground", "background"),
        *_parts("link", "color", "background", "style", "color-hover", "background-hover", "style-hover"),
        *("scrollbar", *_parts("scrollbar", "hover", "active", "background", "corner-color")),
        *_parts("scrollbar-background", "hover", "active"),
        *(f"markdown-h{level}-{part}" for level in range(1, 7) for part in ("color", "background", "text-style")),
    ]
)

# Textual's styles name these, but it derives them for #rrggbb themes only: an ansi theme without them would not start.
_ANSI_VARIABLES = {
    "ansi-background": "ansi_default",
    "ansi-foreground": "ansi_default",
    "surface-active": "ansi_default",
    "foreground-disabled": "ansi_bright_black",
}


@dataclass(frozen=True)
class ThemeRecord:
    """A theme that has been checked. Colours that are None are derived by Textual. title: shown in the menu."""

    name: str
    title: str
    dark: bool
    primary: str
    variables: Mapping[str, str]
    secondary: str | None = None
    warning: str | None = None
    error: str | None = None
    success: str | None = None
    accent: str | None = None
    foreground: str | None = None
    background: str | None = None
    surface: str | None = None
    panel: str | None = None
    boost: str | None = None

    @property
    def ansi(self) -> bool:
        """Whether the terminal's own palette rules."""
        return self.primary.startswith("ansi_")


class ThemeError(Exception):
    """problems: one line each, with file, line, key, and what was probably meant."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = tuple(problems)


def load_themes() -> tuple[list[ThemeRecord], list[str]]:
    """The themes that ship and those in the person's folder, by name, and what is wrong with the files left out.

    A person's theme takes the place of a shipped one of the same name.
    """
    themes: dict[str, ThemeRecord] = {}
    problems: list[str] = []
    for folder in (shipped_themes_dir(), config_dir() / "themes"):
        for path in sorted(folder.glob("*.toml")):
            try:
                theme = read_theme(path)
            except ThemeError as error:
                problems += error.problems
            else:
                themes[theme.name] = theme
    return [themes[name] for name in sorted(themes)], problems


def load_theme(name: str) -> tuple[ThemeRecord | None, list[str]]:
    """One theme as `load_themes` would find it, or None and what is wrong: the file, or that there is none."""
    for folder in (config_dir() / "themes", shipped_themes_dir()):
        path = folder / f"{name}.toml"
        if path.is_file():
            try:
                return read_theme(path), []
            except ThemeError as error:
                return None, list(error.problems)
    return None, [f"There is no theme named {quoted(name)}; the usual one is shown."]


def shipped_themes_dir() -> Path:
    """Inside the installed package, or beside it in a checkout."""
    package = Path(__file__).resolve().parent.parent
    installed = package / "themes"
    return installed if installed.is_dir() else package.parent / "themes"


def read_theme(path: Path) -> ThemeRecord:
    """Raises ThemeError with everything that is wrong with the file."""
    if not _NAME.fullmatch(path.stem):
        raise ThemeError([f"{path.name}: a theme's file name is a letter, then letters, digits, - and _."])
    try:
        text = path.read_bytes().decode("utf-8-sig")
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ThemeError([syntax_problem(path.name, error)]) from error
    except (OSError, UnicodeDecodeError) as error:
        raise ThemeError([f"{path} cannot be read: {error}."]) from error
    checker = _Checker(path.name, text)
    dark = document.pop("dark", True)
    title = document.pop("title", path.stem)
    variables = document.pop("variables", {})
    if not isinstance(dark, bool):
        checker.refuse(("dark",), f"must be true or false, not {quoted(dark)}.")
    if not isinstance(title, str) or not title.strip():
        checker.refuse(("title",), f"must be a text, not {quoted(title)}.")
    if isinstance(variables, dict):
        checker.check_variables(variables)
    else:
        checker.refuse(("variables",), "must be a table: [variables].")
    checker.check_colors(document)
    if checker.problems:
        raise ThemeError(checker.problems)
    if _matches(_ANSI_COLOR, document["primary"]):
        variables = _ANSI_VARIABLES | variables
    return ThemeRecord(name=path.stem, title=title, dark=dark, variables=variables, **document)


class _Checker:
    """Collects what is wrong with one file."""

    def __init__(self, name: str, text: str) -> None:
        self.problems: list[str] = []
        self._name, self._text = name, text

    def refuse(self, keys: tuple[str, ...], message: str) -> None:
        self.problems.append(f"{place(self._name, self._text, keys)}: {'.'.join(keys)} {message}")

    def check_colors(self, colors: Mapping[str, object]) -> None:
        for key, value in colors.items():
            if key in COLORS:
                self._check(_COLOR, (key,), value, "a colour: #rgb, #rrggbb or ansi_...")
            else:
                known = (*COLORS, "dark", "title", "variables")
                self.refuse((key,), f"is not a part of a theme{did_you_mean(key, known)}")
        if "primary" not in colors:
            self.problems.append(f"{self._name}: primary is missing; it is the one colour a theme cannot do without.")
        own = [key for key, value in colors.items() if _matches(_ANSI_COLOR, value)]
        if own and len(own) < len(colors):
            key = next(key for key in colors if key not in own)
            self.refuse((key,), f"must be one of the terminal's own colours too, as {own[0]} is.")

    def check_variables(self, variables: Mapping[str, object]) -> None:
        for key, value in variables.items():
            keys = ("variables", key)
            if key not in VARIABLES:
                self.refuse(keys, f"is not a variable{did_you_mean(key, VARIABLES)}")
            elif key.endswith(("-style", "-style-hover")):
                self._check(_TEXT_STYLE, keys, value, 'a text style such as "bold" or "not underline"')
            else:
                self._check(_VARIABLE_COLOR, keys, value, 'a colour, also with a share such as "#808080 50%"')

    def _check(self, pattern: re.Pattern[str], keys: tuple[str, ...], value: object, words: str) -> None:
        if not _matches(pattern, value):
            self.refuse(keys, f"must be {words}, not {quoted(value)}.")


def _matches(pattern: re.Pattern[str], value: object) -> bool:
    return isinstance(value, str) and pattern.fullmatch(value) is not None
