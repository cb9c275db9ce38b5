"""What a person types to steer a run, read and checked as the run itself will."""

from __future__ import annotations

from sft.control import command_problem


def learning_rate_problem(text: str) -> str | None:
    """What is wrong with a learning rate that was typed, None when it will do."""
    try:
        value = float(text)
    except ValueError:
        return "A number, such as 1e-4."
    problem = command_problem("set", {"learning_rate": value})
    return f"{problem}." if problem else None


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
    problem = command_problem("set", {"eval_every": evaluation, "checkpoint_every": checkpoint})
    return f"{problem}." if problem else None
