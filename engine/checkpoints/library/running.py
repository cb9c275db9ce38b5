"""Whether a training run is still going, from its run directory alone.

launch.json names {"host", "pid", "pid_started": seconds since the epoch}; events.jsonl grows with every step and
heartbeat. Another machine's processes cannot be looked at: there a run counts as going while its events do.
"""

from __future__ import annotations

import socket
import time
from pathlib import Path

import psutil

from engine.checkpoints.reading import UnreadableError, read_json_object

_SAME_START_S = 2.0  # two readings of one process's start may differ as the clock is set
_QUIET_S = 600.0  # a run writes a heartbeat far more often


def run_is_going(run: Path) -> bool:
    """Whether something still writes this run directory. A launch.json that makes no sense counts as none."""
    try:
        launch = read_json_object(run / "launch.json") or {}
    except UnreadableError:
        launch = {}
    if launch.get("host") != socket.gethostname():
        return bool(launch) and _written_lately(run / "events.jsonl")
    pid, started = launch.get("pid"), launch.get("pid_started")
    if not isinstance(pid, int) or pid <= 0:
        return False
    try:
        process = psutil.Process(pid)
        began = process.create_time()
        ended = process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
    if ended or not isinstance(started, int | float):
        return not ended
    # Compared, not subtracted: what is written there may be too large for that.
    return began - _SAME_START_S < started < began + _SAME_START_S


def _written_lately(events: Path) -> bool:
    try:
        return time.time() - events.stat().st_mtime < _QUIET_S
    except OSError:
        return False
