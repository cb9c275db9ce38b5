"""The model picker, driven by real keys."""

from __future__ import annotations

from pathlib import Path

import pytest
from textual.app import App
from textual.widgets import Static

from engine.checkpoints.model import Checkpoint
from engine.fit import Fit
from hugchat_tui.chat.checkpoint_list import CheckpointList, shown_columns
from hugchat_tui.chat.model_picker import ModelPicker, PickerResult, typed_reference


def checkpoint(name: str, **facts: object) -> Checkpoint:
    known: dict[str, object] = {
        "kind": "model",
        "source": "cache",
        "family": "llama",
        "parameters": 135_000_000,
        "size_bytes": 270_000_000,
        "context_length": 8192,
    }
    return Checkpoint(name=name, path=Path("/models") / name.replace("/", "--"), **{**known, **facts})  # type: ignore[arg-type]


STARTER = checkpoint("starter", source="starter")
QWEN = checkpoint("Qwen/Qwen3-0.6B", family="qwen3", parameters=596_000_000)
HOSTILE = checkpoint("a/[/bold]\x1b]52;c;x\x07")
BROKEN = checkpoint("THUDM/glm-2b", problem="It needs code from its own repository, which is never run here.")
ALL = [BROKEN, STARTER, QWEN, HOSTILE]


class PickerApp(App[None]):
    def __init__(self, picker: ModelPicker) -> None:
        super().__init__()
        self.picker = picker
        self.results: list[PickerResult | None] = []

    def on_mount(self) -> None:
        self.push_screen(self.picker, self.results.append)

    def lines(self) -> list[str]:
        listed = self.picker.query_one(CheckpointList)
        return [listed.render_line(y).text for y in range(listed.size.height)]


@pytest.mark.parametrize(("size", "has_family"), [((80, 24), True), ((60, 24), False), ((160, 48), True)])
async def test_the_table_fits_the_screen(size: tuple[int, int], has_family: bool) -> None:
    app = PickerApp(ModelPicker(ALL, current="Qwen/Qwen3-0.6B"))
    async with app.run_test(size=size) as pilot:
        await pilot.pause()
        lines = app.lines()
        assert ("family" in lines[0]) == has_family
        assert "size" in lines[0]
        assert "starter" in lines[1]
        assert "270 MB" in lines[1]
        assert lines[2].startswith(" ● Qwen/Qwen3-0.6B")
        assert "a/[/bold]\u241b]52;c;x" in lines[3]
        assert "THUDM/glm-2b" in lines[4]
        assert "It needs code" in lines[4]
        width = app.picker.query_one(CheckpointList).size.width
        assert all(app.picker.query_one(CheckpointList).render_line(y).cell_length == width for y in range(6))


def test_columns_give_way_to_the_name_the_least_important_first() -> None:
    sets = [shown_columns(width) for width in range(200)]
    assert sets[0] == []
    assert sets[-1] == [0, 1, 2, 3, 4]
    assert [len(columns) for columns in sets] == sorted(len(columns) for columns in sets)
    assert next(columns for columns in sets if columns) == [1], "the size stays longest"


async def test_typing_filters_and_enter_picks_the_highlighted() -> None:
    app = PickerApp(ModelPicker(ALL))
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("q", "w", "n")
        assert sum(bool(line.strip()) for line in app.lines()) == 2
        await pilot.press("enter")
        await pilot.pause()
        assert app.results == [PickerResult(QWEN.key, QWEN)]


async def test_the_cursor_starts_at_the_current_checkpoint_and_arrows_move_it() -> None:
    app = PickerApp(ModelPicker(ALL, current=QWEN.key))
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("up", "enter")
        await pilot.pause()
        assert app.results == [PickerResult(STARTER.key, STARTER)]


async def test_a_broken_checkpoint_says_why_and_is_not_picked() -> None:
    app = PickerApp(ModelPicker(ALL))
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("g", "l", "m", "enter")
        await pilot.pause()
        assert app.results == []
        detail = str(app.picker.query_one("#picker-detail").render())
        assert "which is never run here." in detail
        await pilot.press("escape")
        await pilot.pause()
        assert app.results == [None]


