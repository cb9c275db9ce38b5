"""Small checkpoints on disk, whole enough to be described; their weights are zeros."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np

Shapes = Mapping[str, tuple[int, ...]]

LLAMA: dict[str, object] = {
    "model_type": "llama",
    "architectures": ["LlamaForCausalLM"],
    "max_position_embeddings": 4096,
}
SHAPES: Shapes = {"model.embed_tokens.weight": (32, 8), "model.norm.weight": (8,)}
PARAMETERS = 32 * 8 + 8
COMMIT = "0123456789abcdef0123456789abcdef01234567"
_BYTES = {"BF16": 2, "F16": 2, "F32": 4, "I32": 4, "U8": 1}


def safetensors_bytes(shapes: Shapes = SHAPES, dtype: str = "BF16") -> bytes:
    """A whole safetensors file."""
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    offset = 0
    for name, shape in shapes.items():
        size = int(np.prod(shape)) * _BYTES[dtype]
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [offset, offset + size]}
        offset += size
    head = json.dumps(header).encode()
    return len(head).to_bytes(8, "little") + head + bytes(offset)


def make_model(directory: Path, config: Mapping[str, object] = LLAMA, *, dtype: str = "BF16") -> Path:
    """A model directory with one safetensors file and a tokenizer without a chat template."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "config.json").write_text(json.dumps(config))
    (directory / "tokenizer.json").write_text("{}")
    (directory / "model.safetensors").write_bytes(safetensors_bytes(dtype=dtype))
    return directory


def make_adapter(directory: Path, base: str) -> Path:
    directory.mkdir(parents=True)
    (directory / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "base_model_name_or_path": base}))
    (directory / "adapter_model.safetensors").write_bytes(safetensors_bytes({"lora_A.weight": (4, 8)}, "F32"))
    return directory


def make_cached(cache: Path, repo_id: str, *, ref: str = "main", commit: str = COMMIT) -> Path:
    """A repository of the Hugging Face cache with one snapshot; the empty directory of that snapshot."""
    repository = cache / ("models--" + repo_id.replace("/", "--"))
    snapshot = repository / "snapshots" / commit
    snapshot.mkdir(parents=True)
    if ref:
        path = repository / "refs" / ref
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(commit)
    return snapshot


def make_gguf(path: Path, *, template: str | None = "{{ messages }}", architecture: str = "llama") -> Path:
    """A GGUF file as llama.cpp's own library writes it."""
    from gguf import GGMLQuantizationType, GGUFWriter

    path.parent.mkdir(parents=True, exist_ok=True)
    writer = GGUFWriter(path, architecture)
    writer.add_context_length(2048)
    writer.add_file_type(3)
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list([f"token{number}" for number in range(1000)])
    writer.add_token_types([1] * 1000)
    if template is not None:
        writer.add_chat_template(template)
    blocks = np.zeros((4, 2 * 20), dtype=np.uint8)  # 4 rows of 64 weights
    writer.add_tensor("token_embd.weight", blocks, raw_dtype=GGMLQuantizationType.Q4_1)
    writer.add_tensor("output_norm.weight", np.zeros(64, dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def model_files(tmp_path: Path, weights: int = 200_000) -> dict[str, bytes]:
    """What a repository of the Hub holds: a model, and much that loading it does not need.

    weights: how many, in 16 bits.
    """
    model = make_model(tmp_path / "published")
    files = {path.name: path.read_bytes() for path in model.iterdir()}
    files["model.safetensors"] = safetensors_bytes({"a": (weights,)})
    return files | {
        "README.md": b"# Card",
        "modeling_evil.py": b"raise SystemExit",
        "optimizer.pt": b"pickle",
        "pytorch_model.bin": b"pickle",
        "onnx/model.onnx": b"x" * 1000,
        "runs/events.out": b"x",
    }
