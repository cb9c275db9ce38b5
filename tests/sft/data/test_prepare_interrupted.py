"""Preparing that is killed, stopped or asked for twice: it goes on where it was and comes to the same bytes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from sft.data import filling, prepare
from sft.data.journal import JOURNAL
from sft.data.tokenizer import ChatTokenizer
from tests.sft.data.chat_formats import chat_of
from tests.sft.data.preparing import BATCH_ROWS, SHARD_ROWS, SHARD_TOKENS, selection
from tests.sft.data.rows import write_lines

ROWS = 1500


class Preparing:
    """A process of tests.sft.data.preparing."""

    def __init__(self, tmp_path: Path, data: str, workers: int = 2) -> None:
        command = [sys.executable, "-m", "tests.sft.data.preparing"]
        arguments = [tmp_path / "chat.json", tmp_path / data, tmp_path / "rows.jsonl", workers]
        self.process = subprocess.Popen(
            [*command, *map(str, arguments)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.data = tmp_path / data

    def told(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        told: dict[str, Any] = json.loads(self.process.stdout.readline())
        return told

    def go_on(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def until(self, enough: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """What it tells when it is enough; it waits for a word then."""
        while not enough(told := self.told()):
            assert "rows" in told, told
            self.go_on()
        return told

    def end(self, number: signal.Signals) -> None:
        """End it with a signal, and see that nothing it started lives on."""
        helpers = psutil.Process(self.process.pid).children(recursive=True)
        self.process.send_signal(number)
        self.process.wait()
        _, alive = psutil.wait_procs(helpers, timeout=60)
        assert not alive

    def journal(self) -> list[bytes]:
        return next((self.data / "prepared").glob("*.partial")).joinpath(JOURNAL).read_bytes().splitlines()


def rows(least: int) -> Callable[[dict[str, Any]], bool]:
    """Whether at least so many were written."""
    return lambda told: told["rows"] >= least


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Preparing]]:
    written: list[object] = []
    for number in range(ROWS):
        answer = " ".join(f"{number}.{word}" for word in range(number % 23))  # some are empty, some too long
        written.append({"instruction": f"Question {number % 1400}?", "input": "", "output": answer or "none"})
        if number % 200 == 7:
            written.append(b"{broken")
    write_lines(tmp_path / "rows.jsonl", written)
    chat_of("smollm2").save(tmp_path / "chat.json")
    started: list[Preparing] = []

    def begin(data: str, workers: int = 2) -> Preparing:
        started.append(Preparing(tmp_path, data, workers))
        return started[-1]

    yield begin
    for each in started:
        each.process.kill()
        each.process.communicate()


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def here(tmp_path: Path, data: str, monkeypatch: pytest.MonkeyPatch, workers: int = 1) -> dict[str, bytes]:
    """The set, prepared in this process."""
    monkeypatch.setattr(filling, "SHARD_TOKENS", SHARD_TOKENS)
    monkeypatch.setattr(filling, "SHARD_ROWS", SHARD_ROWS)
    monkeypatch.setattr(filling, "BATCH_ROWS", BATCH_ROWS)
    chat = ChatTokenizer.load(tmp_path / "chat.json")
    made = prepare.prepare(selection(tmp_path / "rows.jsonl"), chat, tmp_path / data, workers=workers)
    assert not list((tmp_path / data / "prepared").glob("*.partial"))
    return files_of(made.path)


def test_killed_again_and_again_it_comes_to_the_same_bytes(
    tmp_path: Path, start: Callable[..., Preparing], monkeypatch: pytest.MonkeyPatch
) -> None:
    finished = 0
    for least in (400, 900, 1200, 2000):
        preparing = start("killed")
        first = preparing.until(lambda told: bool(told.get("documents")))
        assert first["rows"] >= finished
        preparing.go_on()
        preparing.until(rows(least))
        preparing.end(signal.SIGKILL)
        finished = json.loads(preparing.journal()[-1])["rows"]
        assert finished > least - 400
    assert here(tmp_path, "killed", monkeypatch) == here(tmp_path, "whole", monkeypatch, workers=2)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_stopped_by_a_signal_it_leaves_no_process_and_goes_on(
    tmp_path: Path, start: Callable[..., Preparing], monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    preparing = start("stopped")
    preparing.until(rows(600))
    preparing.end(number)
    assert preparing.journal()
    assert here(tmp_path, "stopped", monkeypatch) == here(tmp_path, "whole", monkeypatch)


def test_a_torn_journal_and_a_shard_cut_off_are_made_again(
    tmp_path: Path, start: Callable[..., Preparing], monkeypatch: pytest.MonkeyPatch
) -> None:
    preparing = start("torn")
    preparing.until(rows(1200))
    preparing.end(signal.SIGKILL)
    (partial,) = (tmp_path / "torn" / "prepared").glob("*.partial")
    lines = len(preparing.journal())
    assert lines >= 3
    os.truncate(partial / f"shard-{lines - 1:05}.trained", 10)
    with (partial / JOURNAL).open("ab") as file:
        file.write(b'{"lengths": ')
    assert here(tmp_path, "torn", monkeypatch) == here(tmp_path, "whole", monkeypatch)


def test_a_second_one_waits_and_finds_it_done(tmp_path: Path, start: Callable[..., Preparing]) -> None:
    first = start("shared")
    first.until(lambda told: bool(told.get("rows")))
    second = start("shared")
    for _ in range(3):  # it tells that it waits
        assert second.told()["rows"] == 0
        second.go_on()
    first.go_on()
    done = first.until(lambda told: "done" in told)
    ended = []

    def over(told: dict[str, Any]) -> bool:
        ended.append(told)
        return "done" in told

    assert second.until(over) == done
    assert all(told["rows"] == 0 for told in ended[:-1])
