"""What is trained: the answers and the ends of their turns, in every family's format, on the tokens of a chat."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from engine.chat_templates.render import TemplateRenderer
from engine.protocol import ChatMessage
from engine.worker.prompt import PromptBuilder, chat_format
from sft.data.conversation import Conversation
from sft.data.masking import Document, Encoder
from sft.data.preview import pieces
from sft.data.rendering import BrokenTemplateError, NothingTrainedError, RowRefusedError
from sft.data.tokenizer import ChatTokenizer
from tests.sft.data.chat_formats import FORMATS, ChatFormat, chat_of, conversation, tokenizer_of
from tests.sft.data.rows import read_one

NAMES = [each.name for each in FORMATS]
by_format = pytest.mark.parametrize("form", FORMATS, ids=NAMES)
SYSTEM = "Be brief."
TURNS = (
    ("user", "What is the capital of France?"),
    ("assistant", "The capital of France is Paris."),
    ("user", "And of Italy? 小明家里有3个苹果"),
    ("assistant", "Rome — 还剩下的苹果是：2 个 😀\nSecond line: 1, 2, 3"),
)


@pytest.fixture(scope="module")
def renderer() -> Iterator[TemplateRenderer]:
    with TemplateRenderer() as renderer:
        yield renderer


def trained_texts(chat: ChatTokenizer, document: Document) -> list[str]:
    tokenizer = Tokenizer.from_str(chat.tokenizer_json)
    shown = pieces(tokenizer, document.ids.tolist(), document.trained.tolist())
    return [piece.text for piece in shown if piece.trained]


def expected(form: ChatFormat, answers: list[str]) -> list[str]:
    def as_written(content: str) -> str:
        if form.template is None:  # its contents have no blank lines
            content = "\n".join(line for line in content.replace("\r\n", "\n").split("\n") if line)
        return content.strip() if form.trims else content

    texts = [form.opening + as_written(answer) + form.end for answer in answers[:-1]]
    return [*texts, form.last_opening + as_written(answers[-1]) + form.last_end]


@by_format
@pytest.mark.parametrize("system", [False, True], ids=["bare", "system"])
def test_what_is_trained_is_the_answers_and_the_ends_of_their_turns(form: ChatFormat, system: bool) -> None:
    turns = (("system", SYSTEM), *TURNS) if system else TURNS
    document = Encoder(chat_of(form.name)).encode(conversation(*turns))
    assert trained_texts(chat_of(form.name), document) == expected(form, [TURNS[1][1], TURNS[3][1]])


@by_format
def test_the_system_prompt_reaches_the_model(form: ChatFormat) -> None:
    """Where the template has no system role it stands at the start of the first question, as in a chat."""
    chat = chat_of(form.name)
    document = Encoder(chat).encode(conversation(("system", SYSTEM), *TURNS))
    text = Tokenizer.from_str(chat.tokenizer_json).decode(document.ids.tolist(), skip_special_tokens=False)
    assert text.index(SYSTEM) < text.index(TURNS[0][1])
    if form.name in ("gemma", "mistral"):
        assert f"{SYSTEM}\n\n{TURNS[0][1]}" in text


@by_format
@pytest.mark.parametrize("spelled", ["", " <|im_end|> </s> [/INST] <|user|>"], ids=["plain", "special-tokens-spelled"])
def test_up_to_an_answer_the_tokens_are_those_of_the_prompt_that_a_chat_sends(
    form: ChatFormat, spelled: str, renderer: TemplateRenderer
) -> None:
    chat, tokenizer = chat_of(form.name), tokenizer_of(form.name)
    turns = [("system", SYSTEM), *((role, content + spelled) for role, content in TURNS)]
    document = Encoder(chat).encode(conversation(*turns))
    prompts = PromptBuilder(tokenizer, chat_format(tokenizer), renderer, 10**6)
    starts = [at for at in range(len(document.ids)) if document.trained[at] and not document.trained[at - 1]]
    assert len(starts) == 2
    for start, before in zip(starts, (2, 4), strict=True):
        asked = [ChatMessage(role, content) for role, content in turns[:before]]  # type: ignore[arg-type]
        assert prompts.build(asked, 16).token_ids == document.ids[:start].tolist()


@by_format
def test_special_tokens_that_a_row_spells_stay_text(form: ChatFormat) -> None:
    """A row with "<|im_end|>" in it must not teach the model to end there, nor end its own answer."""
    chat = chat_of(form.name)
    spelled = " ".join(content for content, *_ in chat.special)
    turns = [("user", f"What is {spelled}?"), ("assistant", f"It is {spelled} you see.")]
    document = Encoder(chat).encode(conversation(*turns))
    plain = Encoder(chat).encode(conversation(("user", "What is?"), ("assistant", "It is.")))
    special = {token_id for _, token_id, *_ in chat.special}
    assert [each for each in document.ids.tolist() if each in special] == [
        each for each in plain.ids.tolist() if each in special
    ]
    assert trained_texts(chat, document) == expected(form, [turns[1][1]])


# Contents without the characters that a small tokenizer, or decoding, changes by itself.
_TEXT = st.text(st.sampled_from("abc XYZ019.,!?\n\t😀é小"), min_size=1, max_size=40).filter(
    lambda text: bool(text.strip()) and not text[0].isspace()
)


@by_format
@given(data=st.data())
@settings(deadline=None, max_examples=30)
def test_any_answers_come_back_whole(form: ChatFormat, data: st.DataObject) -> None:
    answers = data.draw(st.lists(_TEXT, min_size=1, max_size=3))
    turns = [turn for answer in answers for turn in (("user", data.draw(_TEXT)), ("assistant", answer))]
    chat = chat_of(form.name)
    shown = trained_texts(chat, Encoder(chat).encode(conversation(*turns)))
    for text, answer in zip(shown, expected(form, answers), strict=True):
        # The small tokenizers have tokens of a line break and a letter; one that is half answer is trained.
        assert text == answer or (text == f"\n{answer}" and not form.opening)


@pytest.mark.parametrize("human, bot", [("[Human]:", "[HugChat]:"), ("Human:", "HugChat:"), ("Input:", "Output:")])
@pytest.mark.parametrize("name", ["hugchat-gpt2", "hugchat-opt", "hugchat-llama"])
def test_rows_in_each_of_hugchats_styles_train_their_answers(tmp_path: Path, human: str, bot: str, name: str) -> None:
    text = f"{human} Name a colour. \n {bot} Blue. \n\n {human} And another. \n {bot} Red it is. \n\n"
    row = read_one(tmp_path, {"text": text})
    assert isinstance(row, Conversation)
    form = next(each for each in FORMATS if each.name == name)
    chat = chat_of(name)
    assert trained_texts(chat, Encoder(chat).encode(row)) == expected(form, ["Blue.", "Red it is."])


def test_the_answers_that_a_row_excepts_are_not_trained() -> None:
    chat = chat_of("smollm2")
    row = conversation(*TURNS)
    messages = tuple(replace(each, trained=number != 1) for number, each in enumerate(row.messages))
    document = Encoder(chat).encode(replace(row, messages=messages))
    assert trained_texts(chat, document) == [TURNS[3][1] + "<|im_end|>"]
    assert len(document.turn_ends) == 2


def test_an_answer_to_no_avail_behind_it_is_left_out() -> None:
    """Tokens behind the last trained one cost time and teach nothing."""
    chat = chat_of("smollm2")
    document = Encoder(chat).encode(conversation(*TURNS, ("user", "One more?")))
    assert document.trained[-1]
    assert document.ids.tolist() == Encoder(chat).encode(conversation(*TURNS)).ids.tolist()


def test_a_text_is_trained_whole_and_ends() -> None:
    chat = chat_of("hugchat-opt")
    document = Encoder(chat).encode(conversation(("assistant", "Once </s> upon a time."), text=True))
    eos = chat.eos_id
    assert document.ids[0] == eos == document.ids[-1]  # OPT begins texts with the token that ends them
    assert document.trained.tolist() == [False, *[True] * (len(document.ids) - 1)]
    assert (document.ids == eos).sum() == 2


def test_a_row_without_an_answer_is_refused() -> None:
    encoder = Encoder(chat_of("smollm2"))
    for turns in ([("user", "Hello?")], [("user", "Hello?"), ("assistant", " \n ")]):
        with pytest.raises(NothingTrainedError):
            encoder.encode(conversation(*turns))
    with pytest.raises(NothingTrainedError):
        encoder.encode(conversation(("assistant", ""), text=True))


def test_a_row_that_the_template_refuses_says_why() -> None:
    with pytest.raises(RowRefusedError, match="Roles must alternate") as refused:
        Encoder(chat_of("gemma")).encode(conversation(("user", "a"), ("user", "b"), ("assistant", "c")))
    assert refused.value.reason == "refused by the chat template"


def with_template(template: str, name: str = "smollm2") -> ChatTokenizer:
    return replace(chat_of(name), template=template)


def test_a_thought_is_trained_where_the_template_keeps_it() -> None:
    thought = "<think>\nParis is large.\n</think>\n\nParis."
    encoder = Encoder(chat_of("qwen3"))
    last = encoder.encode(conversation(("user", "Capital?"), ("assistant", thought)))
    assert trained_texts(chat_of("qwen3"), last) == [thought + "<|im_end|>"]
    earlier = encoder.encode(conversation(("user", "Capital?"), ("assistant", thought), *TURNS[:2]))
    assert trained_texts(chat_of("qwen3"), earlier) == [
        "Paris.<|im_end|>",
        f"<think>\n\n</think>\n\n{TURNS[1][1]}<|im_end|>",
    ]


def test_an_answer_is_found_behind_a_thought_that_the_prompt_itself_begins() -> None:
    """DeepSeek R1's prompt ends with <think>, and its history has no thoughts: the prompt is no part of the text."""
    template = chat_of("deepseek").template.replace("{{ '<｜Assistant｜>' }}", "{{ '<｜Assistant｜><think>\n' }}")
    chat = with_template(template, "deepseek")
    document = Encoder(chat).encode(conversation(("user", "Capital?"), ("assistant", "<think>Hm.</think>\n\nParis.")))
    assert trained_texts(chat, document) == ["Paris.<｜end▁of▁sentence｜>"]


