"""A compositor that draws the rows that changed, and only those."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from textual._compositor import Compositor
from textual.geometry import Region
from textual.strip import Strip


class RowCompositor(Compositor):
    """Textual's own asks every widget for all of its rows, however few of them changed.

    With a word of a reply, one or two rows of the screen change, many times a second. Asking only for those took two
    thirds of the function calls out of such a frame, and the core that makes them is one that the model computes with.
    """

    _wanted: Callable[[int], bool] = staticmethod(lambda y: True)

    def _render_chops(self, crop: Region, is_rendered_line: Callable[[int], bool]) -> Sequence[Mapping[int, Strip]]:
        self._wanted = is_rendered_line
        return super()._render_chops(crop, is_rendered_line)

    def _get_renders(self, crop: Region | None = None) -> Iterable[tuple[Region, Region, list[Strip]]]:
        crop = crop or self.size.region
        runs = list(_runs(crop, self._wanted))
        for widget, (region, clip) in self.visible_widgets.items():  # the front first
            seen = region.intersection(clip)
            if not seen.overlaps(crop):
                continue
            behind = []
            for run in runs:
                part = seen.intersection(Region(seen.x, run[0], seen.width, run[1] - run[0]))
                if part:
                    yield region, part, widget.render_lines(part.translate(-region.offset))
                if part.height < run[1] - run[0] or part.x > crop.x or part.right < crop.right:
                    behind.append(run)  # something of the next widget can be seen
            runs = behind


def _runs(crop: Region, wanted: Callable[[int], bool]) -> Iterator[tuple[int, int]]:
    """The unbroken runs of wanted rows: each its first row and the row behind its last."""
    first = None
    for y in crop.line_range:
        if not wanted(y):
            if first is not None:
                yield first, y
            first = None
        elif first is None:
            first = y
    if first is not None:
        yield first, crop.bottom