@pytest.mark.parametrize(
    ("text", "offered"),
    [
        ("Qwen/Qwen3-4B", "load Qwen/Qwen3-4B from the Hub"),
        ("/data/my model", "load /data/my model"),
        ("~/x.gguf", "load ~/x.gguf"),
        ("distilgpt2", "load distilgpt2 from the Hub"),
        ("no such thing!", None),
    ],
)
async def test_what_matches_nothing_can_be_loaded_if_it_names_something(text: str, offered: str | None) -> None:
    app = PickerApp(ModelPicker([]))
    async with app.run_test(size=(80, 24)) as pilot:
        assert "There are no checkpoints" in app.lines()[0]
        app.picker.query_one("#picker-filter").value = text  # type: ignore[attr-defined]
        await pilot.pause()
        assert (offered is not None) == any(offered in line for line in app.lines() if offered)
        await pilot.press("enter")
        await pilot.pause()
        assert app.results == ([PickerResult(text)] if offered else [])


async def test_a_typed_id_is_offered_beside_what_it_resembles_but_not_beside_itself() -> None:
    app = PickerApp(ModelPicker([QWEN, checkpoint("Qwen/Qwen3-0.6B-Base")]))
    async with app.run_test(size=(80, 24)) as pilot:
        for letter in "Qwen/Qwen3-0.6":
            await pilot.press(letter if letter.isalnum() else {"/": "slash", "-": "minus", ".": "full_stop"}[letter])
        assert "load Qwen/Qwen3-0.6 from the Hub" in app.lines()[3]
        await pilot.press("B")
        assert not any("from the Hub" in line for line in app.lines())


async def test_checkpoints_may_arrive_after_the_picker_opened() -> None:
    app = PickerApp(ModelPicker(current="starter"))
    async with app.run_test(size=(80, 24)) as pilot:
        assert "Looking for checkpoints…" in app.lines()[0]
        await pilot.press("s", "t")
        app.picker.set_checkpoints(ALL)
        assert "starter" in app.lines()[1]
        await pilot.press("enter")
        await pilot.pause()
        assert app.results == [PickerResult(STARTER.key, STARTER)]


async def test_a_failed_scan_says_so_and_leaves_the_input_usable() -> None:
    picker = ModelPicker()
    picker.set_error("Permission denied: [/bold]/models")
    app = PickerApp(picker)
    async with app.run_test(size=(80, 24)) as pilot:
        assert "Permission denied: [/bold]/models" in app.lines()[1]
        await pilot.press("g", "p", "t", "2", "enter")
        await pilot.pause()
        assert app.results == [PickerResult("gpt2")]


def test_what_a_typed_text_names() -> None:
    assert typed_reference("Qwen/Qwen3-0.6B") == "hub"
    assert typed_reference("gpt2") == "hub"
    assert typed_reference("./x") == typed_reference("/x") == typed_reference("~/x") == "path"
    assert typed_reference("models/x.gguf") == "path"
    assert typed_reference("a b") is None
    assert typed_reference("") is None


async def test_how_a_checkpoint_fits_is_estimated_below_the_list() -> None:
    app = PickerApp(ModelPicker(ALL, current="starter"))
    async with app.run_test(size=(120, 30)) as pilot:
        await pilot.pause()
        app.picker.set_fits({STARTER.key: Fit("fits", 1 << 30, 8 << 30, 8192), QWEN.key: Fit("no", 9 << 30, 8 << 30)})
        detail = app.picker.query_one("#picker-detail", Static)
        assert "fits, an estimate: about 1.0 GiB of 8.0 GiB; room for a context of 8,192 tokens" in str(detail.content)
        await pilot.press("down")
        assert "does not fit, an estimate" in str(detail.content)
        assert "!" in app.lines()[2]
