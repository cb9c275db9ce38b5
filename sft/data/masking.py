"""Conversations to token ids, and which of them are trained: the assistant's answers and the ends of its turns.

The ids are those of a chat: up to an answer they are what engine.worker.prompt sends for the messages before it. What
is trained is what the model has to write for that prompt, no more and no less:

    template of the checkpoint   <|im_start|>user\\nq<|im_end|>\\n<|im_start|>assistant\\na<|im_end|>\\n
                                                                                      ---------------
    HugChat's format             [Human]: q \\n [HugChat]: a \\n\\n</s>
                                                         -----------

- The end of a turn is the added token behind the answer, with white space before it. Where the template writes none
  behind the last answer, the token that ends a text is added: chats stop on it.
- In HugChat's format the blank line ends an answer (HUGCHAT_STOPS), so it is trained; the end of the text follows the
  last one, for programs that know no stop strings.
- A token that is half question, half answer is trained: GPT-2's tokens carry the space before a word.
- Nothing is decided by token id, for the padding or the end of a text may be the end of a turn too.
- Tokens behind the last trained one teach nothing and are left out.
"""

from __future__ import annotations

import json
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
from tokenizers import Encoding, Tokenizer

from sft.data.conversation import Conversation
from sft.data.rendering import ConversationRenderer, NothingTrainedError, Rendering, RowRefusedError
from sft.data.tokenizer import ChatTokenizer


@dataclass(frozen=True, slots=True)
class Document:
    """A conversation as tokens. ids: uint32 [tokens]. trained: bool [tokens]. turn_ends: for each answer the number of
    tokens up to its end, where a document may be cut."""

    ids: npt.NDArray[np.uint32]
    trained: npt.NDArray[np.bool_]
    turn_ends: tuple[int, ...]


class Encoder:
    """Encodes conversations for one checkpoint. Main thread of a process that can be killed only: see rendering."""

    def __init__(self, chat: ChatTokenizer, time_limit_s: float = 5.0) -> None:
        """Raises BrokenTemplateError."""
        self._chat = chat
        rules = json.loads(chat.tokenizer_json)
        added = [token["content"] for token in rules["added_tokens"]]
        self._renderer = ConversationRenderer(chat, added, time_limit_s)
        # Adds special tokens, which templates write themselves, and cuts white space off the positions of tokens.
        rules["post_processor"] = None
        self._tokenizer = Tokenizer.from_str(json.dumps(rules))
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self._special = {content: (token_id, lstrip, rstrip) for content, token_id, lstrip, rstrip in chat.special}

    def encode(self, conversation: Conversation) -> Document:
        """Raises RowRefusedError (NothingTrainedError) when nothing can be made of it, BrokenTemplateError."""
        (outcome,) = self.encode_all([conversation])
        if isinstance(outcome, RowRefusedError):
            raise outcome
        return outcome

    def render(self, conversation: Conversation) -> Rendering | RowRefusedError:
        """The part that runs the template; None-like for a text, which has none. Raises BrokenTemplateError."""
        if conversation.text:
            return Rendering(conversation.messages[0].content, (), {})
        try:
            rendering = self._renderer.render(conversation.messages)
        except RowRefusedError as error:
            return error
        return rendering if any(answer.trained for answer in rendering.answers) else NothingTrainedError()

    def encode_all(self, conversations: Sequence[Conversation]) -> list[Document | RowRefusedError]:
        """A document for each conversation, or why there is none. Raises BrokenTemplateError."""
        return self.tokenize(conversations, [self.render(conversation) for conversation in conversations])

    def tokenize(
        self, conversations: Sequence[Conversation], renderings: Sequence[Rendering | RowRefusedError]
    ) -> list[Document | RowRefusedError]:
        """The other part: a document for each rendering that is none of a refused row."""
        outcomes: list[Document | RowRefusedError] = [NothingTrainedError()] * len(conversations)
        texts = []
        whole = []
        for number, (conversation, rendering) in enumerate(zip(conversations, renderings, strict=True)):
            if isinstance(rendering, RowRefusedError):
                outcomes[number] = rendering
            elif conversation.text:
                texts.append((number, rendering))
            elif rendering.spelled:
                outcomes[number] = self._in_parts(rendering)
            else:
                whole.append((number, rendering))
        for (number, _), encoding in zip(texts, self._encodings([r.text for _, r in texts], True), strict=True):
            outcomes[number] = self._text_document(encoding)
        for (number, rendering), encoding in zip(
            whole, self._encodings([r.text for _, r in whole], False), strict=True
        ):
            ranges = [_tokens_of(encoding, answer.start, answer.end) for answer in rendering.answers]
            outcomes[number] = self._document(rendering, encoding.ids, ranges)
        return outcomes

    def _encodings(self, texts: Sequence[str], special_as_text: bool) -> list[Encoding]:
        if not texts:
            return []
        self._tokenizer.encode_special_tokens = special_as_text
        return self._tokenizer.encode_batch(texts, add_special_tokens=False)

    def _text_document(self, encoding: Encoding) -> Document | NothingTrainedError:
        if not encoding.ids:
            return NothingTrainedError()
        end = [] if self._chat.eos_id is None else [self._chat.eos_id]
        ids = np.array([*self._chat.opening_ids, *encoding.ids, *end], np.uint32)
        trained = np.ones(len(ids), np.bool_)
        trained[: len(self._chat.opening_ids)] = False
        return Document(ids, trained, ())

    def _document(
        self, rendering: Rendering, ids: list[int], ranges: Sequence[tuple[int, int]]
    ) -> Document | NothingTrainedError:
        """ranges: of the answers, in tokens."""
        if self._chat.template_kind == "hugchat":
            opening = len(self._chat.opening_ids)
            ids = [*self._chat.opening_ids, *ids]
            ranges = [(first + opening, last + opening) for first, last in ranges]
        trained = np.zeros(len(ids) + 1, np.bool_)
        end = 0  # behind the last trained token
        for answer, (first, last) in zip(rendering.answers, ranges, strict=True):
            if answer.trained:
                trained[first:last] = True
                end = last
        turn_ends = [last for _, last in ranges]
        last_answer = rendering.answers[-1]
        if last_answer.trained and self._needs_end(rendering) and self._chat.eos_id is not None:
            ids = [*ids[:end], self._chat.eos_id]
            trained[end] = True
            end += 1
            turn_ends[-1] = end
        if not end:
            return NothingTrainedError()
        return Document(
            np.array(ids[:end], np.uint32), trained[:end].copy(), tuple(each for each in turn_ends if each <= end)
        )

    def _needs_end(self, rendering: Rendering) -> bool:
        """Whether the last answer ends the conversation, and no token says so."""
        last = rendering.answers[-1]
        if last.ends and self._chat.template_kind == "checkpoint":
            return False
        return not rendering.text[last.end :].strip()

    # Rows that spell special tokens, as engine.worker.encoding treats them

    def _in_parts(self, rendering: Rendering) -> Document | NothingTrainedError:
        """Special token by special token, so that those which the row spells stay text."""
        text, moved = _spelled_out(rendering)
        ids: list[int] = []
        positions: list[tuple[int, int]] = []  # of each token in the text
        start = 0
        strips_next = False
        for match in [*self._renderer.special.finditer(rendering.text), None]:
            end = moved(match.start()) if match else len(text)
            token_id, strips_before, strips_after = self._special[match.group()] if match else (-1, False, False)
            part = text[start:end]
            if strips_next:
                start += len(part) - len(part.lstrip())
                part = part.lstrip()
            part = part.rstrip() if strips_before else part
            if part:
                encoding, skipped, shift = self._part(part, inner=bool(ids))
                ids += encoding.ids[skipped:]
                positions += [(start - shift + a, start - shift + b) for a, b in encoding.offsets[skipped:]]
            if match:
                ids.append(token_id)
                positions.append((end, moved(match.end())))
                start, strips_next = moved(match.end()), strips_after
        ranges = [_range_of(positions, moved(answer.start), moved(answer.end)) for answer in rendering.answers]
        return self._document(rendering, ids, ranges)

    def _part(self, text: str, *, inner: bool) -> tuple[Encoding, int, int]:
        """A text without special tokens, as the first or behind another; the tokens and characters before it."""
        if inner and self._begins_like_a_line:
            (newline,) = self._encodings(["\n"], True)
            (encoding,) = self._encodings(["\n" + text], True)
            if encoding.ids[: len(newline.ids)] == newline.ids:
                return encoding, len(newline.ids), 1
        (encoding,) = self._encodings([text], True)
        return encoding, 0, 0

    @cached_property
    def _begins_like_a_line(self) -> bool:
        """Whether the tokenizer puts a space before the first word of a text, but none behind a special token."""
        probe = "word word"
        for spelled, (token_id, _, strips_after) in self._special.items():
            (truth,) = self._encodings([spelled + probe], False)
            if truth.ids[:1] == [token_id] and not strips_after:
                (newline,) = self._encodings(["\n"], True)
                (line,) = self._encodings(["\n" + probe], True)
                (text,) = self._encodings([probe], True)
                if line.ids[: len(newline.ids)] != newline.ids:
                    return False
                return truth.ids[1:] == line.ids[len(newline.ids) :] != text.ids
        return False


