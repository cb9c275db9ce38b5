"""Search 100,000 messages and open a conversation of 2,000. Exits 1 when a first page takes 50 ms at the median.

python -m benchmarks.store_search [--messages N] [--keep FILE]
"""

from __future__ import annotations

import argparse
import itertools
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sized
from functools import partial
from pathlib import Path

from hugchat_tui.conversations.model import ReplyDetails, Role
from hugchat_tui.conversations.store import Store

BAR_MS = 50.0
PAGE = 20
ROUNDS = 9

_COMMON = (
    "the of and to in a is that for it as was with be by on not he his but at are this have from or had an they which "
    "one you were all her she there would their we him been has when who will no more if out so up said what its about "
    "than into them can only other time new some could these two may first then do computer company compare complete"
)
_SYLLABLES = "ba ken tor mi su pre con ver ti on al ing er com pu ta le ra st ph lo gi cal ne dri xi qua vel"
_RARE = "zyzzyva"
_RARE_HAN = "鑫龘"


class _Texts:
    """Texts whose words and characters are as unevenly common as in real ones (Zipf): a third Chinese."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        syllables = _SYLLABLES.split()
        made = {"".join(self._random.choices(syllables, k=self._random.randint(2, 4))) for _ in range(40_000)}
        self._words = _COMMON.split() + sorted(made)
        self._word_weights = list(itertools.accumulate(1 / (rank + 2) for rank in range(len(self._words))))
        self.han = [chr(0x4E00 + 5 * number) for number in range(3_500)]
        self._han_weights = list(itertools.accumulate(1 / (rank + 3) for rank in range(len(self.han))))

    def text(self, number: int) -> str:
        """The text of message `number`: some 70 words or characters at the median."""
        length = int(self._random.lognormvariate(4.2, 0.8)) + 3
        if number % 3 == 0:
            characters = self._random.choices(self.han, cum_weights=self._han_weights, k=length)
            rare = _RARE_HAN if number % 9_999 == 0 else ""
            return "".join(characters) + rare
        words = self._random.choices(self._words, cum_weights=self._word_weights, k=length)
        if number % 10_001 == 1:
            words.append(_RARE)
        return " ".join(words)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--messages", type=int, default=100_000)
    parser.add_argument("--keep", type=Path, help="use this database, or build it there and keep it")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path: Path = options.keep or Path(folder, "conversations.db")
        texts = _Texts(seed=7)
        if not path.exists():
            _build(path, texts, options.messages)
        return _measure(path, texts)


def _build(path: Path, texts: _Texts, messages: int) -> None:
    """Fill the store through its own methods: questions and answers, one conversation of 2,000, others of
    40.
    """
    started = time.perf_counter()
    store = Store(path)
    conversation, parent, room = store.create_conversation("2,000 messages"), None, 2_000
    for number in range(messages):
        if room == 0:
            conversation, parent, room = store.create_conversation(f"Conversation {number}"), None, 40
        details = ReplyDetails(model="starter", new_tokens=80, ended="done") if number % 2 else None
        role: Role = "assistant" if number % 2 else "user"
        message = store.add_message(conversation.id, parent, role, texts.text(number), details)
        parent, room = message.id, room - 1
    store.close()
    size = path.stat().st_size / 1e6
    print(f"built {messages:,} messages in {time.perf_counter() - started:.0f} s, {size:.0f} MB on disk")


def _measure(path: Path, texts: _Texts) -> int:
    han = texts.han
    queries = {
        "rare word": _RARE,
        "common word": "the ",
        "two common words": "the of ",
        "phrase of common words": '"the-of-and-to" ',
        "common and rare word": f"the {_RARE}",
        "prefix t": "t",
        "prefix th": "th",
        "prefix com": "com",
        "prefix comp": "comp",
        "prefix with": "with",
        "common Chinese character": han[0],
        "rare Chinese run": _RARE_HAN,
        "two common characters": han[0] + han[1],
        "run that does not occur": han[200] + han[0] + han[3000],
        "Chinese and English, never together": f"the {han[0]}",
        "no such word": "qqqqqq",
    }
    slowest = 0.0
    for name, query in queries.items():
        firsts, found = [], 0
        for _ in range(ROUNDS):
            store = Store(path)  # the database's own page cache is empty, the operating system's is not
            times, found = _time(partial(store.search, query, PAGE), 1)
            firsts.append(times[0])
            store.close()
        slowest = max(slowest, statistics.median(firsts))
        print(f"{name:36} {found:5}  just opened {_figures(firsts)}")
    store = Store(path)
    newest = store.list_conversations(limit=1)[0]
    big = store.list_conversations()[-1]
    measures: dict[str, Callable[[], Sized]] = {
        "common word in a conversation of 40": partial(store.search, "the ", PAGE, 0, newest.id),
        "common word in that of 2,000": partial(store.search, "the ", PAGE, 0, big.id),
        "page 50 of a common word": partial(store.search, "the ", PAGE, 50 * PAGE),
        "branch of 2,000 messages": partial(store.branch, big.id),
        "list of all conversations": partial(store.list_conversations),
        "prompt history": partial(store.prompt_history),
    }
    for name, call in measures.items():
        times, found = _time(call, ROUNDS)
        print(f"{name:36} {found:5}              {_figures(times)}")
    store.close()
    print(f"slowest first page {slowest:.1f} ms at the median, bar {BAR_MS:.0f} ms")
    return 0 if slowest < BAR_MS else 1


def _time(call: Callable[[], Sized], rounds: int) -> tuple[list[float], int]:
    """Milliseconds of each call, and how much the last one returned."""
    times, found = [], 0
    for _ in range(rounds):
        started = time.perf_counter()
        found = len(call())
        times.append((time.perf_counter() - started) * 1e3)
    return times, found


def _figures(times: list[float]) -> str:
    return f"median {statistics.median(times):6.1f} ms  max {max(times):6.1f} ms"


if __name__ == "__main__":
    sys.exit(main())
