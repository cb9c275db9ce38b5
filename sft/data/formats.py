"""The formats of rows: how each is recognised by its fields, and how its rows become conversations."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from sft.data import hugchat_text
from sft.data.conversation import Role
from sft.data.corpora import belle, gpt4all, lmflow, medical, oig
from sft.data.json_rows import decode
from sft.data.turns import Made, Record, RowError, Turn, dialogue, exchange, field, kind, optional, raw_text

Convert = Callable[[Record], Made]

_ROLES: dict[str, Role] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "human": "user",
    "prompter": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "bot": "assistant",
    "bing": "assistant",
    "bard": "assistant",
    "model": "assistant",
}
_NOTHING = ("<noinput>", "<nooutput>")  # left over in Alpaca by the prompt that its rows were made with
_PAIRS = (
    (("prompt",), ("completion", "response", "answer", "output")),
    (("question", "query", "input"), ("response", "answer", "output", "target", "completion")),
)


def _messages(record: Record) -> Made:
    turns = _turns(record, "messages", "conversations", "conversation")
    return dialogue([_message(turn, "role", "content") for turn in turns])


def _sharegpt(record: Record) -> Made:
    turns = [_message(turn, "from", "value") for turn in _turns(record, "conversations", "conversation")]
    system = optional(record, "system")
    return dialogue([Turn("system", system), *turns] if system else turns, lenient=True)


def _turns(record: Record, *names: str) -> Sequence[object]:
    for name in names:
        value = record.get(name)
        if value is None:
            continue
        if isinstance(value, str):  # a cell of a table
            value = decode(value.encode("utf-8", "replace"))
        if isinstance(value, list):
            return value
        raise RowError("wrong type", f"{name} is {kind(value)}, not a list")
    raise RowError("missing field", f"no {' or '.join(names)} in it")


def _message(value: object, role_field: str, content_field: str) -> Turn:
    if not isinstance(value, Mapping):
        raise RowError("wrong type", f"a message is {kind(value)}, not an object")
    name = field(value, role_field)
    role = _ROLES.get(name.strip().lower())
    if role is None:
        raise RowError("unknown role", name)
    content = value.get(content_field)
    if content is None and (value.get("tool_calls") or value.get("function_call")):
        raise RowError("tool call", "an answer calls a tool instead of saying something")
    text = _parts(content) if isinstance(content, list) else field(value, content_field)
    return Turn(role, text, value.get("weight") != 0)


def _parts(parts: list[object]) -> str:
    """The text of a content in parts; the others are images and sounds."""
    texts: list[str] = []
    for part in parts:
        if not isinstance(part, Mapping) or part.get("type") != "text":
            raise RowError("not only text", f"a part of a message is {str(part)[:80]}")
        texts.append(field(part, "text"))
    return "\n".join(texts)


def _alpaca(record: Record) -> Made:
    question = optional(record, "instruction")
    about = optional(record, "input", "context")
    if question is None:  # some of BELLE's files have input and target
        question, about = field(record, "instruction", "input"), None
    if about and not about.isspace() and about.strip().lower() not in _NOTHING:
        question = f"{question}\n\n{about}"
    answer = field(record, "output", "response", "target")
    return exchange(question, "" if answer.strip() in _NOTHING else answer, optional(record, "system") or "")


def _prompt(record: Record) -> Made:
    for questions, answers in _PAIRS:
        question = next((name for name in questions if record.get(name) is not None), None)
        answer = next((name for name in answers if record.get(name) is not None), None)
        if question is None:
            continue
        if answer is None:
            raise RowError("missing field", f"no {' or '.join(answers)} in it")
        if isinstance(record[question], list) or isinstance(record[answer], list):
            both = itertools.chain(_turns(record, question), _turns(record, answer))
            return dialogue([_message(turn, "role", "content") for turn in both])
        return exchange(field(record, question), field(record, answer), optional(record, "system") or "")
    raise RowError("missing field", f"no prompt or question in it, only {', '.join(map(str, list(record)[:12]))}")


def _text(record: Record) -> Made:
    return raw_text(field(record, "text"))


def _list_of(record: Record, *names: str) -> Mapping[str, object] | None:
    """The first message of the first of these fields that is a list with an object in it."""
    for name in names:
        value = record.get(name)
        if isinstance(value, str) and value.lstrip().startswith("["):
            try:
                value = decode(value.encode("utf-8", "replace"))
            except RowError:
                continue
        if isinstance(value, list) and value and isinstance(value[0], Mapping):
            return value[0]
    return None


def _is_sharegpt(record: Record) -> bool:
    first = _list_of(record, "conversations", "conversation")
    return first is not None and "from" in first


def _is_messages(record: Record) -> bool:
    first = _list_of(record, "messages", "conversations", "conversation")
    return first is not None and "role" in first


def _is_prompt(record: Record) -> bool:
    return any(
        any(name in record for name in questions) and any(name in record for name in answers)
        for questions, answers in _PAIRS
    )


def _has_text(record: Record) -> bool:
    return isinstance(record.get("text"), str)


@dataclass(frozen=True, slots=True)
class Format:
    """description: one line for a person. recognises: by the fields of a row. convert: raises RowError. convert_for:
    given a file's first rows, where those decide how the others are read."""

    description: str
    recognises: Callable[[Record], bool]
    convert: Convert
    convert_for: Callable[[Sequence[Record]], Convert] | None = None

    def converter(self, first: Sequence[Record]) -> Convert:
        return self.convert_for(first) if self.convert_for is not None else self.convert


