"""How many threads compute, by what else the machine does."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest
import torch
from transformers import PreTrainedModel
from transformers.modeling_outputs import CausalLMOutput

from engine.worker import threads
from engine.worker.generation import Reader
from engine.worker.kv_cache import new_cache
from engine.worker.loading import load_checkpoint
from engine.worker.prefix_cache import Prefix
from engine.worker.threads import ThreadBudget, busy_seconds, thread_budget
from tests.engine.tiny_models import Family


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
        self.budget = ThreadBudget(set(range(processors)), 4, lambda _: self._all, lambda: self._own, lambda: self._now)

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

session = Session.load(protocol.Load(id=1, path=sys.argv[1], dtype="bfloat16"), lambda *progress: None)
reader = session._writer.reader
print(reader._threads is not None)
reader._threads = None
never = lambda: False
with torch.inference_mode():
    for count in (1, 2, 3, 5):
        torch.set_num_threads(count)
        prefix = Prefix(new_cache(reader._model.config))
        seen = [reader.read(prefix, range(100, 400), never, lambda done: None)]
        seen += [reader.step(prefix, token, never) for token in range(12)]
        print(hashlib.sha256(torch.stack(seen).float().numpy().tobytes()).hexdigest())
"""


def test_in_16_bits_every_number_of_threads_computes_the_same(starter: Path) -> None:
    """What lets the number change while a reply is written: the same seed stays the same text."""
    environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    output = subprocess.run(
        [sys.executable, "-c", LOGITS, str(starter)], check=True, capture_output=True, text=True, env=environment
    ).stdout
    has_budget, *hashes = output.splitlines()
    assert has_budget == str(len(os.sched_getaffinity(0)) > 1)
    assert len(hashes) == 4 and len(set(hashes)) == 1


class Model(torch.nn.Module):
    """Answers with the number of threads, or with the same whatever that is."""

    device = torch.device("cpu")

    def __init__(self, dtype: torch.dtype, depends: bool) -> None:
        super().__init__()
        self.dtype = dtype
        self._depends = depends
        self._embeddings = torch.nn.Embedding(10, 1)

    def get_input_embeddings(self) -> torch.nn.Module:
        return self._embeddings

    def forward(self, **inputs: object) -> CausalLMOutput:
        return CausalLMOutput(logits=torch.tensor(float(torch.get_num_threads()) if self._depends else 0.0))


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="one processor")
def test_threads_are_given_up_only_where_that_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def has_budget(dtype: torch.dtype, depends: bool = False) -> bool:
        found = thread_budget(cast(PreTrainedModel, Model(dtype, depends))) is not None
        assert torch.get_num_threads() == threads._AT_START
        return found

    monkeypatch.setattr(threads, "_AT_START", 2)
    assert has_budget(torch.bfloat16) and has_budget(torch.float16)
    assert not has_budget(torch.float32)
    assert not has_budget(torch.bfloat16, depends=True)
    torch.set_num_threads(1)  # as a load before this one left it
    assert has_budget(torch.bfloat16)
    monkeypatch.setattr(threads, "_STAT", Path("/nowhere"))
    torch.set_num_threads(2)
    assert not has_budget(torch.bfloat16)


def test_only_work_of_the_processors_at_hand_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """user, nice, system, irq, softirq and steal; neither idle nor iowait, and guests not twice."""
    stat = tmp_path / "stat"
    stat.write_text(
        "cpu  9 9 9 9 9 9 9 9 9 9\ncpu0 1 2 3 1000 1000 4 5 6 1000 1000\ncpu1 9 9 9 9 9 9 9 9 9 9\nintr 5 6\n"
    )
    monkeypatch.setattr(threads, "_STAT", stat)
    assert busy_seconds({0}) == 21 / os.sysconf("SC_CLK_TCK")


def test_a_generation_looks_before_each_step(random_checkpoints: dict[Family, Path]) -> None:
    model = load_checkpoint(
        random_checkpoints["llama"], None, torch.device("cpu"), torch.float32, lambda *_: None
    ).model
    reader = Reader(model)
    looked: list[str] = []

    class Budget:
        def begin(self) -> None:
            looked.append("begin")

        def adjust(self) -> None:
            looked.append("adjust")

    reader._threads = cast(ThreadBudget, Budget())
    with torch.inference_mode():
        prefix = Prefix(new_cache(model.config))
        reader.read(prefix, [1, 2, 3], lambda: False, lambda done: None)
        reader.step(prefix, 4, lambda: False)
    assert looked == ["begin", "adjust", "adjust"]


@pytest.mark.skipif(not threads._STAT.exists(), reason="no /proc/stat")
def test_beside_as_many_busy_programs_as_processors_one_thread_computes() -> None:
    processors = os.sched_getaffinity(0)
    programs = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in processors]
    try:
        budget = ThreadBudget(processors, 4, busy_seconds)
        deadline = time.monotonic() + 60
        while torch.get_num_threads() > 1:
            assert time.monotonic() < deadline
            budget.adjust()
    finally:
        for program in programs:
            program.kill()
            program.wait()
