"""What `hugchat models` prints, as text for a person: every word from outside is cleaned."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from rich.cells import cell_len

from hugchat_tui.common.clean import clean, clean_line
from hugchat_tui.common.fits import fit_line
from hugchat_tui.common.format import (
    counted,
    duration,
    file_size,
    grouped,
    moment,
    parameter_count,
    shorten,
    shorten_middle,
)
from hugchat_tui.library.breaking import told_apart

if TYPE_CHECKING:
    from engine.checkpoints.downloads.status import Status
    from engine.checkpoints.hub_queries.catalogue import Entry, Group
    from engine.checkpoints.hub_queries.messages import HubModel
    from engine.checkpoints.library.details import Details
    from engine.checkpoints.library.removal import Removal
    from engine.checkpoints.library.rows import Row
    from engine.checkpoints.library.verify import Verification
    from engine.fit import Fit

_GAP = "  "
_LEAST_NAME, _LEAST_LAST = 30, 24  # cells


def table(
    heading: Sequence[str],
    rows: Iterable[Sequence[str]],
    right: frozenset[int] = frozenset(),
    width: int | None = None,
    give_way: Sequence[int] = (),
) -> str:
    """Columns as wide as their widest cell; those in `right` stand at the right. The last column is not padded.

    width: of the terminal, None: no limit. What does not fit gives way: the columns in `give_way`, one after the
    other, then the end of the last column and the middle of the first, which are names.
    """
    lines = [tuple(heading), *(tuple(map(clean_line, row)) for row in rows)]
    widths = [max(cell_len(line[column]) for line in lines) for column in range(len(heading))]
    columns, last = list(range(len(heading))), len(heading) - 1
    if width is not None:
        for gone in give_way:
            least = min(widths[0], _LEAST_NAME) + min(widths[last], _LEAST_LAST)
            if least + _between(widths, columns) <= width:
                break
            columns.remove(gone)
        room = max(_LEAST_LAST, width - _between(widths, columns))
        widths[last] = min(widths[last], max(room - widths[0], _LEAST_LAST))
        widths[0] = min(widths[0], max(3, room - widths[last]))

    def cell(text: str, column: int) -> str:
        text = (shorten_middle if column == 0 else shorten)(text, widths[column])
        missing = " " * (widths[column] - cell_len(text))
        return missing + text if column in right else text + missing

    return "\n".join(_GAP.join(cell(line[column], column) for column in columns).rstrip() for line in lines)


def _between(widths: Sequence[int], columns: Sequence[int]) -> int:
    """Cells of the columns but for the first and the last, with all gaps."""
    return sum(widths[column] for column in columns[1:-1]) + len(_GAP) * (len(columns) - 1)


def rows_table(rows: Sequence[Row], width: int | None) -> str:
    heading = ("name", "kind", "family", "params", "dtype", "size", "context", "used", "")
    return table(heading, map(_row_cells, rows), frozenset({3, 5, 6}), width, give_way=(6, 4, 7, 2, 3))


def _row_cells(row: Row) -> tuple[str, ...]:
    size = file_size(row.size_bytes)
    used = moment(row.used, time.time()) if row.used else ""
    problem = " ".join(row.problem.split())
    name = f"{row.alias} ({row.name})" if row.alias else row.name
    one = row.checkpoint
    if one is None:
        return (name, row.kind, "", "", "", size, "", used, problem)
    context = grouped(one.context_length) if one.context_length else ""
    dtype = one.quantization or one.dtype
    return (name, row.kind, one.family, parameter_count(one.parameters), dtype, size, context, used, problem)


def catalogue_text(groups: Iterable[Group], width: int | None) -> str:
    parts = []
    for group in groups:
        cells = [
            (f"  {entry.id}", parameter_count(entry.parameters), entry.licence, entry.problem or entry.about)
            for entry in group.entries
        ]
        parts.append(table((group.title, "params", "licence", ""), cells, frozenset({1}), width, give_way=(2,)))
    return "\n\n".join(parts)


def search_table(models: Iterable[HubModel], width: int | None) -> str:
    cells = [
        (
            model.id,
            parameter_count(model.parameters),
            grouped(model.downloads),
            grouped(model.likes),
            model.licence,
            "gated" if model.gated else "",
        )
        for model in models
    ]
    return table(("id", "params", "downloads", "likes", "licence", ""), cells, frozenset({1, 2, 3}), width, (4, 3))


def model_document(model: HubModel) -> dict[str, object]:
    """A result of a search, in the shape that an entry of the catalogue has too."""
    return {
        "id": model.id,
        "parameters": model.parameters,
        "licence": model.licence,
        "gated": bool(model.gated),
        "private": model.private,
        "downloads": model.downloads,
        "likes": model.likes,
        "updated": model.updated,
        "gguf": model.gguf,
        "adapter_of": list(model.adapter_of),
        "group": "",
        "about": "",
        "problem": "",
    }


def entry_document(entry: Entry, group: Group) -> dict[str, object]:
    """An entry of the catalogue. What only the Hub knows is null."""
    return {
        "id": entry.id,
        "parameters": entry.parameters,
        "licence": entry.licence,
        "gated": entry.gated,
        "private": False,
        **dict.fromkeys(("downloads", "likes", "updated", "gguf", "adapter_of")),
        "group": group.title,
        "about": entry.about,
        "problem": entry.problem,
    }


def details_text(row: Row, details: Details, fit: Fit, context: int) -> str:
    """Facts, lineage, files and card of one checkpoint. context: tokens that `fit` counts with."""
    one = row.checkpoint
    facts = [("name", row.name), ("alias", row.alias), ("note", row.note), ("kind", row.kind), ("path", row.key)]
    if row.problem:
        facts.append(("problem", row.problem))
    if one is not None:
        facts += [
            ("family", one.family),
            ("parameters", grouped(one.parameters) if one.parameters else ""),
            ("dtype", one.dtype),
            ("quantised", one.quantization),
            ("context", f"{grouped(one.context_length)} tokens" if one.context_length else ""),
            ("licence", one.licence or details.facts.licence),
            ("chat template", one.template_source or "none: HugChat's own is used"),
            ("base", one.base_name),
            ("adapter", _adapter(one.adapter_method, one.adapter_rank, one.adapter_alpha, one.adapter_targets)),
            ("revision", one.revision),
        ]
    alone = "" if row.own_bytes == row.size_bytes else f", {file_size(row.own_bytes)} of them its own"
    facts += [
        ("refs", ", ".join(row.refs)),
        ("size", f"{file_size(row.size_bytes)}{alone}"),
        ("fit", fit_line(fit) and f"{fit_line(fit)}; counted with {grouped(context)} tokens"),
        ("lineage", " -> ".join(row.lineage)),
    ]
    width = max(len(name) for name, _ in facts)
    parts = ["\n".join(f"{name:<{width}}  {clean_line(value)}" for name, value in facts if value)]
    files = [(file_size(file.size) if file.size >= 0 else "missing", file.path) for file in details.files]
    parts.append(table(("size", "file"), files, frozenset({0})))
    parts += [clean_line(note) for note in details.notes]
    if details.card.strip():
        parts.append(clean(details.card.strip()))
    return "\n\n".join(parts)


def _adapter(method: str, rank: int, alpha: float, targets: Sequence[str]) -> str:
    if not method:
        return ""
    words = [method, f"rank {rank}" if rank else "", f"alpha {alpha:g}" if alpha else "", ", ".join(targets)]
    return " · ".join(word for word in words if word)


def removal_text(removal: Removal) -> str:
    """What a deletion takes away, keeps and breaks."""
    lines = [f"delete {clean_line(row.name)}: {clean_line(row.key)}" for row in removal.rows]
    if removal.rows:
        kept = removal.shared_bytes_kept
        shared = f"; {file_size(kept)} stay, others need them" if kept else ""
        lines.append(f"frees {file_size(removal.freed_bytes)} ({grouped(removal.freed_bytes)} bytes){shared}")
    broken, unmade = told_apart(removal.breaks)
    lines += [f"breaks {clean_line(each.row.name)}: {clean_line(each.what)}" for each in broken]
    lines += [f"keeps {clean_line(each.row.name)}, {clean_line(each.what)}" for each in unmade]
    lines += [f"stays: {clean_line(str(path))}" for path in removal.stays]
    lines += [f"not {clean_line(refusal.row.name)}: {clean_line(refusal.why)}" for refusal in removal.refuses]
    return "\n".join(lines)


def verification_text(name: str, result: Verification) -> str:
    lines = [f"{clean_line(name)}: {_verdict(result)}"]
    lines += [f"  {clean_line(problem)}" for problem in result.problems]
    lines += [f"  not compared: {clean_line(file.file)}: {clean_line(file.why)}" for file in result.unchecked]
    return "\n".join(lines)


def _verdict(result: Verification) -> str:
    if result.problems:
        return f"damaged ({counted(len(result.problems), 'problem')})"
    if not result.checked_files:
        return "no checksum is known for it"
    return f"{counted(result.checked_files, 'file')} compared, all as they should be"


def download_line(status: Status) -> str:
    """How far a download is, in a line."""
    parts: list[str] = [status.state]
    if status.total:
        parts.append(f"{100 * status.done // status.total} % of {file_size(status.total)}")
    if status.rate:
        parts.append(f"{file_size(round(status.rate))}/s")
    if status.left_s is not None and status.rate:
        parts.append(f"{duration(status.left_s)} left")
    if status.message:
        parts.append(status.message)
    return clean_line(" · ".join(parts))
