"""What loads, in every form a checkpoint comes in, and what is refused with words that help."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, PromptTuningConfig, TaskType, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import (
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    AutoModelForSeq2SeqLM,
    AutoTokenizer,
    BertConfig,
    MambaConfig,
    PreTrainedModel,
    T5Config,
)

from engine.cpu import cpu_has_bf16
from engine.errors import CheckpointNotFoundError, CheckpointRefusedError, EngineError
from engine.protocol import Load
from engine.worker.devices import choose_device, choose_dtype
from engine.worker.session import Session
from tests.engine.tiny_gguf import write_tiny_gguf
from tests.engine.tiny_models import CHATML, Family, byte_level_tokenizer, make_checkpoint
from tests.engine.worker.conftest import TURNS
from tests.engine.worker.conversing import ask, load

QUESTION, ANSWER = TURNS[0]
Taught = Callable[[Family, str | None], Path]


def edit_json(path: Path, **changes: object) -> None:
    value = json.loads(path.read_text())
    path.write_text(json.dumps(value | changes))


@pytest.fixture
def copy(taught: Taught, tmp_path: Path) -> Path:
    """A checkpoint to damage."""
    return shutil.copytree(taught("gpt2", None), tmp_path / "damaged")


def answer_of(session: Session) -> str:
    text = ask(session, QUESTION).text
    session.close()
    return text


def refusal_of(path: Path, **options: str) -> EngineError:
    with pytest.raises(CheckpointRefusedError) as caught:
        load(path, **options)
    assert caught.value.hint
    return caught.value


def test_sharded_safetensors(taught: Taught, tmp_path: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(taught("qwen2", None))
    model.save_pretrained(tmp_path, max_shard_size="100KB")
    AutoTokenizer.from_pretrained(taught("qwen2", None)).save_pretrained(tmp_path)
    assert len(list(tmp_path.glob("*.safetensors"))) > 1
    assert answer_of(load(tmp_path)) == ANSWER


def test_bin_files(copy: Path) -> None:
    """HugChat's own releases have pytorch_model.bin only."""
    torch.save(load_file(copy / "model.safetensors"), copy / "pytorch_model.bin")
    (copy / "model.safetensors").unlink()
    assert answer_of(load(copy)) == ANSWER


def test_gguf_files(tmp_path: Path) -> None:
    tokenizer = byte_level_tokenizer("gpt2")
    path, expected = write_tiny_gguf(tmp_path / "tiny.gguf", tokenizer, CHATML)
    session = load(path)
    assert session.info.family == "llama"
    assert session.info.template == "checkpoint"
    prompt = "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
    ids = tokenizer(prompt, return_tensors="pt")["input_ids"]
    wanted = expected.generate(ids, max_new_tokens=8, do_sample=False)[0, ids.shape[1] :].tolist()
    assert ask(session, "Hi").token_ids[:8] == wanted
    session.close()


def make_adapter(base: Path, directory: Path, **options: object) -> PreTrainedModel:
    """A LoRA adapter that changes what the model says. Returns base and adapter together."""
    torch.manual_seed(1)
    config = LoraConfig(
        r=4, target_modules="all-linear", task_type=TaskType.CAUSAL_LM, init_lora_weights=False, **options
    )
    adapted = get_peft_model(AutoModelForCausalLM.from_pretrained(base), config)
    adapted.save_pretrained(directory)
    return adapted


def test_an_adapter_on_its_base(taught: Taught, tmp_path: Path) -> None:
    base = taught("llama", CHATML)
    adapted = make_adapter(base, tmp_path / "adapter")
    session = load(tmp_path / "adapter", base=str(base))
    assert session.info.adapter == "adapter"
    prompt = f"<|im_start|>user\n{QUESTION}<|im_end|>\n<|im_start|>assistant\n"
    tokenizer = AutoTokenizer.from_pretrained(base)
    ids = tokenizer(prompt, return_tensors="pt", add_special_tokens=False)["input_ids"]
    wanted = adapted.generate(input_ids=ids, max_new_tokens=8, do_sample=False)[0, ids.shape[1] :].tolist()
    got = ask(session, QUESTION).token_ids
    assert got[:8] == wanted[: len(got)]
    session.close()


