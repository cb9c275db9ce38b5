"""The recipe: everything that decides a training run, typed, and its TOML file.

A recipe that is written is complete: every default stands in it, with a comment above each key. One that is read may
leave keys out. Whatever is wrong with it is found at once and named with its place, "training.learning_rate".
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Literal

from msgspec import Meta, Struct

from sft.errors import SftError
from sft.recipe_checks import check as _check
from sft.recipe_fields import Problem, read_struct, replaced
from sft.recipe_text import read_toml, to_toml, write_whole

VERSION = 1

_BILLION = 10**9
_NAME = r"(?s)[^\x00]*"


class RecipeError(SftError):
    """A recipe cannot be used. problems: all that is wrong with it; texts may come from outside, uncleaned."""

    code = "recipe"

    def __init__(self, name: str, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        count = len(self.problems)
        lines = "\n".join(f"  {problem}" for problem in self.problems)
        super().__init__(f"{name} has {count} problem{'s' if count != 1 else ''}:\n{lines}")


class Model(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is trained."""

    base: Annotated[
        str,
        Meta(
            min_length=1,
            max_length=4096,
            pattern=_NAME,
            description="The checkpoint to start from: starter, a Hub id (org/name), a folder, or runs/NAME.",
        ),
    ] = "starter"
    dtype: Annotated[
        Literal["auto", "float32", "bfloat16", "float16"],
        Meta(
            description="Number format that is computed in. auto: bfloat16 on GPUs that have it, float16 on "
            "other GPUs, float32 on a CPU."
        ),
    ] = "auto"
    attention: Annotated[
        Literal["auto", "sdpa", "eager", "flash_attention_2"],
        Meta(description="How attention is computed. auto: the fastest that the model and the device have."),
    ] = "auto"
    template: Annotated[
        str,
        Meta(
            max_length=4096,
            pattern=_NAME,
            description="Path of a Jinja chat template. Empty: the checkpoint's own, or HugChat's where it has none.",
        ),
    ] = ""


