"""First paint of `hugchat` against a bare Textual app's, turn by turn in the same run. Bar: 1.3 times."""

from __future__ import annotations

import statistics
import sys
import tempfile
from pathlib import Path

from benchmarks.program import HUGCHAT, arguments, environment
from tests.pty import PtyApp

BAR = 1.3
BARE = """
from textual.app import App
from textual.widgets import Static

class Bare(App):
    def compose(self):
        yield Static("bare")

Bare().run()
"""


def first_paint_s(command: list[str], home: Path) -> float:
    """Seconds from the start of the process to the first visible cell."""
    # A checkpoint that is not there: nothing is installed or loaded beside the next start.
    env = {**environment(home), "HUGCHAT_MODEL_DEFAULT": "./none"}
    with PtyApp(command, size=(120, 40), env=env, cwd=str(home)) as app:
        if app.wait_text(r"\S", timeout=60) is None or app.first_paint is None:
            raise SystemExit("nothing was painted")
        return app.first_paint


def main() -> int:
    args = arguments(__doc__, runs=11)
    bare, hugchat = [], []
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        for run in range(args.runs + 1):
            times = first_paint_s([sys.executable, "-c", BARE], home), first_paint_s([*HUGCHAT], home)
            if run:  # the first pair fills the caches
                bare.append(times[0])
                hugchat.append(times[1])
    ratio = statistics.median(hugchat) / statistics.median(bare)
    print(
        f"first paint, median of {args.runs}: bare {statistics.median(bare) * 1000:.0f} ms, "
        f"hugchat {statistics.median(hugchat) * 1000:.0f} ms, ratio {ratio:.2f} (bar {BAR})"
    )
    return int(ratio > BAR)


if __name__ == "__main__":
    sys.exit(main())
