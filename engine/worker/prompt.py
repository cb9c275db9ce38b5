"""A conversation to the token ids that a model reads: template, special tokens, and what fits the context."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from transformers import PreTrainedTokenizerBase

from engine.chat_templates import HUGCHAT_STOPS, hugchat_template
from engine.chat_templates.render import TemplateRefusedError, TemplateRenderer
from engine.errors import EngineError, QuestionTooLongError, TemplateError
from engine.protocol import ChatMessage
from engine.worker.encoding import PromptEncoder
from engine.worker.turns import Turns

_MERGED_NOTE = "This checkpoint's template takes no system prompt, so it stands at the start of the first question."
# Rendering and encoding everything is the quickest way to see that it fits, unless it is out of all
# proportion.
_CHARS_PER_TOKEN_AT_MOST = 16


@dataclass(frozen=True, slots=True)
class ChatFormat:
    """The template a checkpoint is spoken to with. stops: strings that end a reply besides its end-of-turn tokens."""

    template: str
    kind: Literal["checkpoint", "hugchat"]
    stops: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Prompt:
    """token_ids: what the model reads. omitted: indices of the messages left out, the oldest turns.

    continues: the last message is a reply, and generation goes on where it ends.
    """

    token_ids: list[int]
    omitted: tuple[int, ...]
    continues: bool
    notes: tuple[str, ...]


def chat_format(tokenizer: PreTrainedTokenizerBase) -> ChatFormat:
    """The checkpoint's own template (of several, the one named "default"), else HugChat's format.

    A checkpoint that was trained in HugChat's format carries that template as its own; it is spoken to the same way.
    """
    own = tokenizer.chat_template
    if isinstance(own, dict):
        own = own.get("default") or next(iter(own.values()), None)
    if own and own != hugchat_template():
        return ChatFormat(template=own, kind="checkpoint", stops=())
    return ChatFormat(template=hugchat_template(), kind="hugchat", stops=HUGCHAT_STOPS)


class PromptBuilder:
    """Builds prompts for one checkpoint. context_length: tokens of prompt and reply together."""

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        template: ChatFormat,
        renderer: TemplateRenderer,
        context_length: int,
    ) -> None:
        self._encoder = PromptEncoder(tokenizer)
        self._template = template
        self._renderer = renderer
        self._context_length = context_length
        self._variables = {
            name: str(token) for name, token in tokenizer.special_tokens_map.items() if isinstance(token, str)
        }
        self._takes_system: bool | None = None

    def build(self, messages: Sequence[ChatMessage], max_new_tokens: int) -> Prompt:
        """The prompt for the reply to the last message, or for more of it when it is the assistant's.

        Oldest turns (a question and the replies to it) are left out until the prompt leaves room for
        min(max_new_tokens, a quarter of the context). The system prompt and the last turn always stay, if
        need be with less room. Raises QuestionTooLongError when these alone fill the context,
        TemplateError.
        """
        messages = list(messages)
        if messages and messages[-1].role == "assistant" and not messages[-1].content.strip():
            messages.pop()  # nothing of the reply is there yet
        if not any(message.role == "user" for message in messages):
            raise EngineError("There is no question to answer.", "Write one first.")
        conversation = Turns(messages)
        merges = bool(conversation.system) and not self._template_takes_system()
        room = min(max_new_tokens, self._context_length // 4)

        def token_ids(skipped_turns: int) -> list[int]:
            return self._token_ids(conversation.without(skipped_turns, merge_system=merges))

        skipped, ids = self._fitting(conversation, token_ids, self._context_length - room)
        if len(ids) >= self._context_length:
            raise QuestionTooLongError(
                f"The system prompt and the last question come to {len(ids):,} tokens;"
                f" this checkpoint's context holds {self._context_length:,}.",
                "Shorten the question or the system prompt, or choose a checkpoint with a longer context.",
            )
        return Prompt(
            token_ids=ids,
            omitted=conversation.omitted(skipped),
            continues=messages[-1].role == "assistant",
            notes=(_MERGED_NOTE,) if merges else (),
        )

    def _fitting(self, conversation: Turns, token_ids: Callable[[int], list[int]], limit: int) -> tuple[int, list[int]]:
        """The least number of oldest turns to leave out so that `limit` is kept, and the ids without them."""
        last = len(conversation) - 1
        too_many = -1  # leaving out only this many turns is known not to do
        if conversation.characters <= limit * _CHARS_PER_TOKEN_AT_MOST:
            ids = token_ids(0)
            if len(ids) <= limit or last == 0:
                return 0, ids
            too_many = 0
        # From the end, so that a long conversation is never rendered whole; twice as many turns each time.
        fits, best = last, token_ids(last)
        if len(best) > limit:
            return last, best
        step = 1
        while fits > 0:
            tried = max(0, fits - step) if too_many < 0 else (fits + too_many) // 2
            if tried in (fits, too_many):
                break
            ids = token_ids(tried)
            if len(ids) <= limit:
                fits, best = tried, ids
                step *= 2
            else:
                too_many = tried
        return fits, best

    def _token_ids(self, messages: Sequence[ChatMessage]) -> list[int]:
        disarmed, sentinels = self._encoder.disarm(messages)
        continues = disarmed[-1].role == "assistant"
        end = f"\ue000{secrets.token_hex(8)}\ue001"
        if continues:
            disarmed[-1] = ChatMessage("assistant", disarmed[-1].content + end)
        rendered = self._render(disarmed, add_generation_prompt=not continues)
        if continues:
            rendered, found, _ = rendered.rpartition(end)
            if not found:
                raise TemplateError(
                    "This checkpoint's chat template does not show the last reply, so it cannot be continued.",
                    "Regenerate the reply instead.",
                )
        ids = self._encoder.encode(rendered, sentinels)
        if self._template.kind == "hugchat":
            ids = self._encoder.opening_ids + ids
        return ids

    def _render(self, messages: Sequence[ChatMessage], *, add_generation_prompt: bool) -> str:
        return self._renderer.render(
            self._template.template,
            [{"role": message.role, "content": message.content} for message in messages],
            add_generation_prompt=add_generation_prompt,
            variables=self._variables,
        )

    def _template_takes_system(self) -> bool:
        """Whether a system message arrives in the rendered text: some templates raise, some drop it."""
        if self._takes_system is None:
            probe = secrets.token_hex(8)
            try:
                rendered = self._render(
                    [ChatMessage("system", probe), ChatMessage("user", "?")], add_generation_prompt=True
                )
                self._takes_system = probe in rendered
            except TemplateRefusedError:
                self._takes_system = False
        return self._takes_system
