"""How good the model is now: the loss on rows that it never trained on, and its answers to fixed questions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from engine.chat_templates import HUGCHAT_STOPS
from engine.chat_templates.render import TemplateRenderer
from engine.errors import EngineError
from engine.protocol import ChatMessage
from engine.worker.loading import context_length
from engine.worker.prompt import ChatFormat, PromptBuilder
from engine.worker.session import end_ids
from engine.worker.stopping import StopStrings
from sft.data.tokenizer import ChatTokenizer
from sft.training.data_order import DataOrder
from sft.training.strategy import Strategy
from sft.training.world import World

_LARGEST_LOSS = 700.0  # math.exp of more overflows


@dataclass(frozen=True, slots=True)
class Measured:
    """loss: mean cross-entropy over the trained tokens, in nats. tokens: how many these are."""

    loss: float
    tokens: int

    @property
    def perplexity(self) -> float:
        return math.exp(self.loss) if self.loss < _LARGEST_LOSS else math.inf


def measure(
    strategy: Strategy, model: PreTrainedModel, order: DataOrder, rows: int, world: World, *, most: int = 0
) -> Measured:
    """The loss over the held-out documents. All ranks together; the model is left in training mode.

    most: packs that are measured, the same ones each time; 0: all.
    """
    mine = order.batches_once(rows, world.rank, world.size, most=most)
    calls = max(world.everyone(mine))
    batches = order.once(rows, world.rank, world.size, most=most)
    batch = next(order.once(rows, 0, 1))
    model.eval()
    loss, tokens = 0.0, 0
    try:
        for number in range(calls):
            # With ZeRO-3 every rank calls the model equally often: one that has no batch left reads its last again.
            batch = next(batches, batch)
            found = strategy.loss(batch.to(world.device)).item()
            if number < mine:
                loss, tokens = loss + found, tokens + batch.trained_tokens
    finally:
        model.train()
    loss, counted = world.total(loss, tokens)
    return Measured(loss / counted if counted else math.nan, int(counted))


class Sampler:
    """Answers questions as the chat would: the same template, greedily, ended by the same tokens and strings."""

    def __init__(
        self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, chat: ChatTokenizer, world: World
    ) -> None:
        """chat: names the template that is trained with. Starts a process that renders; close it."""
        self._world = world
        self._model = model
        self._tokenizer = tokenizer
        stops = HUGCHAT_STOPS if chat.template_kind == "hugchat" else ()
        self._format = ChatFormat(chat.template, chat.template_kind, stops)
        self._renderer = TemplateRenderer()
        self._context = context_length(model.config) or 1 << 30
        self._builder = PromptBuilder(tokenizer, self._format, self._renderer, self._context)
        self._end_ids = end_ids(model, tokenizer)

    def close(self) -> None:
        self._renderer.close()

    def answers(self, questions: Sequence[str], max_new_tokens: int) -> list[str]:
        """An answer to each; where a question cannot be asked, why, in angle brackets. All ranks together.

        Rank 0 renders and chooses: with ZeRO-3 the ranks must call the model equally often, whatever each would choose.
        """
        self._model.eval()
        try:
            return [self._answer(question, max_new_tokens) for question in questions]
        finally:
            self._model.train()

    @torch.no_grad()
    def _answer(self, question: str, max_new_tokens: int) -> str:
        asked = self._world.told(self._asked(question, max_new_tokens) if self._world.leads else [])
        if isinstance(asked, str):
            return f"<{asked}>"
        read = torch.tensor([asked], device=self._world.device)
        cache = None
        written: list[int] = []
        while len(written) < max_new_tokens and len(asked) + len(written) < self._context:
            output = self._model(input_ids=read, past_key_values=cache, use_cache=True)
            cache = output.past_key_values
            token = self._world.told(int(output.logits[0, -1].argmax()))
            if token in self._end_ids:
                break
            written.append(token)
            if self._stopped(written):
                break
            read = torch.tensor([[token]], device=self._world.device)
        return self._text(written)

    def _asked(self, question: str, max_new_tokens: int) -> list[int] | str:
        """The prompt's tokens, or why there is none."""
        try:
            return self._builder.build([ChatMessage("user", question)], max_new_tokens).token_ids
        except EngineError as error:
            return error.message

    def _stopped(self, written: list[int]) -> bool:
        stops = self._format.stops
        return bool(stops) and any(stop in self._tokenizer.decode(written).lstrip() for stop in stops)

    def _text(self, written: list[int]) -> str:
        text: str = self._tokenizer.decode(written, skip_special_tokens=True)
        stopping = StopStrings(self._format.stops, strip_start=True, strip_end=True)
        return stopping.feed(text) + stopping.finish()
