"""What a spare worker does before anyone asks: the imports that cost seconds."""

from __future__ import annotations

import importlib

# Seven seconds of imports hide behind a first from_pretrained: the Auto classes, generation, and the
# model's own module. These two families cover the starter and most of HugChat's table; another costs one
# small module more.
_MODULES = (
    "torch",
    "transformers.models.auto.modeling_auto",
    "transformers.models.auto.tokenization_auto",
    "transformers.generation.utils",
    "transformers.models.llama.modeling_llama",
    "transformers.models.gpt2.modeling_gpt2",
)


def warm_up() -> None:
    """Import everything a load will need, and nothing that could fail for lack of a device or a file."""
    for name in _MODULES:
        importlib.import_module(name)
