"""What is known of a checkpoint of this machine, as sections of the details page."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.cells import cell_len

from hugchat_tui.chat.transcript import Entry
from hugchat_tui.chat.transcript.entries import EntryRole
from hugchat_tui.common.clean import clean_line
from hugchat_tui.common.format import counted, file_size, fit, grouped, memory_size, moment
from hugchat_tui.common.wrapping import wrapped
from hugchat_tui.library.columns import Listed
from hugchat_tui.library.measuring import counted_context
from hugchat_tui.library.transfer_list import facts as progress_facts
from hugchat_tui.library.transfer_list import share

if TYPE_CHECKING:
    from engine.checkpoints.library.details import Details
    from engine.checkpoints.model import Checkpoint
    from engine.fit import Fit
    from hugchat_tui.library.work import Work

_LABELS = 12, 24  # cells of a name beside its value, at least and at most
_NARROWEST_VALUE = 16
_MOST_FILES = 40
_PROBLEMS = {"broken": "It is broken", "unfinished": "It is not complete", "other": "What it is"}
_FENCE = re.compile(r"`{3,}")


def section(key: int, role: EntryRole, title: str, text: str, detail: str = "") -> Entry:
    return Entry(key=key, role=role, title=title, text=text, detail=detail)


def facts(pairs: Iterable[tuple[str, str]], width: int) -> str:
    """Names and values in two columns, wrapped to so many cells, without those that are not known."""
    known = [(clean_line(name), clean_line(value)) for name, value in pairs if value]
    longest = max((cell_len(name) + 2 for name, _ in known), default=0)
    column = max(_LABELS[0], min(_LABELS[1], longest))
    lines = []
    for name, value in known:
        rows = wrapped(value, max(_NARROWEST_VALUE, width - column))
        lines.append(fit(name, column) + rows[0])
        lines += [" " * column + row for row in rows[1:]]
    return "\n".join(lines)


def from_home(path: str) -> str:
    """The path with ~ for the person's home folder."""
    home = str(Path.home())
    return f"~{path.removeprefix(home)}" if path.startswith(f"{home}/") else path


def file_lines(files: Sequence[tuple[str, int]]) -> str:
    """Sizes and names; the largest ones where there are very many."""
    shown = sorted(files, key=lambda file: -file[1])[:_MOST_FILES] if len(files) > _MOST_FILES else files
    lines = [f"{file_size(size):>8}  {path}" for path, size in shown]
    if len(files) > len(shown):
        rest = sum(size for _, size in files) - sum(size for _, size in shown)
        lines.append(f"{file_size(rest):>8}  in {len(files) - len(shown):,} smaller ones")
    return "\n".join(lines)


def fenced(text: str, language: str) -> str:
    """The text as a code block of Markdown, whatever is in it."""
    fence = "`" * max([3, *(len(run) + 1 for run in _FENCE.findall(text))])
    return f"{fence}{language}\n{text}\n{fence}"


def row_sections(listed: Listed, read: Details | None, work: Sequence[Work], width: int) -> list[Entry]:
    """A row: facts, its problem, and once they were read files, template and card.

    work: jobs on it. width: cells that facts may use.
    """
    row = listed.row
    found = [section(1, "user", row.alias or row.name, _row_facts(listed, width), row.kind)]
    if row.problem:
        role: EntryRole = "error" if row.kind == "broken" else "notice"
        found.append(section(2, role, _PROBLEMS.get(row.kind, "It cannot be loaded"), row.problem))
    found += [_work_section(20 + place, each) for place, each in enumerate(work)]
    if row.note:
        found.append(section(3, "user", "Your note", row.note))
    if read is not None:
        found += _read_sections(read, width)
    return found


