"""What the model has read of each conversation, so that the next turn reads only what is new."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from torch import Tensor
from transformers.cache_utils import DynamicCache

from engine.worker.kv_cache import cache_bytes, can_crop, crop

DEFAULT_LIMIT_BYTES = 1 << 30
_KEPT_LOGITS = 8


@dataclass(slots=True)
class Prefix:
    """What has been read of a conversation.

    token_ids: what the cache holds, in order. logits: by number of tokens read, the logits [vocabulary] after a
    prompt of that length. Asked for the same prompt again, the model need not read its last token again, which in
    16 bits would round otherwise and give another text for the same seed.
    """

    cache: DynamicCache
    token_ids: list[int] = field(default_factory=list)
    logits: dict[int, Tensor] = field(default_factory=dict)

    def crop(self, length: int) -> None:
        """Keep the first `length` tokens."""
        crop(self.cache, length)
        del self.token_ids[length:]
        self.logits = {held: logits for held, logits in self.logits.items() if held <= length}

    def keep_logits(self, logits: Tensor) -> None:
        """Remember the logits after all tokens held now; of several prompts, the last ones are kept."""
        self.logits[len(self.token_ids)] = logits
        for held in list(self.logits)[:-_KEPT_LOGITS]:
            del self.logits[held]


class PrefixCache:
    """What has been read, by conversation.

    Together the caches stay under `limit_bytes`, the one used longest ago going first; the last used stays whatever
    its size, since reading it again is what costs most.
    """

    def __init__(self, make_cache: Callable[[], DynamicCache], limit_bytes: int = DEFAULT_LIMIT_BYTES) -> None:
        self._make_cache = make_cache
        self._limit_bytes = limit_bytes
        self._prefixes: OrderedDict[str, Prefix] = OrderedDict()

    def __contains__(self, conversation: str) -> bool:
        return conversation in self._prefixes

    def take(self, conversation: str, token_ids: Sequence[int]) -> Prefix:
        """The longest prefix of these tokens that has been read; it belongs to the caller until `put`.

        It holds all of them only when it has the logits that follow.
        """
        prefix = self._prefixes.pop(conversation, None)
        if prefix is None:
            return Prefix(self._make_cache())
        shared = _common_prefix(prefix.token_ids, token_ids)
        if shared == len(token_ids) and shared not in prefix.logits:
            shared -= 1
        if shared < len(prefix.token_ids):
            if not can_crop(prefix.cache):
                return Prefix(self._make_cache())
            prefix.crop(shared)
        return prefix

    def put(self, conversation: str, prefix: Prefix) -> None:
        """Keep what has been read."""
        self._prefixes[conversation] = prefix
        self._prefixes.move_to_end(conversation)
        while len(self._prefixes) > 1 and self._bytes() > self._limit_bytes:
            self._prefixes.popitem(last=False)

    def clear(self) -> None:
        self._prefixes.clear()

    def _bytes(self) -> int:
        return sum(cache_bytes(prefix.cache) for prefix in self._prefixes.values())


def _common_prefix(first: Sequence[int], second: Sequence[int]) -> int:
    length = min(len(first), len(second))
    return next((at for at in range(length) if first[at] != second[at]), length)
