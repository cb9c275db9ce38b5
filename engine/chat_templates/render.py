"""Renders chat templates in a small process of its own, which is killed when a template does not end."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType

from engine.errors import TemplateError

_SANDBOX = Path(__file__).with_name("sandbox.py")

_MEND = "Choose another checkpoint, or mend the chat_template of this one."

Variable = str | bool | int | float | None


class TemplateRefusedError(TemplateError):
    """The template raised an exception of its own: it does not take these messages."""


class TemplateRenderer:
    """One render process, started at the first use and kept. Not for use by two threads at once.

    A template that runs longer than `time_limit_s` seconds, or asks for more than a gibibyte (Linux), loses
    its process; the next render starts another.
    """

    def __init__(self, time_limit_s: float = 5.0) -> None:
        self._time_limit_s = time_limit_s
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> TemplateRenderer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def pid(self) -> int | None:
        """The render process's id while one runs."""
        return self._process.pid if self._process is not None else None

    def render(
        self,
        template: str,
        messages: Sequence[Mapping[str, str]],
        *,
        add_generation_prompt: bool,
        variables: Mapping[str, Variable] | None = None,
    ) -> str:
        """The conversation as text.

        messages: mappings with "role" and "content". variables: what else the template may name, above all
        the tokenizer's special tokens (bos_token, eos_token, ...).

        Raises TemplateRefusedError when the template raises for these messages, TemplateError when it is
        broken, runs too long or takes too much memory.
        """
        request = {
            "template": template,
            "messages": [dict(message) for message in messages],
            "variables": {**(variables or {}), "add_generation_prompt": add_generation_prompt},
            "time_limit_s": self._time_limit_s,
        }
        answer = json.loads(self._exchange(json.dumps(request).encode() + b"\n"))
        if "text" in answer:
            text: str = answer["text"]
            return text
        if answer["refused"]:
            raise TemplateRefusedError(
                f"The checkpoint's chat template refuses this conversation: {answer['error']}",
                "Change the conversation, or choose another checkpoint.",
            )
        raise TemplateError(
            f"The checkpoint's chat template failed: {answer['error']}",
            _MEND,
        )

    def close(self) -> None:
        """End the render process. A later render starts another."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None

    def _exchange(self, request: bytes) -> bytes:
        process = self._running()
        assert process.stdin is not None
        try:
            process.stdin.write(request)
            process.stdin.flush()
            return self._read_line(process)
        except BrokenPipeError:
            raise self._death() from None
        except KeyboardInterrupt:
            self.close()  # half an answer may be in the pipe
            raise

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is not None and self._process.poll() is not None:
            self.close()  # it was killed while idle, by no fault of this template
        if self._process is None:
            # -P: no module of the current folder can stand in for jinja2.
            self._process = subprocess.Popen(
                [sys.executable, "-P", str(_SANDBOX)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
            )
        return self._process

    def _read_line(self, process: subprocess.Popen[bytes]) -> bytes:
        assert process.stdout is not None
        descriptor = process.stdout.fileno()
        deadline = time.monotonic() + self._time_limit_s
        parts: list[bytes] = []
        while True:
            wait = deadline - time.monotonic()
            if wait <= 0 or not select.select([descriptor], [], [], wait)[0]:
                self.close()
                raise TemplateError(
                    f"The checkpoint's chat template ran over {self._time_limit_s:g} s and was killed.",
                    f"A template should take milliseconds. {_MEND}",
                )
            part = os.read(descriptor, 1 << 16)
            if not part:
                raise self._death()
            parts.append(part)
            if part.endswith(b"\n"):
                return b"".join(parts)

    def _death(self) -> TemplateError:
        assert self._process is not None
        code = self._process.wait()
        self._process = None
        how = f"signal {-code}" if code < 0 else f"exit code {code}"
        return TemplateError(
            f"The process that renders the checkpoint's chat template died ({how}).",
            f"It may have asked for too much memory. {_MEND}",
        )
