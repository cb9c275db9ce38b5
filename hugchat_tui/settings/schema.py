"""Every setting, with its usual value, what it may be, and what it is for.

The text below each field feeds the help and the settings page.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from functools import cache
from typing import Annotated, Literal, get_type_hints

from hugchat_tui.settings.kinds import ByteSize, Choice, Kind, Number, Paths, Text, Whole, parse_size


@dataclass(frozen=True)
class ModelSettings:
    """The checkpoint that answers, and how it is loaded."""

    default: Annotated[str, Text(r"(?s:.+)", "the name of a checkpoint")] = "starter"
    """The checkpoint of a new conversation: "starter", a Hub id, a folder, a GGUF file or a run's name."""

    device: Annotated[str, Text(r"auto|cpu|cuda(:\d+)?|mps", "auto, cpu, cuda, cuda:N or mps")] = "auto"
    """Where models run. "auto" takes a graphics card when there is one."""

    dtype: Annotated[str, Choice("auto", "float32", "bfloat16", "float16")] = "auto"
    """The number format of the weights. "auto" takes what this machine computes fastest."""

    folders: Annotated[tuple[str, ...], Paths()] = ()
    """Folders in which to look for checkpoints, besides the Hugging Face cache. "~" is your home folder."""


@dataclass(frozen=True)
class SamplingSettings:
    """How the next token is chosen."""

    temperature: Annotated[float, Number(0, 5)] = 0.7
    """How freely words are chosen: 0 always takes the likeliest, 1 keeps the model's own chances."""

    top_k: Annotated[int, Whole(0, 1_000_000)] = 0
    """Choose among this many likeliest tokens only; 0 is off."""

    top_p: Annotated[float, Number(0, 1, above_least=True)] = 0.95
    """Choose among the likeliest tokens that together have this chance; 1 is off."""

    min_p: Annotated[float, Number(0, 1)] = 0.0
    """Leave out tokens less likely than this share of the likeliest one's chance; 0 is off."""

    repetition_penalty: Annotated[float, Number(0, 10, above_least=True)] = 1.0
    """Above 1, tokens that occurred before become less likely; 1 is off."""

    max_new_tokens: Annotated[int, Whole(1, 10_000_000)] = 1024
    """A reply ends after this many tokens at the latest."""

    seed: Annotated[int | None, Whole(0, 2**63 - 1, optional=True)] = None
    """The same seed gives the same text. Without one each reply draws its own, which is stored with it."""


@dataclass(frozen=True)
class ChatSettings:
    """New conversations."""

    system_prompt: Annotated[str, Text()] = ""
    """What the model is told before the first question of a new conversation."""


@dataclass(frozen=True)
class AppearanceSettings:
    """How the app looks."""

    theme: Annotated[str, Text(r"[A-Za-z0-9][\w.-]*", "the name of a theme")] = "hugchat-dark"
    """The colours: a theme that ships, or a file from the themes folder beside the settings, without ".toml"."""

    sidebar: Annotated[Literal["auto", "shown", "hidden"], Choice("auto", "shown", "hidden")] = "auto"
    """The list of conversations. "auto" hides it where the window is narrow."""


@dataclass(frozen=True)
class EngineSettings:
    """The processes that run models."""

    memory_budget: Annotated[str, ByteSize()] = "auto"
    """Memory that loaded models may take together; the one used longest ago makes room. "auto" asks the machine."""

    worker_niceness: Annotated[int, Whole(0, 19)] = 10
    """How far models stand back behind other programs, from 0 (not at all) to 19."""

    @property
    def memory_budget_bytes(self) -> int | None:
        """The budget in bytes; None: "auto"."""
        return None if self.memory_budget == "auto" else parse_size(self.memory_budget)


@dataclass(frozen=True)
class MonitorSettings:
    """Training runs."""

    bell: Annotated[Literal["on", "off"], Choice("on", "off")] = "off"
    """Ring the terminal's bell when a run ends, fails or alerts."""

    title: Annotated[Literal["on", "off"], Choice("on", "off")] = "off"
    """Show in the terminal's title how far a training run is."""


@dataclass(frozen=True)
class Settings:
    """All settings. keymap: keys by the id of the binding they replace, several separated by commas."""

    model: ModelSettings = ModelSettings()
    sampling: SamplingSettings = SamplingSettings()
    chat: ChatSettings = ChatSettings()
    appearance: AppearanceSettings = AppearanceSettings()
    engine: EngineSettings = EngineSettings()
    monitor: MonitorSettings = MonitorSettings()
    keymap: Mapping[str, str] = field(default_factory=dict)


KEYMAP = "keymap"
Section = ModelSettings | SamplingSettings | ChatSettings | AppearanceSettings | EngineSettings | MonitorSettings
SECTIONS: dict[str, type[Section]] = {
    "model": ModelSettings,
    "sampling": SamplingSettings,
    "chat": ChatSettings,
    "appearance": AppearanceSettings,
    "engine": EngineSettings,
    "monitor": MonitorSettings,
}


@cache
def kinds(section: str) -> dict[str, Kind]:
    """The kind of each setting of a section, by its key, in the order above."""
    hints = get_type_hints(SECTIONS[section], include_extras=True)
    return {name.name: hints[name.name].__metadata__[0] for name in fields(SECTIONS[section])}
