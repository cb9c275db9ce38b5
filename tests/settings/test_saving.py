"""Saving a setting changes that setting and nothing else in the person's file."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from hugchat_tui.settings import SettingsError, load_settings
from hugchat_tui.settings.saving import save_setting

MINE = """\
# My settings.
[sampling]  # not too hot
temperature = 0.5  # cool
stray = "kept, though it is none"

[model]
folders = [
    "/a",  # the fast disk
    "/b",
]
# The end.
"""


def test_a_setting_is_changed_in_place_and_everything_else_stays(config_folder: Path) -> None:
    file = config_folder / "config.toml"
    file.write_text(MINE)
    save_setting("sampling.temperature", 0.9)
    save_setting("sampling.top_k", 40)
    save_setting("model.folders", ["/c"])
    save_setting("appearance.theme", "tide")
    save_setting("keymap.chat.new", "ctrl+k")
    assert file.read_text() == (
        """\
# My settings.
[sampling]  # not too hot
top_k = 40
temperature = 0.9
stray = "kept, though it is none"

[model]
folders = [
    "/c",
]
# The end.

[appearance]
theme = "tide"

[keymap]
"chat.new" = "ctrl+k"
"""
    )


def test_what_is_saved_is_loaded(config_folder: Path) -> None:
    save_setting("sampling.seed", 7)
    save_setting("chat.system_prompt", 'Say "hi"\nand \\ more\x00 \x1b.')
    save_setting("keymap.pane.next", "f6,ctrl+w")
    settings = load_settings()
    assert settings.sampling.seed == 7
    assert settings.chat.system_prompt == 'Say "hi"\nand \\ more\x00 \x1b.'
    assert settings.keymap == {"pane.next": "f6,ctrl+w"}
    save_setting("sampling.seed", None)
    save_setting("keymap.pane.next", None)
    assert load_settings().sampling.seed is None
    assert load_settings().keymap == {}


@pytest.mark.parametrize(
    "text",
    [
        "sampling.temperature = 0.5\nsampling.top_k = 3\n",
        "sampling = {temperature = 0.5, top_k = 3}\n",
        "[sampling]\ntop_k = 3\ntemperature = 0.5",
        "[sampling]\r\ntop_k = 3\r\ntemperature = 0.5\r\n",
    ],
)
def test_any_layout_of_the_file_will_do(config_folder: Path, text: str) -> None:
    (config_folder / "config.toml").write_bytes(text.encode())
    save_setting("sampling.temperature", 0.9)
    sampling = load_settings().sampling
    assert (sampling.temperature, sampling.top_k) == (0.9, 3)


def test_a_wrong_value_or_name_is_refused_and_nothing_is_written(config_folder: Path) -> None:
    with pytest.raises(SettingsError, match="must be a number from 0 to 5"):
        save_setting("sampling.temperature", 9)
    with pytest.raises(SettingsError, match="did you mean temperature"):
        save_setting("sampling.temprature", None)
    with pytest.raises(SettingsError, match="not a section"):
        save_setting("nowhere.temperature", None)
    with pytest.raises(SettingsError, match="cannot tell ctrl\\+m"):
        save_setting("keymap.chat.new", "ctrl+m")
    assert list(config_folder.iterdir()) == []


def test_a_broken_file_is_not_replaced(config_folder: Path) -> None:
    file = config_folder / "config.toml"
    file.write_text("[model\n# hours of work\n")
    with pytest.raises(SettingsError, match="Nothing was saved"):
        save_setting("sampling.temperature", 0.9)
    assert file.read_text() == "[model\n# hours of work\n"


def test_a_link_into_the_persons_dotfiles_and_its_mode_are_kept(config_folder: Path, tmp_path: Path) -> None:
    real = tmp_path / "dotfiles.toml"
    real.write_text("[model]\n")
    real.chmod(0o600)
    (config_folder / "config.toml").symlink_to(real)
    save_setting("model.device", "cpu")
    assert (config_folder / "config.toml").is_symlink()
    assert tomllib.loads(real.read_text()) == {"model": {"device": "cpu"}}
    assert real.stat().st_mode & 0o777 == 0o600
    assert [file.name for file in config_folder.iterdir()] == ["config.toml"]


LINES = st.sampled_from(
    [
        "[sampling]",
        "[chat]",
        "[keymap]",
        "top_k = 3",
        "seed = 9",
        "# seed = 1",
        "",
        'system_prompt = """',
        '"""',
        'chat.new = "f5"',
        "seed = [",
        "]",
    ]
)


@hypothesis_settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(LINES, max_size=12).map("\n".join), st.sampled_from([None, 5]))
def test_saving_into_any_file_changes_one_value(config_folder: Path, text: str, value: int | None) -> None:
    file = config_folder / "config.toml"
    file.write_text(text)
    try:
        expected = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        with pytest.raises(SettingsError):
            save_setting("sampling.seed", value)
        assert file.read_text() == text
        return
    section = expected.setdefault("sampling", {})
    section.pop("seed", None)
    if value is not None:
        section["seed"] = value
    save_setting("sampling.seed", value)
    assert tomllib.loads(file.read_text()) == expected
