"""Which process works on a download: told from every other one, and signalled only when it is surely that one.

A number alone names no process: the data folder may lie on a disk that several machines share, and a machine gives
the number of a process that has ended to another one.
"""

from __future__ import annotations

import contextlib
import os
import socket
import sys
from pathlib import Path
from subprocess import DEVNULL, PIPE, Popen

import psutil

from engine.checkpoints.downloads.status import ProcessMark

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def mark_of(pid: int) -> ProcessMark | None:
    """The mark of a process of this machine, None when none of this number runs."""
    started = _started(pid)
    return ProcessMark(pid, socket.gethostname(), boot_id(), started) if started else None


def signal_process(mark: ProcessMark, number: int) -> bool:
    """Send it a signal; False when no process that runs on this machine has this mark."""
    if mark_of(mark.pid) != mark:
        return False
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(mark.pid, number)
    return True


def boot_id() -> str:
    """A word that another boot of this machine does not have."""
    try:
        return _BOOT_ID.read_text().strip()
    except OSError:
        return str(int(psutil.boot_time()))


def _started(pid: int) -> str:
    """When it began, as an opaque word; empty when it does not run.

    Linux: the clock tick, field 22 of /proc/PID/stat (proc_pid_stat(5)), which does not follow the wall clock.
    """
    if sys.platform == "linux":
        try:
            stat = Path(f"/proc/{pid}/stat").read_text(errors="replace")
        except OSError:
            return ""
        fields = stat.rpartition(")")[2].split()  # the name before it may hold anything
        return "" if fields[0] in "ZX" else fields[19]
    try:
        return str(int(psutil.Process(pid).create_time()))
    except psutil.NoSuchProcess:
        return ""


def begin(directory: Path, log_path: Path) -> Popen[bytes]:
    """Start the process of the download in this directory. Raises OSError."""
    # -P: a folder that happens to be called "engine" in the current directory is not what we mean.
    command = (sys.executable, "-P", "-m", "engine.checkpoints.downloads.run", str(directory))
    # Not asyncio's: its transport kills what still runs when it is collected, and a detached download is to go on.
    with log_path.open("ab") as log:
        return Popen(command, stdin=PIPE, stdout=DEVNULL, stderr=log, start_new_session=True)


def say_to(process: Popen[bytes], line: bytes) -> None:
    """Write a line to its stdin, unless it has just ended."""
    if process.stdin is not None:
        with contextlib.suppress(OSError):
            process.stdin.write(line)
            process.stdin.flush()


def close_stdin(process: Popen[bytes]) -> None:
    if process.stdin is not None:
        with contextlib.suppress(OSError):
            process.stdin.close()
