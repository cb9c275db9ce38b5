"""What `hugchat sft` prints, as text for a person: every word from outside is cleaned."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from hugchat_tui.common.clean import clean, clean_line
from hugchat_tui.common.format import duration, file_size, grouped, memory_size, parameter_count, rate
from hugchat_tui.models_text import table

if TYPE_CHECKING:
    from sft.estimate import Estimate
    from sft.packaged import Packaged
    from sft.runs import RunDirectory, RunStatus


def runs_table(runs: Sequence[tuple[RunDirectory, RunStatus]]) -> str:
    heading = ("name", "state", "step", "loss", "eval", "last word", "")
    return table(heading, [_run_cells(run, status) for run, status in runs], frozenset({2, 3, 4}))


def _run_cells(run: RunDirectory, status: RunStatus) -> tuple[str, ...]:
    quiet = f"{duration(status.quiet_s)} ago" if status.quiet_s else ""
    words = "" if status.state == "done" else " ".join(status.words.split())
    return (run.name, status.state, step_of(status), _loss(status.loss), _loss(status.eval_loss), quiet, words)


def step_of(status: RunStatus) -> str:
    total = f" / {status.total_steps:,}" if status.total_steps else ""
    return f"{status.step:,}{total}" if status.step or total else ""


def _loss(loss: float | None) -> str:
    return loss_text(loss) if loss is not None else ""


def loss_text(loss: float) -> str:
    """With four decimals, or three digits where those would leave fewer than two of it: "3.2500", "2.83e-5"."""
    if 0 < abs(loss) < 1e-3:
        return f"{loss:.3g}".replace("e-0", "e-")
    return f"{loss:.4f}"


def status_text(run: RunDirectory, status: RunStatus, facts: Mapping[str, str]) -> str:
    """Everything known of one run."""
    lines = [
        ("name", run.name),
        ("path", str(run.path)),
        ("state", status.state),
        ("step", step_of(status)),
        ("loss", _loss(status.loss)),
        ("evaluation", _loss(status.eval_loss)),
        ("host", status.host),
        ("last word", f"{duration(status.quiet_s)} ago" if status.quiet_s else ""),
        ("how", status.words),
        ("what to do", status.hint),
        ("problem", status.problem),
        *facts.items(),
    ]
    return "\n".join(f"{name:<12}{_indented(value)}" for name, value in lines if value)


def _indented(text: str) -> str:
    return clean(text).replace("\n", "\n" + " " * 12)


def estimate_text(found: Estimate) -> str:
    """The memory of one device, part by part."""
    device = "GPU" if found.on_gpu else "process on the CPU"
    lines = [f"Memory of each {device}, estimated; {parameter_count(found.trainable)} of "]
    lines[0] += f"{parameter_count(found.parameters)} parameters are trained:"
    lines += [f"  {name:<12}{memory_size(size):>10}" for name, size in found.parts.items()]
    free = f", {memory_size(found.available)} free" if found.available is not None else ""
    lines.append(f"  {'in all':<12}{memory_size(found.total):>10}{free}")
    if found.host:
        lines.append(f"  {'offloaded':<12}{memory_size(found.host):>10}, {memory_size(found.host_available)} free")
    return "\n".join([*lines, *(f"It would not fit: {problem}" for problem in found.problems)])


def recipes_table(recipes: Sequence[Packaged]) -> str:
    return table(("recipe", "for"), [(recipe.name, recipe.note) for recipe in recipes])


def event_line(record: Mapping[str, Any]) -> str:
    """One event in words, on one line but for samples and the end of a log."""
    kind = str(record.get("type", ""))
    try:
        said = _EVENTS[kind](record) if kind in _EVENTS else _unknown(record)
    except (ArithmeticError, TypeError, ValueError):  # numbers without end, and what should have been one
        said = _unknown(record)
    return f"{_clock(record.get('time'))}  {said}"


def _clock(moment: object) -> str:
    try:
        return time.strftime("%H:%M:%S", time.localtime(moment)) if isinstance(moment, int | float) else ""
    except (OverflowError, ValueError, OSError):  # there is no calendar for it
        return ""


def _unknown(record: Mapping[str, Any]) -> str:
    fields = [f"{name} {value}" for name, value in record.items() if name not in ("type", "time")]
    return clean_line(f"{record.get('type')}: {', '.join(fields)}")


def _number(record: Mapping[str, Any], name: str, form: str | Callable[[float], str]) -> str:
    value = record.get(name)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return format(value, form) if isinstance(form, str) else form(value)
    return "not finite" if name in (record.get("nonfinite") or ()) else "?"


def _text(record: Mapping[str, Any], name: str) -> str:
    value = record.get(name)
    return clean(value) if isinstance(value, str) else ""


def _run(record: Mapping[str, Any]) -> str:
    trained = f"{_number(record, 'trainable', ',')} of {_number(record, 'parameters', ',')} parameters"
    where = f"{_number(record, 'world_size', ',')} x {_text(record, 'device')}, {_text(record, 'dtype')}"
    resumed = record.get("resumed_from")
    again = f", resumed from {clean_line(str(resumed))}" if resumed else ""
    total = _number(record, "total_steps", ",")
    return f"run {_text(record, 'name')} on {where}, {_text(record, 'engine')}: {trained}, {total} steps{again}"


def _phase(record: Mapping[str, Any]) -> str:
    done, total = record.get("done"), record.get("total")
    share = ""
    if isinstance(done, int) and isinstance(total, int) and total > 0:
        share = f" {100 * done // total} %"
    name, words = _text(record, "name"), _text(record, "words")
    words = "" if words == name else words
    return f"{name}{share}{': ' if words else ''}{words}"


def _step(record: Mapping[str, Any]) -> str:
    speed = record.get("tokens_per_s")
    parts = [
        f"step {_number(record, 'step', ',')}",
        f"loss {_number(record, 'loss', loss_text)}",
        f"learning rate {_number(record, 'learning_rate', '.3g')}",
        f"gradient {_number(record, 'grad_norm', '.3g')}",
    ]
    if isinstance(speed, int | float):
        parts.append(f"{rate(speed)} tokens/s")
    return ", ".join(parts)


def _eval(record: Mapping[str, Any]) -> str:
    best = ", the best so far" if record.get("best") else ""
    loss, perplexity = _number(record, "loss", loss_text), _number(record, "perplexity", ".3f")
    return f"evaluation at step {_number(record, 'step', ',')}: loss {loss}, perplexity {perplexity}{best}"


def _sample(record: Mapping[str, Any]) -> str:
    answer = _text(record, "answer").replace("\n", "\n    ")
    return f"asked at step {_number(record, 'step', ',')}: {clean_line(_text(record, 'prompt'))}\n    {answer}"


def _checkpoint(record: Mapping[str, Any]) -> str:
    size = record.get("bytes")
    shown = f", {file_size(size)}" if isinstance(size, int) else ""
    best = ", the best so far" if record.get("best") else ""
    return f"checkpoint at step {_number(record, 'step', ',')}{shown}{best}"


def _ack(record: Mapping[str, Any]) -> str:
    return f"{_text(record, 'command')} at step {_number(record, 'step', ',')}: {_text(record, 'words')}"


def _alert(record: Mapping[str, Any]) -> str:
    return f"alert, {_text(record, 'kind')}: {_text(record, 'words')}"


def _heartbeat(record: Mapping[str, Any]) -> str:
    return f"alive at step {_number(record, 'step', ',')}"


def _end(record: Mapping[str, Any]) -> str:
    words = " ".join(filter(None, (_text(record, "words"), _text(record, "hint"))))
    return f"{_text(record, 'how')} at step {_number(record, 'step', ',')}{': ' if words else ''}{words}"


_EVENTS = {
    "run": _run,
    "phase": _phase,
    "step": _step,
    "eval": _eval,
    "sample": _sample,
    "checkpoint": _checkpoint,
    "ack": _ack,
    "alert": _alert,
    "heartbeat": _heartbeat,
    "end": _end,
}


def built_text(rows: Mapping[Any, int]) -> str:
    return "\n".join(f"{grouped(count)} rows  {clean_line(str(path))}" for path, count in rows.items())
