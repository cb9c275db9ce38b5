"""Curves as dots: many points become a few columns of dots, and eight dots a braille character. No Textual here."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from hugchat_tui.monitor.curves import Array

Cells = npt.NDArray[np.uint8]
"""A chart's characters, each as the bits of its braille dots."""

DOTS_ACROSS, DOTS_DOWN = 2, 4  # of a character
BRAILLE = 0x2800  # the character without dots; a bit for each follows
_BITS = np.array([[0x01, 0x08], [0x02, 0x10], [0x04, 0x20], [0x40, 0x80]])  # by a dot's row and column


def columns(x: Array, middle: Array, reach: tuple[Array, Array] | None, left: float, right: float, count: int) -> Array:
    """The (lowest, highest) y in each of `count` columns between left and right; NaN where there is nothing.

    x ascends. middle: what neighbours are joined by; NaN interrupts the line. reach: how far down and up each point
    goes; without, the points of a column count as their mean, which makes a thin line.
    """
    found = np.full((2, count), np.nan)
    if not right > left:
        return found
    first = max(0, int(np.searchsorted(x, left)) - 1)  # a line may come from outside and lead there
    last = int(np.searchsorted(x, right, "right")) + 1
    x, middle = x[first:last], middle[first:last]
    low, high = (middle, middle) if reach is None else (each[first:last] for each in reach)
    finite = np.isfinite(middle)
    broken = np.zeros(len(x), np.bool_)
    if not finite.all():
        known = np.flatnonzero(finite)
        broken = np.diff(known, prepend=known[:1]) > 1
        x, middle, low, high = x[known], middle[known], low[known], high[known]
    if not len(x):
        return found
    edges = np.searchsorted(x, np.linspace(left, right, count + 1))
    edges[-1] = np.searchsorted(x, right, "right")
    here = np.flatnonzero(np.diff(edges))
    begins = edges[here]
    ends = edges[here + 1] - 1
    if len(here):
        behind = edges[-1]
        if reach is None:
            low = high = np.add.reduceat(middle[:behind], begins) / (ends - begins + 1)
        else:
            low, high = np.minimum.reduceat(low[:behind], begins), np.maximum.reduceat(high[:behind], begins)
        found[:, here] = low, high
    # What the columns are joined by: the first and the last of their points, or one with their mean.
    outside = [[edges[0] - 1] if edges[0] else [], [edges[-1]] if edges[-1] < len(x) else []]
    begins, ends = (np.concatenate((outside[0], each, outside[1])).astype(np.int64) for each in (begins, ends))
    scale = count / (right - left)
    reached, left_at = (x[begins] - left) * scale, (x[ends] - left) * scale
    height, left_height = middle[begins], middle[ends]
    if reach is None:
        inside = slice(len(outside[0]), len(outside[0]) + len(here))
        reached[inside] = left_at[inside] = here + 0.5
        height[inside] = left_height[inside] = low
    whole = ~broken[begins[1:]]
    _join(found, left_at[:-1][whole], left_height[:-1][whole], reached[1:][whole], height[1:][whole])
    return found


def _join(found: Array, x0: Array, y0: Array, x1: Array, y1: Array) -> None:
    """Draw straight lines from (x0, y0) to (x1, y1): x in columns, x0 < x1."""
    count = found.shape[1]
    begin = np.clip(np.floor(x0), 0, count - 1).astype(np.int64)
    stop = np.clip(np.floor(x1), 0, count - 1).astype(np.int64)
    parts = stop - begin + 1
    line = np.repeat(np.arange(len(parts)), parts)
    column = np.arange(parts.sum()) - np.repeat(np.cumsum(parts) - parts, parts) + begin[line]
    slope = ((y1 - y0) / (x1 - x0))[line]
    near, far = np.maximum(column, x0[line]), np.minimum(column + 1, x1[line])
    seen = near <= far
    column, line, slope = column[seen], line[seen], slope[seen]
    for edge in (near[seen], far[seen]):
        height = y0[line] + (edge - x0[line]) * slope
        np.fmin.at(found[0], column, height)
        np.fmax.at(found[1], column, height)


def raster(found: Array, bottom: float, top: float, rows: int) -> Cells:
    """Columns of dots as characters: an array of (rows, columns / 2). What lies outside is not drawn."""
    dots = rows * DOTS_DOWN
    scale = (dots - 1) / (top - bottom)
    known = np.isfinite(found[0]) & (found[1] >= bottom) & (found[0] <= top)
    low, high = np.where(known, found, 0.0)
    first = np.rint((top - np.minimum(high, top)) * scale)
    last = np.rint((top - np.maximum(low, bottom)) * scale)
    line = np.arange(dots)[:, None]
    drawn = (line >= first) & (line <= last) & known
    blocks = drawn.reshape(rows, DOTS_DOWN, -1, DOTS_ACROSS)
    cells: Cells = np.einsum("rdcx,dx->rc", blocks, _BITS).astype(np.uint8)
    return cells
