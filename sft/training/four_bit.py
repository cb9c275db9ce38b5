"""A base in 4 bits (QLoRA, arXiv 2305.14314), for an NVIDIA GPU with bitsandbytes."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig

from engine.worker.loading import LoadedCheckpoint, refusing
from engine.worker.refusal import check_model_directory
from sft.errors import SftError


def load_in_4_bits(path: Path, device: torch.device, dtype: torch.dtype) -> LoadedCheckpoint:
    """The model of a directory with its linear layers packed as NF4, products in `dtype`; made ready for an adapter.

    Raises SftError where there is no GPU or bitsandbytes, CheckpointRefusedError.
    """
    if device.type != "cuda" or find_spec("bitsandbytes") is None:
        lacking = "an NVIDIA GPU" if device.type != "cuda" else "the package bitsandbytes"
        raise SftError(f"A base in 4 bits needs {lacking}, which is not here.", "Set method.base_bits = 16.")
    if not path.is_dir():
        raise SftError(
            f"{path.name} is no model directory, and only those can be packed in 4 bits.", "Convert it to one first."
        )
    from peft import prepare_model_for_kbit_training

    check_model_directory(path)
    packed = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,
    )
    with refusing(path):
        config = AutoConfig.from_pretrained(path, trust_remote_code=False, local_files_only=True)
        config._attn_implementation = None
        tokenizer = AutoTokenizer.from_pretrained(path, trust_remote_code=False, local_files_only=True)
        model = AutoModelForCausalLM.from_pretrained(
            path,
            config=config,
            dtype=dtype,
            device_map={"": device},
            quantization_config=packed,
            trust_remote_code=False,
            local_files_only=True,
            weights_only=True,
        )
    model = prepare_model_for_kbit_training(model, use_gradient_checkpointing=False)
    return LoadedCheckpoint(model, tokenizer, path, None, ())
