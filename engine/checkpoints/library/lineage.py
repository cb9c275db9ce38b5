"""Where checkpoints come from: base -> adapter -> merged."""

from __future__ import annotations

from collections.abc import Sequence

from engine.checkpoints.library.rows import Row

_DEEPEST = 16  # hugchat.json comes from outside and could name origins without end


def lineages(rows: Sequence[Row]) -> dict[str, tuple[str, ...]]:
    """By row key, names from the root to the row itself; only of rows of which an origin is known.

    An adapter comes from its base, what this program made from what its hugchat.json names. An origin that is not here
    is named all the same.
    """
    found = _Lineages(rows)
    return {row.key: names for row in rows if len(names := found.of(row, 0)) > 1}


class _Lineages:
    def __init__(self, rows: Sequence[Row]) -> None:
        self._by_name: dict[str, Row] = {}
        self._by_path: dict[str, Row] = {}
        self._told: dict[str, tuple[str, ...]] = {}
        for row in rows:
            if row.checkpoint is not None:
                self._by_name.setdefault(row.name, row)
                self._by_path[row.checkpoint.key] = row

    def of(self, row: Row, depth: int) -> tuple[str, ...]:
        """depth: how many rows came from this one on the way here."""
        if row.key in self._told:
            return self._told[row.key]
        self._told[row.key] = (row.name,)  # where a circle ends
        names: dict[str, None] = {}
        for origin in self._origins(row) if depth < _DEEPEST else ():
            known = self._by_path.get(origin) or self._by_name.get(origin)
            names.update(dict.fromkeys(self.of(known, depth + 1) if known is not None else (origin,)))
        names.pop(row.name, None)
        self._told[row.key] = (*names, row.name)
        return self._told[row.key]

    def _origins(self, row: Row) -> Sequence[str]:
        """Names or paths of what a row was made of."""
        checkpoint = row.checkpoint
        if checkpoint is None:
            return ()
        if checkpoint.kind == "adapter":
            base = str(checkpoint.base) if checkpoint.base is not None else checkpoint.base_name
            return (base,) if base else ()
        return checkpoint.made_from
