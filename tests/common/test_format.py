"""Numbers, times and names as they are shown."""

from __future__ import annotations

import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from rich.cells import cell_len

from hugchat_tui.common import format as fmt


@pytest.mark.parametrize(
    ("value", "disk", "memory", "parameters"),
    [
        (0, "0 B", "0 B", ""),
        (999, "999 B", "999 B", "999"),
        (999_950, "1.0 MB", "977 KiB", "1.0M"),
        (134_515_008, "135 MB", "128 MiB", "135M"),
        (1_235_814_400, "1.2 GB", "1.2 GiB", "1.2B"),
        (9_960_000_000, "10 GB", "9.3 GiB", "10B"),
        (1_500_000_000_000, "1.5 TB", "1.4 TiB", "1.5T"),
    ],
)
def test_sizes_and_parameters(value: int, disk: str, memory: str, parameters: str) -> None:
    assert fmt.file_size(value) == disk
    assert fmt.memory_size(value) == memory
    assert fmt.parameter_count(value) == parameters


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.423, "0.42 s"),
        (0.997, "1.0 s"),
        (4.24, "4.2 s"),
        (9.96, "10 s"),
        (59.7, "1 min 00 s"),
        (185, "3 min 05 s"),
        (3599.6, "1 h 00 min"),
        (8040, "2 h 14 min"),
        (300_000, "3 d 11 h"),
    ],
)
def test_durations_never_show_sixty_of_anything(seconds: float, text: str) -> None:
    assert fmt.duration(seconds) == text


def test_rates_and_counts() -> None:
    assert (fmt.rate(4.24), fmt.rate(9.97), fmt.rate(138.2)) == ("4.2", "10", "138")
    assert (fmt.counted(1, "line"), fmt.counted(1902, "line")) == ("1 line", "1,902 lines")
    assert fmt.grouped(8192) == "8,192"


def test_moments_get_shorter_the_nearer_they_are() -> None:
    now = time.mktime((2026, 3, 18, 15, 30, 0, 0, 0, -1))
    day = 86_400
    assert fmt.moment(now - 3600, now) == "14:30"
    assert fmt.moment(now - 2 * day, now) == "Mon 15:30"
    assert fmt.moment(now - 7 * day, now) == "11 Mar"
    assert fmt.moment(now - 400 * day, now).endswith(" 2025")


_HARD = st.text(st.sampled_from("ab/ 你好é\u0301👨\u200d👩👧🏽🇩🇪\u200b"), max_size=60)


@given(_HARD, st.integers(0, 40))
@example("\u200d\u200d👧", 1)
def test_shortened_text_never_exceeds_its_cells(text: str, cells: int) -> None:
    end, start = fmt.shorten(text, cells), fmt.shorten_start(text, cells)
    assert cell_len(end) <= cells
    assert cell_len(start) <= cells
    assert cell_len(fmt.fit(text, cells)) == cells
    if cell_len(text) <= cells:
        assert end == start == text
    elif cells:
        assert end.endswith("…")
        assert start.startswith("…")
        assert text.startswith(end[:-1])
        assert text.endswith(start[1:])


def test_a_wide_character_or_a_family_is_never_halved() -> None:
    assert fmt.shorten("你好世界", 4) == "你…"
    assert fmt.shorten("👨‍👩‍👧 family", 4) == "👨‍👩‍👧…"
    assert fmt.shorten_start("/models/世界", 4) == "…界"


def test_the_middle_of_a_name_is_left_out_and_both_ends_stay() -> None:
    name = "trial/a-very-long-model-name-instruct"
    assert fmt.shorten_middle(name, 20) == "trial/a-ve…-instruct"
    assert fmt.shorten_middle(name, 100) == name
    for cells in range(40):
        assert cell_len(fmt.shorten_middle("名前/漢字かな交じり文の長い名前-instruct", cells)) <= cells


def test_parts_of_a_message_are_closed_with_a_full_stop_each() -> None:
    assert fmt.sentences("Connection refused", "", "Check the network.") == "Connection refused. Check the network."
