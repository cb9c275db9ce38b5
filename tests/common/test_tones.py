"""The tones of drawn text can be read in every theme, on every ground that text is drawn on."""

from __future__ import annotations

import re

import pytest
from textual.color import Color

from hugchat_tui.common import tones
from hugchat_tui.common.inputs import LineInput
from hugchat_tui.common.line_list import LineList
from tests.settings.test_themes import SHIPPED, TRUE_COLOR, contrast, css_variables

COLOURED = ("ACCENT", "BAD", "FAINT", "GOOD", "MATCH", "MUTED", "STRONG", "WARN")


def read(style: str, variables: dict[str, str]) -> Color:
    """The colour of a style string over the theme's variables: "bold $foreground 75%"."""
    found = re.search(r"\$([\w-]+)(?: (\d+)%)?", style)
    assert found is not None
    return Color.parse(variables[found[1]]).with_alpha(int(found[2] or 100) / 100)


def share(css: str, pattern: str) -> str:
    found = re.search(pattern, css)
    assert found is not None
    return found[1]


@pytest.mark.parametrize("name", TRUE_COLOR)
def test_every_tone_can_be_read_on_the_screen_and_in_a_dialog_also_where_the_cursor_is(name: str) -> None:
    """Column titles had 3.5:1 in the light theme, a red mark under the cursor 3.8:1 in the dark one."""
    variables = css_variables(SHIPPED[name])
    cursor = read(share(LineList.DEFAULT_CSS, r"&:focus > \.line-list--cursor { background: ([^;]+);"), variables)
    placeholder = read(share(LineInput.DEFAULT_CSS, r"\.input--placeholder { color: ([^;]+);"), variables)
    least = 7.0 if name == "high-contrast" else 4.5
    for ground in ("background", "surface", "panel"):
        below = Color.parse(variables[ground])
        for tone in COLOURED:
            assert contrast(read(getattr(tones, tone), variables), below) >= least, (tone, ground)
    for ground in ("background", "surface"):
        below = Color.parse(variables[ground])
        field = below + Color.parse(variables["foreground"]).with_alpha(0.08)
        assert contrast(placeholder, field) >= least, ground
        under = below + cursor
        for tone in ("ACCENT", "BAD", "GOOD", "MATCH", "MUTED", "STRONG", "WARN"):
            assert contrast(read(getattr(tones, tone), variables), under) >= 4.5, (tone, ground)