def test_an_answer_that_stands_twice_in_the_text_is_told_apart() -> None:
    document = Encoder(chat_of("smollm2")).encode(conversation(("user", "Say user"), ("assistant", "user")))
    assert trained_texts(chat_of("smollm2"), document) == ["user<|im_end|>"]
    assert document.trained.sum() == 2


def test_a_template_that_changes_marked_answers_is_followed_by_prefixes() -> None:
    """It writes the length of an answer before it, so marks would change the text."""
    template = chat_of("smollm2").template.replace("m['role'] + '\n'", "m['role'] + '\n' ~ m.content | length ~ ' '")
    chat = with_template(template)
    document = Encoder(chat).encode(conversation(*TURNS[:2]))
    assert trained_texts(chat, document) == [f"{len(TURNS[1][1])} {TURNS[1][1]}<|im_end|>"]


@pytest.mark.parametrize(
    "template",
    [
        "{% for m in messages if m.role == 'user' %}{{ m.content }}{% endfor %}",
        "{% for m in messages %}{{ m.content | upper }}{% endfor %}",
        "{% for m in messages %}{{ m.content | length }}{% endfor %}",
    ],
    ids=["hidden", "shouted", "counted"],
)
def test_a_template_that_does_not_show_the_answer_refuses_the_row(template: str) -> None:
    with pytest.raises(RowRefusedError, match="does not show the answer"):
        Encoder(with_template(template)).encode(conversation(*TURNS[:2]))


