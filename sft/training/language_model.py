"""A causal language model as training sees it: a batch of packs in, the summed loss over their labels out."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from sft.training.batches import Batch
from sft.training.isolation import Isolation, model_inputs
from sft.training.loss import IGNORED, LogitRule, fused_loss_of, layered_loss, logit_rule

Head = Literal["fused", "layered", "whole"]
"""How the loss is computed: with the output layer's weight, by calling an adapted layer part by part, or by the model
itself, which makes the logits of every position (for a model whose output is more than its layer)."""


class LanguageModel(nn.Module):
    """What is wrapped by DDP or DeepSpeed: `forward` is all that happens in a micro step.

    model: the transformers model, with an adapter's layers inside it or not. isolation: how documents of one pack are
    kept from seeing each other.
    """

    def __init__(self, model: PreTrainedModel, isolation: Isolation = "single", head: Head = "whole") -> None:
        super().__init__()
        self.model = model
        self.isolation: Isolation = isolation
        self.head: Head = head
        self._rule: LogitRule = logit_rule(model.config)

    def forward(self, batch: Batch) -> Tensor:
        """The sum of the cross-entropies over the batch's labels, float32 []."""
        inputs = model_inputs(batch, self.isolation, self.model.dtype)
        labelled = batch.labels != IGNORED
        wanted = batch.labels[labelled]
        if self.head == "whole":
            logits = self.model(**inputs, use_cache=False).logits[labelled].float()
            whole: Tensor = nn.functional.cross_entropy(logits, wanted, reduction="sum")
            return whole
        hidden = decoder_of(self.model)(**inputs, use_cache=False).last_hidden_state
        states = hidden[labelled]
        layer = self.model.get_output_embeddings()
        if self.head == "fused":
            return fused_loss_of(layer, states, wanted, self._rule)
        return layered_loss(states, wanted, layer, self.model.config.get_text_config().vocab_size, self._rule)


def decoder_of(model: PreTrainedModel) -> nn.Module:
    """The part of a causal model that ends with the hidden states."""
    decoder = getattr(model, model.base_model_prefix)
    assert isinstance(decoder, nn.Module)
    return decoder


@torch.no_grad()
def choose_head(model: PreTrainedModel, *, partitioned: bool) -> Head:
    """The leanest way to this model's loss that gives the model's own, tried on a few tokens.

    partitioned: weights are spread over the ranks (ZeRO-3), so that the output layer's is not at hand.
    """
    layer = model.get_output_embeddings()
    plain = type(layer) is nn.Linear
    # Part by part, ranks would gather the layer's weights a different number of times.
    heads: tuple[Head, ...] = ("fused",) if plain else () if partitioned else ("layered",)
    vocabulary = model.config.get_text_config().vocab_size
    device = next(model.parameters()).device
    tokens = torch.arange(1, 17, device=device)[None] % vocabulary
    hint = model.training
    model.eval()
    try:
        logits = model(input_ids=tokens, use_cache=False).logits[:, :-1].float()
        truth = nn.functional.cross_entropy(logits[0], tokens[0, 1:], reduction="sum")
        rule = logit_rule(model.config)
        states = decoder_of(model)(input_ids=tokens, use_cache=False).last_hidden_state[0, :-1]
        for head in heads:
            if head == "fused":
                found = fused_loss_of(layer, states, tokens[0, 1:], rule)
            else:
                found = layered_loss(states, tokens[0, 1:], layer, vocabulary, rule)
            if torch.isclose(found, truth, rtol=1e-3):
                return head
    except (AttributeError, TypeError):
        return "whole"  # a model that is not made of a decoder and an output layer
    finally:
        model.train(hint)
    return "whole"
