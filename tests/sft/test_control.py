"""Commands reach the run once, in order, and what makes no sense is answered instead of obeyed."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sft.control import CONTROL, ControlError, ControlReader, send


def test_what_is_sent_is_read_once(tmp_path: Path) -> None:
    reader = ControlReader(tmp_path / CONTROL)
    assert reader.read() == []
    first = send(tmp_path, "set", learning_rate=1e-4, eval_every=5)
    second = send(tmp_path, "stop")
    read = reader.read()
    assert [(each.id, each.command, dict(each.values), each.problem) for each in read] == [
        (first, "set", {"learning_rate": 1e-4, "eval_every": 5}, ""),
        (second, "stop", {}, ""),
    ]
    assert reader.read() == []
    later = ControlReader(tmp_path / CONTROL, reader.offset)
    send(tmp_path, "continue")
    assert [each.command for each in later.read()] == ["continue"]


@pytest.mark.parametrize(
    ("command", "values", "words"),
    [
        ("stopp", {}, "did you mean stop?"),
        ("set", {}, "needs one of learning_rate"),
        ("set", {"learning_rate": 2}, "a number above 0 and at most 1"),
        ("set", {"learning_rate": True}, "a number above 0"),
        ("set", {"lerning_rate": 0.1}, "did you mean learning_rate?"),
        ("set", {"eval_every": -1}, "a whole number from 0"),
        ("save", {"now": True}, "takes no"),
        ("stop", {"save": "no"}, "true or false"),
    ],
)
def test_what_is_no_command_is_not_sent(tmp_path: Path, command: str, values: dict[str, object], words: str) -> None:
    with pytest.raises(ControlError, match=words.replace("?", r"\?")):
        send(tmp_path, command, **values)
    assert not (tmp_path / CONTROL).exists()


def test_what_somebody_else_wrote_is_answered_with_its_problem_or_counted(tmp_path: Path) -> None:
    (tmp_path / CONTROL).write_text(
        'nonsense\n{"time": 1}\n{"id": "a", "time": 1, "command": "fly"}\n'
        '{"id": "b", "time": 1, "command": "save", "values": 5}\n{"id": "c", "time": 1, "command": "save"}\n'
    )
    reader = ControlReader(tmp_path / CONTROL)
    read = reader.read()
    assert [(each.id, bool(each.problem)) for each in read] == [("a", True), ("b", True), ("c", False)]
    assert reader.ignored == 2


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=200))
def test_no_file_keeps_a_command_behind_it_from_being_read(tmp_path: Path, data: bytes) -> None:
    (tmp_path / CONTROL).write_bytes(data)
    identity = send(tmp_path, "pause")
    assert ControlReader(tmp_path / CONTROL).read()[-1].id == identity
