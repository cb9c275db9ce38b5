"""The form that starts a run: by keys, in the real app, with real data and runs that are really started."""

from __future__ import annotations

import asyncio
import os
from contextlib import nullcontext
from pathlib import Path

import pytest
from textual.content import Content
from textual.widgets import Button

from hugchat_tui.app import HugChatApp
from hugchat_tui.common.dialogs import ChoiceDialog, ConfirmDialog
from hugchat_tui.common.tones import WARN
from hugchat_tui.monitor import form_facts
from hugchat_tui.monitor.form_completion import gone_on
from hugchat_tui.monitor.form_fields import FIRST_DATA, Draft, field_at
from hugchat_tui.monitor.form_rows import UNITS, rows
from sft import config
from sft.config import Recipe
from sft.events import EventWriter
from sft.launch import kill
from sft.packaged import packaged_recipe, packaged_recipes
from sft.recipe_fields import fields_of
from sft.runs import create_run, list_runs, read_status
from tests.chat.driving import Home
from tests.monitor.form_driving import form, some_rows, tiny_base

NO_UNIT = {"version", "model", "seed", "alpha", "learning_rate", "weight_decay", "beta1", "beta2", "epsilon"}
NO_UNIT |= {"clip_norm", "neftune_alpha", "zero", "nice"}

SHORT = config.with_values(Recipe(), {"data.max_length": 96})  # the tiny checkpoint was built for 256 tokens


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    monkeypatch.chdir(tmp_path)
    return Home(tmp_path, monkeypatch)


async def test_what_is_filled_in_by_keys_is_the_run_that_goes_on_by_itself(home: Home, tmp_path: Path) -> None:
    base, data = tiny_base(tmp_path), some_rows(tmp_path)
    async with form(home) as it:
        await it.fill("model.base", base)
        await it.fill("data.sources[0].path", data)
        await it.fill("data.max_length", "96")
        await it.fill("training.max_steps", "3")
        await it.fill("evaluation.prompts[0]", "What does the mill hold?")
        await it.fill("name", "harbour")
        await it.to("launch.device")
        await it.press("right")  # cpu
        await it.start()
        await it.until(lambda: it.ended, "the run")
        made = it.made[0]
        assert made is not None
        assert (made.name, made.path) == ("harbour", home.data / "runs" / "harbour")
        recipe = config.load(made.recipe)
        assert (recipe.model.base, recipe.data.sources[0].path) == (base, data)
        assert (recipe.data.max_length, recipe.training.max_steps, recipe.launch.device) == (96, 3, "cpu")
        assert recipe.evaluation.prompts == ("What does the mill hold?",)
        assert read_status(made).host, "it was started"
        kill(made)
        await it.until(lambda: not read_status(made).going, "its end")


async def test_each_problem_stands_at_its_field_and_the_first_has_the_focus(home: Home, tmp_path: Path) -> None:
    create_run(Recipe(), home.data, name="taken")
    async with form(home, base=tiny_base(tmp_path), recipe=SHORT) as it:
        await it.start()
        assert it.problems() == {"data.sources[0].path": "is empty: name a file, a folder, a glob or a corpus"}
        assert it.form.body.place == "data.sources[0].path"
        await it.fill("training.learning_rate", "fast")
        await it.fill("training.max_steps", "2.5")
        await it.fill("data.sources[0].path", "nothere.jsonl")
        await it.fill("training.batch_size", "0")
        await it.to("training")
        await it.press("left")  # fold it: what is wrong is to be seen all the same
        await it.until(lambda: it.form.finder.problems, "the look at the data")
        await it.start()
        missing = it.problems().pop("data.sources[0].path")
        assert "nothere.jsonl is no file" in missing
        assert it.problems() == {
            "data.sources[0].path": missing,
            "training.learning_rate": '"fast" is no number',
            "training.max_steps": '"2.5" is no whole number',
            "training.batch_size": "0 is below 1",
        }
        assert it.form.body.place == "data.sources[0].path"
        for place, text in (("training.learning_rate", "1e-4"), ("training.max_steps", "2")):
            await it.fill(place, text)
        await it.fill("training.batch_size", "1")
        await it.start()
        assert "nothere.jsonl is no file" in it.problems()["data.sources[0].path"]
        await it.fill("data.sources[0].path", some_rows(tmp_path))
        await it.fill("name", "taken")
        await it.start()
        assert it.problems() == {
            "name": "There is a run taken already. Choose another name, or go on with it: hugchat sft resume taken"
        }
        await it.fill("name", "new one")
        await it.start()
        assert "cannot be the name of a run" in it.problems()["name"]
        assert [run.name for run in list_runs(home.data)] == ["taken"]


