"""The render process: reads one JSON request a line on stdin, answers one JSON line on stdout.

Started by `render.TemplateRenderer` as a script; it imports jinja2 and nothing of this project, so that it
starts in a tenth of a second. A template from outside is sandboxed but not bounded: a nested loop over ranges
runs for ever. Hence a process, a memory limit, and an alarm that ends it even when the parent that would kill
it is gone.

Request: {"template", "messages", "variables", "time_limit_s"}. Answer: {"text"} or {"error", "refused"};
refused says that the template itself raised, with a message of its own.
"""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Callable, Iterable
from datetime import datetime
from functools import lru_cache

import jinja2
from jinja2.ext import Extension, loopcontrols
from jinja2.nodes import CallBlock, Node
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace

MEMORY_LIMIT_BYTES = 1 << 30
RESULT_LIMIT_CHARS = 64 * 1024 * 1024


class _RefusedError(jinja2.TemplateError):
    """raise_exception was called: the template does not take this conversation."""


class _GenerationTag(Extension):
    """`{% generation %}...{% endgeneration %}` marks a reply for training; its body renders as it stands."""

    tags = {"generation"}  # noqa: RUF012 (jinja2 declares it so)

    def parse(self, parser: Parser) -> Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return CallBlock(self.call_method("_body"), [], [], body).set_lineno(line)

    def _body(self, caller: Callable[[], str]) -> str:
        return caller()


class _PlainNamespace(Namespace):
    """jinja2's namespace without underscored attributes, which would reach into the interpreter."""

    def __init__(*args: object, **kwargs: object) -> None:  # no named self: a template may pass `self=`
        own, values = args[0], dict(*args[1:], **kwargs)
        assert isinstance(own, _PlainNamespace)
        for name in values:
            _check_attribute(name)
        Namespace.__init__(own, values)

    def __setitem__(self, name: str, value: object) -> None:
        _check_attribute(name)
        super().__setitem__(name, value)


def _check_attribute(name: object) -> None:
    if isinstance(name, str) and name.startswith("_"):
        raise jinja2.exceptions.SecurityError(f"a namespace may not hold {name!r}")


class _PlainDict:
    """`dict(...)` and `dict.fromkeys(...)` for templates, without the class behind them."""

    def __call__(self, *args: Iterable[tuple[str, object]], **kwargs: object) -> dict[str, object]:
        return dict(*args, **kwargs)

    def fromkeys(self, keys: Iterable[str], value: object = None) -> dict[str, object]:
        return dict.fromkeys(keys, value)


def _raise_exception(message: object) -> None:
    raise _RefusedError(str(message))


def _to_json(
    value: object,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    # jinja2's own filter escapes HTML characters, which no model was trained on.
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def _now(pattern: str) -> str:
    return datetime.now().strftime(pattern)  # noqa: DTZ005 (templates mean the person's local date)


@lru_cache(maxsize=16)
def compile_template(source: str) -> jinja2.Template:
    """The template, in the environment that transformers (utils/chat_template_utils.py) gives one."""
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[_GenerationTag, loopcontrols]
    )
    environment.filters["tojson"] = _to_json
    environment.globals["raise_exception"] = _raise_exception
    environment.globals["strftime_now"] = _now
    environment.globals["dict"] = _PlainDict()
    environment.globals["namespace"] = _PlainNamespace
    return environment.from_string(source)


def _answer(line: bytes) -> dict[str, object]:
    request = json.loads(line)
    # One second past the parent's own limit: only an orphan lives to see it.
    signal.setitimer(signal.ITIMER_REAL, request["time_limit_s"] + 1)
    try:
        template = compile_template(request["template"])
        text = template.render(messages=request["messages"], tools=None, documents=None, **request["variables"])
    except _RefusedError as error:
        return {"error": str(error), "refused": True}
    except jinja2.TemplateSyntaxError as error:
        return {"error": f"line {error.lineno}: {error.message}", "refused": False}
    except Exception as error:  # noqa: BLE001 (a template can raise anything; the answer carries it)
        return {"error": f"{type(error).__name__}: {error}".rstrip(": "), "refused": False}
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    if len(text) > RESULT_LIMIT_CHARS:
        return {"error": f"it renders {len(text):,} characters", "refused": False}
    return {"text": text}


def _limit_memory() -> None:
    if sys.platform == "linux":  # elsewhere the limit is not kept
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_LIMIT_BYTES, MEMORY_LIMIT_BYTES))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def main() -> None:
    _limit_memory()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # ^c is for the program, which closes our stdin
    for line in sys.stdin.buffer:
        answer = _answer(line)
        sys.stdout.buffer.write(json.dumps(answer).encode() + b"\n")
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
