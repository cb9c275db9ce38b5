"""The texts of the details, without a screen."""

from __future__ import annotations

import pytest
from rich.cells import cell_len

from engine.checkpoints.hub_queries.messages import HubFile, HubRepository
from hugchat_tui.common.wrapping import wrapped
from hugchat_tui.library.hub_sections import repository_sections
from hugchat_tui.library.sections import facts, fenced, file_lines


@pytest.mark.parametrize("width", [20, 40, 80])
def test_facts_stand_in_two_columns_and_wrap_behind_the_second(width: int) -> None:
    text = facts(
        [("path", "/a/very/long/path/without/any/blank/in/it"), ("why", "many short words " * 4), ("no", "")], width
    )
    lines = text.splitlines()
    assert max(map(cell_len, lines)) <= max(width, 12 + 16)
    assert lines[0].startswith("path        /a") and not any(line.startswith("no") for line in lines)
    assert all(line.startswith(("path", "why", " " * 12)) for line in lines)


def test_a_value_cannot_begin_a_line_of_its_own() -> None:
    assert facts([("licence", "mit\nin memory   fits")], 80) == "licence     mit\u21b5in memory   fits"


def test_wrapping_keeps_every_character() -> None:
    text = "one two-three " + "x" * 50
    assert "".join(wrapped(text, 10)).replace(" ", "") == text.replace(" ", "")
    assert wrapped("", 10) == [""]


def test_a_template_cannot_leave_its_code_block() -> None:
    template = "a\n````\n# Heading\n```"
    block = fenced(template, "jinja")
    assert block.startswith("`````jinja\n") and block.endswith("\n`````") and template in block


def test_of_very_many_files_the_largest_are_listed_and_the_rest_is_counted() -> None:
    lines = file_lines([(f"file-{number}", number) for number in range(1000)]).splitlines()
    assert "file-999" in lines[0] and len(lines) == 41
    assert lines[-1].endswith("in 960 smaller ones")


def test_what_is_left_out_of_a_description_is_said() -> None:
    repository = HubRepository(
        repo_id="org/x",
        revision="main",
        sha="a" * 40,
        files=[HubFile("model.safetensors", 10, "d", True)],
        chosen=["model.safetensors"],
        left_out=("The card could not be read.",),
    )
    titles = {entry.title: entry.text for entry in repository_sections(repository, "https://hub/org/x", 60)}
    assert titles["Not known"] == "The card could not be read."
    assert "Other files" not in titles
