"""One training run, from its run directory to its result: read it top to bottom."""

from __future__ import annotations

import math
import shutil
import time
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TypeVar

import msgspec
import numpy as np
import numpy.typing as npt
import psutil
import torch

from engine.checkpoints.model import Checkpoint
from engine.checkpoints.reading import read_json_object
from sft import config, events
from sft.config import Recipe
from sft.data.shards import Prepared
from sft.data.tokenizer import ChatTokenizer
from sft.errors import SftError
from sft.events import EventWriter
from sft.preparation import read_ready
from sft.runs import RunDirectory
from sft.training import checkpoints
from sft.training.alerts import Watch
from sft.training.build import Built, build, device_of, engine_of
from sft.training.checkpoints import NoRoomError, Progress
from sft.training.data_order import DataOrder
from sft.training.evaluation import Sampler, measure
from sft.training.export import write_weights
from sft.training.result import write_final
from sft.training.schedule import factor, warmup_length
from sft.training.steering import Signals, Steering
from sft.training.world import World, join

T = TypeVar("T")

_UNUSABLE_STEPS = 20  # in a row, whose gradient was not finite
_STATE_BYTES = {"plain": 12, "ddp": 12, "deepspeed": 18}  # of a checkpoint, for each trained weight: itself and AdamW's
_OTHER_BYTES = 20_000_000  # tokenizer and all


class DivergedError(SftError):
    """The loss or its gradient is no number any more."""

    code = "diverged"


@dataclass(frozen=True, slots=True)
class Inputs:
    """What the supervisor laid ready. launched_at: seconds since the epoch."""

    recipe: Recipe
    base: Checkpoint
    prepared: Prepared
    tokenizer: ChatTokenizer
    launched_at: float


def read_inputs(run: Path) -> Inputs:
    """Raises SftError, EngineError, OSError."""
    directory = RunDirectory.at(run)
    ready = read_ready(directory)
    launch = read_json_object(directory.launch) or {}
    started = launch.get("started_at")
    return Inputs(
        recipe=config.load(directory.recipe),
        base=ready.base,
        prepared=Prepared.open(Path(ready.path)),
        tokenizer=ChatTokenizer.load(Path(ready.tokenizer)),
        launched_at=float(started) if isinstance(started, int | float) else time.time(),
    )


def train(run: Path) -> str:
    """Train until the recipe or a person says that it is done; how it ended: "done" or "stopped"."""
    signals = Signals()
    inputs = read_inputs(run)
    recipe = inputs.recipe
    device = device_of(recipe)
    world = join(device, always=engine_of(recipe, 2) == "deepspeed")
    writer = EventWriter(run / events.EVENTS) if world.leads else None
    return Run(run, inputs, world, writer, signals).go()


