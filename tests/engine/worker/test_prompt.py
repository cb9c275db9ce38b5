"""What a model reads: its template, continuations, and whole turns left out when the context is full."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from transformers import PreTrainedTokenizerFast

from engine.chat_templates.render import TemplateRenderer
from engine.errors import EngineError, QuestionTooLongError, TemplateError
from engine.protocol import ChatMessage
from engine.worker.prompt import Prompt, PromptBuilder, chat_format
from tests.engine.tiny_models import CHATML, byte_level_tokenizer

REFUSES_SYSTEM = "{% if messages[0].role == 'system' %}{{ raise_exception('no system') }}{% endif %}" + CHATML
DROPS_SYSTEM = CHATML.replace("{% for", "{% set messages = messages | rejectattr('role', 'eq', 'system') %}{% for", 1)
TRIMS = CHATML.replace("message['content']", "message['content'] | trim")
HIDES_REPLIES = "{% for message in messages if message.role == 'user' %}{{ message.content }}{% endfor %}"


@pytest.fixture(scope="module")
def renderer() -> Iterator[TemplateRenderer]:
    with TemplateRenderer() as renderer:
        yield renderer


@pytest.fixture
def tokenizer() -> PreTrainedTokenizerFast:
    return byte_level_tokenizer()


class Prompter:
    def __init__(
        self, tokenizer: PreTrainedTokenizerFast, renderer: TemplateRenderer, template: str | None, context: int
    ) -> None:
        tokenizer.chat_template = template
        self._tokenizer = tokenizer
        self._builder = PromptBuilder(tokenizer, chat_format(tokenizer), renderer, context)

    def build(self, *messages: tuple[str, str], max_new_tokens: int = 16) -> Prompt:
        typed = [ChatMessage(role, content) for role, content in messages]  # type: ignore[arg-type]
        return self._builder.build(typed, max_new_tokens)

    def text(self, *messages: tuple[str, str]) -> str:
        text: str = self._tokenizer.decode(self.build(*messages).token_ids, clean_up_tokenization_spaces=False)
        return text


def test_the_checkpoints_own_template_is_used(tokenizer: PreTrainedTokenizerFast, renderer: TemplateRenderer) -> None:
    prompter = Prompter(tokenizer, renderer, CHATML, 256)
    assert prompter.text(("system", "S"), ("user", "Hi")) == (
        "<|im_start|>system\nS<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
    )


def test_of_several_templates_the_default_is_used(tokenizer: PreTrainedTokenizerFast) -> None:
    tokenizer.chat_template = {"tool_use": "T", "default": "D"}
    assert chat_format(tokenizer).template == "D"


def test_without_a_template_hugchats_format_is_used(
    tokenizer: PreTrainedTokenizerFast, renderer: TemplateRenderer
) -> None:
    prompter = Prompter(tokenizer, renderer, None, 256)
    assert prompter.text(("user", "Hi"), ("assistant", "Yo"), ("user", "Bye")) == (
        "[Human]: Hi \n [HugChat]: Yo \n\n [Human]: Bye \n [HugChat]:"
    )


@pytest.mark.parametrize("template", [CHATML, TRIMS, None], ids=["chatml", "trims", "hugchat"])
def test_a_continued_reply_ends_the_prompt_where_it_ends(
    tokenizer: PreTrainedTokenizerFast, renderer: TemplateRenderer, template: str | None
) -> None:
    """The template's closing of the turn must not stand between the reply and its continuation."""
    prompter = Prompter(tokenizer, renderer, template, 256)
    prompt = prompter.build(("user", "Hi"), ("assistant", "It is <|im_end|> of"))
    text = tokenizer.decode(prompt.token_ids, clean_up_tokenization_spaces=False)
    assert prompt.continues
    assert text.endswith("It is <|im_end|> of")
    assert prompt.token_ids.count(tokenizer.convert_tokens_to_ids("<|im_end|>")) == (0 if template is None else 1)


def test_an_empty_reply_is_begun_anew(tokenizer: PreTrainedTokenizerFast, renderer: TemplateRenderer) -> None:
    prompter = Prompter(tokenizer, renderer, CHATML, 256)
    assert prompter.build(("user", "Hi"), ("assistant", " ")) == prompter.build(("user", "Hi"))


def test_a_template_that_hides_replies_cannot_continue_one(
    tokenizer: PreTrainedTokenizerFast, renderer: TemplateRenderer
) -> None:
    with pytest.raises(TemplateError, match="continued"):
        Prompter(tokenizer, renderer, HIDES_REPLIES, 256).build(("user", "Hi"), ("assistant", "Yo"))