def test_an_adapter_brings_its_own_template(taught: Taught, tmp_path: Path) -> None:
    """What it was trained with is what it must be asked with."""
    make_adapter(taught("llama", None), tmp_path / "adapter")
    AutoTokenizer.from_pretrained(taught("llama", CHATML)).save_pretrained(tmp_path / "adapter")
    session = load(tmp_path / "adapter", base=str(taught("llama", None)))
    assert session.info.template == "checkpoint"
    session.close()


def test_an_adapter_without_its_base_is_refused(taught: Taught, tmp_path: Path) -> None:
    make_adapter(taught("llama", None), tmp_path / "adapter")
    assert "needs the model" in refusal_of(tmp_path / "adapter").message


def test_an_adapter_that_lacks_tensors_is_refused(taught: Taught, tmp_path: Path) -> None:
    """peft only warns, and the adapter would do half of what it should."""
    base = taught("llama", None)
    make_adapter(base, tmp_path / "adapter")
    weights = load_file(tmp_path / "adapter" / "adapter_model.safetensors")
    gone = sorted(weights)[0]
    del weights[gone]
    save_file(weights, tmp_path / "adapter" / "adapter_model.safetensors")
    assert "lacks tensors" in refusal_of(tmp_path / "adapter", base=str(base)).message


def test_a_prompt_learning_adapter_is_refused(taught: Taught, tmp_path: Path) -> None:
    """Some of them load a tokenizer that their config names."""
    base = taught("llama", None)
    config = PromptTuningConfig(task_type=TaskType.CAUSAL_LM, num_virtual_tokens=2)
    get_peft_model(AutoModelForCausalLM.from_pretrained(base), config).save_pretrained(tmp_path / "adapter")
    assert "PROMPT_TUNING" in refusal_of(tmp_path / "adapter", base=str(base)).message


def test_missing_tensors_are_refused_and_named(copy: Path) -> None:
    """transformers fills them with random numbers and only logs it."""
    weights = load_file(copy / "model.safetensors")
    del weights["transformer.h.1.mlp.c_fc.weight"]
    save_file(weights, copy / "model.safetensors", metadata={"format": "pt"})
    assert "h.1.mlp.c_fc.weight" in refusal_of(copy).message


def test_tensors_nobody_uses_are_noted(copy: Path) -> None:
    weights = load_file(copy / "model.safetensors") | {"transformer.h.7.odd": torch.zeros(2)}
    save_file(weights, copy / "model.safetensors", metadata={"format": "pt"})
    session = load(copy)
    assert any("h.7.odd" in note for note in session.info.notes)
    session.close()


def test_the_glm_of_old_is_refused(tmp_path: Path) -> None:
    """THUDM/glm-2b calls itself glm, which transformers now means otherwise: a wrong model without a word."""
    path = make_checkpoint(tmp_path / "glm-2b", "glm")
    auto_map = {
        "AutoConfig": "configuration_glm.GLMConfig",
        "AutoModel": "modeling_glm.GLMModel",
        "AutoModelForSeq2SeqLM": "modeling_glm.GLMForConditionalGeneration",
    }
    edit_json(path / "config.json", auto_map=auto_map)
    error = refusal_of(path)
    assert "GLMConfig" in error.message
    assert "-hf" in error.hint


@pytest.mark.parametrize("family", ["qwen2", "unheard-of"])
def test_code_of_the_checkpoint_is_never_run(tmp_path: Path, family: str) -> None:
    path = make_checkpoint(tmp_path / "evil", "qwen2")
    sign = tmp_path / "it ran"
    code = f"from pathlib import Path\nPath({str(sign)!r}).touch()\nclass Evil: pass\n"
    (path / "evil.py").write_text(code)
    auto_map = {"AutoConfig": "evil.Evil", "AutoModelForCausalLM": "evil.Evil"}
    edit_json(path / "config.json", auto_map=auto_map, model_type=family)
    assert "code" in refusal_of(path).message
    edit_json(path / "config.json", auto_map={}, model_type="qwen2")
    edit_json(path / "tokenizer_config.json", auto_map={"AutoTokenizer": ["evil.Evil", None]})
    assert "code" in refusal_of(path).message
    assert not sign.exists()


def test_an_auto_map_of_native_names_is_fine(taught: Taught, tmp_path: Path) -> None:
    path = shutil.copytree(taught("qwen2", None), tmp_path / "native")
    auto_map = {"AutoConfig": "configuration_qwen2.Qwen2Config", "AutoModelForCausalLM": "m.Qwen2ForCausalLM"}
    edit_json(path / "config.json", auto_map=auto_map)
    assert answer_of(load(path)) == ANSWER


