"""How many threads compute, by what else the machine does."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from engine import process
from engine.worker import threads
from engine.worker.threads import ThreadBudget, busy_seconds


@pytest.fixture(autouse=True)
def four_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    yield
    torch.set_num_threads(before)


class Machine:
    """Processors that others keep busy as told, and a process of ours that computes with every thread it has."""

    def __init__(self, processors: int = 4) -> None:
        self.others = 0.0  # processors in use
        self._now = self._own = self._all = 0.0
        self.budget = ThreadBudget(set(range(processors)), lambda _: self._all, lambda: self._own, lambda: self._now)

    def run(self, seconds: float) -> int:
        """Compute for a while. Returns the number of threads after that."""
        self._now += seconds
        own = min(torch.get_num_threads(), max(0.1, 4 - self.others)) * seconds
        self._own += own
        self._all += own + self.others * seconds
        self.budget.adjust()
        return torch.get_num_threads()


def test_a_machine_of_its_own_is_used_whole() -> None:
    machine = Machine()
    machine.others = 0.3  # the screen
    assert [machine.run(0.6) for _ in range(3)] == [4, 4, 4]


def test_processors_that_others_use_are_left_to_them_and_taken_back() -> None:
    machine = Machine()
    machine.others = 1.1
    assert machine.run(0.6) == 3
    machine.others = 4.0
    assert machine.run(0.6) == 1
    machine.others = 2.0
    assert machine.run(0.6) == 2
    machine.others = 0.0
    assert machine.run(0.6) == 4


def test_a_load_between_two_numbers_does_not_make_it_swing() -> None:
    machine = Machine()
    machine.others = 1.4
    assert [machine.run(0.6) for _ in range(4)] == [3] * 4
    machine.others = 1.6
    assert [machine.run(0.6) for _ in range(4)] == [2] * 4
    machine.others = 1.4
    assert [machine.run(0.6) for _ in range(4)] == [2] * 4


def test_it_looks_twice_a_second_at_most_and_at_once_after_a_slow_step() -> None:
    machine = Machine()
    machine.others = 3.0
    assert machine.run(0.4) == 4
    assert machine.run(20.0) == 1


def test_what_was_before_a_generation_began_does_not_count() -> None:
    machine = Machine()
    machine.others = 4.0
    machine._now, machine._all = 1000.0, 4000.0
    machine.budget.begin()
    machine.others = 0.0
    assert machine.run(0.6) == 4


@pytest.mark.skipif(not threads._STAT.exists(), reason="no /proc/stat")
def test_the_kernel_counts_what_a_busy_program_uses() -> None:
    """Of the processor that it is bound to, as that alone is sure to run it."""
    code = "import os; os.sched_setaffinity(0, {0}); print(flush=True)\nwhile True: pass"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as program:
        assert program.stdout is not None
        program.stdout.readline()
        before = busy_seconds({0})
        deadline = time.monotonic() + 60
        while busy_seconds({0}) < before + 0.5:
            assert time.monotonic() < deadline
        program.kill()


LOGITS = """
import hashlib, sys, torch
from engine import protocol
from engine.worker.kv_cache import new_cache
from engine.worker.prefix_cache import Prefix
from engine.worker.session import Session

session = Session.load(protocol.Load(id=1, path=sys.argv[1], dtype=sys.argv[2]), lambda *progress: None)
reader = session._writer.reader
reader._threads = None
never = lambda: False
with torch.inference_mode():
    for count in (1, 2, 3):
        torch.set_num_threads(count)
        prefix = Prefix(new_cache(reader._model.config))
        seen = [reader.read(prefix, range(100, 400), never, lambda done: None)]
        seen += [reader.step(prefix, token, never) for token in range(20)]
        print(hashlib.sha256(torch.stack(seen).float().numpy().tobytes()).hexdigest())
"""


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_every_number_of_threads_computes_the_same_to_the_bit(starter: Path, dtype: str) -> None:
    """What lets the number change while a reply is written: the same seed stays the same text."""
    output = subprocess.run(
        [sys.executable, "-c", LOGITS, str(starter), dtype],
        env={"OMP_NUM_THREADS": "3", **process._DEFAULTS},
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    hashes = output.splitlines()
    assert len(hashes) == 3 and len(set(hashes)) == 1


@pytest.mark.skipif(not threads._STAT.exists(), reason="no /proc/stat")
def test_beside_as_many_busy_programs_as_processors_one_thread_computes() -> None:
    processors = os.sched_getaffinity(0)
    programs = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in processors]
    try:
        budget = ThreadBudget(processors)
        deadline = time.monotonic() + 60
        while torch.get_num_threads() > 1:
            assert time.monotonic() < deadline
            budget.adjust()
    finally:
        for program in programs:
            program.kill()
            program.wait()
