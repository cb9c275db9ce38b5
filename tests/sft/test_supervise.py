"""The supervisor, as a process of its own over stand-ins for the preparation and the ranks."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from hugchat_tui.sft_watch import wait
from sft import config
from sft.config import Recipe
from sft.control import send
from sft.events import EventWriter, Record, tail
from sft.runs import RunDirectory, create_run, read_status

# What the stand-ins begin with. `run` is the run, `tell` writes an event.
PREAMBLE = """
import os, signal, sys, time
from pathlib import Path
from sft.events import EventWriter
from sft.runs import RunDirectory
run = RunDirectory.at(Path(sys.argv[1]))
def tell(kind, **fields):
    with EventWriter(run.events) as events:
        events.write(kind, **fields)
"""
SUPERVISOR = """
import sys
from pathlib import Path
from sft.launch import LaunchCommand
from sft.runs import RunDirectory
from sft.supervise import supervise
run, preparing, training, grace = sys.argv[1:]
def stand_in(code):
    return LaunchCommand((sys.executable, "-c", code, run))
sys.exit(supervise(
    RunDirectory.at(Path(run)), preparing=stand_in(preparing), training=stand_in(training), grace_s=float(grace)
))
"""
READY = "run.prepared.write_text('{}')\n"
FOR_EVER = "tell('step', step=7)\nwhile True: time.sleep(60)\n"
SAVES = """
def save(*_):
    tell('checkpoint', step=7)
    tell('end', how='stopped', step=7, words='')
    sys.exit(1)  # as torchrun does even when its ranks ended well
signal.signal(signal.SIGTERM, save)
tell('step', step=7)
while True: time.sleep(60)
"""

SAVES_SLOWLY = """
def save(*_):
    tell('phase', name='saving', done=0, total=0, words='')
    time.sleep(3)  # a large checkpoint
    tell('end', how='stopped', step=7, words='')
    sys.exit(0)
signal.signal(signal.SIGTERM, save)
tell('step', step=7)
while True: time.sleep(60)
"""

Start = Callable[..., subprocess.Popen[bytes]]


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    return create_run(Recipe(), tmp_path, name="trial")


@pytest.fixture
def start(run: RunDirectory) -> Iterator[Start]:
    started: list[subprocess.Popen[bytes]] = []

    def begin(
        training: str, preparing: str = READY, grace: float = 60, environment: dict[str, str] | None = None
    ) -> subprocess.Popen[bytes]:
        arguments = (str(run.path), PREAMBLE + preparing, PREAMBLE + training, str(grace))
        process = subprocess.Popen(
            [sys.executable, "-c", SUPERVISOR, *arguments],
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env={**os.environ, **(environment or {})},
        )
        started.append(process)
        return process

    yield begin
    for process in started:
        process.kill()
        process.wait()


def events(run: RunDirectory, kind: str) -> list[Record]:
    return [record for record in tail(run.events).records if record["type"] == kind]


def until(run: RunDirectory, kind: str, process: subprocess.Popen[bytes]) -> Record:
    """Wait for an event; a supervisor that ends without it fails the test."""
    while not (found := events(run, kind)):
        try:
            process.wait(0.02)
        except subprocess.TimeoutExpired:
            continue
        assert events(run, kind), run.log.read_text()
    return found[0]


def end_of(run: RunDirectory) -> Record:
    (end,) = events(run, "end")
    return end


def test_a_run_that_goes_well_is_left_to_tell_so_itself(run: RunDirectory, start: Start) -> None:
    running = start("assert run.prepared.exists()\nprint('hello')\ntell('end', how='done', step=9, words='')")
    assert running.wait() == 0
    assert end_of(run)["step"] == 9
    assert run.log.read_text() == "hello\n"
    launch = json.loads(run.launch.read_text())
    assert (launch["version"], launch["pid"]) == (1, running.pid)
    assert launch["argv"][1] == "-c"


def test_what_it_starts_stands_back_for_other_programs(run: RunDirectory, start: Start) -> None:
    ours = os.nice(0)
    assert start("tell('end', how='done', step=os.nice(0), words='')", "print(os.nice(0))\n" + READY).wait() == 0
    assert end_of(run)["step"] == max(10, ours) == int(run.log.read_text())


def test_the_data_of_an_earlier_start_is_not_taken_for_this_ones(run: RunDirectory, start: Start) -> None:
    run.prepared.write_text("old")
    assert start("tell('end', how='done', step=0, words='')", "assert not run.prepared.exists()\n" + READY).wait() == 0


def test_ranks_that_end_without_a_word_are_spoken_for(run: RunDirectory, start: Start) -> None:
    assert start("tell('step', step=4)\nprint('one')\nprint('boom', file=sys.stderr)\nsys.exit(3)").wait() == 1
    end = end_of(run)
    assert (end["how"], end["step"]) == ("failed", 4)
    assert "with status 3" in end["words"]
    assert end["words"].endswith("one\nboom")
    assert str(run.log) in end["hint"]


def test_ranks_that_the_system_killed_are_told_of_with_what_to_change(run: RunDirectory, start: Start) -> None:
    assert start("os.kill(os.getpid(), signal.SIGKILL)").wait() == 1
    assert end_of(run)["how"] == "killed"
    assert "batch_size" in end_of(run)["hint"]


def test_an_end_of_an_earlier_start_is_none_of_this_ones(run: RunDirectory, start: Start) -> None:
    assert start("tell('end', how='stopped', step=1, words='')").wait() == 0
    assert start("sys.exit(1)").wait() == 1
    assert [end["how"] for end in events(run, "end")] == ["stopped", "failed"]


def test_a_preparation_that_failed_keeps_the_ranks_from_starting(run: RunDirectory, start: Start) -> None:
    told = "tell('end', how='failed', step=0, words='no rows', hint='')\nsys.exit(1)"
    assert start("tell('step', step=1)", told).wait() == 1
    assert end_of(run)["words"] == "no rows"
    assert not events(run, "step")


def test_sigterm_lets_the_ranks_save_and_the_end_is_what_they_told(run: RunDirectory, start: Start) -> None:
    running = start(SAVES)
    until(run, "step", running)
    running.terminate()
    assert running.wait() == 0
    assert events(run, "checkpoint")
    assert end_of(run)["how"] == "stopped"


@pytest.mark.parametrize("grace", [0.0, 60.0])
def test_ranks_that_do_not_end_are_killed_with_all_that_they_started(
    run: RunDirectory, start: Start, grace: float
) -> None:
    stubborn = """
