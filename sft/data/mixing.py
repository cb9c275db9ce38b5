"""How often each row of a source is taken: its weight and its cap, decided by the seed, in one pass.

A weight is how often a row is taken on average: with 0.25 one row in four is, each by its own draw from the seed, the
source and the row's number; with 2 each row is taken twice; with 2.5 half of them once more. So what is taken does not
depend on the other sources, on where reading was interrupted or on how many processes read.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from hashlib import blake2b
from typing import NamedTuple

from sft.data.conversation import Conversation
from sft.data.sources import Row, Source, read
from sft.errors import SftError


class Drawn(NamedTuple):
    """number: of the row in its source, from 0. times: how often it is taken; a bad row once, to be reported."""

    row: Row
    number: int
    times: int


def check(source: Source) -> None:
    """Raises SftError for a weight or a cap that makes no sense."""
    if not math.isfinite(source.weight) or source.weight < 0:
        raise SftError(
            f"The weight of {source.path} is {source.weight}.", "It is how often each row is taken: 0.25, 1, 2."
        )
    if source.cap < 0:
        raise SftError(f"The cap of {source.path} is {source.cap}.", "It is a number of rows; 0 takes all.")


def times(source: Source, number: int, seed: int) -> int:
    """How often a row is taken, its cap aside. number: of the row in its source, from 0."""
    whole = math.floor(source.weight)
    part = source.weight - whole
    if part == 0.0:
        return whole
    draw = blake2b(f"{seed} {number} {source.path}".encode("utf-8", "backslashreplace"), digest_size=8).digest()
    return whole + (int.from_bytes(draw, "little") < part * 2.0**64)


def draw(source: Source, seed: int, *, skip: int = 0, taken: int = 0) -> Iterator[Drawn]:
    """The rows of a source that are taken, until its cap is reached, and the bad ones among all that are read for them.

    To go on where reading was interrupted: skip, the rows that were read, and taken, how often conversations were taken
    from them. Raises SftError as `read` does.
    """
    check(source)
    left = source.cap - taken if source.cap else math.inf
    if left <= 0 or source.weight == 0:
        return
    for number, row in enumerate(read(source, skip=skip), skip):
        if not isinstance(row, Conversation):
            yield Drawn(row, number, 1)
            continue
        count = int(min(times(source, number, seed), left))
        if count:
            yield Drawn(row, number, count)
            left -= count
            if left <= 0:
                return