def test_a_pickle_that_runs_code_is_refused(copy: Path, tmp_path: Path) -> None:
    sign = tmp_path / "it ran"

    class Evil:
        def __reduce__(self) -> tuple[object, ...]:
            return os.mkdir, (str(sign),)

    torch.save({"transformer.wte.weight": Evil()}, copy / "pytorch_model.bin")
    (copy / "model.safetensors").unlink()
    refusal_of(copy)
    assert not sign.exists()


def test_an_attention_kernel_named_by_the_config_is_not_fetched(copy: Path) -> None:
    edit_json(copy / "config.json", attn_implementation="somebody/kernel", _attn_implementation="somebody/kernel")
    assert answer_of(load(copy)) == ANSWER


def test_models_that_do_not_write_from_left_to_right_are_refused(tmp_path: Path) -> None:
    small = {"vocab_size": 300, "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    bert = AutoModelForMaskedLM.from_config(BertConfig(**small, intermediate_size=32))
    bert.save_pretrained(tmp_path / "bert")
    t5 = AutoModelForSeq2SeqLM.from_config(
        T5Config(vocab_size=300, d_model=32, d_ff=32, num_layers=1, num_heads=2, d_kv=16)
    )
    t5.save_pretrained(tmp_path / "t5")
    for name in ("bert", "t5"):
        byte_level_tokenizer().save_pretrained(tmp_path / name)
        assert "left to right" in refusal_of(tmp_path / name).message


def test_a_model_that_forgets_what_it_read_in_parts_is_refused(tmp_path: Path) -> None:
    """transformers' Mamba starts anew at every chunk of a prompt; it would talk nonsense."""
    tokenizer = byte_level_tokenizer()
    config = MambaConfig(vocab_size=len(tokenizer), hidden_size=32, num_hidden_layers=2, state_size=8)
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path / "mamba")
    tokenizer.save_pretrained(tmp_path / "mamba")
    assert "mamba" in refusal_of(tmp_path / "mamba").message


@pytest.mark.parametrize("damage", ["config", "weights", "truncated", "tokenizer", "shape"])
def test_broken_files_are_refused_with_the_reason(copy: Path, damage: str) -> None:
    if damage == "config":
        (copy / "config.json").write_text("{")
    elif damage == "weights":
        (copy / "model.safetensors").unlink()
    elif damage == "truncated":
        os.truncate(copy / "model.safetensors", 5000)
    elif damage == "tokenizer":
        (copy / "tokenizer.json").write_text("[]")
    else:
        edit_json(copy / "config.json", n_embd=128)
    refusal_of(copy)


def test_no_checkpoint_there(tmp_path: Path) -> None:
    with pytest.raises(CheckpointNotFoundError):
        load(tmp_path / "nothing")
    assert "config.json" in refusal_of(tmp_path).message


def test_progress_counts_the_tensors(taught: Taught) -> None:
    seen: list[tuple[str, int, int]] = []
    path = taught("gpt2", None)
    session = Session.load(Load(id=1, path=str(path), device="cpu"), lambda *report: seen.append(report))
    session.close()
    reading = [(done, total) for stage, done, total in seen if stage == "reading weights"]
    assert reading[-1] == (len(load_file(path / "model.safetensors")),) * 2
    assert [done for done, _ in reading] == sorted(done for done, _ in reading)


def test_devices_and_dtypes() -> None:
    cpu = choose_device("cpu")
    assert choose_dtype("float32", cpu)[0] == torch.float32
    assert choose_dtype("auto", cpu)[0] == (torch.bfloat16 if cpu_has_bf16() else torch.float32)
    for wrong in ("cuda:99", "abacus"):
        with pytest.raises(EngineError):
            choose_device(wrong)
    with pytest.raises(EngineError, match="dtype"):
        choose_dtype("int1", cpu)


def test_without_bf16_instructions_the_dtype_is_float32_and_the_note_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading a prompt in bfloat16 on such a CPU takes five times as long."""
    monkeypatch.setattr("engine.worker.devices.cpu_has_bf16", lambda: False)
    dtype, note = choose_dtype("auto", torch.device("cpu"))
    assert dtype == torch.float32
    assert "no bfloat16" in note
    assert "faster" in choose_dtype("bfloat16", torch.device("cpu"))[1]
