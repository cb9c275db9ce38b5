"""The chat formats that the tests train: each family's template, on a small tokenizer of that family's kind."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Literal

from transformers import PreTrainedTokenizerFast

from sft.data.conversation import Conversation, Message
from sft.data.tokenizer import ChatTokenizer
from sft.training.tokenizer_facts import chat_tokenizer
from tests.engine.tiny_models import byte_level_tokenizer, sentencepiece_like_tokenizer

SMOLLM2 = (
    "{% for m in messages %}{% if loop.first and m['role'] != 'system' %}"
    "{{ '<|im_start|>system\nYou are a helpful AI assistant named SmolLM.<|im_end|>\n' }}{% endif %}"
    "{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
# Thoughts of earlier answers are left out; the last one has an empty thought where it has none.
QWEN3 = """\
{%- set ns = namespace(last=0) %}
{%- for m in messages %}{% if m.role == 'user' %}{% set ns.last = loop.index0 %}{% endif %}{% endfor %}
{%- for m in messages %}
    {%- if m.role != 'assistant' %}
        {{- '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>\\n' }}
    {%- else %}
        {%- set content = m.content %}
        {%- set thought = '' %}
        {%- if '</think>' in content %}
            {%- set thought = content.split('</think>')[0].rstrip('\\n').split('<think>')[-1].lstrip('\\n') %}
            {%- set content = content.split('</think>')[-1].lstrip('\\n') %}
        {%- endif %}
        {{- '<|im_start|>assistant\\n' }}
        {%- if loop.index0 > ns.last and (loop.last or thought) %}
            {{- '<think>\\n' + thought.strip('\\n') + '\\n</think>\\n\\n' + content.lstrip('\\n') }}
        {%- else %}
            {{- content }}
        {%- endif %}
        {{- '<|im_end|>\\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{% endif %}"""
LLAMA3 = (
    "{{ bos_token }}{% for m in messages %}"
    "{{ '<|start_header_id|>' + m.role + '<|end_header_id|>\n\n' + m.content | trim + '<|eot_id|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
)
GEMMA = (
    "{{ bos_token }}{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    "{% for m in messages %}"
    "{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('Roles must alternate') }}{% endif %}"
    "{{ '<start_of_turn>' + ('model' if m.role == 'assistant' else m.role) + '\n' + m.content | trim"
    " + '<end_of_turn>\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}"
)
MISTRAL = (
    "{{ bos_token }}{% for m in messages %}{% if m.role == 'user' %}{{ '[INST] ' + m.content + ' [/INST]' }}"
    "{% elif m.role == 'assistant' %}{{ ' ' + m.content + eos_token }}"
    "{% else %}{{ raise_exception('Only user and assistant roles are supported!') }}{% endif %}{% endfor %}"
)
# Its prompt ends before the line break behind <|assistant|>: the model writes that itself.
ZEPHYR = (
    "{% for m in messages %}{{ '<|' + m.role + '|>\n' + m.content + eos_token + '\n' }}"
    "{% if loop.last and add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}{% endfor %}"
)
PHI3 = (
    "{% for m in messages %}{{ '<|' + m.role + '|>\n' + m.content + '<|end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% else %}{{ eos_token }}{% endif %}"
)
# No token of its own ends an answer: the next question's does.
GLM4 = (
    "[gMASK]<sop>{% for m in messages %}{{ '<|' + m.role + '|>\n' + m.content }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}"
)
DEEPSEEK = (
    "{% set ns = namespace(system='') %}{% for m in messages if m.role == 'system' %}"
    "{% set ns.system = ns.system + m.content %}{% endfor %}{{ bos_token }}{{ ns.system }}"
    "{% for m in messages %}{% if m.role == 'user' %}{{ '<｜User｜>' + m.content }}"
    "{% elif m.role == 'assistant' %}{{ '<｜Assistant｜>' + m.content.split('</think>')[-1]"
    " + '<｜end▁of▁sentence｜>' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<｜Assistant｜>' }}{% endif %}"
)


@dataclass(frozen=True)
class ChatFormat:
    """opening: what stands between the prompt and an answer. end: of an answer; last_end: of the last one. trims: the
    template drops white space around contents. template: None for HugChat's format."""

    name: str
    template: str | None
    special: Sequence[str]
    end: str
    last_end: str
    opening: str = ""
    last_opening: str = ""
    tokenizer: Literal["gpt2", "opt", "llama", "qwen3"] = "gpt2"
    trims: bool = False
    variables: dict[str, str] = field(default_factory=dict)


_IM = ("<|im_start|>", "<|im_end|>")
FORMATS = (
    ChatFormat("smollm2", SMOLLM2, _IM, "<|im_end|>", "<|im_end|>"),
    ChatFormat(
        "qwen3", QWEN3, _IM, "<|im_end|>", "<|im_end|>", last_opening="<think>\n\n</think>\n\n", tokenizer="qwen3"
    ),
    ChatFormat(
        "llama3",
        LLAMA3,
        ("<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"),
        "<|eot_id|>",
        "<|eot_id|>",
        trims=True,
        variables={"bos_token": "<|begin_of_text|>"},
    ),
    ChatFormat(
        "gemma",
        GEMMA,
        ("<start_of_turn>", "<end_of_turn>"),
        "<end_of_turn>",
        "<end_of_turn>",
        tokenizer="llama",
        trims=True,
    ),
    ChatFormat("mistral", MISTRAL, ("[INST]", "[/INST]"), "</s>", "</s>", " ", " ", tokenizer="llama"),
    ChatFormat("zephyr", ZEPHYR, (), "</s>", "</s>", "\n", "\n", tokenizer="llama"),
    ChatFormat("phi3", PHI3, ("<|user|>", "<|assistant|>", "<|system|>", "<|end|>"), "<|end|>", "<|end|>"),
    ChatFormat(
        "glm4",
        GLM4,
        ("[gMASK]", "<sop>", "<|user|>", "<|assistant|>", "<|system|>"),
        "<|user|>",
        "<|endoftext|>",
    ),
    ChatFormat(
        "deepseek",
        DEEPSEEK,
        ("<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>", "<｜User｜>", "<｜Assistant｜>"),
        "<｜end▁of▁sentence｜>",
        "<｜end▁of▁sentence｜>",
        variables={"bos_token": "<｜begin▁of▁sentence｜>", "eos_token": "<｜end▁of▁sentence｜>"},
    ),
    ChatFormat("hugchat-gpt2", None, (), " \n\n", " \n\n<|endoftext|>", " ", " ", trims=True),
    ChatFormat("hugchat-opt", None, (), " \n\n", " \n\n</s>", " ", " ", tokenizer="opt", trims=True),
    ChatFormat("hugchat-llama", None, (), " \n\n", " \n\n</s>", " ", " ", tokenizer="llama", trims=True),
)


@cache
def tokenizer_of(chat_format: str) -> PreTrainedTokenizerFast:
    """With the format's template. It is shared: not to be changed."""
    found = named(chat_format)
    if found.tokenizer == "llama":
        tokenizer = sentencepiece_like_tokenizer(special=found.special)
    else:
        tokenizer = byte_level_tokenizer(found.tokenizer, found.special)
    for name, token in found.variables.items():
        setattr(tokenizer, name, token)
    tokenizer.chat_template = found.template
    return tokenizer


@cache
def chat_of(chat_format: str) -> ChatTokenizer:
    return chat_tokenizer(tokenizer_of(chat_format))


def named(name: str) -> ChatFormat:
    return next(each for each in FORMATS if each.name == name)


def conversation(*turns: tuple[str, str], line: int = 1, text: bool = False) -> Conversation:
    """From (role, content) pairs."""
    return Conversation(tuple(Message(role, content) for role, content in turns), "rows", line, text)  # type: ignore[arg-type]
