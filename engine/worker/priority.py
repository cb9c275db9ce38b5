"""What the worker asks of the operating system for itself: to yield to the screen, and not to outlive it."""

from __future__ import annotations

import ctypes
import signal
import sys

from engine.priority import lower_priority as lower_priority

_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def die_with_parent() -> None:
    """Ask Linux to kill this process when the thread that started it ends.

    The channel's end tells the same everywhere, but only to a thread that gets the interpreter's lock: this
    also ends a worker stuck in native code that never releases it.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