async def test_a_wrong_number_hides_nothing_that_is_wrong_with_the_data(home: Home, tmp_path: Path) -> None:
    async with form(home, base=tiny_base(tmp_path), data=["/no/such/x.jsonl"], recipe=SHORT) as it:
        await it.to("method.rank")
        await it.until(lambda: FIRST_DATA in it.problems(), "the look at the data")
        await it.until(lambda: "Rows are counted once data can be read." in it.preview(), "what is waited for")
        await it.press("ctrl+u", "backspace", "down")
        await it.until(lambda: "method.rank" in it.problems(), "the wrong number")
        assert "/no/such/x.jsonl is no file" in it.problems()[FIRST_DATA]
        await it.fill(FIRST_DATA, some_rows(tmp_path))
        await it.until(lambda: "60 rows become 60 documents" in it.preview(), "the count, whatever the rank")
        assert set(it.problems()) == {"method.rank"}


async def test_a_base_that_cannot_be_used_is_told_at_its_field(home: Home, tmp_path: Path) -> None:
    async with form(home, base="org/nothere", data=[some_rows(tmp_path)]) as it:
        await it.start()
        assert "f5" in it.problems()["model.base"]
        await it.fill("model.base", str(tmp_path / "empty"))
        await it.start()
        assert it.problems()["model.base"]
        assert it.form.body.place == "model.base"
        assert not it.ended


def spoil(path: Path) -> None:
    """Add a row that cannot be used and one that was there before."""
    lines = path.read_text("utf-8").splitlines()
    path.write_text("\n".join([*lines, '{"instruction": "", "output": 3}', lines[0], ""]), "utf-8")