def _tokens_of(encoding: Encoding, start: int, end: int) -> tuple[int, int]:
    """The tokens that hold characters from start to end, as the first one's number and the number behind the last."""
    first = None
    while start < end and (first := encoding.char_to_token(start)) is None:
        start += 1
    if first is None:
        return 0, 0
    while (last := encoding.char_to_token(end - 1)) is None:
        end -= 1
    # A character may be several tokens, and this was the first of them.
    while (span := encoding.token_to_chars(last + 1) if last + 1 < len(encoding) else None) and span[0] < end:
        last += 1
    return first, last + 1


def _range_of(positions: Sequence[tuple[int, int]], start: int, end: int) -> tuple[int, int]:
    touched = [number for number, (a, b) in enumerate(positions) if a < end and b > start]
    return (touched[0], touched[-1] + 1) if touched else (0, 0)


class _Moved:
    """Positions in a text once its stand-ins are replaced. None lies within a stand-in."""

    def __init__(self, ends: list[int], growth: list[int]) -> None:
        self._ends = ends
        self._growth = [0, *growth]

    def __call__(self, position: int) -> int:
        return position + self._growth[bisect_right(self._ends, position)]


def _spelled_out(rendering: Rendering) -> tuple[str, _Moved]:
    """The text with what its stand-ins stand for, and where its positions have moved to."""
    ends: list[int] = []
    growth: list[int] = []
    pieces: list[str] = []
    done = total = 0
    for start, stand_in in sorted(_occurrences(rendering)):
        spelled = rendering.spelled[stand_in]
        pieces += [rendering.text[done:start], spelled]
        done = start + len(stand_in)
        total += len(spelled) - len(stand_in)
        ends.append(done)
        growth.append(total)
    return "".join([*pieces, rendering.text[done:]]), _Moved(ends, growth)


def _occurrences(rendering: Rendering) -> list[tuple[int, str]]:
    found = []
    for stand_in in rendering.spelled:
        at = rendering.text.find(stand_in)
        while at >= 0:
            found.append((at, stand_in))
            at = rendering.text.find(stand_in, at + len(stand_in))
    return found
