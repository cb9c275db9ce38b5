"""Columns, orders and filters, without a screen; and how rows are drawn at every width."""

from __future__ import annotations

from pathlib import Path

import pytest
from textual.app import App, ComposeResult

from engine.checkpoints.library.rows import Row, RowKind
from engine.checkpoints.model import Checkpoint
from engine.fit import Fit
from hugchat_tui.library.columns import BY_ID, COLUMNS, NAME, Listed, age, in_order, shown_columns
from hugchat_tui.library.filtering import matching, parse_query
from hugchat_tui.library.table import CheckpointTable

MEGA, GIGA = 10**6, 10**9


def listed(name: str, kind: RowKind = "model", *, fit: Fit | None = None, alias: str = "", **facts: object) -> Listed:
    size = int(str(facts.pop("size", 0)))
    problem = str(facts.pop("problem", ""))
    known: dict[str, object] = {"family": "llama", "parameters": 0, "context_length": 0, "dtype": "bfloat16", **facts}
    checkpoint = Checkpoint(name=name, path=Path("/models", name), kind="model", source="folder", **known)  # type: ignore[arg-type]
    row = Row(
        key=f"/models/{name}",
        name=name,
        kind=kind,
        source="folder",
        checkpoint=None if problem else checkpoint,
        size_bytes=size,
        problem=problem,
        alias=alias,
    )
    return Listed(row, fit)


SMALL = listed("org/small", size=200 * MEGA, parameters=135 * MEGA, context_length=8192, licence="apache-2.0")
LARGE = listed("org/large", size=14 * GIGA, parameters=7 * GIGA, context_length=4096, family="qwen3")
TUNED = listed("tuned", "adapter", size=20 * MEGA)
BROKEN = listed("cut-off", "broken", size=5 * MEGA, problem="model.safetensors is cut off.")
ALL = [LARGE, BROKEN, TUNED, SMALL]


def names(rows: list[Listed]) -> list[str]:
    return [each.name for each in rows]


def test_unknown_values_stand_last_in_every_order() -> None:
    params = BY_ID["params"]
    assert names(in_order(ALL, params, reverse=False)) == ["org/large", "org/small", "cut-off", "tuned"]
    assert names(in_order(ALL, params, reverse=True)) == ["org/small", "org/large", "cut-off", "tuned"]


def test_by_name_what_cannot_be_used_stands_last_whatever_the_direction() -> None:
    assert names(in_order(ALL, NAME, reverse=False)) == ["org/large", "org/small", "tuned", "cut-off"]
    assert names(in_order(ALL, NAME, reverse=True)) == ["tuned", "org/small", "org/large", "cut-off"]


def test_every_column_sorts_whatever_is_known() -> None:
    for column in COLUMNS:
        for reverse in (False, True):
            assert len(in_order(ALL, column, reverse=reverse)) == len(ALL)


@pytest.mark.parametrize(
    ("typed", "found"),
    [
        ("lrg", ["org/large"]),
        ("qwen", ["org/large"]),
        ("apache small", ["org/small"]),
        ("kind:adapter", ["tuned"]),
        ("size>1gb", ["org/large"]),
        ("size<=20mb", ["cut-off", "tuned"]),
        ("params<3b org", ["org/small"]),
        ("context>=8k", ["org/small"]),
        ("family=llama kind:model", ["org/small"]),
        ("size>x", []),
        ("nothing such", []),
    ],
)
def test_the_filter_takes_words_in_any_text_and_conditions_on_columns(typed: str, found: list[str]) -> None:
    assert sorted(each.name for each, _ in matching(parse_query(typed), ALL)) == found


def test_a_persons_own_name_stands_for_the_one_it_came_with_and_both_are_found() -> None:
    mine = listed("org/very-long", alias="mine")
    assert mine.name == "mine"
    assert matching(parse_query("very"), [mine])


def test_a_commit_in_a_name_is_cut_to_what_tells_it_apart() -> None:
    assert listed(f"org/x@{'0123456789' * 4}").name == "org/x@01234567"


def test_age_in_one_number() -> None:
    day = 86_400
    spans = [age(seconds) for seconds in (0, 61, 7200, 3 * day, 100 * day, 1000 * day)]
    assert spans == ["now", "1 min", "2 h", "3 d", "3 mo", "2 y"]


def test_columns_give_way_to_the_name_and_the_one_that_sorts_goes_last() -> None:
    sets = [shown_columns(width) for width in range(200)]
    assert sets[0] == [] and sets[-1] == list(range(1, len(COLUMNS)))
    assert [len(columns) for columns in sets] == sorted(len(columns) for columns in sets)
    dtype = BY_ID["dtype"]
    narrow = shown_columns(45, dtype)
    assert [COLUMNS[index] for index in narrow] == [dtype]


class TableApp(App[None]):
    def compose(self) -> ComposeResult:
        yield CheckpointTable()


@pytest.mark.parametrize("width", [30, 44, 60, 80, 98, 160])
async def test_every_row_is_exactly_as_wide_as_the_table(width: int) -> None:
    wide = listed("名前/漢字かな交じり文の長い名前がここに入ります-instruct", size=GIGA)
    fits = {SMALL.row.key: Fit("fits"), LARGE.row.key: Fit("no")}
    app = TableApp()
    async with app.run_test(size=(width, 20)) as pilot:
        table = app.query_one(CheckpointTable)
        table.set_rows([each.row for each in (*ALL, wide)], fits)
        await pilot.pause()
        lines = [table.render_line(y) for y in range(5)]
        assert {line.cell_length for line in lines} == {width}
        assert any("model.sa" in line.text for line in lines) or width < 44


async def test_the_cursor_stays_on_its_row_when_rows_come_and_go() -> None:
    app = TableApp()
    async with app.run_test(size=(80, 20)) as pilot:
        table = app.query_one(CheckpointTable)
        rows = [each.row for each in ALL]
        table.set_rows(rows, {})
        assert table.go_to(TUNED.row.key)
        table.set_rows([listed("aaa").row, *rows], {})
        await pilot.pause()
        assert table.row is not None and table.row.name == "tuned"
        table.toggle_mark()
        table.set_rows([row for row in rows if row.name != "tuned"], {})
        assert table.marked == set(), "what is gone is not marked"
