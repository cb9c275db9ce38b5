"""GGUF files and pickled weights become standard directories of safetensors that answer as they did."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoTokenizer

from engine.checkpoints.conversion import Job, Origin, convert
from engine.checkpoints.describe import describe
from engine.checkpoints.library.verify import check
from engine.checkpoints.paths import models_dir
from engine.errors import CheckpointRefusedError
from engine.worker import convert_checkpoint
from engine.worker.loading import load_checkpoint
from tests.engine.tiny_gguf import write_tiny_gguf
from tests.engine.tiny_models import CHATML, byte_level_tokenizer, make_checkpoint
from tests.engine.worker.test_merge import files_of, logits, quiet, reloaded


def pickled(checkpoint: Path) -> Path:
    """The same checkpoint with pytorch_model.bin instead of safetensors."""
    torch.save(load_file(checkpoint / "model.safetensors"), checkpoint / "pytorch_model.bin")
    (checkpoint / "model.safetensors").unlink()
    return checkpoint


def job_of(source: Path, directory: Path) -> Job:
    directory.mkdir()
    return Job(made="convert", name="made", directory=str(directory), origins=(Origin("org/it", str(source)),))


async def test_pickled_checkpoints_in_their_children(tmp_path: Path) -> None:
    """One that is whole, and beside it one that lacks a tensor, which is refused with loading's words."""
    source = pickled(make_checkpoint(tmp_path / "source", "gpt2", chat_template=CHATML))
    (source / "README.md").write_text("---\nlicense: mit\n---\n# The card\n")
    (source / "LICENSE.txt").write_text("do what you like")
    (source / "evil.py").write_text("never carried over")
    broken = pickled(make_checkpoint(tmp_path / "broken", "gpt2"))
    weights = torch.load(broken / "pytorch_model.bin", weights_only=True)
    del weights["transformer.h.1.mlp.c_fc.weight"]
    torch.save(weights, broken / "pytorch_model.bin")
    seen: list[str] = []
    path, refusal = await asyncio.gather(
        convert(describe(source), "made", tmp_path / "data", lambda stage, done, total: seen.append(stage)),
        convert(describe(broken), "made", tmp_path / "other data", quiet),
        return_exceptions=True,
    )
    assert isinstance(path, Path), path
    assert {"reading weights", "writing", "checksums"} <= set(seen)
    kept = {"config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json"}
    kept |= {"chat_template.jinja", "README.md", "LICENSE.txt"}
    assert files_of(path) == kept | {"model.safetensors", "hugchat.json", "manifest.json"}
    for name in kept:
        assert (path / name).read_bytes() == (source / name).read_bytes()
    assert describe(path).problem is None
    assert torch.equal(logits(reloaded(path)), logits(reloaded(source)))
    assert json.loads((path / "hugchat.json").read_text())["made"] == "convert"
    assert describe(path).made_from == ("source",)
    assert "lm_head.weight" not in load_file(path / "model.safetensors"), "tied to the embeddings"
    checked: list[dict[str, str | int]] = []
    check("made", path, lambda message: checked.append(dict(message)))
    assert [message for message in checked if "checked" not in message and "stage" not in message] == []

    with pytest.raises(CheckpointRefusedError) as loading:
        load_checkpoint(broken, None, torch.device("cpu"), torch.float32, quiet)
    assert isinstance(refusal, CheckpointRefusedError), refusal
    assert str(refusal) == str(loading.value)
    assert files_of(models_dir(tmp_path / "other data")) == {".making.lock"}


def test_a_pickle_that_runs_code_is_refused(tmp_path: Path) -> None:
    source = pickled(make_checkpoint(tmp_path / "source", "gpt2"))
    sign = tmp_path / "it ran"

    class Evil:
        def __reduce__(self) -> tuple[object, ...]:
            return os.mkdir, (str(sign),)

    torch.save({"transformer.wte.weight": Evil()}, source / "pytorch_model.bin")
    with pytest.raises(CheckpointRefusedError, match="could not be loaded"):
        convert_checkpoint.convert(job_of(source, tmp_path / "made"), quiet)
    assert not sign.exists()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_pickled_weights_keep_their_type_whatever_the_config_says(tmp_path: Path, dtype: torch.dtype) -> None:
    source = pickled(make_checkpoint(tmp_path / "source", "opt"))
    weights = torch.load(source / "pytorch_model.bin", weights_only=True)
    torch.save({name: each.to(dtype) for name, each in weights.items()}, source / "pytorch_model.bin")
    convert_checkpoint.convert(job_of(source, tmp_path / "made"), quiet)
    assert {each.dtype for each in load_file(tmp_path / "made" / "model.safetensors").values()} == {dtype}


def test_a_pickle_of_the_old_format_and_tensors_that_share_memory(tmp_path: Path) -> None:
    """Releases from before 2020 are no zip files; safetensors cannot write two names for one tensor."""
    source = pickled(make_checkpoint(tmp_path / "source", "gpt2"))
    weights = torch.load(source / "pytorch_model.bin", weights_only=True)
    weights["lm_head.weight"] = weights["transformer.wte.weight"]
    torch.save(weights, source / "pytorch_model.bin", _use_new_zipfile_serialization=False)
    convert_checkpoint.convert(job_of(source, tmp_path / "made"), quiet)
    assert torch.equal(logits(reloaded(tmp_path / "made")), logits(reloaded(source)))


def test_a_gguf_file(tmp_path: Path) -> None:
    (tmp_path / "LICENSE").write_text("do what you like")
    tokenizer = byte_level_tokenizer("gpt2")
    path, model = write_tiny_gguf(tmp_path / "tiny.gguf", tokenizer, CHATML)
    convert_checkpoint.convert(job_of(path, tmp_path / "made"), quiet)
    made = describe(tmp_path / "made")
    assert made.problem is None
    assert made.has_chat_template
    assert made.dtype == "float32", "float32 in the file"
    assert made.context_length == 128
    assert torch.allclose(logits(reloaded(tmp_path / "made")), logits(model), atol=1e-5)
    ids = AutoTokenizer.from_pretrained(tmp_path / "made")("<|im_start|>user\nHi")["input_ids"]
    assert ids == tokenizer("<|im_start|>user\nHi")["input_ids"]
    assert (tmp_path / "made" / "LICENSE").read_text() == "do what you like"
    assert "base_model:\n- org/it" in (tmp_path / "made" / "README.md").read_text()


async def test_what_needs_no_conversion_is_refused(tmp_path: Path) -> None:
    model = describe(make_checkpoint(tmp_path / "model", "gpt2"))
    with pytest.raises(CheckpointRefusedError, match="safetensors already"):
        await convert(model, "made", tmp_path / "data", quiet)
    (tmp_path / "adapter").mkdir()
    (tmp_path / "adapter" / "adapter_config.json").write_text('{"base_model_name_or_path": "x"}')
    with pytest.raises(CheckpointRefusedError, match="Merge it"):
        await convert(describe(tmp_path / "adapter"), "made", tmp_path / "data", quiet)
