"""HugChat's format, byte for byte as HugNLP documents it and its training data has it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from engine.chat_templates import HUGCHAT_STOPS, hugchat_template
from engine.chat_templates.render import TemplateRefusedError, TemplateRenderer


@pytest.fixture(scope="module")
def renderer() -> Iterator[TemplateRenderer]:
    with TemplateRenderer() as renderer:
        yield renderer


def render(renderer: TemplateRenderer, *turns: tuple[str, str], prompt: bool = False) -> str:
    messages = [{"role": role, "content": content} for role, content in turns]
    return renderer.render(hugchat_template(), messages, add_generation_prompt=prompt)


DOCUMENTED = [
    (
        "What is the force on a 1 kg mass due to the gravitational force?",
        "The force on a 1 kg mass due to the gravitational force is 9.8 N.",
        "[Human]: What is the force on a 1 kg mass due to the gravitational force? \n [HugChat]: The force on a 1 kg"
        " mass due to the gravitational force is 9.8 N. \n\n",
    ),
    (
        "小明家里有3个苹果，他给了小红1个，小明还剩几个苹果？",
        "- 小明前有苹果：3 个 \n- 小明给了小红一个：-1 个 \n- 所以，小明还剩下的苹果是：2 个",
        "[Human]: 小明家里有3个苹果，他给了小红1个，小明还剩几个苹果？ \n [HugChat]: - 小明前有苹果：3 个 \n"
        "- 小明给了小红一个：-1 个 \n- 所以，小明还剩下的苹果是：2 个 \n\n",
    ),
    (
        "Instruction: What is the scientific name for a beaver?",
        "The scientific name for a beaver is Castor canadensis.",
        "[Human]: Instruction: What is the scientific name for a beaver? \n [HugChat]: The scientific name for a"
        " beaver is Castor canadensis. \n\n",
    ),
]


@pytest.mark.parametrize(("question", "answer", "turn"), DOCUMENTED)
def test_a_turn_equals_the_documented_one(renderer: TemplateRenderer, question: str, answer: str, turn: str) -> None:
    assert render(renderer, ("user", question), ("assistant", answer)) == turn


def test_turns_are_joined_by_one_space(renderer: TemplateRenderer) -> None:
    (q1, a1, turn1), (q2, a2, turn2) = DOCUMENTED[:2]
    text = render(renderer, ("user", q1), ("assistant", a1), ("user", q2), ("assistant", a2))
    assert text == f"{turn1} {turn2}"


def test_a_system_prompt_stands_first(renderer: TemplateRenderer) -> None:
    text = render(renderer, ("system", "Be brief."), ("user", "Hi"), ("assistant", "Hello"))
    assert text == "Be brief. \n\n [Human]: Hi \n [HugChat]: Hello \n\n"


def test_the_finished_turn_extends_the_prompt_by_a_space_and_the_answer(renderer: TemplateRenderer) -> None:
    """Else what the model is asked with would not be what it was trained on."""
    asked = (("user", "One"), ("assistant", "1"), ("user", "Two"))
    prompt = render(renderer, *asked, prompt=True)
    assert prompt.endswith("[HugChat]:")
    assert render(renderer, *asked, ("assistant", "2")) == prompt + " 2 \n\n"


@pytest.mark.parametrize("blank", ["\n\n", "\n\n\n\n", "\r\n\r\n"])
def test_contents_keep_no_blank_line_and_no_space_around(renderer: TemplateRenderer, blank: str) -> None:
    """A blank line ends an answer, so one inside would teach and show the model the wrong end."""
    text = render(renderer, ("user", f" a{blank}b\n"), ("assistant", f"\n\nc{blank}d "))
    assert text == "[Human]: a\nb \n [HugChat]: c\nd \n\n"


def test_the_stops_end_what_the_format_ends() -> None:
    assert HUGCHAT_STOPS == ("\n\n", "[Human]:")


def test_another_role_is_refused(renderer: TemplateRenderer) -> None:
    with pytest.raises(TemplateRefusedError, match="tool"):
        render(renderer, ("tool", "42"))
