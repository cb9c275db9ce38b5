"""Templates render as in transformers, and none can hang the program, eat its memory or reach outside."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from transformers import PreTrainedTokenizerFast

from engine.chat_templates import render as render_module
from engine.chat_templates.render import TemplateRefusedError, TemplateRenderer
from engine.errors import TemplateError
from tests.engine.tiny_models import byte_level_tokenizer

ENDLESS = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"

# Written in the styles of published templates, with what is particular about each.
CHATML_STYLE = """{% for message in messages %}
{%- if loop.first and message.role != 'system' %}{{ '<|im_start|>system\nYou are helpful.<|im_end|>\n' }}{% endif %}
{{- '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}
{%- endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"""
LLAMA_STYLE = """{%- set ns = namespace(system='') %}{{- bos_token }}
{%- if messages[0]['role'] == 'system' %}{% set ns.system = messages[0]['content']|trim %}
{%- set messages = messages[1:] %}{% endif %}
{{- "<|start_header_id|>system<|end_header_id|>\n\nToday: " + strftime_now("%d %b %Y") + "\n" }}
{{- ns.system + "<|eot_id|>" }}
{%- for message in messages %}
    {%- if not (message.role == 'user' or message.role == 'assistant') %}{% continue %}{% endif %}
{{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n'+ message['content'] | trim + '<|eot_id|>' }}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"""
GEMMA_STYLE = """{{ bos_token }}{% if messages[0]['role'] == 'system' %}
{{ raise_exception('System role not supported') }}
{% endif %}{% for message in messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}
{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}
{% if (message['role'] == 'assistant') %}{% set role = 'model' %}{% else %}{% set role = message['role'] %}{% endif %}
{{ '<start_of_turn>' + role + '\n' + message['content'] | trim + '<end_of_turn>\n' }}{% endfor %}
{% if add_generation_prompt %}{{'<start_of_turn>model\n'}}{% endif %}"""
QWEN_STYLE = """{%- if tools %}{{- tools | tojson }}{%- endif %}
{%- for message in messages[::-1] %}{% if loop.first %}{% set last = message %}{% endif %}{% endfor %}
{%- for message in messages %}
    {%- set content = message.content if message.content is string else '' %}
    {%- if message.role == "assistant" and '</think>' in content %}
        {%- set content = content.split('</think>')[-1].lstrip('\n') %}
    {%- endif %}
    {{- '<|im_start|>' + message.role + '\n' + content + '<|im_end|>' + '\n' }}
{%- endfor %}
{{- {"é<": 1, "b": messages | length} | tojson }}{{ dict(a=1) | tojson(indent=2) }}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\n' }}
{%- if enable_thinking is defined and enable_thinking is false %}{{- '<think>\n\n</think>' }}{% endif %}
{%- endif %}"""
MISTRAL_STYLE = """{{- bos_token }}{%- for message in messages %}
    {%- if message['role'] == 'user' %}{{- '[INST] ' + message['content'] + '[/INST]' }}
    {%- elif message['role'] == 'assistant' %}
    {%- generation %}{{- ' ' + message['content'] + eos_token }}{%- endgeneration %}
    {%- else %}{{- '[SYS]' + message['content'] }}{% break %}{%- endif %}
{%- endfor %}"""


@pytest.fixture(scope="module")
def renderer() -> Iterator[TemplateRenderer]:
    with TemplateRenderer() as renderer:
        yield renderer


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    return byte_level_tokenizer("opt")


@pytest.mark.parametrize("add_generation_prompt", [True, False])
@pytest.mark.parametrize("system", [True, False])
@pytest.mark.parametrize(
    "template",
    [CHATML_STYLE, LLAMA_STYLE, GEMMA_STYLE, QWEN_STYLE, MISTRAL_STYLE],
    ids=["chatml", "llama", "gemma", "qwen", "mistral"],
)
def test_renders_as_transformers_does(
    renderer: TemplateRenderer,
    tokenizer: PreTrainedTokenizerFast,
    template: str,
    system: bool,
    add_generation_prompt: bool,
) -> None:
    messages = [
        {"role": "user", "content": " What's <b>é</b>? 小 😀 "},
        {"role": "assistant", "content": "<think>\nhm\n</think>\n\nIt's {{ bold }}\n"},
        {"role": "user", "content": "Thanks & bye"},
    ]
    if system:
        messages.insert(0, {"role": "system", "content": " Be brief. "})
    variables = {"bos_token": "</s>", "eos_token": "</s>"}

    def ours() -> str:
        return renderer.render(template, messages, add_generation_prompt=add_generation_prompt, variables=variables)

    if system and template is GEMMA_STYLE:
        with pytest.raises(TemplateRefusedError, match="System role not supported"):
            ours()
        return
    expected = tokenizer.apply_chat_template(
        messages, chat_template=template, tokenize=False, add_generation_prompt=add_generation_prompt
    )
    assert ours() == expected


def test_a_runaway_template_is_killed_and_the_next_render_starts_anew() -> None:
    with TemplateRenderer(time_limit_s=0.3) as renderer:
        renderer.render("x", [], add_generation_prompt=False)
        first = renderer.pid
        assert first is not None
        with pytest.raises(TemplateError, match="killed"):
            renderer.render(ENDLESS, [], add_generation_prompt=False)
        with pytest.raises(ProcessLookupError):
            os.kill(first, 0)
        assert renderer.render("{{ messages | length }}", [], add_generation_prompt=False) == "0"
        assert renderer.pid != first


def test_a_runaway_template_ends_by_itself_when_nobody_is_left_to_kill_it() -> None:
    """kill -9 of the program must leave no process behind, not even one that spins."""
    request = {"template": ENDLESS, "messages": [], "variables": {}, "time_limit_s": -0.9}
    sandbox = Path(render_module.__file__).with_name("sandbox.py")
    ended = subprocess.run(
        [sys.executable, "-P", str(sandbox)], input=json.dumps(request).encode() + b"\n", timeout=60, check=False
    )
    assert ended.returncode == -signal.SIGALRM


@pytest.mark.skipif(sys.platform != "linux", reason="memory limits hold on Linux only")
@pytest.mark.parametrize(
    "template",
    [
        "{{ 'a' * 4000000000 }}",
        "{% set ns = namespace(s='aaaaaaaa') %}{% for i in range(90000) %}{% set ns.s = ns.s + ns.s %}{% endfor %}",
    ],
)
def test_a_template_cannot_take_all_memory(renderer: TemplateRenderer, template: str) -> None:
    with pytest.raises(TemplateError, match=r"MemoryError|died|memory"):
        renderer.render(template, [], add_generation_prompt=False)
    assert renderer.render("still here", [], add_generation_prompt=False) == "still here"


@pytest.mark.parametrize(
    "template",
    [
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{{ messages.append('x') }}",
        "{{ cycler.__init__.__globals__ }}",
        "{{ namespace(__class__=1) }}",
        "{{ dict.__class__.__mro__ }}",
        "{% include '/etc/passwd' %}",
    ],
)
def test_a_template_cannot_leave_the_sandbox(renderer: TemplateRenderer, template: str) -> None:
    with pytest.raises(TemplateError):
        renderer.render(template, [], add_generation_prompt=False)


def test_a_broken_template_is_an_error_with_its_line(renderer: TemplateRenderer) -> None:
    with pytest.raises(TemplateError, match="line 2"):
        renderer.render("fine\n{% if %}", [], add_generation_prompt=False)


def test_a_killed_process_is_replaced(renderer: TemplateRenderer) -> None:
    renderer.render("x", [], add_generation_prompt=False)
    assert renderer.pid is not None
    os.kill(renderer.pid, signal.SIGKILL)
    os.waitid(os.P_PID, renderer.pid, os.WEXITED | os.WNOWAIT)
    assert renderer.render("y", [], add_generation_prompt=False) == "y"


def test_large_conversations_pass_through_the_pipe(renderer: TemplateRenderer) -> None:
    content = "小" * 500_000
    messages = [{"role": "user", "content": content}]
    assert renderer.render("{{ messages[0].content }}", messages, add_generation_prompt=False) == content
