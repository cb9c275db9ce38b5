"""Cross-entropy where there are labels, without the logits of a whole row ever being in memory.

The logits of 2,048 tokens over a vocabulary of 49,152 are 400 MB in float32, and a plain loss holds three such arrays.
Here the hidden states of labelled positions alone meet the output layer, some at a time, and each part's gradient is
computed while its logits are there: a loss that is a sum needs nothing else of them. The memory is that of one part.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedConfig

IGNORED = -100
"""The label of a position on which no loss is taken, as torch.nn.functional.cross_entropy has it."""

_LOGITS_BYTES = 64 * 1024 * 1024  # of one part, in float32


@dataclass(frozen=True, slots=True)
class LogitRule:
    """What a model does to its output layer's products: logits = cap * tanh(scale * x / cap), without a cap for 0."""

    scale: float = 1.0
    cap: float = 0.0

    def __call__(self, logits: Tensor) -> Tensor:
        if self.scale != 1.0:
            logits = logits * self.scale
        return self.cap * torch.tanh(logits / self.cap) if self.cap else logits


def logit_rule(config: PreTrainedConfig) -> LogitRule:
    """Gemma caps its logits, Granite divides and Cohere multiplies them (the modeling files of transformers 5)."""
    text = config.get_text_config(decoder=True)
    scale = float(getattr(text, "logit_scale", None) or 1.0) / float(getattr(text, "logits_scaling", None) or 1.0)
    return LogitRule(scale, float(getattr(text, "final_logit_softcapping", None) or 0.0))


def fused_loss(hidden: Tensor, labels: Tensor, weight: Tensor, bias: Tensor | None, rule: LogitRule) -> Tensor:
    """Sum of the cross-entropies of labelled positions, in float32.

    hidden: [positions, width], of labelled positions alone. labels: [positions], the token that follows each.
    weight: [vocabulary, width] and bias: [vocabulary] of the output layer.
    """
    if not torch.is_grad_enabled():
        hidden, weight, bias = hidden.detach(), weight.detach(), bias.detach() if bias is not None else None
    loss: Tensor = _FusedLoss.apply(hidden, labels, weight, bias, rule)  # type: ignore[no-untyped-call]
    return loss


class _FusedLoss(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, labels: Tensor, weight: Tensor, bias: Tensor | None, rule: LogitRule
    ) -> Tensor:
        needs_hidden, _, needs_weight, needs_bias, _ = ctx.needs_input_grad
        matrix = weight.to(hidden.dtype)
        loss = hidden.new_zeros((), dtype=torch.float32)
        hidden_grad = torch.empty_like(hidden) if needs_hidden else None
        weight_grad = torch.zeros_like(weight, dtype=torch.float32) if needs_weight else None
        bias_grad = torch.zeros_like(bias, dtype=torch.float32) if bias is not None and needs_bias else None
        for part in _parts(len(hidden), len(weight)):
            states, wanted = hidden[part], labels[part]
            products = states @ matrix.T
            if bias is not None:
                products = products + bias.to(products.dtype)
            products = products.float()
            logits = rule(products)
            normalizer = torch.logsumexp(logits, dim=-1, keepdim=True)
            loss += (normalizer.squeeze(-1) - logits.gather(-1, wanted[:, None]).squeeze(-1)).sum()
            if not (needs_hidden or needs_weight or needs_bias):
                continue
            # d loss / d logits = softmax - one hot
            grad = logits.sub(normalizer).exp_()
            grad.scatter_add_(-1, wanted[:, None], torch.full_like(wanted, -1, dtype=grad.dtype)[:, None])
            if rule.cap:
                grad *= 1 - (logits / rule.cap) ** 2
            if rule.scale != 1.0:
                grad *= rule.scale
            grad_products = grad.to(hidden.dtype)
            if hidden_grad is not None:
                hidden_grad[part] = grad_products @ matrix
            if weight_grad is not None:
                weight_grad += grad_products.T @ states
            if bias_grad is not None:
                bias_grad += grad.sum(0)
        ctx.save_for_backward(hidden_grad, weight_grad, bias_grad)
        ctx.types = weight.dtype, bias.dtype if bias is not None else None
        return loss

    @staticmethod
    def backward(ctx: Any, grad_loss: Tensor) -> tuple[Tensor | None, ...]:
        hidden_grad, weight_grad, bias_grad = ctx.saved_tensors
        weight_type, bias_type = ctx.types
        return (
            hidden_grad * grad_loss.to(hidden_grad.dtype) if hidden_grad is not None else None,
            None,
            (weight_grad * grad_loss).to(weight_type) if weight_grad is not None else None,
            (bias_grad * grad_loss).to(bias_type) if bias_grad is not None else None,
            None,
        )


def fused_loss_of(layer: nn.Linear, hidden: Tensor, labels: Tensor, rule: LogitRule) -> Tensor:
    """The same inside a call of the output layer, where ZeRO-3 has its weight gathered.

    It is called exactly once, also without a label: every rank has to gather the same weights in the same order.
    """

    def forward(states: Tensor) -> Tensor:
        return fused_loss(states, labels, layer.weight, layer.bias, rule)

    layer.forward = forward  # type: ignore[method-assign,assignment]
    try:
        loss: Tensor = layer(hidden)
    finally:
        del layer.forward
    return loss


def layered_loss(hidden: Tensor, labels: Tensor, layer: nn.Module, vocabulary: int, rule: LogitRule) -> Tensor:
    """The same by calling the output layer part by part, for one that an adapter's layers are in.

    Its logits are computed a second time in the backward pass instead of being kept.
    """

    def part_loss(states: Tensor, wanted: Tensor) -> Tensor:
        return functional.cross_entropy(rule(layer(states).float()), wanted, reduction="sum")

    loss = hidden.sum().float() * 0  # without a label, a rank takes part in the backward pass all the same
    for part in _parts(len(hidden), vocabulary):
        if torch.is_grad_enabled():
            loss = loss + checkpoint(part_loss, hidden[part], labels[part], use_reentrant=False)
        else:
            loss = loss + part_loss(hidden[part], labels[part])
    return loss


def _parts(positions: int, vocabulary: int) -> Iterator[slice]:
    size = max(16, _LOGITS_BYTES // (4 * vocabulary))
    for start in range(0, positions, size):
        yield slice(start, min(positions, start + size))
