"""How the next token is chosen from the logits of one position."""

from __future__ import annotations

import secrets
from collections.abc import Sequence

import torch
from torch import Tensor

from engine.errors import EngineError
from engine.protocol import Sampling

# Sorting a whole vocabulary costs milliseconds on a CPU; nearly always the nucleus lies among these.
_FIRST_CANDIDATES = 256


class Sampler:
    """Penalties, filters and the draw, in the order and by the definitions of transformers' logits
    processors.

    temperature 0 takes the likeliest token. The same seed on the same logits draws the same tokens. `seed`
    is the one in use: the one asked for, or one drawn here.
    """

    def __init__(self, sampling: Sampling, prompt_ids: Sequence[int], device: torch.device) -> None:
        self._sampling = sampling
        self.seed = secrets.randbits(32) if sampling.seed is None else sampling.seed
        # torch takes 64 bits; a person may type any integer.
        self._generator = torch.Generator(device).manual_seed(self.seed % (1 << 63))
        self._prompt_ids = prompt_ids
        self._seen: Tensor | None = None  # [vocabulary], bool; made with the first logits

    def choose(self, logits: Tensor) -> int:
        """The next token's id. logits: [vocabulary], any float type. Raises EngineError when one is NaN."""
        logits = logits.float()
        if bool(torch.isnan(logits).any()):
            raise EngineError(
                "The model produced NaN instead of probabilities; its numbers overflowed.",
                "Load it in float32, or choose another checkpoint.",
            )
        if self._sampling.temperature == 0:
            token_id = int(self._penalised(logits).argmax())
        else:
            ids, weights = self.distribution(logits)
            token_id = int(ids[torch.multinomial(weights, 1, generator=self._generator)])
        if self._seen is not None:
            self._seen[token_id] = True
        return token_id

    def distribution(self, logits: Tensor) -> tuple[Tensor, Tensor]:
        """The token ids that can be drawn and their weights (not normalised), both [n], likeliest first.

        logits: [vocabulary], float32. With no filter on, n is the vocabulary and ids are in order.
        """
        sampling = self._sampling
        logits = self._penalised(logits)
        # From the largest down, or a temperature next to nothing would overflow.
        probabilities = torch.softmax((logits - logits.max()) / sampling.temperature, dim=-1)
        vocabulary = probabilities.shape[-1]
        top_k = min(sampling.top_k, vocabulary) if sampling.top_k > 0 else vocabulary
        if top_k == vocabulary and sampling.top_p >= 1 and sampling.min_p <= 0:
            return torch.arange(vocabulary, device=logits.device), probabilities
        count = top_k if top_k < vocabulary else min(_FIRST_CANDIDATES, vocabulary)
        weights, ids = probabilities.topk(count)
        if count < top_k and not self._holds_all(weights):
            weights, ids = probabilities.sort(descending=True)
        if sampling.top_p < 1:
            shares = weights / weights.sum() if top_k < vocabulary else weights
            before = shares.cumsum(-1) - shares
            weights, ids = self._kept(weights, ids, before < sampling.top_p)
        if sampling.min_p > 0:
            weights, ids = self._kept(weights, ids, weights >= sampling.min_p * weights[0])
        return ids, weights

    def _holds_all(self, weights: Tensor) -> bool:
        """Whether every token that can pass the filters is among these, the likeliest ones."""
        nucleus = self._sampling.top_p < 1 and float(weights.sum()) >= self._sampling.top_p
        return nucleus or float(weights[-1]) < self._sampling.min_p * float(weights[0])

    @staticmethod
    def _kept(weights: Tensor, ids: Tensor, keep: Tensor) -> tuple[Tensor, Tensor]:
        count = max(1, int(keep.sum()))  # sorted, so what is kept is a prefix
        return weights[:count], ids[:count]

    def _penalised(self, logits: Tensor) -> Tensor:
        """CTRL's repetition penalty (arXiv:1909.05858) over prompt and reply: s / p if s > 0, else s * p."""
        penalty = self._sampling.repetition_penalty
        if penalty == 1:
            return logits
        if self._seen is None:
            self._seen = torch.zeros_like(logits, dtype=torch.bool)
            self._seen[torch.tensor(self._prompt_ids, device=logits.device)] = True
        return torch.where(self._seen, torch.where(logits < 0, logits * penalty, logits / penalty), logits)
