"""One reply from prompt to Finished: read, sample, stop, and tell the screen."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass

from torch import Tensor
from transformers import PreTrainedTokenizerBase

from engine import protocol
from engine.worker.detokenize import Detokenizer
from engine.worker.generation import Interrupted, Reader
from engine.worker.prefix_cache import Prefix, PrefixCache
from engine.worker.prompt import ChatFormat, Prompt
from engine.worker.sampling import Sampler
from engine.worker.stopping import StopStrings

Emit = Callable[[protocol.GenerationEvent], None]

# Between two pieces, at least: eyes want no more, and on a CPU whoever is woken by a piece takes a core from the model.
_PIECE_INTERVAL_S = 0.05


@dataclass(frozen=True, slots=True)
class ReplyWriter:
    """Writes the replies of one checkpoint. end_ids: tokens that end a reply."""

    reader: Reader
    caches: PrefixCache
    tokenizer: PreTrainedTokenizerBase
    chat_format: ChatFormat
    end_ids: Collection[int]
    context_length: int

    def write(
        self,
        request: protocol.Generate,
        prompt: Prompt,
        emit: Emit,
        cancelled: Callable[[], bool],
        received_at: float,
        begun_at: float,
    ) -> None:
        """Emit Started, Prefilling, Piece and Finished. Must run under torch.inference_mode.

        Times are of time.perf_counter. Whatever is raised, the conversation's cache is dropped and read
        anew next time.
        """
        prefix = self.caches.take(request.conversation, prompt.token_ids)
        sampler = Sampler(request.sampling, prompt.token_ids, self.reader.device)
        emit(
            protocol.Started(
                id=request.id,
                prompt_tokens=len(prompt.token_ids),
                cached_tokens=len(prefix.token_ids),
                context_length=self.context_length,
                seed=sampler.seed,
                omitted=prompt.omitted,
                notes=prompt.notes,
            )
        )
        clock = _Clock(received_at, begun_at)
        pieces = _Pieces(request, self.tokenizer, self._stop_strings(request.sampling, prompt), emit)

        def progress(done: int) -> None:
            emit(protocol.Prefilling(request.id, done, len(prompt.token_ids)))

        reason: protocol.FinishReason
        ids = list(prompt.token_ids)
        try:
            logits = self.reader.read(prefix, prompt.token_ids, cancelled, progress)
            clock.read()
            reason = self._decode(request, ids, prefix, logits, sampler, pieces, clock, cancelled)
            usable = True
        except Interrupted as interrupted:
            reason = "stopped"
            usable = interrupted.usable
        except BaseException:
            pieces.flush()  # what is written is not lost with what went wrong
            raise
        if usable:
            self.caches.put(request.conversation, prefix)
        pieces.end()
        emit(
            protocol.Finished(
                id=request.id,
                reason=reason,
                prompt_tokens=len(prompt.token_ids),
                new_tokens=len(ids) - len(prompt.token_ids),
                timings=clock.timings(len(ids) - len(prompt.token_ids)),
            )
        )

    def _decode(
        self,
        request: protocol.Generate,
        ids: list[int],
        prefix: Prefix,
        logits: Tensor,
        sampler: Sampler,
        pieces: _Pieces,
        clock: _Clock,
        cancelled: Callable[[], bool],
    ) -> protocol.FinishReason:
        """Append token after token to ids until something ends the reply."""
        limit = min(len(ids) + request.sampling.max_new_tokens, self.context_length)
        while not cancelled():
            if len(ids) >= limit:
                return "length"
            token_id = sampler.choose(logits)
            ids.append(token_id)
            clock.token()
            pieces.add(token_id)
            if token_id in self.end_ids or pieces.stopped:
                return "done"
            if len(ids) < limit:
                logits = self.reader.step(prefix, token_id, cancelled)
        return "stopped"

    def _stop_strings(self, sampling: protocol.Sampling, prompt: Prompt) -> StopStrings:
        hugchat = self.chat_format.kind == "hugchat"
        return StopStrings(
            (*self.chat_format.stops, *sampling.stop),
            strip_start=hugchat and not prompt.continues,
            strip_end=hugchat,
        )


class _Pieces:
    """Tokens to Piece events, each sent once it has text and the one before is old enough."""

    def __init__(
        self, request: protocol.Generate, tokenizer: PreTrainedTokenizerBase, stops: StopStrings, emit: Emit
    ) -> None:
        self._id = request.id
        self._detokenizer = Detokenizer(tokenizer)
        self._stops = stops
        self._emit = emit
        self._token_ids: list[int] = []
        self._text = ""
        self._sent_at = -math.inf  # time.perf_counter

    @property
    def stopped(self) -> bool:
        """Whether a stop string was found."""
        return self._stops.stopped

    def add(self, token_id: int) -> None:
        self._token_ids.append(token_id)
        self._text += self._stops.feed(self._detokenizer.push(token_id))
        if self._text and time.perf_counter() - self._sent_at >= _PIECE_INTERVAL_S:
            self._send()

    def end(self) -> None:
        """Send what was held back."""
        if not self.stopped:
            self._text += self._stops.feed(self._detokenizer.finish())
        if not self.stopped:
            self._text += self._stops.finish()
        self.flush()

    def flush(self) -> None:
        """Send what waits, if anything does."""
        if self._text or self._token_ids:
            self._send()

    def _send(self) -> None:
        self._emit(protocol.Piece(self._id, self._text, tuple(self._token_ids)))
        self._token_ids.clear()
        self._text = ""
        self._sent_at = time.perf_counter()


class _Clock:
    """When what happened (time.perf_counter), for Finished."""

    def __init__(self, received_at: float, begun_at: float) -> None:
        self._received_at = received_at
        self._begun_at = begun_at
        self._reading_from = time.perf_counter()
        self._read_at: float | None = None
        self._first_at: float | None = None
        self._last_at = 0.0

    def read(self) -> None:
        self._read_at = time.perf_counter()

    def token(self) -> None:
        self._last_at = time.perf_counter()
        if self._first_at is None:
            self._first_at = self._last_at

    def timings(self, tokens: int) -> protocol.Timings:
        """Zero for what did not happen."""
        decode_s = 0.0 if self._first_at is None else self._last_at - self._first_at
        return protocol.Timings(
            queued_s=max(0.0, self._begun_at - self._received_at),
            prefill_s=0.0 if self._read_at is None else self._read_at - self._reading_from,
            first_token_s=0.0 if self._first_at is None else self._first_at - self._received_at,
            decode_s=decode_s,
            tokens_per_second=(tokens - 1) / decode_s if tokens > 1 and decode_s > 0 else 0.0,
        )
