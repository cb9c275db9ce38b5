"""The themes that ship are right and readable; a wrong file is a message that says where and what."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from pathlib import Path

import pytest
from textual.app import App, ComposeResult
from textual.color import Color
from textual.theme import BUILTIN_THEMES, Theme
from textual.widgets import Button, Checkbox, DataTable, Footer, Input, Markdown, OptionList, Select, TextArea, Tree

from hugchat_tui.settings.themes import (
    COLORS,
    VARIABLES,
    ThemeError,
    ThemeRecord,
    load_themes,
    read_theme,
    shipped_themes_dir,
)

SHIPPED = {path.stem: read_theme(path) for path in shipped_themes_dir().glob("*.toml")}
TRUE_COLOR = sorted(name for name, theme in SHIPPED.items() if not theme.ansi)
BACKGROUNDS = ("background", "surface", "panel")


def textual_theme(record: ThemeRecord) -> Theme:
    values = asdict(record)
    del values["title"]
    return Theme(**values, ansi=record.ansi)


def css_variables(record: ThemeRecord) -> dict[str, str]:
    theme = textual_theme(record)
    return {**theme.to_color_system().generate(), **theme.variables}


def color(text: str) -> Color:
    """A colour with or without a share of opacity, "#808080 50%"."""
    solid, _, share = text.partition(" ")
    return Color.parse(solid).with_alpha(int(share.rstrip("%")) / 100) if share else Color.parse(solid)


def contrast(text: Color, background: Color) -> float:
    """WCAG 2.2, "contrast ratio", of text that may be translucent."""

    def luminance(color: Color) -> float:
        parts = [part / 255 for part in color.rgb]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    darker, lighter = sorted((luminance(background), luminance(background + text)))
    return (lighter + 0.05) / (darker + 0.05)


def test_six_themes_ship_dark_light_high_contrast_and_ansi_among_them() -> None:
    themes, problems = load_themes()
    assert problems == []
    assert {theme.name: theme.dark for theme in themes} == {
        "ansi": True,
        "high-contrast": True,
        "hugchat-dark": True,
        "hugchat-light": False,
        "sepia": False,
        "tide": True,
    }
    assert all(theme.title != theme.name for theme in themes)


@pytest.mark.parametrize("name", TRUE_COLOR)
def test_text_is_readable_on_every_background(name: str) -> None:
    """4.5:1 as WCAG AA asks, 7:1 (AAA) in the high-contrast theme; quiet text, at 60 %, 4.5:1 everywhere."""
    variables = css_variables(SHIPPED[name])
    least = 7.0 if name == "high-contrast" else 4.5
    colored = [f"text-{part}" for part in ("primary", "secondary", "accent", "success", "warning", "error")]
    for background in (Color.parse(variables[key]) for key in BACKGROUNDS):
        for key in ("foreground", *colored):
            assert contrast(Color.parse(variables[key]), background) >= least, (key, background)
        quiet = Color.parse(variables["foreground"]).with_alpha(0.6)
        assert contrast(quiet, background) >= 4.5, background


@pytest.mark.parametrize("name", TRUE_COLOR)
def test_cursors_buttons_footer_and_selection_are_readable(name: str) -> None:
    variables = css_variables(SHIPPED[name])
    least = 7.0 if name == "high-contrast" else 4.5

    def check(text: str, background: str, under: str = "background") -> None:
        ground = Color.parse(variables[under]) + color(variables[background])
        assert contrast(color(variables[text]), ground) >= least, (text, background, under)

    check("block-cursor-foreground", "block-cursor-background")
    check("block-cursor-blurred-foreground", "block-cursor-blurred-background")
    check("input-cursor-foreground", "input-cursor-background")
    check("footer-key-foreground", "footer-background")
    check("link-color-hover", "link-background-hover")
    for variant in ("primary", "success", "warning", "error", "accent"):
        check("button-color-foreground", variant)
    for under in BACKGROUNDS:
        check("foreground", "input-selection-background", under)
        check("foreground", "screen-selection-background", under)


class Gallery(App[None]):
    """Widgets with styles of their own, under each theme in turn."""

    def __init__(self, themes: list[Theme]) -> None:
        super().__init__()
        for theme in themes:
            self.register_theme(theme)
        self.theme = themes[0].name

    def compose(self) -> ComposeResult:
        yield OptionList("one", "two")
        yield Input("text")
        yield TextArea("text")
        yield Markdown("# heading\n\n[link](x) `code`\n\n```python\npass\n```")
        yield Button("Stop", variant="error")
        yield Checkbox("box")
        yield Select([("one", 1)])
        yield DataTable[str]()
        yield Tree("root")
        yield Footer()


async def test_textual_accepts_every_theme_also_one_with_a_single_colour(tmp_path: Path) -> None:
    """An ansi theme lacks variables that Textual's own styles need; choosing it crashed the program."""
    (tmp_path / "plain.toml").write_text('primary = "ansi_red"')
    (tmp_path / "one.toml").write_text('primary = "#f00"')
    records = [*SHIPPED.values(), read_theme(tmp_path / "plain.toml"), read_theme(tmp_path / "one.toml")]
    app = Gallery([textual_theme(record) for record in records])
    async with app.run_test() as pilot:
        for record in records:
            app.theme = record.name
            await pilot.pause()
            assert app.native_ansi_color is record.ansi


