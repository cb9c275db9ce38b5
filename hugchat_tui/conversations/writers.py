"""Which process is writing a reply, and whether it still lives."""

from __future__ import annotations

import os
import secrets
import sys
from functools import cache
from pathlib import Path

# Tells this process from an earlier one that had the same process id, as the first process of a container
# has.
_THIS_PROCESS = secrets.token_hex(4)


def this_writer() -> str:
    """The mark this process leaves on the replies it is writing: process id, start and a random word."""
    return f"{os.getpid()} {_started(os.getpid())} {_THIS_PROCESS}"


def is_alive(writer: str) -> bool:
    """Whether the process that left the mark still runs.

    A process id that was given out again does not count.
    """
    pid, started, process = writer.split(" ")
    if int(pid) == os.getpid():
        return process == _THIS_PROCESS
    return _started(int(pid)) == started


@cache
def _boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def _started(pid: int) -> str:
    """When the process started, as an opaque word that does not follow the wall clock; "gone" when it does
    not run.

    Linux: the boot and the clock tick, field 22 of /proc/PID/stat (proc_pid_stat(5)); a zombie is gone.
    """
    if sys.platform == "linux":
        try:
            stat = Path(f"/proc/{pid}/stat").read_text(errors="replace")
        except (FileNotFoundError, ProcessLookupError):
            return "gone"
        fields = stat.rpartition(")")[2].split()  # the name before it may hold anything
        return "gone" if fields[0] in "ZX" else f"{_boot_id()}:{fields[19]}"
    import psutil

    try:
        return str(int(psutil.Process(pid).create_time()))
    except psutil.NoSuchProcess:
        return "gone"