async def test_the_preview_counts_rows_tokens_and_steps_and_tells_what_is_trained(home: Home, tmp_path: Path) -> None:
    data = some_rows(tmp_path, 60)
    spoil(Path(data))
    async with form(home, base=tiny_base(tmp_path), data=[data]) as it:
        await it.found_out()
        counted = it.form.finder.data.counted
        assert counted is not None
        assert (counted.meta.rows, counted.meta.documents) == (62, 60)
        await it.until(lambda: "60 documents" in it.preview(), "it to be drawn")
        text = it.preview()
        assert "left out: 1 duplicate, 1 unusable" in text
        assert f"{counted.meta.tokens:,} tokens, {counted.meta.trained_tokens:,} trained" in text
        assert "The harbour holds 0 barrels of oil and salt." in text
        assert "sft.supervise" in text and "sft.training" in text
        trained = [line for line in it.form.preview._lines if "The harbour holds 0 barrels" in line.plain]
        styles = {str(span.style) for line in trained for span in line.spans}
        assert "$text-success underline" in styles, "colour alone is not for everybody"
        steps = -(-3 * counted.packs // 8)
        assert f"{steps} step" in it.text()
        await it.fill("training.max_steps", "5")
        await it.until(lambda: "5 steps" in it.preview(), "the other number of steps")
        assert it.form.finder.data.counted is counted, "the data is not read anew for that"


async def test_too_few_steps_to_learn_anything_are_warned_of(home: Home, tmp_path: Path) -> None:
    def title_in(tone: str) -> list[str]:
        title = it.form._title.content
        assert isinstance(title, Content)
        return [title.plain[span.start : span.end] for span in title.spans if span.style == tone]

    async with form(home, base=tiny_base(tmp_path), data=[some_rows(tmp_path, 3)], recipe=SHORT) as it:
        await it.until(lambda: "1 step in all: too few to learn anything." in it.preview(), "the warning")
        assert "Set max steps, more epochs or a smaller accumulation." in it.preview()
        assert any("1 step" in words for words in title_in(WARN)), "the title warns, too"
        await it.fill("training.max_steps", "4")
        await it.until(lambda: "4 steps in all" in it.preview(), "the other number of steps")
        assert "Raise max steps." in it.preview()
        await it.fill("training.max_steps", "10")
        await it.until(lambda: "10 steps of" in it.preview(), "enough of them")
        assert "too few" not in it.preview() and not any("step" in words for words in title_in(WARN))


async def test_the_preview_says_one_and_many_in_plain_numbers(home: Home, tmp_path: Path) -> None:
    async with form(home, base=tiny_base(tmp_path), data=[some_rows(tmp_path, 1)], recipe=SHORT) as it:
        await it.fill("training.max_steps", "200")
        await it.until(lambda: "200 steps of 8 input rows: 1,600 times 1 input row" in it.preview(), "the steps")
        assert "1 row becomes 1 document" in it.preview()


async def test_what_decides_the_data_makes_it_read_anew(home: Home, tmp_path: Path) -> None:
    async with form(home, base=tiny_base(tmp_path), data=[some_rows(tmp_path)]) as it:
        await it.found_out()
        await it.fill("data.max_length", "80")
        await it.until(lambda: "would be cut" in it.preview() and "fit in 80" in it.preview(), "the other lengths")


async def test_the_recipe_comes_back_from_the_editor(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A text that is no recipe is not lost: it is there when the editor is opened again."""
    monkeypatch.setattr(HugChatApp, "suspend", lambda app: nullcontext())
    editor = tmp_path / "editor.py"
    monkeypatch.setenv("EDITOR", f"{os.sys.executable} {editor}")  # type: ignore[attr-defined]
    replace = (
        "import sys, pathlib\np = pathlib.Path(sys.argv[1])\nt = p.read_text()\np.write_text(t.replace({!r}, {!r}))\n"
    )
    async with form(home, base=tiny_base(tmp_path), data=[some_rows(tmp_path)]) as it:
        await it.fill("training.epochs", "5")
        editor.write_text(replace.format("epochs = 5.0", 'epochs = 7.0\nnonsense = "kept"'))
        await it.press("ctrl+e")
        await it.until(lambda: isinstance(it.app.screen, ConfirmDialog), "what is wrong")
        assert "training.nonsense: there is no such key" in it.text()
        await it.press("l")
        await it.until(lambda: it.app.screen is it.form, "the form")
        assert it.value("training.epochs") == "5"
        editor.write_text(
            replace.format('nonsense = "kept"', "beta2 = 0.95").replace(
                "t.replace", "t.replace('beta2 = 0.999', '').replace"
            )
        )
        await it.press("ctrl+e")
        await it.until(lambda: it.value("training.epochs") == "7", "the text of before, mended")
        assert it.value("training.beta2") == "0.95"
        assert it.form.draft.is_changed("training.beta2") and not it.form.draft.is_changed("training.beta1")
        assert it.value("data.sources[0].path") == some_rows(tmp_path)


async def test_another_recipe_changes_what_was_left_as_it_was(home: Home, tmp_path: Path) -> None:
    async with form(home) as it:
        await it.fill("training.epochs", "9")
        assert it.value("training.learning_rate") == str(packaged_recipe("starter").recipe().training.learning_rate)
        await it.fill("recipe", "gpt2-xl")
        await it.press("enter")
        wanted = packaged_recipe("gpt2-xl").recipe()
        await it.until(lambda: it.value("model.base") == wanted.model.base, "its base")
        assert (it.value("training.epochs"), it.value("method.kind")) == ("9", wanted.method.kind)
        await it.fill("recipe", "gpt3")
        await it.press("enter")
        await it.until(lambda: "recipe" in it.problems(), "the problem")
        assert "No recipe is called" in it.problems()["recipe"]


async def test_the_made_name_follows_a_base_that_is_not_here(home: Home) -> None:
    async with form(home, data=["rows.jsonl"]) as it:
        await it.until(lambda: it.form.body.list.made.get("name", "").startswith("starter-rows-"), "the name")
        await it.fill("recipe", "gpt2-xl")
        await it.press("enter")
        await it.until(lambda: it.form.body.list.made["name"].startswith("gpt2-xl-rows-"), "the other name")


async def test_no_steps_say_what_they_mean(home: Home) -> None:
    async with form(home, size=(80, 24)) as it:
        assert "steps · default 0, as epochs say" in next(
            line for line in it.text().splitlines() if "max steps" in line
        )


async def test_the_footer_names_the_same_keys_in_the_form_and_in_the_preview(home: Home) -> None:
    def keys() -> dict[str | None, str]:
        return {binding.id: binding.key for binding in it.form.key_bar.bindings()}

    async with form(home) as it:
        before = keys()
        await it.press("f6")
        await it.until(lambda: it.form.preview.has_focus, "the preview")
        assert keys()["form.editor"] == before["form.editor"] == "ctrl+g"


async def test_an_earlier_runs_recipe_is_kept_whatever_the_base(home: Home, tmp_path: Path) -> None:
    recipe = config.with_values(packaged_recipe("starter").recipe(), {"training.epochs": 11.0})
    async with form(home, recipe=recipe) as it:
        await it.fill("model.base", tiny_base(tmp_path))
        await it.press("down", "down")
        assert it.value("training.epochs") == "11"


async def test_sections_unfold_and_choices_are_made_by_keys(home: Home) -> None:
    async with form(home, size=(80, 24)) as it:
        assert not any(row.place == "checkpoints.keep" for row in it.rows)
        await it.to("checkpoints.keep")
        await it.press("ctrl+u", "5")
        await it.to("method.kind")
        await it.press("right")
        assert it.value("method.kind") == "full"
        assert not any(row.place == "method.rank" for row in it.rows), "all weights have no rank"
        await it.press("left")
        assert it.value("method.kind") == "lora"
        await it.to("data.packing")
        await it.press("space")
        assert it.value("data.packing") == "no"
        recipe, _ = it.form.draft.read()
        assert recipe is not None
        assert (recipe.checkpoints.keep, recipe.data.packing) == (5, False)
        await it.to("checkpoints")
        assert "● changed" in next(line for line in it.text().splitlines() if "What is kept" in line)


async def test_several_sources_and_one_that_is_emptied(home: Home) -> None:
    async with form(home) as it:
        await it.fill("data.sources[0].path", "a.jsonl")
        await it.fill("data.sources[1].path", "b c.jsonl")
        await it.fill("data.sources[2].path", "alpaca")
        await it.fill("data.sources[1].path", "")
        await it.press("down")
        assert (it.form.body.place, it.form.body.input.value) == ("data.sources[1].path", "alpaca"), "moved up"
        recipe, _ = it.form.draft.read()
        assert recipe is not None
        assert [source.path for source in recipe.data.sources] == ["a.jsonl", "alpaca"]
        await it.fill("data.sources[1].weight", "0.25")
        recipe, _ = it.form.draft.read()
        assert recipe is not None
        assert [source.weight for source in recipe.data.sources] == [1.0, 0.25]


async def test_tab_goes_on_with_a_path_and_then_to_the_next_field(home: Home, tmp_path: Path) -> None:
    some_rows(tmp_path)
    (tmp_path / "folder-of-rows").mkdir()
    (tmp_path / "folder-of-rows" / "x.jsonl").touch()
    (tmp_path / "folder-of-rows" / "notes.md").touch()
    async with form(home) as it:
        await it.fill("data.sources[0].path", "fold")
        await it.press("tab")
        await it.until(lambda: it.value("data.sources[0].path") == "folder-of-rows/", "the folder")
        await it.press("tab")
        await it.until(lambda: it.value("data.sources[0].path") == "folder-of-rows/x.jsonl", "the only file with rows")
        await it.press("tab")
        await it.until(lambda: it.form.body.place == "data.sources[1].path", "the next field")
    assert gone_on("a", ["abc", "abd"]) == "ab"
    assert gone_on("ab", ["abc", "abd"]) == "ab"


async def test_what_is_typed_right_behind_a_key_goes_where_that_key_leads(home: Home) -> None:
    async with form(home) as it:
        await it.to("model.base")
        it.type_ahead("down", *"rows.jsonl", "down", "down", "right", "down", "ctrl+u", *"20")
        await it.until(lambda: it.value("data.max_length") == "20", "the last of it")
        assert (it.value("data.sources[0].path"), it.value("method.kind")) == ("rows.jsonl", "full")


async def test_escape_asks_only_when_something_would_be_lost(home: Home) -> None:
    async with form(home) as it:
        await it.press("escape")
        await it.until(lambda: it.ended, "its end")
        assert it.made == [None]
    async with form(home) as it:
        await it.fill("name", "x")
        await it.press("escape")
        await it.until(lambda: isinstance(it.app.screen, ConfirmDialog), "the question")
        await it.press("s")
        await it.until(lambda: it.app.screen is it.form, "the form")
        assert it.value("name") == "x"
        await it.press("escape")
        await it.until(lambda: bool(it.app.screen.query(Button)), "the question")
        await it.press("l")
        await it.until(lambda: it.ended, "its end")


async def test_on_a_small_screen_the_preview_takes_the_place_of_the_form(home: Home, tmp_path: Path) -> None:
    async with form(home, size=(80, 24), base=tiny_base(tmp_path), data=[some_rows(tmp_path)]) as it:
        await it.found_out()
        await it.press("f6")
        await it.until(lambda: "60 rows become 60 documents" in it.text(), "the preview")
        before = it.text()
        await it.press("pagedown")
        await it.until(lambda: it.text() != before, "it to scroll")
        await it.press("escape")
        await it.until(lambda: "learning rate" in it.text(), "the form")
        assert it.form.focused is it.form.body.input


@pytest.mark.parametrize("size", [(120, 36), (160, 48)])
async def test_a_start_that_is_refused_in_the_preview_leads_to_the_wrong_field(
    home: Home, tmp_path: Path, size: tuple[int, int]
) -> None:
    async with form(home, size=size, base=tiny_base(tmp_path), recipe=SHORT) as it:
        await it.press("f6")
        await it.until(lambda: it.form.preview.has_focus, "the preview")
        await it.start()
        await it.until(lambda: "is empty: name a file" in it.text(), "the form")
        await it.press("x")
        assert (it.form.body.place, it.value(FIRST_DATA)) == (FIRST_DATA, "x")


async def test_a_folder_that_cannot_be_made_is_told_at_the_output_in_words(home: Home, tmp_path: Path) -> None:
    async with form(home, base=tiny_base(tmp_path), data=[some_rows(tmp_path)], recipe=SHORT) as it:
        await it.fill("name", "harbour")
        await it.fill("output", "/proc/nope/x")
        await it.start()
        assert it.problems() == {"output": "/proc/nope/x cannot be made: No such file or directory"}
        assert it.form.body.place == "output"


async def test_words_from_outside_are_no_markup_and_no_control_sequences(home: Home) -> None:
    async with form(home, data=["[/bold]\x1b]52;c;x.jsonl"], base="[@click=app.bell]x") as it:
        await it.start()
        assert "\x1b" not in it.text()
        assert "[/bold]␛" in it.text()


def test_every_number_says_its_unit() -> None:
    def unit_missing(key: str, name: str, kind: object) -> bool:
        return kind in (int, float) and key not in UNITS and name not in NO_UNIT

    for section in fields_of(Recipe):
        for field in fields_of(section.item) if section.item else ():
            assert not unit_missing(f"{section.name}.{field.name}", field.name, field.kind), field.name
    for name in ("weight", "cap"):
        assert f"data.sources.{name}" in UNITS


@pytest.mark.parametrize("packaged", packaged_recipes(), ids=lambda packaged: packaged.name)
def test_a_recipe_that_is_taken_is_read_again_the_same(packaged) -> None:  # type: ignore[no-untyped-def]
    draft = Draft(Recipe())
    draft.take(config.with_values(packaged.recipe(), {"data.sources": [{"path": "rows.jsonl"}]}))
    recipe, problems = draft.read()
    assert problems == []
    assert recipe == config.with_values(packaged.recipe(), {"data.sources": [{"path": "rows.jsonl"}]})
    for row in rows(draft, {section.name for section in fields_of(Recipe)}, []):
        if row.kind == "text":  # what is shown can be typed
            draft.put(row.place, draft.text(row.place))
            assert field_at(row.place).meta.description
    assert draft.read()[0] == recipe


async def test_what_would_not_fit_is_asked_about_first(home: Home, tmp_path: Path) -> None:
    recipe = config.with_values(SHORT, {"training.batch_size": 65_536})
    async with form(home, base=tiny_base(tmp_path), data=[some_rows(tmp_path)], recipe=recipe) as it:
        await it.press("ctrl+r")
        await it.until(lambda: isinstance(it.app.screen, ConfirmDialog), "the question")
        assert "This may not fit" in it.text() and "batch_size" in it.text()
        await it.press("c")
        await it.until(lambda: it.app.screen is it.form and not it.form.doing, "the form")
        assert not it.ended and list_runs(home.data) == []


async def test_large_data_is_counted_when_the_person_asks(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(form_facts, "COUNTED_AT_ONCE", 100)
    async with form(home, base=tiny_base(tmp_path), data=[some_rows(tmp_path)], recipe=SHORT) as it:
        await it.until(lambda: "are not counted yet" in it.preview(), "the size")
        assert "The harbour holds 0 barrels" in it.preview(), "the first rows are shown all the same"
        await it.press("ctrl+l")
        await it.found_out()
        await it.until(lambda: "60 rows become 60 documents" in it.preview(), "the count")


async def test_the_time_is_estimated_by_an_earlier_run(home: Home, tmp_path: Path) -> None:
    base, data = tiny_base(tmp_path), some_rows(tmp_path)
    earlier = create_run(config.with_values(SHORT, {"model.base": base}), home.data, name="earlier")
    with EventWriter(earlier.events) as events:
        events.write("step", step=1, loss=1.0, tokens_per_s=100.0)
    async with form(home, base=base, data=[data], recipe=SHORT) as it:
        await it.found_out()
        await it.until(lambda: "at the 100 tokens/s of earlier" in it.preview(), "the time")


async def test_exported_conversations_are_offered_as_data(home: Home) -> None:
    exported = home.data / "datasets" / "marked.jsonl"
    await asyncio.to_thread(exported.parent.mkdir)
    await asyncio.to_thread(exported.touch)
    async with form(home) as it:
        await it.to("data.sources[0].path")
        await it.until(lambda: "enter: marked.jsonl" in it.text(), "the offer")
        await it.press("enter")
        await it.until(lambda: isinstance(it.app.screen, ChoiceDialog), "the choice")
        await it.press("a")
        await it.until(lambda: it.value("data.sources[0].path") == str(exported), "it to be taken")
        assert it.form.body.input.value == str(exported)