class Source(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One source of rows."""

    path: Annotated[
        str,
        Meta(
            min_length=1,
            max_length=4096,
            pattern=_NAME,
            description="A file, a folder, a glob, a data set of the Hub, or a corpus: hugchat sft data corpora",
        ),
    ]
    weight: Annotated[
        float,
        Meta(gt=0, le=1000, description="How often each row is taken on average: 0.25 one in four, 2 each twice."),
    ] = 1.0
    cap: Annotated[int, Meta(ge=0, le=_BILLION, description="Rows taken at most; 0: all.")] = 0
    format: Annotated[
        str,
        Meta(
            min_length=1,
            max_length=64,
            pattern=r"[a-z0-9-]+",
            description="How rows are written. auto: found by looking at the first ones. See: hugchat sft data formats",
        ),
    ] = "auto"


class Data(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What it is trained on."""

    sources: Annotated[tuple[Source, ...], Meta(max_length=1000, description="Where the rows come from.")] = ()
    max_length: Annotated[
        int, Meta(ge=16, le=1_048_576, description="Tokens of one input row at most; memory grows with it.")
    ] = 512
    too_long: Annotated[
        Literal["cut", "drop"],
        Meta(description="What becomes of longer conversations: cut (at a turn's end where possible) or drop."),
    ] = "cut"
    bad_share: Annotated[
        float, Meta(ge=0, le=1, description="The run refuses when more than this share of the rows cannot be used.")
    ] = 0.01
    deduplicate: Annotated[bool, Meta(description="Leave out rows that came before.")] = True
    packing: Annotated[
        bool, Meta(description="Put several conversations into one input row, isolated from each other.")
    ] = True
    held_out: Annotated[
        float,
        Meta(ge=0, lt=1, description="Share of the rows that is never trained on, for the evaluation; 0: none."),
    ] = 0.02
    held_out_source: Annotated[
        str,
        Meta(
            max_length=4096,
            pattern=_NAME,
            description="A source of its own for the evaluation; then held_out is not used. Empty: none.",
        ),
    ] = ""
    seed: Annotated[int, Meta(ge=0, le=2**63 - 1, description="Decides which rows are held out.")] = 0


class Method(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which weights are trained."""

    kind: Annotated[
        Literal["lora", "full"],
        Meta(description="lora: small matrices beside the weights (an adapter). full: all the weights."),
    ] = "lora"
    rank: Annotated[int, Meta(ge=1, le=4096, description="LoRA: rows of the small matrices.")] = 8
    alpha: Annotated[
        float, Meta(gt=0, le=65_536, description="LoRA: the adapter is scaled by alpha / rank (rslora: / sqrt(rank)).")
    ] = 16.0
    dropout: Annotated[float, Meta(ge=0, lt=1, description="LoRA: share of the adapter's inputs dropped.")] = 0.0
    targets: Annotated[
        tuple[str, ...],
        Meta(max_length=1000, description='LoRA: names of the layers, or "all-linear" for every one but the head.'),
    ] = ("all-linear",)
    rslora: Annotated[bool, Meta(description="LoRA: scale by alpha / sqrt(rank), for high ranks.")] = False
    dora: Annotated[bool, Meta(description="LoRA: train magnitude and direction apart; slower, closer to full.")] = (
        False
    )
    base_bits: Annotated[
        Literal[16, 4],
        Meta(description="LoRA: 4 packs the base's weights (QLoRA); needs an NVIDIA GPU and bitsandbytes."),
    ] = 16


class Training(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How it is trained."""

    epochs: Annotated[
        float, Meta(gt=0, le=100_000, description="How often every row is seen; fractions are allowed.")
    ] = 3.0
    max_steps: Annotated[int, Meta(ge=0, le=_BILLION, description="Optimizer steps; 0: as epochs say.")] = 0
    batch_size: Annotated[
        int, Meta(ge=1, le=65_536, description="Input rows a device takes at once; memory grows with it.")
    ] = 1
    accumulation: Annotated[
        int,
        Meta(
            ge=1,
            le=65_536,
            description="Batches before each optimizer step. Rows a step: batch_size x accumulation x ranks x nodes.",
        ),
    ] = 8
    learning_rate: Annotated[float, Meta(gt=0, le=1, description="The highest one, reached after the warm-up.")] = 2e-4
    schedule: Annotated[
        Literal["cosine", "linear", "constant"], Meta(description="How the learning rate falls after the warm-up.")
    ] = "cosine"
    warmup_steps: Annotated[
        int, Meta(ge=0, le=_BILLION, description="Steps over which the learning rate rises from 0; 0: by warmup_ratio.")
    ] = 0
    warmup_ratio: Annotated[
        float, Meta(ge=0, le=1, description="The same as a share of all steps, where warmup_steps is 0.")
    ] = 0.03
    weight_decay: Annotated[
        float, Meta(ge=0, le=1, description="AdamW: weights shrink by this share of the learning rate at each step.")
    ] = 0.0
    beta1: Annotated[
        float, Meta(ge=0, lt=1, description="AdamW: how much of the mean gradient stays at each step.")
    ] = 0.9
    beta2: Annotated[
        float, Meta(ge=0, lt=1, description="AdamW: how much of the mean squared gradient stays at each step.")
    ] = 0.999
    epsilon: Annotated[float, Meta(gt=0, le=1, description="AdamW: keeps the division by small gradients finite.")] = (
        1e-8
    )
    clip_norm: Annotated[
        float, Meta(ge=0, le=1e6, description="Gradients with a larger norm are scaled down to it; 0: never.")
    ] = 1.0
    neftune_alpha: Annotated[
        float, Meta(ge=0, le=1000, description="Noise on the embeddings (NEFTune; 5 is usual); 0: none.")
    ] = 0.0
    gradient_checkpointing: Annotated[
        bool, Meta(description="Compute activations twice instead of keeping them: less memory, a third slower.")
    ] = False
    seed: Annotated[int, Meta(ge=0, le=2**63 - 1, description="The same seed gives the same run.")] = 42


class Evaluation(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How one sees what it has learned."""

    every: Annotated[int, Meta(ge=0, le=_BILLION, description="Steps between evaluations; 0: never.")] = 50
    batch_size: Annotated[int, Meta(ge=1, le=65_536, description="Input rows a device evaluates at once.")] = 1
    max_rows: Annotated[
        int,
        Meta(ge=0, le=_BILLION, description="Held-out input rows measured at most, the same each time; 0: all."),
    ] = 1000
    prompts: Annotated[
        tuple[str, ...],
        Meta(max_length=100, description="Questions that are answered at each evaluation, to read along."),
    ] = ()
    max_new_tokens: Annotated[int, Meta(ge=1, le=100_000, description="Tokens of each of these answers at most.")] = 64
    patience: Annotated[
        int,
        Meta(ge=0, le=100_000, description="Stop after so many evaluations without a better loss; 0: never."),
    ] = 0


class Checkpoints(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is kept on the way."""

    every: Annotated[int, Meta(ge=0, le=_BILLION, description="Steps between checkpoints; 0: one at the end.")] = 50
    keep: Annotated[
        int, Meta(ge=1, le=100_000, description="How many of the newest stay; the best one stays besides.")
    ] = 2
    resume: Annotated[
        Literal["auto", "none"],
        Meta(description="auto: go on from the newest whole checkpoint of the run. none: begin anew."),
    ] = "auto"


class Launch(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where it runs."""

    ranks: Annotated[int, Meta(ge=1, le=1024, description="Processes on each machine; one a GPU.")] = 1
    nodes: Annotated[int, Meta(ge=1, le=10_000, description="Machines.")] = 1
    zero: Annotated[
        Literal[0, 1, 2, 3],
        Meta(
            description="DeepSpeed ZeRO: what is split among the ranks. 0: nothing, 1: the optimizer's state, "
            "2: gradients too, 3: weights too."
        ),
    ] = 0
    offload: Annotated[
        Literal["none", "optimizer", "all"],
        Meta(description="What lies in the CPU's memory: none, optimizer (ZeRO 2 and 3), all (weights too; ZeRO 3)."),
    ] = "none"
    engine: Annotated[
        Literal["auto", "plain", "ddp", "deepspeed"],
        Meta(
            description="auto: deepspeed with zero above 0, else ddp with several ranks, else plain (one process, "
            "without either)."
        ),
    ] = "auto"
    rendezvous: Annotated[
        str,
        Meta(
            max_length=300,
            pattern=r"|slurm|[A-Za-z0-9.-]+:\d{1,5}|\[[0-9A-Fa-f:.%]+\]:\d{1,5}",
            description='Several machines: host:port of the first one, or "slurm" to take it from the allocation.',
        ),
    ] = ""
    hostfile: Annotated[
        str,
        Meta(
            max_length=4096,
            pattern=_NAME,
            description="Several machines: a DeepSpeed hostfile (HOST slots=N a line); the launcher uses ssh.",
        ),
    ] = ""
    device: Annotated[
        Literal["auto", "cpu", "cuda", "mps"],
        Meta(description="auto: an NVIDIA GPU, else Apple's, else the CPU."),
    ] = "auto"
    nice: Annotated[
        int,
        Meta(
            ge=0,
            le=19,
            description="How far the run stands back where other programs want the same cores, as nice(1) counts it.",
        ),
    ] = 10


class Recipe(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A whole recipe; `Recipe()` holds every default. Made from files by `load`, changed by `with_values`."""

    version: Annotated[int, Meta(ge=1, le=VERSION, description="Of the format of this file.")] = VERSION
    model: Model = Model()
    data: Data = Data()
    method: Method = Method()
    training: Training = Training()
    evaluation: Evaluation = Evaluation()
    checkpoints: Checkpoints = Checkpoints()
    launch: Launch = Launch()

    def check(self) -> list[Problem]:
        """What does not go together in it; empty when all does. Needs neither the model nor the machine."""
        return _check(self)

    @property
    def world_size(self) -> int:
        """Processes on all machines together."""
        return self.launch.ranks * self.launch.nodes

    @property
    def engine(self) -> Literal["plain", "ddp", "deepspeed"]:
        """The engine that launch.engine stands for."""
        if self.launch.engine != "auto":
            return self.launch.engine
        if self.launch.zero:
            return "deepspeed"
        return "ddp" if self.world_size > 1 else "plain"


def load(path: Path) -> Recipe:
    """The recipe in a TOML file. Raises RecipeError with all that is wrong, also when it is no readable file."""
    document, problems = read_toml(path)
    if problems:
        raise RecipeError(path.name, problems)
    return from_document(document, path.name)


def parse(text: str, name: str = "the recipe") -> Recipe:
    """The recipe in a TOML text; name: what errors call it. Raises RecipeError."""
    document, problems = read_toml(text)
    if problems:
        raise RecipeError(name, problems)
    return from_document(document, name)


def from_document(document: Mapping[str, object], name: str = "the recipe") -> Recipe:
    """The recipe that parsed TOML describes. Raises RecipeError."""
    version = document.get("version", VERSION)
    if isinstance(version, int) and not isinstance(version, bool) and version > VERSION:
        message = f"{version} is newer than this program's {VERSION}: update hugchat to read it"
        raise RecipeError(name, [Problem("version", message)])
    recipe, problems = read_struct(Recipe, document)
    # What is wrong by itself was read as its default: a contradiction with that is none.
    wrong = [problem.place.partition("[")[0] for problem in problems if problem.place]
    problems += [other for other in recipe.check() if not any(place in str(other) for place in wrong)]
    if problems:
        raise RecipeError(name, problems)
    return recipe


def with_values(recipe: Recipe, values: Mapping[str, object], name: str = "the recipe") -> Recipe:
    """The recipe with other values, by place: {"training.learning_rate": 1e-4}. Raises RecipeError."""
    return from_document(replaced(recipe, values), name)


def dumps(recipe: Recipe) -> str:
    """The complete TOML text, a comment above each key."""
    return to_toml(recipe)


def save(recipe: Recipe, path: Path) -> None:
    """Write the recipe; the file is whole or absent. Raises OSError."""
    write_whole(path, dumps(recipe).encode())