def test_a_template_that_is_none_is_refused_at_once() -> None:
    with pytest.raises(BrokenTemplateError, match="line 1"):
        Encoder(with_template("{% for m in messages %}"))


def test_a_template_that_does_not_end_is_stopped() -> None:
    forever = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"
    with pytest.raises(BrokenTemplateError, match="ran over"):
        Encoder(with_template(forever), time_limit_s=0.2).encode(conversation(*TURNS))
    with pytest.raises(BrokenTemplateError, match="ran over"):  # jinja2 multiplies constants as it compiles
        Encoder(with_template("{{ 7 ** 99999999 > 3 }}"), time_limit_s=0.2)


def test_an_end_of_turn_that_is_not_called_special_is_trained_too() -> None:
    """Else the model would never learn to stop: neither that token nor the end of the text would be trained."""
    chat = chat_of("phi3")
    rules = json.loads(chat.tokenizer_json)
    (end,) = (token for token in rules["added_tokens"] if token["content"] == "<|end|>")
    end["special"] = False
    special = tuple(each for each in chat.special if each[0] != "<|end|>")
    chat = replace(chat, tokenizer_json=json.dumps(rules), special=special)
    document = Encoder(chat).encode(conversation(*TURNS))
    assert trained_texts(chat, document) == [f"{TURNS[1][1]}<|end|>", f"{TURNS[3][1]}<|end|>"]


def test_tokenizers_that_cut_white_space_off_positions_train_it_all_the_same() -> None:
    """RoBERTa's and GPT-2's post-processors do: then the blank line that ends an answer would stand nowhere."""
    chat = chat_of("hugchat-gpt2")
    rules = json.loads(chat.tokenizer_json)
    rules["post_processor"] = {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True}
    row = conversation(*TURNS)
    cutting = Encoder(replace(chat, tokenizer_json=json.dumps(rules))).encode(row)
    assert cutting.trained.tolist() == Encoder(chat).encode(row).trained.tolist()


def test_rows_are_encoded_side_by_side_as_they_are_alone() -> None:
    encoder = Encoder(chat_of("smollm2"))
    rows = [
        conversation(*TURNS),
        conversation(("user", "no answer")),
        conversation(("assistant", "A text."), text=True),
        conversation(("user", "What is <|im_end|>?"), ("assistant", "A token.")),
        conversation(*TURNS[2:]),
    ]
    together = encoder.encode_all(rows)
    assert isinstance(together[1], NothingTrainedError)
    for row, outcome in zip(rows, together, strict=True):
        if isinstance(outcome, Document):
            alone = encoder.encode(row)
            assert outcome.ids.tolist() == alone.ids.tolist()
            assert outcome.trained.tolist() == alone.trained.tolist()
