"""What is known of a checkpoint before any of its weights are read."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Kind = Literal["model", "adapter", "gguf"]
Source = Literal["starter", "cache", "folder", "run", "made"]
Fault = Literal["", "incomplete", "damaged", "foreign"]


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A checkpoint on disk, described from its config and its headers alone.

    name: what a person calls it: "starter", a Hub id, a folder's or a file's name; never cleaned. path: model
    or adapter directory, or GGUF file. base: where an adapter's base lies, None when it is not here
    (base_name still says which it is). size_bytes: of the weights on disk. parameters and context_length: 0
    when unknown. problem: why it cannot be loaded, in words, with what to do; None when it can.

    licence: as its card or GGUF header names it ("apache-2.0"). quantization: of packed weights, "gptq 4-bit" or
    "Q4_K_M". remote_code: it asks for code of its own repository, which is never run. template_source: where the
    chat template lies: a file's name, "GGUF", "base" for an adapter that uses its base's, "" without one.
    adapter_*: of an adapter alone; rank and alpha 0 when unknown, method "lora", "rslora", "dora" or what PEFT calls
    it. kv_bytes_per_token: of a 16-bit KV cache while every layer still sees every token; 0 when unknown.
    fault: which sort of problem: files are missing ("incomplete"), cut off or unreadable ("damaged"), it is no language
    model at all ("foreign"); "" for one that is whole, loadable or not.
    made_by: "merge" or "convert" when this program made it, out of the checkpoints that made_from names.
    """

    name: str
    path: Path
    kind: Kind
    source: Source
    family: str = ""
    dtype: str = ""
    parameters: int = 0
    size_bytes: int = 0
    context_length: int = 0
    has_chat_template: bool = False
    base: Path | None = None
    base_name: str = ""
    revision: str = ""
    problem: str | None = None
    fault: Fault = ""
    licence: str = ""
    quantization: str = ""
    remote_code: bool = False
    template_source: str = ""
    adapter_rank: int = 0
    adapter_alpha: float = 0.0
    adapter_targets: tuple[str, ...] = ()
    adapter_method: str = ""
    kv_bytes_per_token: int = 0
    made_by: str = ""
    made_from: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """Identifies the checkpoint among loaded ones: its path, which names one revision of one thing."""
        return str(self.path)
