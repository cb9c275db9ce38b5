"""Tiny checkpoints shared by the tests of the model side; each is made once a run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tests.engine.tiny_models import CHATML, FAMILIES, Family, make_checkpoint

# Models this small gain nothing from a second thread, and lose much on a busy machine.
torch.set_num_threads(1)

# Two turns, learnt by heart in the format in which they are asked for later.
TURNS = (("What is the capital of France?", "The capital is Paris 巴黎 🦊."), ("And of Italy?", "It is Rome."))
HUGCHAT_LESSON = " ".join(f"[Human]: {question} \n [HugChat]: {answer} \n\n" for question, answer in TURNS)
CHATML_LESSON = "".join(
    f"<|im_start|>user\n{question}<|im_end|>\n<|im_start|>assistant\n{answer}<|im_end|>\n" for question, answer in TURNS
)


@pytest.fixture(scope="session")
def taught(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Family, str | None], Path]:
    """The directory of a tiny checkpoint that knows TURNS, with this chat template or with none."""
    made: dict[tuple[Family, str | None], Path] = {}

    def make(family: Family, template: str | None = None) -> Path:
        if (family, template) not in made:
            made[family, template] = make_checkpoint(
                tmp_path_factory.mktemp(family),
                family,
                chat_template=template,
                lesson=[CHATML_LESSON if template == CHATML else HUGCHAT_LESSON],
            )
        return made[family, template]

    return make


@pytest.fixture(scope="session")
def random_checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[Family, Path]:
    """An untaught checkpoint of each family, with a context of 1,024 tokens."""
    root = tmp_path_factory.mktemp("random")
    return {family: make_checkpoint(root / family, family, context_length=1024) for family in FAMILIES}
