"""An adapter and its base become one checkpoint that answers as both together did."""

from __future__ import annotations

import asyncio
import json
import shutil
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
import torch
from peft import LoraConfig, TaskType, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, PreTrainedModel

from engine.checkpoints.adapters import with_base
from engine.checkpoints.conversion import ConversionError, Job, Origin, merge
from engine.checkpoints.describe import describe
from engine.checkpoints.paths import models_dir
from engine.errors import CheckpointRefusedError, NotEnoughMemoryError
from engine.memory import Memory
from engine.worker import merge_adapter
from engine.worker.loading import load_checkpoint
from tests.engine.tiny_models import CHATML, Family, make_checkpoint, tokenizer_for

IDS = torch.tensor([[5, 17, 42, 99, 120, 7, 33, 64]])


def quiet(stage: str, done: int, total: int) -> None:
    """Progress that nobody watches."""


def make_adapter(base: Path, directory: Path, **options: object) -> PreTrainedModel:
    """A LoRA adapter that changes the logits clearly. Returns base and adapter together, in float32."""
    torch.manual_seed(1)
    config = LoraConfig(
        r=4, target_modules="all-linear", task_type=TaskType.CAUSAL_LM, init_lora_weights=False, **options
    )
    adapted = get_peft_model(AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32), config)
    adapted.save_pretrained(directory)
    return adapted.eval()


def logits(model: PreTrainedModel) -> torch.Tensor:
    with torch.no_grad():
        answer: torch.Tensor = model(IDS).logits
    return answer


def reloaded(path: Path) -> PreTrainedModel:
    return load_checkpoint(path, None, torch.device("cpu"), torch.float32, quiet).model


def job_of(base: Path, adapter: Path, directory: Path, *, float32: bool = True) -> Job:
    directory.mkdir()
    origins = (Origin("org/base", str(base)), Origin("an adapter", str(adapter)))
    return Job(
        made="merge", name="sum", directory=str(directory), origins=origins, licence="apache-2.0", float32=float32
    )


def files_of(directory: Path) -> set[str]:
    return {path.name for path in directory.iterdir()}


async def test_a_merge_in_its_child(tmp_path: Path) -> None:
    """The whole way: name, child, progress, the files of a standard directory, the same logits, where it came from."""
    base = make_checkpoint(tmp_path / "base", "llama", chat_template=CHATML)
    (base / "LICENSE").write_text("do what you like")
    adapted = make_adapter(base, tmp_path / "adapter")
    seen: list[tuple[str, int, int]] = []
    adapter = replace(with_base(describe(tmp_path / "adapter"), lambda name: None), revision="abc")
    path = await merge(adapter, describe(base), "the sum", tmp_path / "data", lambda *report: seen.append(report))
    assert path == models_dir(tmp_path / "data") / "the sum"
    assert {"reading weights", "merging the adapter", "writing", "checksums"} <= {stage for stage, _, _ in seen}
    assert torch.allclose(logits(reloaded(path)), logits(adapted), atol=1e-4)
    assert not torch.allclose(logits(reloaded(base)), logits(adapted), atol=1e-2), "the adapter changes something"
    assert describe(path).problem is None
    for name in ("config.json", "tokenizer.json", "chat_template.jinja", "LICENSE"):
        assert (path / name).read_bytes() == (base / name).read_bytes()
    origin = json.loads((path / "hugchat.json").read_text())
    assert origin["made"] == "merge"
    assert [each["name"] for each in origin["from"]] == ["base", "adapter"]
    assert origin["from"][1] == {"name": "adapter", "path": str(tmp_path / "adapter"), "revision": "abc"}
    assert origin["at"].endswith("+00:00")
    left = {entry.name for entry in models_dir(tmp_path / "data").iterdir()}
    assert left == {".making.lock", "the sum"}


