"""What process, protocol, store and screen cost the decode loop. Bar: 5 % against the same loop without them.

The same greedy reply is generated in turns by the bare loop (a Session in this process's child, nobody looking) and
by the whole app in a pseudo-terminal, and the tokens per second of the two are compared.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
from pathlib import Path

from benchmarks.program import arguments, home_with_starter, replies, running_app

BAR = 0.05
QUESTION = "Write a long story about a lighthouse keeper."
BARE = """
import sys, time
from engine import protocol
from engine.worker.session import Session

path, question, tokens, runs = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
session = Session.load(protocol.Load(id=1, path=path), lambda stage, done, total: None)
sampling = protocol.Sampling(temperature=0, max_new_tokens=tokens)
for run in range(runs):
    request = protocol.Generate(
        id=2, conversation=str(run), messages=(protocol.ChatMessage("user", question),), sampling=sampling
    )
    def emit(event):
        if isinstance(event, protocol.Finished):
            print(event.new_tokens, event.timings.tokens_per_second, flush=True)
    session.generate(request, emit, lambda: False, time.perf_counter())
"""


def bare_rates(model: Path, tokens: int, runs: int) -> list[float]:
    """Tokens per second of the loop alone."""
    command = [sys.executable, "-c", BARE, str(model), QUESTION, str(tokens), str(runs)]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return [float(line.split()[1]) for line in output.splitlines()]


def app_rates(home: Path, runs: int) -> list[float]:
    """Tokens per second as the worker measured them while the whole app was showing the reply."""
    before = len(replies(home)) if (home / "data" / "conversations.db").exists() else 0
    with running_app(home) as app:
        for run in range(runs):
            app.press("ctrl+n")
            app.send(QUESTION.encode())
            app.press("enter")

            def ended(_: object, want: int = before + run + 1) -> bool:
                stored = replies(home)
                return len(stored) == want and stored[-1]["ended"] is not None

            if app.wait(ended, timeout=300) is None:
                raise SystemExit(f"the reply never ended:\n{app.text()}")
    return [row["tokens_per_second"] for row in replies(home)[before:]]


def main() -> int:
    args = arguments(__doc__, rounds=3, runs=2, tokens=200)
    bare: list[float] = []
    app: list[float] = []
    with home_with_starter() as home:
        config = home / "config" / "config.toml"
        config.parent.mkdir()
        config.write_text(f"[sampling]\nmax_new_tokens = {args.tokens}\n")
        for _ in range(args.rounds):
            bare += bare_rates(home / "data" / "models" / "starter", args.tokens, args.runs)
            app += app_rates(home, args.runs)
    cost = 1 - statistics.median(app) / statistics.median(bare)
    print(
        f"decode, median of {len(bare)} replies of {args.tokens} tokens: "
        f"loop alone {statistics.median(bare):.1f} tok/s, "
        f"whole app {statistics.median(app):.1f} tok/s, cost {cost:.1%} (bar {BAR:.0%})"
    )
    return int(cost > BAR)


if __name__ == "__main__":
    sys.exit(main())
