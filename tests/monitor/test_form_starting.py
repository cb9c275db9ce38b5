"""The form while something slow goes on behind it: checking, reading a recipe, looking at folders."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from hugchat_tui.monitor import form_actions, form_facts
from hugchat_tui.monitor.form_completion import candidates
from hugchat_tui.monitor.form_facts import FactFinder, Facts, find_facts
from hugchat_tui.monitor.form_fields import FIRST_DATA
from sft import config
from sft.config import Recipe
from sft.packaged import packaged_recipe
from sft.recipe_fields import Problem
from tests.chat.driving import Home
from tests.monitor.form_driving import form, some_rows, tiny_base

SHORT = config.with_values(Recipe(), {"data.max_length": 96, "launch.device": "cpu"})


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    monkeypatch.chdir(tmp_path)
    return Home(tmp_path, monkeypatch)


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    """What is slow waits for it."""
    gate = threading.Event()
    yield gate
    gate.set()


async def test_a_run_that_starts_while_another_mode_is_shown_is_handed_over_when_the_form_is_seen_again(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gate: threading.Event
) -> None:
    def slowly(*arguments: object) -> Facts:
        gate.wait(10)
        return find_facts(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(form_actions, "find_facts", slowly)
    monkeypatch.setattr(form_actions, "start", lambda recipe, run: None)
    async with form(home, base=tiny_base(tmp_path), data=[some_rows(tmp_path)], recipe=SHORT) as it:
        await it.fill("name", "harbour")
        await it.press("ctrl+r")
        await it.until(lambda: it.form.doing, "the check")
        await it.press("x", "backspace", "ctrl+u", "ctrl+t", "ctrl+e", "enter", "tab")
        assert it.value("name") == "harbour" == it.form.body.input.value, "what is checked is not changed"
        assert it.app.screen is it.form
        await it.press("f5")
        await it.until(lambda: it.app.screen is not it.form, "the library")
        gate.set()
        await it.until(lambda: it.form._ends_with is not None, "the run")
        assert not it.ended
        await it.press("f5")
        await it.until(lambda: it.ended, "the end of the form")
        assert it.made[0] is not None and it.made[0].name == "harbour"
        await it.until(lambda: it.app.screen is it.screen, "the chat")


async def test_data_of_no_known_format_is_refused_at_its_field_until_it_is_mended(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(form_actions, "start", lambda recipe, run: None)
    rows = tmp_path / "harbour-rows.jsonl"
    rows.write_text('{"colour": "red", "size": 3}\n' * 20, "utf-8")
    async with form(home, base=tiny_base(tmp_path), data=[str(rows)], recipe=SHORT) as it:
        await it.fill("name", "harbour")
        await it.start()  # before anything is known of the data
        assert "are of no format that is known" in it.problems()[FIRST_DATA]
        assert it.form.body.place == FIRST_DATA and not it.ended
        some_rows(tmp_path)
        await it.start()
        await it.until(lambda: it.ended, "the start with other rows in the same file")


async def test_rows_that_are_known_to_be_bad_are_refused(home: Home, tmp_path: Path) -> None:
    (tmp_path / "bad.jsonl").write_text('{"instruction": "", "output": 3}\n' * 3, "utf-8")
    some_rows(tmp_path)
    async with form(home, base=tiny_base(tmp_path), data=["*.jsonl"], recipe=SHORT) as it:
        await it.until(lambda: it.form.finder.problems, "the count")
        await it.start()
        assert "3 of 63 rows cannot be used" in it.problems()[FIRST_DATA]
        assert not it.ended


async def test_a_form_that_was_refused_is_filled_in_further(home: Home) -> None:
    async with form(home, recipe=SHORT) as it:
        await it.start()
        assert it.problems()
        await it.fill("name", "harbour")


async def test_a_recipe_that_is_read_while_a_number_is_typed_leaves_it_alone(
    home: Home, monkeypatch: pytest.MonkeyPatch, gate: threading.Event
) -> None:
    def slowly(name: str) -> Recipe:
        gate.wait(10)
        return packaged_recipe(name).recipe()

    monkeypatch.setattr(form_actions, "read_recipe", slowly)
    async with form(home) as it:
        await it.fill("recipe", "gpt2-xl")
        await it.to("training.learning_rate")
        await it.press("ctrl+u", *"1e-")
        gate.set()
        base = packaged_recipe("gpt2-xl").recipe().model.base
        await it.until(lambda: it.value("model.base") == base, "the recipe")
        assert it.form.body.input.value == "1e-"
        await it.press("4")
        await it.until(lambda: it.form.draft.value("training.learning_rate") == 1e-4, "the number")


def test_links_that_lead_nowhere_are_no_candidates(home: Home, tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    some_rows(tmp_path)
    found = candidates(FIRST_DATA, "./")
    assert "./harbour-rows.jsonl" in found and not any("loop" in each for each in found)


@pytest.mark.parametrize("path", ["/", "~/", "/**/*.jsonl"])
def test_a_folder_is_not_walked_while_its_path_is_typed(home: Home, monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    walked: list[str] = []
    monkeypatch.setattr(form_facts, "files_of", lambda source: walked.append(source.path))
    recipe = config.with_values(SHORT, {"data.sources": [{"path": path}, {"path": "rows.jsonl"}]})
    facts = find_facts(recipe, "", "", [], typing=FIRST_DATA)
    assert walked == ["rows.jsonl"]
    assert Problem(FIRST_DATA, "is looked at when the cursor leaves it") in facts.problems and not facts.can_be_read
    find_facts(recipe, "", "", [])
    assert walked[1:] == [path, "rows.jsonl"]


async def test_one_recipe_is_looked_at_at_a_time_and_the_newest_is_shown(
    monkeypatch: pytest.MonkeyPatch, gate: threading.Event
) -> None:
    asked: list[str] = []
    begun = threading.Event()

    def slowly(recipe: Recipe, name: str, output: str, folders: object, *, typing: str) -> Facts:
        asked.append(name)
        begun.set()
        gate.wait(10)
        return Facts(recipe, [Problem("name", name)])

    monkeypatch.setattr(form_facts, "find_facts", slowly)
    found = asyncio.Event()
    finder = FactFinder([], found.set)
    for name in ("a", "ab", "abc"):
        finder.ask(SHORT, name, "")
        await asyncio.to_thread(begun.wait)
    assert asked == ["a"]
    gate.set()
    await asyncio.wait_for(found.wait(), 20)
    assert asked == ["a", "abc"]
    assert finder.facts is not None and finder.facts.problems == [Problem("name", "abc")]
    await finder.close()
