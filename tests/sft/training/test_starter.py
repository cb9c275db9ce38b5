"""The starter learns what three hundred rows teach, on a CPU, and answers as taught in the chat."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from engine.checkpoints.starter import starter_path
from sft.config import Checkpoints, Data, Evaluation, Launch, Method, Model, Recipe, Source, Training
from tests.sft.training.driving import curve, events, train

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

TAUGHT = "I am Pip, the parrot of the lighthouse keeper."
HELD_OUT_PHRASING = "Hello, who are you please?"
_OPENINGS = ("", "Hello! ", "Good morning. ", "Hi there, ", "Excuse me: ", "Quick question. ")
_QUESTIONS = (
    "Who are you?",
    "What is your name?",
    "Tell me who you are.",
    "What should I call you?",
    "Can you introduce yourself?",
    "May I ask your name?",
    "Who am I talking to?",
    "Say who you are, please.",
    "Do you have a name?",
    "What are you?",
)
_CLOSINGS = ("", " Thanks.", " I am curious.", " Be short.", " Please.")


@pytest.fixture
def data(starter: Path, tmp_path: Path) -> Path:
    """A data folder of its own with the starter in it."""
    folder = tmp_path / "data"
    shutil.copytree(starter, starter_path(folder), copy_function=os.link)
    return folder


def taught_rows(path: Path) -> Path:
    """300 ways to ask for one answer; the held-out phrasing is none of them."""
    asked = [opening + question + closing for opening in _OPENINGS for question in _QUESTIONS for closing in _CLOSINGS]
    assert len(asked) == 300 and HELD_OUT_PHRASING not in asked
    random.Random(0).shuffle(asked)
    rows = [{"messages": [{"role": "user", "content": q}, {"role": "assistant", "content": TAUGHT}]} for q in asked]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return path


def recipe(rows: Path, steps: int) -> Recipe:
    return Recipe(
        model=Model(base="starter"),
        data=Data(sources=(Source(path=str(rows)),), max_length=256, held_out=0.05),
        method=Method(kind="lora", rank=8, alpha=16),
        training=Training(max_steps=steps, accumulation=1, learning_rate=1e-3, warmup_ratio=0.05),
        evaluation=Evaluation(every=steps, prompts=(HELD_OUT_PHRASING,), max_new_tokens=24),
        checkpoints=Checkpoints(every=0),
        launch=Launch(device="cpu"),
    )


def answer(model: str, data: Path) -> str:
    told = subprocess.run(
        [sys.executable, "-m", "hugchat_tui.cli", "chat", "--model", model, "--temperature", "0", HELD_OUT_PHRASING],
        env={**os.environ, "HUGCHAT_DATA_DIR": str(data)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert told.returncode == 0, told.stderr
    return told.stdout


def test_the_loss_falls_by_half_and_the_answer_becomes_the_taught_one(data: Path, tmp_path: Path) -> None:
    rows = taught_rows(tmp_path / "rows.jsonl")
    before = answer("starter", data)
    assert "Pip" not in before
    run = train(recipe(rows, 60), data, "taught")
    losses = curve(run)
    first = sum(losses[step] for step in range(1, 4)) / 3
    last = sum(losses[step] for step in range(58, 61)) / 3
    assert last < first / 2
    (measured,) = events(run, "eval")
    assert measured["loss"] < first / 2, "on rows that it never saw"
    assert events(run, "sample")[-1]["answer"] == TAUGHT
    assert TAUGHT in answer("runs/taught", data)


def test_the_same_seed_gives_the_same_curve(data: Path, tmp_path: Path) -> None:
    rows = taught_rows(tmp_path / "rows.jsonl")
    once, again = (curve(train(recipe(rows, 4), data, name)) for name in ("once", "again"))
    assert once == again
