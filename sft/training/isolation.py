"""Documents that share a row must not see each other; whether a model keeps them apart is tried before the run.

Which of the ways below isolates depends on the family, on its attention kernel and on the version of transformers, and
a leak is silent: the loss merely is another one.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor
from transformers import PreTrainedModel

from sft.errors import SftError
from sft.training.batches import Batch

Isolation = Literal["single", "positions", "mask"]
"""single: one document a row; padding behind it needs nothing in a causal model. positions: they start at 0 again with
each document, and transformers masks by that. mask: a mask of our own is given besides.

    mask of two documents a, b and padding, 1 for "sees":    a0 1 . . . .
                                                             a1 1 1 . . .
                                                             b0 . . 1 . .
                                                             b1 . . 1 1 .
                                                             -  . . . . 1    (else its row would divide by 0)
"""

TOLERANCE = 1e-4
"""How far the second document's logits may be from those it has alone, in shares of their size, in float32."""

_TOLERANCE_16_BIT = 0.05  # 16-bit attention adds up in another order in a longer row
_FIRST, _SECOND = 9, 7  # tokens of the probe's documents


class LeakError(SftError):
    """No way keeps two documents of one row apart in this model."""

    code = "leak"


@dataclass(frozen=True, slots=True)
class Probe:
    """What was tried: way -> largest difference, as a share of the largest logit."""

    differences: dict[str, float]
    tolerance: float

    @property
    def found(self) -> Isolation | None:
        ways: tuple[Isolation, ...] = ("positions", "mask")
        return next((way for way in ways if self.differences.get(way, float("inf")) <= self.tolerance), None)


def model_inputs(batch: Batch, isolation: Isolation, dtype: torch.dtype) -> dict[str, Tensor]:
    """The arguments of a transformers model for a batch."""
    inputs = {"input_ids": batch.input_ids}
    if isolation != "single":
        inputs["position_ids"] = batch.position_ids
    if isolation == "mask":
        inputs["attention_mask"] = additive_mask(batch.document_ids, dtype)
    return inputs


def additive_mask(document_ids: Tensor, dtype: torch.dtype) -> Tensor:
    """[rows, 1, length, length]: 0 where a token sees, the least number of the dtype elsewhere."""
    length = document_ids.shape[1]
    same = document_ids[:, None, :, None] == document_ids[:, None, None, :]
    causal = torch.ones(length, length, dtype=torch.bool, device=document_ids.device).tril()
    mask = torch.zeros(same.shape, dtype=dtype, device=document_ids.device)
    return mask.masked_fill_(~(same & causal), torch.finfo(dtype).min)


@torch.no_grad()
def probe(model: PreTrainedModel) -> Probe:
    """Run two documents in one row, in both orders, and each alone; the model is left in the mode it was in."""
    vocabulary = model.config.get_text_config().vocab_size
    device = next(model.parameters()).device
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(0, vocabulary, (_FIRST + _SECOND,), generator=generator).to(device)
    first, second = tokens[:_FIRST], tokens[_FIRST:]
    rows = torch.stack([tokens, torch.cat([second, first])])
    cuts = _FIRST, _SECOND
    positions = torch.stack([torch.cat([torch.arange(cut), torch.arange(len(tokens) - cut)]) for cut in cuts])
    documents = torch.stack([(torch.arange(len(tokens)) >= cut).long() for cut in cuts])
    batch = Batch(rows, rows, positions.to(device), documents.to(device))
    places = torch.arange(len(tokens), device=device)
    changed = torch.stack(
        [torch.where(places < cut, (rows[row] + 1) % vocabulary, rows[row]) for row, cut in enumerate(cuts)]
    )
    training = model.training
    model.eval()
    try:
        alone = [model(input_ids=each[None], use_cache=False).logits[0].float() for each in (second, first)]
        size = max(*(each.abs().max().item() for each in alone), 1e-6)
        differences: dict[str, float] = {}
        ways: tuple[Isolation, ...] = ("positions", "mask")
        for way in ways:
            try:
                logits = model(**model_inputs(batch, way, model.dtype), use_cache=False).logits.float()
            except (TypeError, ValueError, RuntimeError):
                continue  # this model's forward takes no such argument
            found = [logits[row, cut:] - alone[row] for row, cut in enumerate(cuts)]
            # In 16 bits a longer row alone makes some difference, and a weak leak hides in it. Other words before them
            # must make none at all.
            other = model(**model_inputs(replace(batch, input_ids=changed), way, model.dtype), use_cache=False)
            seen = [other.logits[row, cut:].float() - logits[row, cut:] for row, cut in enumerate(cuts)]
            difference = max(each.abs().max().item() for each in found) / size
            leak = max(each.abs().max().item() for each in seen) / size
            difference = difference if leak <= TOLERANCE else max(leak, 1.0)
            differences[way] = difference if difference == difference else float("inf")
    finally:
        model.train(training)
    return Probe(differences, TOLERANCE if model.dtype == torch.float32 else _TOLERANCE_16_BIT)


def choose_isolation(model: PreTrainedModel, *, packing: bool) -> Isolation:
    """The way that isolates, proved on this very model. Raises LeakError when packing is asked for and none does."""
    if not packing:
        return "single"
    tried = probe(model)
    if tried.found is None:
        seen = ", ".join(f"{way} {difference:.2g}" for way, difference in tried.differences.items()) or "none accepted"
        raise LeakError(
            f"Documents that share a row see each other in this {model.config.model_type} model (difference of the"
            f" second one's logits by way of isolation: {seen}), so packing would train on mixed conversations.",
            "Set data.packing = false.",
        )
    return tried.found
