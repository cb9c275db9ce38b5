"""The garbage collector, told not to stop a full-screen program for a tenth of a second every few seconds.

A full collection visits every container alive: with Textual, the parser and the lexers loaded that takes 50 to
120 ms, and streaming causes one every 2 to 3 seconds. What start-up made lives as long as the program, so it need not
be visited.
"""

from __future__ import annotations

import gc

# Containers made between collections of the young, those between the middle, those between full ones. The defaults
# are 700, 10, 10.
_THRESHOLDS = 1_000, 10, 100


def hold() -> None:
    """Collect nothing until `settle`: starting makes much and drops little, and collecting it costs a tenth of it."""
    gc.disable()


def settle() -> None:
    """Leave all that is alive now out of collections to come. To be called once, when the program has started."""
    gc.enable()
    gc.freeze()
    gc.set_threshold(*_THRESHOLDS)
