"""Settings come from flags, environment, file and defaults, in this order; every mistake is named with its place."""

from __future__ import annotations

import os
from dataclasses import fields
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from engine.protocol import Sampling
from hugchat_tui.settings import SettingsError, load_settings
from hugchat_tui.settings.kinds import parse_size
from hugchat_tui.settings.schema import SamplingSettings, Settings


def write(folder: Path, text: str) -> None:
    (folder / "config.toml").write_text(text, encoding="utf-8")


def problems(**arguments: object) -> tuple[str, ...]:
    with pytest.raises(SettingsError) as caught:
        load_settings(**arguments)  # type: ignore[arg-type]
    return caught.value.problems


def test_without_a_file_the_usual_values_hold() -> None:
    assert load_settings() == Settings()
    assert load_settings().model.default == "starter"


def test_the_usual_sampling_is_the_protocols() -> None:
    protocol, usual = Sampling(), SamplingSettings()
    names = [each.name for each in fields(usual)]
    assert {name: getattr(usual, name) for name in names} == {name: getattr(protocol, name) for name in names}


def test_flags_beat_the_environment_and_it_beats_the_file(config_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(config_folder, "[sampling]\ntemperature = 0.1\ntop_k = 10\ntop_p = 0.5\nseed = 1\n")
    monkeypatch.setenv("HUGCHAT_SAMPLING_TOP_K", "20")
    monkeypatch.setenv("HUGCHAT_SAMPLING_TOP_P", "0.6")
    monkeypatch.setenv("HUGCHAT_SAMPLING_SEED", "none")
    sampling = load_settings({"sampling.top_p": 0.7, "sampling.min_p": "0.2", "sampling.top_k": None}).sampling
    assert (sampling.temperature, sampling.top_k, sampling.top_p, sampling.min_p, sampling.seed) == (
        (0.1, 20, 0.7, 0.2, None)
    )


def test_every_kind_of_value_is_read(config_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(
        config_folder,
        """
        [model]
        default = "Qwen/Qwen3-0.6B"
        device = "cuda:1"
        folders = ["~/models", "/data"]
        [chat]
        system_prompt = '''Be
        brief.'''
        [engine]
        memory_budget = "1.5GiB"
        [keymap]
        chat.new = "ctrl+k"
        "chat.jump" = "f10,ctrl+o"
        """,
    )
    settings = load_settings()
    assert settings.model.default == "Qwen/Qwen3-0.6B"
    assert settings.model.folders == ("~/models", "/data")
    assert settings.chat.system_prompt == "Be\n        brief."
    assert settings.engine.memory_budget_bytes == 3 * 2**29
    assert settings.keymap == {"chat.new": "ctrl+k", "chat.jump": "f10,ctrl+o"}
    monkeypatch.setenv("HUGCHAT_MODEL_FOLDERS", os.pathsep.join(["/a", "/b c"]))
    monkeypatch.setenv("HUGCHAT_ENGINE_MEMORY_BUDGET", "auto")
    assert load_settings().model.folders == ("/a", "/b c")
    assert load_settings().engine.memory_budget_bytes is None


@pytest.mark.parametrize(
    ("text", "line", "problem"),
    [
        (
            "[chat]\n\n[sampling]\n# warmer\ntop_k = 5\n\ntemprature = 1\n",
            7,
            "[sampling] temprature is not a setting; did you mean temperature?",
        ),
        (
            '[sampling]\ntemperature = "hot"',
            2,
            '[sampling] temperature must be a number from 0 to 5, not "hot".',
        ),
        ("[sampling]\ntop_p = 0", 2, "[sampling] top_p must be a number above 0 and at most 1, not 0."),
        ("[sampling]\ntop_k = 0.5", 2, "[sampling] top_k must be a whole number from 0 to 1000000, not 0.5."),
        ("[sampling]\ntop_k = true", 2, "[sampling] top_k must be a whole number from 0 to 1000000, not true."),
        ("[sampling]\ntemperature = nan", 2, "[sampling] temperature must be a number from 0 to 5, not nan."),
        ('[model]\ndtype = "float8"', 2, '[model] dtype must be auto, float32, bfloat16 or float16, not "float8".'),
        ('[model]\ndevice = "gpu"', 2, '[model] device must be auto, cpu, cuda, cuda:N or mps, not "gpu".'),
        ("[model]\ntop_k = 5", 2, "[model] top_k is not a setting; did you mean top_k in [sampling]?"),
        ("[samplng]\ntop_k = 5\ntop_p = 1", 1, "[samplng] is not a section; did you mean sampling?"),
        ('theme = "nord"', 1, "theme is not a section; did you mean theme in [appearance]?"),
        ("sampling = 5", 1, "[sampling] must be a section, not 5."),
        ("[model]\nfolders = [\n  1,\n]\n", 2, "[model] folders must be a list of folders, not [1]."),
        (
            'chat.system_prompt = """\ntop_k = 1\n"""\n[sampling]\ntop_k = -1',
            5,
            "[sampling] top_k must be a whole number from 0 to 1000000, not -1.",
        ),
        ("[model]\ndevice = \n", 2, "Invalid value."),
        ("[model]\n[model]\n", 2, "Cannot declare ('model',) twice."),
        ('[keymap]\n"chat.nev" = "f5"', 2, "[keymap] chat.nev is not a binding; did you mean chat.new?"),
        ("[keymap]\nchat.new = 5", 2, '[keymap] chat.new must be keys such as "ctrl+n" or "f7,f8", not 5.'),
        ('[keymap]\nchat.new = "ctrl+m"', 2, "[keymap] chat.new: many terminals cannot tell ctrl+m from enter."),
    ],
)
def test_a_mistake_in_the_file_is_named_with_its_line(config_folder: Path, text: str, line: int, problem: str) -> None:
    write(config_folder, text)
    assert problems(bindings=["chat.new", "chat.jump"]) == (f"config.toml, line {line}: {problem}",)


def test_a_file_that_ends_too_soon_says_so(config_folder: Path) -> None:
    write(config_folder, "[model")
    assert problems() == ("config.toml, at its end: Expected ']' at the end of a table declaration.",)


@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        (
            "HUGCHAT_SAMPLING_TOP_P",
            "2",
            "environment variable HUGCHAT_SAMPLING_TOP_P: [sampling] top_p must be a number above 0 and at most 1, "
            'not "2".',
        ),
        (
            "HUGCHAT_SAMPLING_TOPK",
            "2",
            "environment variable HUGCHAT_SAMPLING_TOPK: it names no setting; did you mean HUGCHAT_SAMPLING_TOP_K?",
        ),
        (
            "HUGCHAT_ENGINE_MEMORY_BUDGET",
            "12 Gigs",
            "environment variable HUGCHAT_ENGINE_MEMORY_BUDGET: [engine] memory_budget must be a size such as "
            '"12GiB" or "800MiB", or "auto", not "12 Gigs".',
        ),
    ],
)
def test_a_mistake_in_the_environment_names_the_variable(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, problem: str
) -> None:
    monkeypatch.setenv(name, value)
    monkeypatch.setenv("HUGCHAT_DATA_DIR", "/elsewhere")  # no setting, and no mistake
    assert problems() == (problem,)


