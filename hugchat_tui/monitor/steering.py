"""What a person types to steer a run, read and checked as the run itself will."""

from __future__ import annotations

from collections.abc import Mapping

from sft.control import command_problem

_CALLED = {
    "learning_rate": "The learning rate",
    "eval_every": "The first number",
    "checkpoint_every": "The second number",
}
"""What a person knows the values by."""


def learning_rate_problem(text: str) -> str | None:
    """What is wrong with a learning rate that was typed, None when it will do."""
    try:
        value = float(text)
    except ValueError:
        return "A number, such as 1e-4."
    return _problem({"learning_rate": value})


def read_cadence(text: str) -> tuple[int, int]:
    """(steps between evaluations, steps between checkpoints). Raises ValueError."""
    evaluation, checkpoint = text.replace(",", " ").split()
    return int(evaluation), int(checkpoint)


def cadence_problem(text: str) -> str | None:
    """What is wrong with a cadence that was typed, None when it will do."""
    try:
        evaluation, checkpoint = read_cadence(text)
    except ValueError:
        return "Two whole numbers, such as 50 100."
    return _problem({"eval_every": evaluation, "checkpoint_every": checkpoint})


def _problem(values: Mapping[str, object]) -> str | None:
    problem = command_problem("set", values)
    for key, words in _CALLED.items():
        problem = problem.replace(key, words)
    return f"{problem}." if problem else None