class Run:
    """The state of a run between its steps."""

    def __init__(
        self, run: Path, inputs: Inputs, world: World, writer: EventWriter | None, signals: Signals | None = None
    ) -> None:
        self._run = run
        self._inputs = inputs
        self._recipe = recipe = inputs.recipe
        self._world = world
        self._writer = writer
        chosen = recipe.training
        self._packs_per_step = chosen.batch_size * chosen.accumulation * world.size
        checkpoints.seed_everything(chosen.seed, world.rank)
        self._progress = Progress(step=0)
        resume_from = self._find_checkpoint()
        self._progress = self._begin_progress(resume_from)
        self._built: Built = build(recipe, inputs.base, resume_from, world, self._say)
        self._train_order = self._order(np.flatnonzero(~inputs.prepared.held_out))
        held_out = np.flatnonzero(inputs.prepared.held_out)
        self._eval_order = self._order(held_out) if len(held_out) else None
        self._total = chosen.max_steps or self._train_order.steps(chosen.epochs, self._packs_per_step)
        self._warmup = warmup_length(self._total, chosen.warmup_steps, chosen.warmup_ratio)
        self._steering = Steering(run, world, writer, inputs.launched_at, signals)
        self._alerts = Watch(scaled=self._built.dtype == torch.float16)
        self._evaluated_at = self._saved_at = -1  # steps
        if resume_from is not None:
            self._built.strategy.load(resume_from / checkpoints.STATE)
            checkpoints.load_random_state(resume_from, world.rank)
            self._saved_at = self._evaluated_at = self._progress.step
        else:
            checkpoints.seed_everything(chosen.seed, world.rank)  # loading may have drawn some
        self._tell_run(resume_from)

    # Beginning

    def _find_checkpoint(self) -> Path | None:
        found = None
        if self._world.leads:
            if self._recipe.checkpoints.resume == "auto":
                found = checkpoints.newest_whole(self._run, lambda words: self._alert("checkpoint", words))
            checkpoints.set_aside(self._run, -1 if found is None else checkpoints.read_progress(found).step)
        return self._world.told(found)

    def _begin_progress(self, resume_from: Path | None) -> Progress:
        recipe, world = self._recipe, self._world
        now = Progress(
            step=0,
            engine=engine_of(recipe, world.size),
            zero=recipe.launch.zero,
            world_size=world.size,
            packs_per_step=self._packs_per_step,
            data=self._inputs.prepared.path.name,
            fixed=_fixed(recipe),
        )
        if resume_from is None:
            return now
        before = checkpoints.read_progress(resume_from)
        for what, was, wanted in (
            ("rows a step", before.packs_per_step, now.packs_per_step),
            ("the prepared data", before.data, now.data),
            ("the engine", before.engine, now.engine) if "deepspeed" in (before.engine, now.engine) else ("", 0, 0),
            ("ZeRO's stage", before.zero, now.zero),
            ("ranks", before.world_size, now.world_size) if now.engine == "deepspeed" else ("", 0, 0),
            *((name, before.fixed.get(name, value), value) for name, value in now.fixed.items()),
        ):
            if was != wanted:
                raise SftError(
                    f"{resume_from.name} cannot be resumed: {what} was {was} when it was written and is {wanted} now.",
                    "Set it back, or start a new run.",
                )
        return msgspec.structs.replace(before, engine=now.engine, world_size=now.world_size, fixed=now.fixed)

    def _order(self, members: npt.NDArray[np.integer]) -> DataOrder:
        prepared, data = self._inputs.prepared, self._recipe.data
        pad_id = self._inputs.tokenizer.eos_id or 0
        seed = self._recipe.training.seed
        return DataOrder(prepared, members, data.max_length, packing=data.packing, seed=seed, pad_id=pad_id)

    def _tell_run(self, resume_from: Path | None) -> None:
        built, recipe = self._built, self._recipe
        device = self._world.device
        self._tell(
            "run",
            name=self._run.name,
            base=self._inputs.base.name,
            method=recipe.method.kind,
            engine=built.strategy.name,
            zero=recipe.launch.zero,
            world_size=self._world.size,
            dtype=str(built.dtype).removeprefix("torch."),
            device=torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
            parameters=built.parameters,
            trainable=built.trained_parameters,
            total_steps=self._total,
            resumed_from=self._progress.step if resume_from is not None else None,
            isolation=built.language_model.isolation,
            head=built.language_model.head,
            version=events.VERSION,
            program=version("hugchat-tui"),
        )

    # The loop

    def go(self) -> str:
        recipe = self._recipe
        ended = "done"
        sampler = self._sampler()
        try:
            while self._progress.step < self._total and not self._out_of_patience():
                self._steering.poll(self._progress.step)
                if self._steering.stop:
                    ended = "stopped"
                    break
                self._step()
                if self._due(self._progress.eval_every, recipe.evaluation.every):
                    self._evaluate(sampler)
                if self._steering.save or self._due(self._progress.checkpoint_every, recipe.checkpoints.every):
                    self._save()
            if ended == "stopped" and not (self._steering.keep and self._progress.step):
                return ended
            if ended == "done" and self._evaluated_at != self._progress.step:
                self._evaluate(sampler)
            if self._saved_at != self._progress.step:
                self._save()
            self._finish()
        finally:
            if sampler is not None:
                sampler.close()
        return ended

    def _out_of_patience(self) -> bool:
        patience = self._recipe.evaluation.patience
        if not patience or self._progress.waited < patience:
            return False
        self._alert("patience", "The evaluation has not become better for long enough: the run ends.")
        return True

    def _step(self) -> None:
        begun = time.perf_counter()
        world, chosen, step = self._world, self._recipe.training, self._progress.step
        batches = self._train_order.batches(step, chosen.batch_size, chosen.accumulation, world.rank, world.size)
        tokens, trained = world.total(
            sum(batch.tokens for batch in batches), sum(batch.trained_tokens for batch in batches)
        )
        weight = 1 / max(1.0, trained)
        losses = [
            self._built.strategy.micro_step(batch.to(world.device), weight, last=number == len(batches))
            for number, batch in enumerate(batches, start=1)
        ]
        peak = _told(self._steering.learning_rate, self._progress.learning_rate)
        learning_rate = (peak or chosen.learning_rate) * factor(step, self._total, self._warmup, chosen.schedule)
        norm = self._built.strategy.step(learning_rate)
        (loss,) = world.total(sum(each.item() for each in losses))  # only now: a GPU is not waited for between batches
        loss *= weight
        self._progress = msgspec.structs.replace(
            self._progress,
            step=step + 1,
            tokens=self._progress.tokens + int(tokens),
            trained_tokens=self._progress.trained_tokens + int(trained),
            learning_rate=peak,
            eval_every=_told(self._steering.eval_every, self._progress.eval_every),
            checkpoint_every=_told(self._steering.checkpoint_every, self._progress.checkpoint_every),
        )
        seconds = time.perf_counter() - begun
        self._tell(
            "step",
            step=step + 1,
            loss=loss,
            learning_rate=learning_rate,
            grad_norm=norm,
            tokens=self._progress.tokens,
            trained_tokens=self._progress.trained_tokens,
            tokens_per_s=tokens / seconds,
            trained_tokens_per_s=trained / seconds,
            epoch=self._train_order.epoch_at(step + 1, self._packs_per_step),
            memory_bytes=self._memory(),
            seconds=seconds,
        )
        for alert in self._alerts.step(loss, norm, tokens / seconds):
            self._alert(*alert)
        if self._alerts.unusable >= _UNUSABLE_STEPS:
            raise DivergedError(
                f"Loss or gradient was no finite number for {_UNUSABLE_STEPS} steps in a row.",
                "Start again from the last checkpoint with a lower training.learning_rate, or in float32.",
            )

    def _due(self, told: int | None, every: int) -> bool:
        every = every if told is None else told
        return bool(every) and self._progress.step % every == 0

    # Evaluating, saving, ending

    def _sampler(self) -> Sampler | None:
        if not self._recipe.evaluation.prompts:
            return None
        return Sampler(self._built.model, self._built.tokenizer, self._inputs.tokenizer, self._world)

    def _evaluate(self, sampler: Sampler | None) -> None:
        chosen, step = self._recipe.evaluation, self._progress.step
        self._evaluated_at = step
        if self._eval_order is not None:
            self._say("evaluating", 0, 0)
            strategy, model = self._built.strategy, self._built.model
            found = measure(strategy, model, self._eval_order, chosen.batch_size, self._world, most=chosen.max_rows)
            before = self._progress.best_loss
            best = math.isfinite(found.loss) and (before is None or found.loss < before)
            self._progress = msgspec.structs.replace(
                self._progress,
                best_loss=found.loss if best else self._progress.best_loss,
                best_step=step if best else self._progress.best_step,
                waited=0 if best else self._progress.waited + 1,
            )
            self._tell("eval", step=step, loss=found.loss, perplexity=found.perplexity, tokens=found.tokens, best=best)
            for alert in self._alerts.evaluation(found.loss):
                self._alert(*alert)
            if best and (self._recipe.checkpoints.every or chosen.patience):
                self._steering.save = True  # the best one is kept
        if sampler is not None:
            self._say("sampling", 0, 0)
            answers = sampler.answers(chosen.prompts, chosen.max_new_tokens)
            for index, (prompt, answer) in enumerate(zip(chosen.prompts, answers, strict=True)):
                self._tell("sample", step=step, prompt=prompt, answer=answer, index=index)

    def _save(self) -> None:
        self._steering.save = False
        self._say(events.SAVING_PHASES[0], 0, 0)
        built = self._built
        expected = _OTHER_BYTES + built.trained_parameters * _STATE_BYTES[built.strategy.name]
        try:
            path = checkpoints.save(
                self._run, self._progress, self._world, built.strategy.save, self._write_weights, expected=expected
            )
        except (NoRoomError, OSError) as error:
            self._alert("disk", f"No checkpoint was written. {error}")
            return
        self._saved_at = self._progress.step
        best = self._progress.best_step == self._progress.step
        size = checkpoints.directory_bytes(path) if self._world.leads else 0
        where = path.relative_to(self._run).as_posix()
        self._tell("checkpoint", step=self._progress.step, path=where, bytes=size, best=best)
        if self._world.leads:
            checkpoints.prune(self._run, self._recipe.checkpoints.keep, self._progress.best_step)
            for alert in self._alerts.room(shutil.disk_usage(self._run).free, size):
                self._alert(*alert)

    def _write_weights(self, directory: Path) -> None:
        state = self._built.strategy.weights(trained=self._built.adapted is not None)
        if self._world.leads:
            write_weights(self._built, self._inputs.base, self._inputs.tokenizer.template, directory, state)

    def _finish(self) -> None:
        self._say(events.SAVING_PHASES[1], 0, 0)
        if self._world.leads:
            write_final(self._run, self._recipe, self._inputs.base, self._progress, self._inputs.prepared)
        self._world.meet()

    # Telling

    def _tell(self, type: str, **fields: object) -> None:
        if self._writer is None:
            return
        try:
            self._writer.write(type, **fields)
        except OSError:
            if type in ("run", "checkpoint", "ack"):
                raise
            # A disk that is full for a moment does not end a training; the next record says where it is.

    def _alert(self, kind: str, words: str) -> None:
        self._tell("alert", kind=kind, words=words, step=self._progress.step)

    def _say(self, words: str, done: int, total: int) -> None:
        self._tell("phase", name=words, done=done, total=total, words=words)

    def _memory(self) -> int:
        """Bytes: the device's peak, or what this process holds in RAM."""
        if self._world.device.type == "cuda":
            return int(torch.cuda.max_memory_allocated(self._world.device))
        return int(psutil.Process().memory_info().rss)


def _told(now: T | None, before: T | None) -> T | None:
    return before if now is None else now


def _fixed(recipe: Recipe) -> dict[str, str]:
    """What a run cannot change on its way, in words. The data's own choices are in the prepared set's name."""
    method = msgspec.structs.asdict(recipe.method)
    if recipe.method.kind == "full":
        method = {"kind": "full"}
    fixed: dict[str, object] = {f"method.{name}": value for name, value in method.items()}
    fixed |= {
        "model.base": recipe.model.base,
        "data.packing": recipe.data.packing,
        "training.seed": recipe.training.seed,
    }
    return {name: ", ".join(value) if isinstance(value, tuple) else str(value) for name, value in fixed.items()}
