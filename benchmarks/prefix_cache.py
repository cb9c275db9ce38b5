"""Time to first token of the second turn on a 1,024-token history, and how soon a cancel stops a long prompt.

    python -m benchmarks.prefix_cache [DIRECTORY]

Bars: the second turn's time to first token under a fifth of the first turn's; a cancel during the reading of an
8,000-token prompt seen within 100 ms.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.program import starter
from engine import protocol
from engine.protocol import ChatMessage, Sampling
from engine.worker.session import Session

HISTORY_TOKENS = 1024
LONG_TOKENS = 8000
TTFT_BAR = 0.2
CANCEL_BAR_S = 0.1
ROUNDS = 3


def run(
    session: Session,
    messages: list[ChatMessage],
    conversation: str,
    cancelled: Callable[[], bool] = lambda: False,
    max_new_tokens: int = 24,
) -> tuple[str, protocol.Started, protocol.Finished]:
    text = ""
    started: protocol.Started | None = None
    finished: protocol.Finished | None = None

    def emit(event: protocol.GenerationEvent) -> None:
        nonlocal text, started, finished
        if isinstance(event, protocol.Piece):
            text += event.text
        elif isinstance(event, protocol.Started):
            started = event
        elif isinstance(event, protocol.Finished):
            finished = event

    sampling = Sampling(temperature=0, max_new_tokens=max_new_tokens)
    request = protocol.Generate(id=1, conversation=conversation, messages=tuple(messages), sampling=sampling)
    session.generate(request, emit, cancelled, time.perf_counter())
    assert started is not None and finished is not None
    return text, started, finished


def question_of(session: Session, tokens: int) -> str:
    """A question whose prompt has about that many tokens."""
    sentence = "The quick brown fox jumps over the lazy dog near the river bank. "
    probe = run(session, [ChatMessage("user", sentence * 20)], "probe", max_new_tokens=1)[1].prompt_tokens
    base = run(session, [ChatMessage("user", sentence)], "probe", max_new_tokens=1)[1].prompt_tokens
    per_sentence = (probe - base) / 19
    return sentence * round((tokens - base) / per_sentence + 1)


def second_turn(session: Session) -> float:
    """Prints both times and returns their ratio, the median of the rounds."""
    question = ChatMessage("user", question_of(session, HISTORY_TOKENS))
    ratios = []
    for number in range(ROUNDS):
        text, started, finished = run(session, [question], f"turn {number}")
        messages = [question, ChatMessage("assistant", text), ChatMessage("user", "And what does the dog do?")]
        _, started2, finished2 = run(session, messages, f"turn {number}")
        first, second = finished.timings.first_token_s, finished2.timings.first_token_s
        ratios.append(second / first)
        print(
            f"first turn, {started.prompt_tokens} tokens: {first:.3f} s; second turn, {started2.prompt_tokens} tokens"
            f" ({started2.cached_tokens} cached): {second:.3f} s; ratio {ratios[-1]:.3f}"
        )
    return statistics.median(ratios)


def cancel_latency(session: Session) -> float:
    """Cancels at growing depths into a long prompt; prints each time from cancel to Finished, returns the worst."""
    tokens = min(LONG_TOKENS, session.info.context_length - 64)
    question = [ChatMessage("user", question_of(session, tokens))]
    worst = 0.0
    for number, delay in enumerate((0.5, 2.0, 5.0, 8.0, 11.0)):
        cancel = threading.Event()
        at = [0.0]

        def fire(cancel: threading.Event = cancel, at: list[float] = at) -> None:
            at[0] = time.perf_counter()
            cancel.set()

        timer = threading.Timer(delay, fire)
        timer.start()
        _, started, finished = run(session, question, f"cancel {number}", cancelled=cancel.is_set, max_new_tokens=1)
        latency = time.perf_counter() - at[0]
        timer.cancel()
        if finished.reason != "stopped":
            print(f"the prompt was read before {delay} s had passed")
            break
        worst = max(worst, latency)
        print(f"cancelled {delay:.1f} s into {started.prompt_tokens} tokens: stopped after {latency * 1000:.0f} ms")
    return worst


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", nargs="?", type=Path, help="a checkpoint; the starter unless stated")
    directory = parser.parse_args().directory or starter()
    session = Session.load(protocol.Load(id=0, path=str(directory)), lambda stage, done, total: None)
    print(f"{session.info.device_name}, {session.info.dtype}")
    ratio = second_turn(session)
    worst = cancel_latency(session)
    session.close()
    print(f"second turn over first: {ratio:.3f} (bar {TTFT_BAR}); cancel: {worst * 1000:.0f} ms (bar 100)")
    return 0 if ratio < TTFT_BAR and worst < CANCEL_BAR_S else 1


if __name__ == "__main__":
    sys.exit(main())
