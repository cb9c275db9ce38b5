"""Which documents are kept for evaluation: decided by what they say, so that a row and its duplicates stay together."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def held_out_mask(contents: npt.NDArray[np.uint64], share: float, seed: int) -> npt.NDArray[np.bool_]:
    """contents: a hash of what each document says. share: 0 to 1.

    Of a share above 0 at least one content is held out, and beyond that never more documents than the share; but not
    the only content there is. Which ones is drawn from the seed and the contents alone, so that rows which are added
    later change little.
    """
    if not share or not len(contents):
        return np.zeros(len(contents), np.bool_)
    drawn = _mixed(contents ^ np.uint64(seed % 2**64))
    values, inverse, counts = np.unique(drawn, return_inverse=True, return_counts=True)
    if len(values) == 1:
        return np.zeros(len(contents), np.bool_)
    chosen = int(np.searchsorted(np.cumsum(counts), int(share * len(contents)), side="right"))
    chosen = min(max(chosen, 1), len(values) - 1)
    mask: npt.NDArray[np.bool_] = inverse < chosen
    return mask


def _mixed(numbers: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """A bijection that looks random (splitmix64: Steele, Lea and Flood 2014)."""
    mixed = numbers + np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))