async def test_cancelling_kills_the_child_and_leaves_nothing(tmp_path: Path) -> None:
    base = make_checkpoint(tmp_path / "base", "gpt2")
    make_adapter(base, tmp_path / "adapter")
    started = asyncio.Event()
    work = asyncio.create_task(
        merge(describe(tmp_path / "adapter"), describe(base), "sum", tmp_path / "data", lambda *report: started.set())
    )
    await asyncio.wait_for(started.wait(), 60)
    children = psutil.Process().children(recursive=True)
    assert any("engine.worker.merge_adapter" in child.cmdline() for child in children)
    work.cancel()
    with pytest.raises(asyncio.CancelledError):
        await work
    assert psutil.wait_procs(children, timeout=30)[1] == []
    assert files_of(models_dir(tmp_path / "data")) == {".making.lock"}


def test_a_base_of_sixteen_bits_is_summed_in_float32_and_stays_as_wide_as_it_was(tmp_path: Path) -> None:
    """Summed in bfloat16, what the adapter changes would be rounded twice."""
    base = make_checkpoint(tmp_path / "base", "llama")
    AutoModelForCausalLM.from_pretrained(base).to(torch.bfloat16).save_pretrained(base)
    adapted = make_adapter(base, tmp_path / "adapter")
    merge_adapter.merge(job_of(base, tmp_path / "adapter", tmp_path / "wide"), quiet)
    weights = load_file(tmp_path / "wide" / "model.safetensors")
    assert {each.dtype for each in weights.values()} == {torch.bfloat16}
    exact = adapted.merge_and_unload().state_dict()
    assert all(torch.equal(weights[name], exact[name].to(torch.bfloat16)) for name in weights)
    merge_adapter.merge(job_of(base, tmp_path / "adapter", tmp_path / "narrow", float32=False), quiet)
    narrow = load_file(tmp_path / "narrow" / "model.safetensors")
    assert {each.dtype for each in narrow.values()} == {torch.bfloat16}


@pytest.mark.parametrize("family", ["gpt2", "opt"])
def test_tied_embeddings_stay_one_tensor(tmp_path: Path, family: Family) -> None:
    base = make_checkpoint(tmp_path / "base", family)
    adapted = make_adapter(base, tmp_path / "adapter")
    merge_adapter.merge(job_of(base, tmp_path / "adapter", tmp_path / "sum"), quiet)
    assert torch.allclose(logits(reloaded(tmp_path / "sum")), logits(adapted), atol=1e-4)
    names = load_file(tmp_path / "sum" / "model.safetensors").keys()
    assert "lm_head.weight" not in names


def test_the_tokenizer_and_template_are_those_a_chat_with_the_adapter_uses(tmp_path: Path) -> None:
    base = make_checkpoint(tmp_path / "base", "llama")
    make_adapter(base, tmp_path / "adapter")
    own = tokenizer_for("llama")
    own.chat_template = CHATML
    own.save_pretrained(tmp_path / "adapter")
    merge_adapter.merge(job_of(base, tmp_path / "adapter", tmp_path / "sum"), quiet)
    assert (tmp_path / "sum" / "chat_template.jinja").read_text() == CHATML
    card = (tmp_path / "sum" / "README.md").read_text()
    assert "license: apache-2.0\nbase_model:\n- org/base\n---" in card


def test_what_is_not_finite_is_refused(tmp_path: Path) -> None:
    base = make_checkpoint(tmp_path / "base", "llama")
    make_adapter(base, tmp_path / "adapter")
    weights = load_file(tmp_path / "adapter" / "adapter_model.safetensors")
    broken = {name: tensor.clone() for name, tensor in weights.items()}
    broken[sorted(broken)[0]][0, 0] = float("nan")
    save_file(broken, tmp_path / "adapter" / "adapter_model.safetensors")
    with pytest.raises(CheckpointRefusedError, match="NaN"):
        merge_adapter.merge(job_of(base, tmp_path / "adapter", tmp_path / "sum"), quiet)
    # Finite in float32, but not in the base's float16.
    AutoModelForCausalLM.from_pretrained(base).to(torch.float16).save_pretrained(base)
    save_file({name: tensor * 3e3 for name, tensor in weights.items()}, tmp_path / "adapter/adapter_model.safetensors")
    with pytest.raises(CheckpointRefusedError, match="infinite"):
        merge_adapter.merge(job_of(base, tmp_path / "adapter", tmp_path / "sum 2"), quiet)