def test_a_mistake_on_the_command_line_says_so() -> None:
    assert problems(flags={"model.dtype": "half", "samplin.seed": 1}) == (
        'command line: [model] dtype must be auto, float32, bfloat16 or float16, not "half".',
        "command line: [samplin] is not a section; did you mean sampling?",
    )


def test_all_mistakes_come_together_and_the_rest_is_usable(
    config_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(config_folder, '[sampling]\ntop_k = 7\ntop_p = 7\n[appearance]\ntheme = "tide"\nsidebar = 1\n')
    monkeypatch.setenv("HUGCHAT_ENGINE_WORKER_NICENESS", "high")
    with pytest.raises(SettingsError) as caught:
        load_settings({"chat.prompt": "?"})
    assert len(caught.value.problems) == 4
    assert str(caught.value).splitlines() == list(caught.value.problems)
    usable = caught.value.usable
    assert (usable.sampling.top_k, usable.sampling.top_p, usable.appearance.theme) == (7, 0.95, "tide")


def test_a_file_that_cannot_be_read_is_a_mistake_not_a_crash(config_folder: Path) -> None:
    (config_folder / "config.toml").write_bytes(b"\xff\xfe")
    assert "cannot be read" in problems()[0]
    (config_folder / "config.toml").unlink()
    (config_folder / "config.toml").mkdir()
    assert "cannot be read" in problems()[0]


@hypothesis_settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(st.sampled_from("[]=\"'.,\n#\\ samplingtop_k01e-\ud800\0é"), max_size=60))
def test_any_file_gives_settings_or_problems(config_folder: Path, text: str) -> None:
    (config_folder / "config.toml").write_bytes(text.encode("utf-8", "surrogatepass"))
    try:
        load_settings()
    except SettingsError as error:
        assert error.problems
        assert error.usable == Settings()


def test_a_value_of_a_megabyte_is_quoted_in_part(config_folder: Path) -> None:
    write(config_folder, f'[model]\ndevice = "{"x" * 1_000_000}"')
    (problem,) = problems()
    assert len(problem) < 200
    assert "1,000,002 characters" in problem


@pytest.mark.parametrize(
    ("text", "size"),
    [("12GiB", 12 << 30), ("12g", 12 << 30), ("12 GB", 12 * 10**9), ("800MiB", 800 << 20), ("1.5K", 1536), ("7", 7)],
)
def test_sizes(text: str, size: int) -> None:
    assert parse_size(text) == size