async def test_the_ansi_theme_uses_the_terminals_colours_only() -> None:
    app = Gallery([textual_theme(SHIPPED["ansi"])])
    async with app.run_test() as pilot:
        await pilot.pause()
        styles = [segment.style for strip in app.screen._compositor.render_strips() for segment in strip]
    colors = {color for style in styles if style for color in (style.color, style.bgcolor) if color}
    assert len(colors) > 3
    assert {color for color in colors if not (color.is_default or color.is_system_defined)} == set()


def test_the_known_variables_are_textuals() -> None:
    made: set[str] = set()
    for theme in (BUILTIN_THEMES["textual-dark"], BUILTIN_THEMES["ansi-dark"]):
        made |= theme.to_color_system().generate().keys()
    mains = {*COLORS}
    misspelt = {"surface-actrive", "background-muted"}  # in Textual 8.2.8, used nowhere
    assert made - mains - misspelt == VARIABLES


@pytest.mark.parametrize(
    ("text", "line", "problem"),
    [
        ('primary = "#12345"', 1, 'primary must be a colour: #rgb, #rrggbb or ansi_..., not "#12345".'),
        ('dark = true\n\nprimary = "red"', 3, 'primary must be a colour: #rgb, #rrggbb or ansi_..., not "red".'),
        ('primary = "#fff"\nacent = "#fff"', 2, "acent is not a part of a theme; did you mean accent?"),
        ('accent = "#fff"', None, "primary is missing; it is the one colour a theme cannot do without."),
        ('primary = "#fff"\ndark = "yes"', 2, 'dark must be true or false, not "yes".'),
        ('primary = "#fff"\ntitle = ""', 2, 'title must be a text, not "".'),
        ('primary = "#fff"\nvariables = 5', 2, "variables must be a table: [variables]."),
        (
            'primary = "ansi_blue"\naccent = "#fff"',
            2,
            "accent must be one of the terminal's own colours too, as primary is.",
        ),
        (
            'primary = "#fff"\n[variables]\nfooter-backgroud = "#000"',
            3,
            "variables.footer-backgroud is not a variable; did you mean footer-background?",
        ),
        (
            'primary = "#fff"\n[variables]\nborder = "#00"',
            3,
            'variables.border must be a colour, also with a share such as "#808080 50%", not "#00".',
        ),
        (
            'primary = "#fff"\n[variables]\nlink-style = "blinking"',
            3,
            'variables.link-style must be a text style such as "bold" or "not underline", not "blinking".',
        ),
        ("primary = \n", 1, "Invalid value."),
    ],
)
def test_a_mistake_in_a_theme_is_named_with_its_line(tmp_path: Path, text: str, line: int | None, problem: str) -> None:
    (tmp_path / "mine.toml").write_text(text)
    with pytest.raises(ThemeError) as caught:
        read_theme(tmp_path / "mine.toml")
    assert caught.value.problems == (f"mine.toml{f', line {line}' if line else ''}: {problem}",)


def test_a_persons_themes_are_added_or_take_the_place_of_ours(config_folder: Path) -> None:
    folder = config_folder / "themes"
    folder.mkdir()
    (folder / "mine.toml").write_text('title = "Mine"\nprimary = "#abc"')
    (folder / "tide.toml").write_text('title = "My tide"\nprimary = "#abc"')
    (folder / "broken.toml").write_bytes(b"\xff\xff")
    (folder / "bad name.toml").write_text('primary = "#abc"')
    (folder / "a-folder.toml").mkdir()
    themes, problems = load_themes()
    titles = {theme.name: theme.title for theme in themes}
    assert (titles["mine"], titles["tide"], len(titles)) == ("Mine", "My tide", 7)
    assert len(problems) == 3
    assert any("broken.toml cannot be read" in problem for problem in problems)


def test_reading_themes_and_settings_loads_no_textual() -> None:
    """They are read before the app is made, and by commands that never make it."""
    program = (
        "import sys, hugchat_tui.settings.themes as themes, hugchat_tui.settings as settings\n"
        "settings.load_settings(); assert not themes.load_themes()[1]\n"
        "sys.exit('textual' in sys.modules or 'pygments' in sys.modules)"
    )

    async def run() -> int:
        import sys

        process = await asyncio.create_subprocess_exec(sys.executable, "-c", program)
        return await process.wait()

    assert asyncio.run(run()) == 0