def test_what_loading_refuses_is_refused_with_the_same_words(tmp_path: Path) -> None:
    base = make_checkpoint(tmp_path / "base", "llama")
    make_adapter(base, tmp_path / "adapter")
    weights = load_file(tmp_path / "adapter" / "adapter_model.safetensors")
    del weights[sorted(weights)[0]]
    save_file(weights, tmp_path / "adapter" / "adapter_model.safetensors")
    with pytest.raises(CheckpointRefusedError) as loading:
        load_checkpoint(tmp_path / "adapter", base, torch.device("cpu"), torch.float32, quiet)
    with pytest.raises(CheckpointRefusedError) as merging:
        merge_adapter.merge(job_of(base, tmp_path / "adapter", tmp_path / "sum"), quiet)
    assert str(merging.value) == str(loading.value)


def test_a_packed_base_is_refused(tmp_path: Path) -> None:
    base = make_checkpoint(tmp_path / "base", "llama")
    make_adapter(base, tmp_path / "adapter")
    config = json.loads((base / "config.json").read_text())
    (base / "config.json").write_text(json.dumps(config | {"quantization_config": {"quant_method": "gptq"}}))
    with pytest.raises(CheckpointRefusedError, match="gptq"):
        merge_adapter.merge(job_of(base, tmp_path / "adapter", tmp_path / "sum"), quiet)


async def test_memory_space_and_names_are_looked_at_before_anything_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = describe(make_checkpoint(tmp_path / "base", "llama"))
    make_adapter(base.path, tmp_path / "adapter")
    adapter = describe(tmp_path / "adapter")
    data = tmp_path / "data"
    for wrong in ("", "..", ".hidden", "a/b", "x" * 201, "line\nbreak", "starter", "Starter"):
        with pytest.raises(ConversionError):
            await merge(adapter, base, wrong, data, quiet)
    (models_dir(data) / "taken").mkdir()
    with pytest.raises(ConversionError, match="taken already"):
        await merge(adapter, base, "taken", data, quiet)
    with pytest.raises(CheckpointRefusedError, match="no adapter"):
        await merge(base, base, "sum", data, quiet)
    with pytest.raises(CheckpointRefusedError, match="because so"):
        await merge(adapter, replace(base, problem="because so"), "sum", data, quiet)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10, 10, 1000))
    with pytest.raises(ConversionError, match="GB are free"):
        await merge(adapter, base, "sum", data, quiet)
    monkeypatch.setattr("engine.memory.ram", lambda: Memory(1 << 30, 1 << 20))
    with pytest.raises(NotEnoughMemoryError, match="Making sum needs"):
        await merge(adapter, base, "sum", data, quiet)


def test_where_memory_is_short_the_sum_is_taken_in_the_bases_type(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs: list[Job] = []

    async def keep(module: str, job: Job, *rest: object) -> Path:
        jobs.append(job)
        return tmp_path

    monkeypatch.setattr("engine.checkpoints.conversion._make", keep)
    large = replace(describe(make_checkpoint(tmp_path / "base", "llama")), parameters=10**9, dtype="bfloat16")
    make_adapter(tmp_path / "base", tmp_path / "adapter")
    for free in (6 << 30, 4 << 30):
        monkeypatch.setattr("engine.memory.ram", lambda free=free: Memory(free, free))
        asyncio.run(merge(describe(tmp_path / "adapter"), large, "sum", tmp_path, quiet))
    assert [job.float32 for job in jobs] == [True, False]
