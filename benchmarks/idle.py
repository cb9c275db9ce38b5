"""What the app and its workers take of a core while nothing happens. Bar: 1 %."""

from __future__ import annotations

import sys
import time

import psutil

from benchmarks.program import arguments, home_with_starter, running_app

BAR = 0.01


def cpu_s(pid: int) -> float:
    """Processor seconds of a process and all below it so far."""
    processes = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    return sum(sum(process.cpu_times()[:2]) for process in processes)


def main() -> int:
    args = arguments(__doc__, seconds=60, settle=20)
    with home_with_starter() as home, running_app(home) as app:
        settled = time.monotonic() + args.settle  # the spare worker's imports belong to the start
        while (left := settled - time.monotonic()) > 0:
            app.pump(left)
        before, began = cpu_s(app.pid), time.monotonic()
        while (left := began + args.seconds - time.monotonic()) > 0:
            app.pump(left)
        share = (cpu_s(app.pid) - before) / (time.monotonic() - began)
    print(
        f"idle for {args.seconds} s with the starter loaded and a spare worker: {share:.2%} of a core (bar {BAR:.0%})"
    )
    return int(share >= BAR)


if __name__ == "__main__":
    sys.exit(main())