# In the order in which they are tried: what asks for more comes first.
_FORMATS: dict[str, Format] = {
    "medmcqa": Format(
        "MedMCQA: question, opa to opd, cop (0- or 1-based, as the file's first rows tell), exp",
        medical.is_medmcqa,
        medical.medmcqa(1),
        medical.medmcqa_for,
    ),
    "medqa-usmle": Format("MedQA: question, options {A: ...}, answer, answer_idx", medical.is_medqa, medical.medqa),
    "pubmedqa": Format(
        "PubMedQA: question, context {contexts}, long_answer, final_decision; or QUESTION, CONTEXTS, LONG_ANSWER",
        medical.is_pubmedqa,
        medical.pubmedqa,
    ),
    "messages": Format('OpenAI messages: messages [{"role": ..., "content": ...}]', _is_messages, _messages),
    "sharegpt": Format('ShareGPT: conversations [{"from": "human", "value": ...}]', _is_sharegpt, _sharegpt),
    "belle-multiturn": Format(
        "BELLE multi-turn: the turns before the last answer inside instruction, as Human: and Assistant:",
        belle.is_multiturn,
        belle.multiturn,
    ),
    "alpaca": Format(
        "Alpaca: instruction, input or context, output or response",
        lambda record: "instruction" in record and any(name in record for name in ("output", "response", "target")),
        _alpaca,
    ),
    "gpt4all-p3": Format(
        "GPT4All: prompt, response, source; prompts with HTML are made plain", gpt4all.is_gpt4all, gpt4all.convert
    ),
    "oig": Format(
        "OIG: text with <human>: and <bot>: (or Rosey:)",
        lambda record: _has_text(record) and oig.is_oig(str(record["text"])),
        oig.convert,
    ),
    "hugchat": Format(
        "HugChat text: text with [Human]: and [HugChat]:, Human: and HugChat:, or Input: and Output:; prefix",
        lambda record: _has_text(record) and hugchat_text.is_hugchat(str(record["text"])),
        hugchat_text.convert,
    ),
    "lmflow": Format(
        'LMFlow: {"type": ..., "instances": [{"text": ...} or {"input": ..., "output": ...}]}',
        lambda record: False,  # it is the file's layout that tells
        lmflow.convert,
    ),
    "prompt": Format(
        "A pair: prompt or question or input, with completion or response or answer or output", _is_prompt, _prompt
    ),
    "text": Format("Raw text: text, trained as it is, without a chat template", _has_text, _text),
}

FORMATS: dict[str, str] = {name: each.description for name, each in _FORMATS.items()}


def format_named(name: str) -> Format:
    """Raises KeyError."""
    return _FORMATS[name]


def recognise(first: Sequence[Record]) -> str | None:
    """The format of most of a file's first rows, None when none of them is of any."""
    found: Counter[str] = Counter()
    for record in first:
        name = next((name for name, each in _FORMATS.items() if each.recognises(record)), None)
        if name is not None:
            found[name] += 1
    if not found:
        return None
    order = list(_FORMATS)
    return max(found, key=lambda name: (found[name], -order.index(name)))