import subprocess
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
(run.path / "child").write_text(str(child.pid))
tell('step', step=7)
while True: time.sleep(60)
"""
    running = start(stubborn, grace=grace)
    until(run, "step", running)
    child = psutil.Process(int((run.path / "child").read_text()))
    running.terminate()
    if grace:
        running.send_signal(signal.SIGINT)  # told again
    assert running.wait() == 1
    end = end_of(run)
    assert (end["how"], end["step"]) == ("killed", 7)
    assert not child.is_running() or child.status() == psutil.STATUS_ZOMBIE


def test_a_checkpoint_that_is_being_written_is_waited_for(run: RunDirectory, start: Start) -> None:
    running = start(SAVES_SLOWLY, grace=0.5)
    until(run, "step", running)
    running.terminate()
    assert running.wait() == 0
    assert end_of(run)["how"] == "stopped"


def test_a_run_is_stopped_while_its_data_is_prepared(run: RunDirectory, start: Start) -> None:
    running = start("tell('step', step=1)", "tell('phase', name='preparing data', done=1, total=9)\n" + FOR_EVER)
    until(run, "step", running)  # of the preparation's stand-in
    running.terminate()
    assert running.wait() == 0
    assert end_of(run)["how"] == "stopped"
    assert len(events(run, "step")) == 1


@pytest.mark.parametrize("kept", [True, False])
def test_a_run_that_is_stopped_before_its_first_step_says_where_it_goes_on(
    run: RunDirectory, start: Start, kept: bool
) -> None:
    if kept:
        (run.checkpoints / "step-5").mkdir(parents=True)
    running = start("tell('run')\nwhile True: time.sleep(60)")
    until(run, "run", running)
    running.terminate()
    assert running.wait() == 0
    end = end_of(run)
    assert (end["how"], end["words"]) == ("stopped", "It was stopped before its first step.")
    assert ("from the last checkpoint" in end["hint"], "from the beginning" in end["hint"]) == (kept, not kept)


@pytest.mark.parametrize(("step", "words"), [(0, "trial: stopped; nothing was trained."), (7, "trial: stopped.")])
def test_who_waits_for_a_run_hears_whether_anything_was_trained(run: RunDirectory, step: int, words: str) -> None:
    with EventWriter(run.events) as writer:
        writer.write("end", how="stopped", step=step, words="", hint="")
    said: list[str] = []
    progress = SimpleNamespace(say=lambda words: None, show=lambda *words: None)
    command: Any = SimpleNamespace(progress=progress, answer=lambda document, words: said.append(words))
    assert (wait(command, run, 0), said) == (0, [words])


def test_a_stop_command_is_obeyed_while_the_data_is_prepared_and_others_wait(run: RunDirectory, start: Start) -> None:
    send(run.path, "stop")  # for an earlier start
    running = start("pass", FOR_EVER)
    until(run, "step", running)
    send(run.path, "save")
    identity = send(run.path, "stop")
    assert running.wait() == 0
    (ack,) = events(run, "ack")
    assert (ack["id"], ack["command"]) == (identity, "stop")
    assert end_of(run)["how"] == "stopped"


def test_a_second_supervisor_is_refused_and_disturbs_nothing(run: RunDirectory, start: Start) -> None:
    running = start(SAVES)
    until(run, "step", running)
    second = start("tell('step', step=99)")
    assert second.wait() == 3
    assert second.stderr is not None
    assert b"another process supervises" in second.stderr.read()
    assert json.loads(run.launch.read_text())["pid"] == running.pid
    assert read_status(run).going
    running.terminate()
    assert running.wait() == 0


def test_ranks_do_not_outlive_a_supervisor_that_was_killed(run: RunDirectory, start: Start) -> None:
    """They would write on while the run is resumed by others."""
    rank = "from engine.checkpoints.children import end_with_parent\nend_with_parent()\n" + FOR_EVER
    running = start(rank)
    until(run, "step", running)
    ranks = psutil.Process(running.pid).children()
    running.kill()
    running.wait()
    _, alive = psutil.wait_procs(ranks, timeout=60)
    assert ranks
    assert not alive
    assert read_status(run).state == "crashed"


def test_another_machine_waits_for_the_data_of_the_first(run: RunDirectory, start: Start) -> None:
    two = config.with_values(Recipe(), {"launch.nodes": 2, "launch.rendezvous": "127.0.0.1:1"})
    config.save(two, run.recipe)
    other = start("tell('step', step=2)\ntell('end', how='done', step=2, words='')", environment={"NODE_RANK": "1"})
    log = run.path / "train-1.log"
    while not (log.exists() and "waiting for the first machine" in log.read_text()):
        with pytest.raises(subprocess.TimeoutExpired):
            other.wait(0.02)
    assert not events(run, "step")
    # Its ranks leave when those of the other machine have told the end.
    first = start('while \'"how": "done"\' not in run.events.read_text(): time.sleep(0.02)\n')
    assert (other.wait(), first.wait()) == (0, 0)
    assert not run.launch.read_text().count(f'"pid": {other.pid},')


def test_a_command_that_cannot_be_started_is_told(run: RunDirectory) -> None:
    script = SUPERVISOR.replace("training=stand_in(training)", 'training=LaunchCommand(("/no/such/program",))')
    arguments = [str(run.path), PREAMBLE + READY, "", "1"]
    assert subprocess.run([sys.executable, "-c", script, *arguments], check=False).returncode == 1
    assert "/no/such/program cannot be started" in end_of(run)["words"]


def test_what_is_no_run_is_refused(tmp_path: Path) -> None:
    for arguments in ([], [str(tmp_path / "none")]):
        refused = subprocess.run([sys.executable, "-m", "sft.supervise", *arguments], capture_output=True, check=False)
        assert refused.returncode == 2
        assert refused.stderr.count(b"\n") == 1


def test_ranks_that_told_their_end_and_do_not_leave_are_killed(run: RunDirectory, start: Start) -> None:
    """A collective that waits for a rank that is gone can hang at exit for half an hour."""
    stays = "tell('end', how='done', step=5, words='')\nwhile True: time.sleep(60)\n"
    assert start(stays, grace=0.0).wait() == 0
    assert end_of(run)["how"] == "done"
