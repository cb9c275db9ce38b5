"""Which documents share an input row: best fit decreasing, with documents of one length handled all at once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Int32 = npt.NDArray[np.int32]
Int64 = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Packs:
    """The packs of one epoch, in the order in which they are trained.

    documents: their numbers, int32 [documents]. offsets: int64 [packs + 1]; pack i holds the documents from offsets[i]
    to offsets[i + 1].
    """

    documents: Int32
    offsets: Int64


def plan_packs(
    lengths: npt.NDArray[np.integer], capacity: int, seed: int, epoch: int, *, packing: bool = True
) -> Packs:
    """Every document once, in packs of at most `capacity` tokens.

    lengths: tokens of each document, from 1 to capacity. packing: off, each document is a pack of its own. The same
    seed and epoch give the same packs; another epoch packs other documents together, in another order. Best fit
    decreasing needs at most 11/9 of the fewest packs possible, and a few more (Johnson 1973); on lengths of real chats
    it is one or two in a hundred. Eight million documents take some seconds. Raises ValueError.
    """
    lengths = np.asarray(lengths)
    if len(lengths) and (int(lengths.min()) < 1 or int(lengths.max()) > capacity):
        raise ValueError(f"lengths must be from 1 to {capacity}, not {lengths.min()} to {lengths.max()}")
    random = np.random.default_rng([seed, epoch])
    shuffled = random.permutation(len(lengths)).astype(np.int32)
    if not packing:
        return Packs(shuffled, np.arange(len(lengths) + 1, dtype=np.int64))
    # A stable sort of the shuffled documents: by length, and in random order within a length. numpy sorts 16-bit
    # numbers in linear time.
    keys = lengths[shuffled].astype(np.uint16 if capacity < 1 << 16 else np.int64)
    by_length = shuffled[np.argsort(keys, kind="stable")]
    counts = np.bincount(lengths, minlength=capacity + 1)
    documents, sizes = _filled(_shapes(counts, capacity), by_length, counts)
    return _shuffled(documents, sizes, random)


@dataclass(slots=True)
class _Shape:
    """Packs with documents of the same lengths. packs: how many. contents: (length, number in each pack)."""

    packs: int
    contents: tuple[tuple[int, int], ...]


def _shapes(counts: npt.NDArray[np.integer], capacity: int) -> list[_Shape]:
    """Best fit decreasing for counts[l] documents of each length l.

    A document goes into the fullest pack that has room for it. The next one, of the same length, goes into the same
    pack while it fits: so a pack with room r takes r // l of them, and all packs with room r do alike.
    """
    open_shapes: dict[int, list[_Shape]] = {}  # by the room left
    rooms = 0  # bit r is set while there are packs with room r
    closed: list[_Shape] = []

    def put(packs: int, contents: tuple[tuple[int, int], ...], room: int) -> None:
        nonlocal rooms
        if not packs:
            return
        shape = _Shape(packs, contents)
        if not room:
            closed.append(shape)
            return
        open_shapes.setdefault(room, []).append(shape)
        rooms |= 1 << room

    for length in np.flatnonzero(counts)[::-1].tolist():
        left = int(counts[length])
        while left:
            fitting = rooms >> length
            if not fitting:
                each = capacity // length
                put(left // each, ((length, each),), capacity - each * length)
                put(int(left % each > 0), ((length, left % each),), capacity - left % each * length)
                break
            room = length + (fitting & -fitting).bit_length() - 1
            shape = open_shapes[room][-1]
            each = room // length
            filled = min(shape.packs, left // each)
            put(filled, (*shape.contents, (length, each)), room - each * length)
            shape.packs -= filled
            left -= filled * each
            if shape.packs and left:  # fewer than one pack takes
                put(1, (*shape.contents, (length, left)), room - left * length)
                shape.packs -= 1
                left = 0
            if not shape.packs:
                open_shapes[room].pop()
                if not open_shapes[room]:
                    rooms &= ~(1 << room)
    return closed + [shape for shapes in open_shapes.values() for shape in shapes]


def _filled(shapes: list[_Shape], by_length: Int32, counts: npt.NDArray[np.integer]) -> tuple[Int32, Int64]:
    """The documents of all packs one after the other, and how many each pack holds."""
    next_of = np.concatenate([[0], np.cumsum(counts)]).tolist()
    documents = []
    sizes = []
    for shape in shapes:
        columns = []
        for length, each in shape.contents:
            first = next_of[length]
            next_of[length] = last = first + shape.packs * each
            columns.append(by_length[first:last].reshape(shape.packs, each))
        table = np.hstack(columns)
        documents.append(table.ravel())
        sizes.append(np.full(shape.packs, table.shape[1], np.int64))
    if not documents:
        return np.zeros(0, np.int32), np.zeros(0, np.int64)
    return np.concatenate(documents), np.concatenate(sizes)


def _shuffled(documents: Int32, sizes: Int64, random: np.random.Generator) -> Packs:
    starts = np.cumsum(sizes) - sizes
    order = random.permutation(len(sizes))
    offsets = np.concatenate([[0], np.cumsum(sizes[order])]).astype(np.int64)
    moved = np.repeat(starts[order] - offsets[:-1], sizes[order])
    return Packs(documents[moved + np.arange(len(documents))], offsets)