def _read_sections(read: Details, width: int) -> list[Entry]:
    found = []
    if read.notes:
        found.append(section(4, "notice", "Left out", "\n".join(read.notes)))
    if any((read.facts.base_models, read.facts.datasets, read.facts.languages)):
        found.append(section(5, "system", "Its card says", _card_facts(read, width)))
    if read.files:
        files = file_lines([(file.path, file.size) for file in read.files])
        found.append(section(6, "system", "Files", files, counted(len(read.files), "file")))
    if read.config:
        found.append(section(7, "system", "Configuration", facts(read.config, width)))
    if read.template:
        found.append(section(8, "assistant", "Chat template", fenced(read.template, "jinja"), read.template_source))
    if read.card:
        found.append(section(9, "assistant", "Model card", read.card))
    return found


def _card_facts(read: Details, width: int) -> str:
    said = read.facts
    return facts(
        (
            ("base", ", ".join(said.base_models)),
            ("data", ", ".join(said.datasets)),
            ("languages", ", ".join(said.languages)),
        ),
        width,
    )


def _row_facts(listed: Listed, width: int) -> str:
    row, checkpoint = listed.row, listed.row.checkpoint
    is_snapshot = row.source == "cache" and checkpoint is not None
    shared = row.size_bytes - row.own_bytes
    shared_words = f", {file_size(shared)} of it shared with other rows" if 0 < shared < row.size_bytes else ""
    pairs = [("name", row.name if row.alias else "")]
    if checkpoint is not None:
        pairs += _checkpoint_facts(checkpoint)
        if listed.fit is not None:
            pairs += _fit_facts(listed.fit, counted_context(checkpoint))
    pairs += [
        ("on disk", f"{file_size(row.size_bytes)}{shared_words}"),
        ("used", moment(row.used, time.time()) if row.used else ""),
        ("changed", moment(row.modified, time.time()) if row.modified else ""),
        ("revision", ", ".join(row.refs) or ("detached: no branch or tag names it" if is_snapshot else "")),
        ("lineage", " → ".join(row.lineage) if len(row.lineage) > 1 else ""),
        ("path", from_home(row.key)),
    ]
    return facts(pairs, width)


def _checkpoint_facts(checkpoint: Checkpoint) -> list[tuple[str, str]]:
    return [
        ("family", checkpoint.family),
        ("parameters", f"{grouped(checkpoint.parameters)}" if checkpoint.parameters else ""),
        ("dtype", checkpoint.dtype),
        ("quantized", checkpoint.quantization),
        ("context", f"{grouped(checkpoint.context_length)} tokens" if checkpoint.context_length else ""),
        ("licence", checkpoint.licence),
        ("template", checkpoint.template_source or "none: HugChat's own format is used"),
        ("base", checkpoint.base_name and f"{checkpoint.base_name}{'' if checkpoint.base else ' (not here)'}"),
        ("adapter", _adapter(checkpoint)),
        ("layers", ", ".join(checkpoint.adapter_targets)),
        ("commit", checkpoint.revision[:12]),
    ]


def _adapter(checkpoint: Checkpoint) -> str:
    if not checkpoint.adapter_method:
        return ""
    rank = f", rank {checkpoint.adapter_rank}" if checkpoint.adapter_rank else ""
    alpha = f", alpha {checkpoint.adapter_alpha:g}" if checkpoint.adapter_alpha else ""
    return f"{checkpoint.adapter_method}{rank}{alpha}"


def _fit_facts(fit: Fit, context: int) -> list[tuple[str, str]]:
    """context: tokens that the estimate counts with."""
    words = {"fits": "fits", "tight": "only just", "no": "does not fit"}.get(fit.verdict)
    if words is None:
        return []
    needed = f"about {memory_size(fit.needed)} with {grouped(context)} tokens; {memory_size(fit.available)} are free"
    largest = f"a context of {grouped(fit.largest_context)} tokens" if fit.largest_context else ""
    return [("in memory", f"{words}, by estimate: {needed}"), ("room for", largest)]


def _work_section(key: int, work: Work) -> Entry:
    if work.state == "running":
        words = " · ".join(filter(None, (work.stage, share(work.done, work.total), *progress_facts(work))))
        return section(key, "notice", work.verb, words)
    return section(key, "error" if work.state == "failed" else "system", work.verb, work.message, work.state)