@pytest.mark.parametrize("template", [REFUSES_SYSTEM, DROPS_SYSTEM], ids=["refuses", "drops"])
def test_where_there_is_no_system_role_the_first_question_carries_it_and_a_note_says_so(
    tokenizer: PreTrainedTokenizerFast, renderer: TemplateRenderer, template: str
) -> None:
    prompter = Prompter(tokenizer, renderer, template, 256)
    prompt = prompter.build(("system", "Be brief."), ("user", "Hi"))
    assert prompt.token_ids == prompter.build(("user", "Be brief.\n\nHi")).token_ids
    assert "system" in prompt.notes[0]
    assert prompter.build(("user", "Hi")).notes == ()


def conversation(turns: int, system: bool = True) -> list[tuple[str, str]]:
    messages = [("system", "Be brief.")] if system else []
    for turn in range(turns):
        messages += [("user", f"Question number {turn}?"), ("assistant", f"Answer number {turn}.")]
    return [*messages, ("user", "The last question?")]


@pytest.mark.parametrize("system", [True, False])
@pytest.mark.parametrize("turns", [0, 1, 2, 5, 40, 300])
def test_the_fewest_oldest_turns_are_left_out(
    tokenizer: PreTrainedTokenizerFast, renderer: TemplateRenderer, turns: int, system: bool
) -> None:
    context, room = 256, 32
    prompter = Prompter(tokenizer, renderer, CHATML, context)
    unbounded = Prompter(byte_level_tokenizer(), renderer, CHATML, 10**9)
    messages = conversation(turns, system)
    prompt = prompter.build(*messages, max_new_tokens=room)

    kept = [message for at, message in enumerate(messages) if at not in prompt.omitted]
    assert prompt.token_ids == unbounded.build(*kept).token_ids
    assert kept[-1] == messages[-1]
    assert kept[0] == messages[0] or not system
    assert len(prompt.token_ids) <= context - room
    assert len(prompt.omitted) % 2 == 0
    if prompt.omitted:
        assert prompt.omitted == tuple(range(prompt.omitted[0], prompt.omitted[-1] + 1))
        one_more = [message for at, message in enumerate(messages) if at not in prompt.omitted[:-2]]
        assert len(unbounded.build(*one_more).token_ids) > context - room


def test_a_merged_system_prompt_survives_the_turns_left_out(
    tokenizer: PreTrainedTokenizerFast, renderer: TemplateRenderer
) -> None:
    prompter = Prompter(tokenizer, renderer, REFUSES_SYSTEM, 256)
    prompt = prompter.build(*conversation(40))
    assert prompt.omitted
    assert "user\nBe brief.\n\nQuestion number" in tokenizer.decode(prompt.token_ids)


def test_the_room_kept_for_the_reply_is_a_quarter_of_the_context_at_most(
    tokenizer: PreTrainedTokenizerFast, renderer: TemplateRenderer
) -> None:
    prompt = Prompter(tokenizer, renderer, CHATML, 256).build(*conversation(40), max_new_tokens=100_000)
    assert 192 - 40 < len(prompt.token_ids) <= 192


def test_a_question_that_fills_the_context_is_an_error_with_both_numbers(
    tokenizer: PreTrainedTokenizerFast, renderer: TemplateRenderer
) -> None:
    prompter = Prompter(tokenizer, renderer, CHATML, 64)
    question = "word " * 200
    needed = len(Prompter(byte_level_tokenizer(), renderer, CHATML, 10**9).build(("user", question)).token_ids)
    with pytest.raises(QuestionTooLongError, match=rf"{needed:,} tokens.*holds 64"):
        prompter.build(("user", "Hi"), ("assistant", "Yo"), ("user", question))


def test_a_question_that_leaves_less_room_than_wished_is_answered(
    tokenizer: PreTrainedTokenizerFast, renderer: TemplateRenderer
) -> None:
    generous = Prompter(byte_level_tokenizer(), renderer, CHATML, 10**9)
    needed = len(generous.build(("user", "Hello there")).token_ids)
    prompt = Prompter(tokenizer, renderer, CHATML, needed + 1).build(("user", "Hello there"), max_new_tokens=100)
    assert len(prompt.token_ids) == needed


def test_no_question_is_an_error(tokenizer: PreTrainedTokenizerFast, renderer: TemplateRenderer) -> None:
    with pytest.raises(EngineError, match="no question"):
        Prompter(tokenizer, renderer, CHATML, 64).build(("system", "S"))
