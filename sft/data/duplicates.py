"""Finds conversations that were seen before, in 11 to 22 bytes a conversation."""

from __future__ import annotations

from array import array
from hashlib import blake2b

from sft.data.conversation import Conversation

_FIRST = 1 << 16  # places in the table
_FULL = 0.75


class Duplicates:
    """Remembers a hash of 8 bytes of each conversation, of its roles and its words: white space and case do not count.

    Two different ones are taken for the same with odds of n**2 / 2**65 for n of them: 2 in a million for 8 million.
    """

    def __init__(self) -> None:
        self._table = array("Q", bytes(8 * _FIRST))  # open addressing; 0: free
        self._count = 0

    def seen(self, conversation: Conversation) -> bool:
        """Whether it was asked about before; from now on it was."""
        key = fingerprint(conversation) or 1
        if self._place(self._table, key) is None:
            return True
        if self._count >= _FULL * len(self._table):
            self._grow()
        self._insert(self._table, key)
        self._count += 1
        return False

    def __len__(self) -> int:
        """How many different ones there were."""
        return self._count

    @staticmethod
    def _place(table: array[int], key: int) -> int | None:
        """The free place for a key, None when it is there."""
        mask = len(table) - 1
        at = key & mask
        while (there := table[at]) != 0:
            if there == key:
                return None
            at = (at + 1) & mask
        return at

    @classmethod
    def _insert(cls, table: array[int], key: int) -> None:
        at = cls._place(table, key)
        if at is not None:
            table[at] = key

    def _grow(self) -> None:
        larger = array("Q", bytes(16 * len(self._table)))
        for key in self._table:
            if key:
                self._insert(larger, key)
        self._table = larger


def fingerprint(conversation: Conversation) -> int:
    """A hash of 64 bits of the roles and the words, the same on all machines."""
    digest = blake2b(digest_size=8)
    for message in conversation.messages:
        words = " ".join(message.content.split()).casefold()
        digest.update(f"{message.role}\0{words}\0".encode())
    return int.from_bytes(digest.digest(), "little")
