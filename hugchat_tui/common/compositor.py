"""A compositor that draws what changed, and only that."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from textual._compositor import ChopsUpdate, Compositor
from textual.geometry import Region
from textual.strip import Strip


class PartialCompositor(Compositor):
    """Textual's own asks every widget for all of its rows, however few of them changed.

    With a word of a reply, one or two rows of the screen change, many times a second. Asking only for those took two
    thirds of the function calls out of such a frame, and the core that makes them is one that the model computes with.
    And where a list changes, what stands beside it does not: it is not asked for the same rows.
    """

    _wanted: Callable[[int], bool] = staticmethod(lambda y: True)
    _changed: Mapping[int, tuple[int, int]] | None = None  # the first column and the one behind the last, by row

    def render_partial_update(self) -> ChopsUpdate | None:
        self._changed = _columns(self._dirty_regions)
        try:
            return super().render_partial_update()
        finally:
            self._changed = None

    def _render_chops(self, crop: Region, is_rendered_line: Callable[[int], bool]) -> Sequence[Mapping[int, Strip]]:
        self._wanted = is_rendered_line
        return super()._render_chops(crop, is_rendered_line)

    def _get_renders(self, crop: Region | None = None) -> Iterable[tuple[Region, Region, list[Strip]]]:
        crop = crop or self.size.region
        blocks = list(self._blocks(crop))
        for widget, (region, clip) in self.visible_widgets.items():  # the front first
            seen = region.intersection(clip)
            if not seen.overlaps(crop):
                continue
            behind = []
            for block in blocks:
                if not seen.overlaps(block):
                    behind.append(block)
                    continue
                # All of its columns: those of the block may end within a piece that is drawn as one.
                part = seen.intersection(Region(seen.x, block.y, seen.width, block.height))
                yield region, part, widget.render_lines(part.translate(-region.offset))
                if part.height < block.height or part.x > block.x or part.right < block.right:
                    behind.append(block)  # something of the next widget can be seen
            blocks = behind

    def _blocks(self, crop: Region) -> Iterator[Region]:
        """What is wanted, as unbroken rows with the same columns."""
        whole = (crop.x, crop.right)
        first, columns = crop.y, None
        for y in (*crop.line_range, crop.bottom):
            wanted = y < crop.bottom and self._wanted(y)
            here = (whole if self._changed is None else self._changed.get(y, whole)) if wanted else None
            if here != columns:
                if columns is not None:
                    yield Region(columns[0], first, columns[1] - columns[0], y - first)
                first, columns = y, here


def _columns(regions: Iterable[Region]) -> dict[int, tuple[int, int]]:
    """Of every row that lies in one of the regions, the columns from the first to behind the last."""
    columns: dict[int, tuple[int, int]] = {}
    for region in regions:
        for y in region.line_range:
            first, end = columns.get(y, (region.x, region.right))
            columns[y] = min(first, region.x), max(end, region.right)
    return columns
