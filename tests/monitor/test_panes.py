"""What the panes make of texts, recipes, logs and the machine."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import SequenceMatcher
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from textual.content import Content

from hugchat_tui.monitor import differences, log_pane
from hugchat_tui.monitor.differences import marked
from hugchat_tui.monitor.history import RunHistory
from hugchat_tui.monitor.log_pane import LogLines, read_end
from hugchat_tui.monitor.pace import left_s, seconds_a_step
from hugchat_tui.monitor.recipe_pane import flat
from hugchat_tui.monitor.samples_pane import SamplesPane
from hugchat_tui.monitor.steering import cadence_problem, learning_rate_problem
from hugchat_tui.monitor.system_strip import Gpu, Machine, cpu_share, parse_gpu
from sft.config import Data, Evaluation, Recipe, Source


def test_words_that_changed_are_marked() -> None:
    found = [(part, kind) for part, kind in marked("The cat sat down", "The dog sat  down today") if part.strip()]
    assert found == [("The ", ""), ("cat", "gone"), ("dog", "new"), ("sat  down ", ""), ("today", "new")]


@given(st.text(), st.text())
def test_without_what_is_gone_the_new_text_is_left(before: str, after: str) -> None:
    left = "".join(part for part, kind in marked(before, after) if kind != "gone")
    assert left.split() == after.split()


def test_texts_that_loop_are_compared_in_small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Matching takes more than the square of the equal words, on the event loop."""
    compared: list[int] = []

    def note(junk: None, old: list[str], new: list[str], *, autojunk: bool) -> SequenceMatcher[str]:
        compared.append(sum(new.count(word) for word in old))
        return SequenceMatcher(junk, old, new, autojunk=autojunk)

    monkeypatch.setattr(differences, "SequenceMatcher", note)
    looping = "so it goes " * 2_000
    left = "".join(part for part, kind in marked("it goes so " * 2_000, looping) if kind != "gone")
    assert left.split() == looping.split()
    assert compared[0] <= 5_000


def test_a_step_that_is_answered_again_shows_the_new_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a resume the steps behind the checkpoint are done, and evaluated, once more."""
    history, pane, drawn = RunHistory(), SamplesPane(), list[str]()

    def draw(pane: SamplesPane) -> None:
        drawn[:] = [line.plain for line in pane.lay_out(60)]

    monkeypatch.setattr(SamplesPane, "changed", draw)
    pane.show(history)
    for answer in ("first", "second"):
        history.apply([{"type": "sample", "time": 1.0, "step": 5, "index": 0, "prompt": "Who?", "answer": answer}])
        pane.histories_changed()
        assert any(answer in line for line in drawn), answer


def test_of_a_log_that_grows_only_new_lines_are_laid_out(monkeypatch: pytest.MonkeyPatch) -> None:
    laid_out: list[str] = []
    wrap = log_pane._wrap

    def note(text: str, width: int) -> Sequence[Content]:
        laid_out.append(text)
        return wrap(text, width)

    monkeypatch.setattr(log_pane, "_wrap", note)
    lines = LogLines()
    lines.text = "one\ntwo"
    lines.lay_out(40)
    lines.text, lines.query_text = "two\nthree", "t"
    assert [line.plain for line in lines.lay_out(40)] == ["two", "three"]
    assert laid_out == ["one", "two", "three"] and lines.found == [0, 1]
    lines.lay_out(30)
    assert laid_out[3:] == ["two", "three"]


def test_wide_characters_and_tabs_of_a_log_are_not_cut() -> None:
    lines = LogLines()
    lines.text = "漢字" * 8 + "\n" + "a\t" * 20 + "\n" + "x" * 20
    found = lines.lay_out(20)
    assert all(cell_len(line.plain) <= 20 for line in found)
    assert sum(line.plain.count("漢") for line in found) == 8 and sum(line.plain.count("a") for line in found) == 20
    assert found[-1].plain == "x" * 20


def test_the_recipe_is_flat_with_every_value() -> None:
    recipe = Recipe(data=Data(sources=(Source(path="a.jsonl", weight=0.5),)), evaluation=Evaluation(prompts=("x", "y")))
    values = flat(recipe)
    assert values["data.sources[0].path"] == "a.jsonl" and values["data.sources[0].weight"] == "0.5"
    assert values["evaluation.prompts"] == "x, y" and values["data.packing"] == "true"


def test_the_end_of_a_long_log_begins_with_a_whole_line(tmp_path: Path) -> None:
    log = tmp_path / "train.log"
    assert read_end(log) is None
    log.write_bytes(b"".join(b"line %d\n" % number for number in range(100_000)))
    end = read_end(log)
    assert end is not None and end.left_out > 0 and end.text.startswith("line ")
    assert end.left_out + len(end.text) == end.size


def test_a_line_that_was_rewritten_shows_its_last_state(tmp_path: Path) -> None:
    log = tmp_path / "train.log"
    log.write_bytes(b"10 %\r20 %\r30 %\nwindows\r\n\xff\xfe\n")
    end = read_end(log)
    assert end is not None and end.text.split("\n")[:2] == ["30 %", "windows"]


def test_graphics_cards_tell_what_they_have() -> None:
    assert parse_gpu("43, 1024, 81559, 312.50") == Gpu(43, 1 << 30, 81559 << 20, 312.5)
    assert parse_gpu("[N/A], 10, 20, [Not Supported]") == Gpu(None, 10 << 20, 20 << 20, None)
    assert parse_gpu("No devices were found") is None


def test_the_processors_share_is_of_the_time_between_two_readings() -> None:
    before, now = Machine(100.0, 300.0, 1, 2, 3), Machine(101.0, 301.0, 1, 2, 3)
    assert cpu_share(None, now) is None and cpu_share(before, before) is None
    assert cpu_share(before, now) == 0.5


@pytest.mark.parametrize("text", ["", "fast", "0", "-1", "2", "nan", "1e400"])
def test_learning_rates_that_mean_nothing_are_refused(text: str) -> None:
    problem = learning_rate_problem(text)
    assert problem and "learning_rate" not in problem
    assert learning_rate_problem("1e-4") is None


@pytest.mark.parametrize("text", ["", "5", "a b", "1 2 3", "-1 5", "1.5 2"])
def test_cadences_that_mean_nothing_are_refused(text: str) -> None:
    problem = cadence_problem(text)
    assert problem and "_every" not in problem
    assert cadence_problem("0, 100") is None


def history_of(*moments: tuple[int, float], started: float = 0.0) -> RunHistory:
    history = RunHistory()
    history.apply([{"type": "run", "time": started, "total_steps": 100}])
    history.apply({"type": "step", "time": at, "step": step, "loss": 1.0} for step, at in moments)
    return history


def test_time_left_is_of_this_start_and_not_of_pauses_or_clocks() -> None:
    history = history_of((1, 10.0), (2, 12.0), (3, 14.0), (4, 4000.0), (5, 4002.0), (6, 3000.0), (7, 3002.0))
    assert seconds_a_step(history) == 2.0
    assert left_s(history, 7, 100) == 186.0
    assert seconds_a_step(history_of((1, 10.0), (2, 12.0), (3, 5.0))) == 2.0
    assert left_s(history, 100, 100) is None and left_s(history, 7, 0) is None
    history.apply([{"type": "phase", "time": 5000.0, "name": "starting"}])
    assert left_s(history, 7, 100) is None, "it was started again"
    assert left_s(history_of((1, 10.0), (2, 11.0), started=10.5), 2, 100) is None, "one step of this start says nothing"
