"""How a background process yields to the screen."""

from __future__ import annotations

import logging
import os
import time
from pathlib import Path

_log = logging.getLogger(__name__)

_AUTOGROUP = Path("/proc/self/autogroup")


def stand_back(nice: int) -> None:
    """Be at least this nice. In a session that others share only this process is, and what it starts."""
    more = max(0, nice - os.nice(0)) if nice else 0
    if os.getsid(0) == os.getpid():
        lower_priority(more)
    else:
        os.nice(more)


def lower_priority(nice: int) -> None:
    """Raise the niceness of this process by `nice`, in a way that holds on Linux; 0: what was inherited shall hold.

    A process in a session of its own is its own autogroup, and between autogroups the scheduler looks at the
    group's niceness only (sched(7), "The autogroup feature"): nice() alone would change nothing.
    """
    total = os.nice(nice)
    if not _AUTOGROUP.exists():  # not Linux, or a kernel built without autogroups: nice() is enough
        return
    # The kernel takes one such write per 100 ms from all unprivileged processes together, and answers EAGAIN
    # to others.
    for attempt in range(20):
        try:
            _AUTOGROUP.write_text(str(total))
        except BlockingIOError:
            time.sleep(0.05 + 0.01 * attempt)
        except OSError as error:
            _log.warning("cannot lower the scheduling group's priority: %s", error)
            return
        else:
            return
    _log.warning("cannot lower the scheduling group's priority: the kernel stays busy")
