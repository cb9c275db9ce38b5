"""`hugchat chat`: one question, one answer, on stdout; words and progress on stderr."""

from __future__ import annotations

import asyncio
import io
import json
import os
import signal
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

from hugchat_tui.common.clean import clean
from hugchat_tui.services import Services

if TYPE_CHECKING:
    from engine.protocol import Finished, Started
    from hugchat_tui.settings.schema import Settings

EXIT_FAILED = 1
EXIT_ASKED_WRONGLY = 2
EXIT_INTERRUPTED = 130


def main(settings: Settings, question: str, *, system: str | None, as_json: bool) -> int:
    """Answer `question` with what a pipe brings below it; returns the exit code."""
    try:
        text = _with_pipe(question)
        (text + (system or "")).encode()  # bytes that are not UTF-8 come from the command line as lone surrogates
    except UnicodeDecodeError as error:
        return fail(f"what the pipe brought is not UTF-8 text: {error}", EXIT_ASKED_WRONGLY)
    except UnicodeEncodeError:
        return fail("what was asked on the command line is not UTF-8 text.", EXIT_ASKED_WRONGLY)
    if not text.strip():
        return fail('nothing was asked. Try: hugchat chat "question"', EXIT_ASKED_WRONGLY)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a locale without the answer's letters
    try:
        return asyncio.run(_answer(settings, text, system=system, as_json=as_json))
    except asyncio.CancelledError:  # told again to stop while it was stopping
        return EXIT_INTERRUPTED
    except UnwritableError as error:
        # What is still buffered cannot be written at exit either, and Python would say so in its own words.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if isinstance(error.__cause__, BrokenPipeError):  # `| head`: nobody is there to tell
            return EXIT_FAILED
        return fail(f"the answer could not be written: {error}.", EXIT_FAILED)


class UnwritableError(Exception):
    """stdout takes nothing any more; says why."""


def _with_pipe(question: str) -> str:
    if sys.stdin is None or sys.stdin.isatty():
        return question
    piped = sys.stdin.buffer.read().decode("utf-8")
    return "\n\n".join(part for part in (question, piped) if part.strip())


async def _answer(settings: Settings, text: str, *, system: str | None, as_json: bool) -> int:
    from engine.errors import EngineError

    progress = Progress()
    services = Services(settings, progress.say)
    loop = asyncio.get_running_loop()
    task = asyncio.current_task()
    if task is not None:
        loop.add_signal_handler(signal.SIGINT, task.cancel)
        loop.add_signal_handler(signal.SIGTERM, task.cancel)
    try:
        services.start_engine(spare=False)
        return await _generate(
            services, text, settings.chat.system_prompt if system is None else system, as_json, progress
        )
    except EngineError as error:
        progress.clear()
        return fail(clean(str(error)), EXIT_FAILED)
    except asyncio.CancelledError:
        progress.clear()
        return EXIT_INTERRUPTED
    finally:
        await services.close()


async def _generate(services: Services, text: str, system: str, as_json: bool, progress: Progress) -> int:
    from engine.protocol import ChatMessage, Finished, Piece, Started

    checkpoint = await services.ensure_checkpoint(services.settings.model.default, progress.show)
    worker = await services.pool.acquire(
        checkpoint,
        on_progress=lambda event: progress.show(event.stage, event.done, event.total),
        device=services.settings.model.device,
        dtype=services.settings.model.dtype,
    )
    progress.clear()
    messages = [ChatMessage("user", text)]
    if system.strip():
        messages.insert(0, ChatMessage("system", system))
    reply: list[str] = []
    started: Started | None = None
    finished: Finished | None = None
    # A terminal gets cleaned text; a pipe gets the model's own.
    show = clean if sys.stdout.isatty() else str
    async for event in worker.generate(tuple(messages), services.sampling(), conversation="chat"):
        match event:
            case Started():
                started = event
                for note in event.notes:
                    progress.say(note)
            case Piece():
                reply.append(event.text)
                if not as_json:
                    write(show(event.text))
            case Finished():
                finished = event
    if started is None or finished is None:
        return fail("the worker ended its answer without saying how", EXIT_FAILED)
    write(f"{_document(''.join(reply), checkpoint.name, started, finished)}\n" if as_json else "\n")
    if finished.reason == "length":
        progress.say(_why_cut(started, finished))
    return 0


def write(text: str) -> None:
    """To stdout, at once. Raises UnwritableError."""
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except OSError as error:
        raise UnwritableError(error.strerror or str(error)) from error


def _why_cut(started: Started, finished: Finished) -> str:
    if finished.prompt_tokens + finished.new_tokens >= started.context_length:
        return f"the answer ends here because the model's context of {started.context_length:,} tokens is full."
    return f"the answer ends here after {finished.new_tokens:,} tokens. For more: --max-new-tokens"


def _document(reply: str, model: str, started: Started, finished: Finished) -> str:
    import msgspec

    document = {
        "model": model,
        "reply": reply,
        "reason": finished.reason,
        "seed": started.seed,
        "prompt_tokens": finished.prompt_tokens,
        "new_tokens": finished.new_tokens,
        "timings": msgspec.to_builtins(finished.timings),
    }
    return json.dumps(document, ensure_ascii=False, indent=2)


def fail(message: str, code: int) -> int:
    """Say on stderr why it failed; the exit code."""
    with suppress(BrokenPipeError):
        print(f"hugchat: {message}", file=sys.stderr)
    return code


class Progress:
    """One line on stderr that rewrites itself on a terminal, and stays silent elsewhere."""

    def __init__(self) -> None:
        self._on_terminal = sys.stderr.isatty()
        self._shown = False

    def show(self, stage: str, done: int, total: int) -> None:
        if self._on_terminal:
            share = f" {100 * done // total} %" if total else ""
            sys.stderr.write(f"\r\x1b[K{clean(stage)}{share}")
            sys.stderr.flush()
            self._shown = True

    def say(self, text: str) -> None:
        self.clear()
        print(f"hugchat: {clean(text)}", file=sys.stderr)

    def clear(self) -> None:
        if self._shown:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()
            self._shown = False
