"""Take stock of a library of 1,000 checkpoints. Exits 1 when a bar is missed: complete in 3 s without an index, first
rows in 150 ms with one.

python -m benchmarks.library_scan [--checkpoints N] [--runs N]

A fresh interpreter each time, its imports included in the figures of the first rows. "Disk cold" is told where this
user may empty the page cache, and has no bar: it measures the disk.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import os
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

BAR_COLD_S = 3.0
BAR_FIRST_S = 0.150
GIB = 1 << 30
# Of a thousand checkpoints; the rest are cached models of one file.
SHARDED, ADAPTERS, STEPS, IN_FOLDERS, GGUFS = 200, 100, 100, 60, 40
LAYERS = 32

MEASURE_FIRST = """
import sys, time
begun = time.perf_counter()
from pathlib import Path
from engine.checkpoints.library.index import load_index
from engine.checkpoints.library.rows import Places
cache, data, *folders = map(Path, sys.argv[1:])
rows = load_index(Places(cache, data, tuple(folders)))
print(time.perf_counter() - begun, len(rows))
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoints", type=int, default=1000)
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        places = [Path(folder, name) for name in ("cache", "data", "mine")]
        begun = time.perf_counter()
        build(places[0], places[1], places[2], options.checkpoints)
        print(f"built {options.checkpoints:,} checkpoints in {time.perf_counter() - begun:.0f} s")
        return measure(places, options.runs)


def measure(places: Sequence[Path], runs: int) -> int:
    index = places[1] / "library-index.jsonl"
    cold, warm, first, blocked = [], [], [], []
    rows = 0
    for _ in range(runs):
        index.unlink(missing_ok=True)
        took, _, rows, gap = asyncio.run(_scan(places))
        cold.append(took)
        blocked.append(gap)
    for _ in range(runs):
        arguments = [sys.executable, "-c", MEASURE_FIRST, *map(str, places)]
        said = subprocess.run(arguments, capture_output=True, text=True, check=True).stdout.split()
        first.append(float(said[0]))
        if int(said[1]) != rows:
            raise SystemExit(f"the index has {said[1]} rows of {rows}")
        warm.append(asyncio.run(_scan(places))[0])
    print(f"{rows:,} rows; medians of {runs}, slowest in brackets")
    print(f"without an index, complete   {_seconds(cold)}  bar {BAR_COLD_S:.1f} s")
    print(f"first rows from the index    {_seconds(first)}  bar {BAR_FIRST_S:.3f} s")
    print(f"with an index, complete      {_seconds(warm)}")
    print(f"event loop held for at most  {_seconds(blocked)}")
    if _empty_page_cache():
        index.unlink()
        print(f"disk cold and no index       {asyncio.run(_scan(places))[0]:.3f} s")
    return int(statistics.median(cold) > BAR_COLD_S or statistics.median(first) > BAR_FIRST_S)


def _seconds(times: Sequence[float]) -> str:
    return f"{statistics.median(times):.3f} s ({max(times):.3f})"


async def _scan(places: Sequence[Path]) -> tuple[float, float, int, float]:
    """Seconds until all rows and until the first, how many, and the longest time the event loop was held."""
    from engine.checkpoints.library.scan import Places, scan

    cache, data, *folders = places
    begun = time.perf_counter()
    firsts: list[float] = []
    gaps: list[float] = []
    watching = asyncio.create_task(_watch(gaps))
    inventory = await scan(Places(cache, data, tuple(folders)), lambda _: firsts.append(time.perf_counter() - begun))
    took = time.perf_counter() - begun
    watching.cancel()
    return took, firsts[0], len(inventory.rows), max(gaps)


async def _watch(gaps: list[float]) -> None:
    last = time.perf_counter()
    while True:
        await asyncio.sleep(0.002)
        now = time.perf_counter()
        gaps.append(now - last - 0.002)
        last = now


def _empty_page_cache() -> bool:
    try:
        os.sync()
        Path("/proc/sys/vm/drop_caches").write_text("3")
    except OSError:
        return False
    return True


def build(cache: Path, data: Path, mine: Path, checkpoints: int) -> None:
    """A library with files as large as real ones where they are read, and holes where they are not."""
    part = checkpoints / 1000
    sharded, adapters, steps, in_folders, ggufs = (
        int(number * part) for number in (SHARDED, ADAPTERS, STEPS, IN_FOLDERS, GGUFS)
    )
    single = checkpoints - sharded - adapters - steps - in_folders - ggufs
    for number in range(single + sharded):
        _cached(cache, f"org{number % 40}/model-{number}", _model(2 if number < sharded else 1))
    for number in range(adapters):
        _cached(cache, f"org{number % 40}/adapter-{number}", _adapter(f"org{number % 40}/model-{number}"))
    for number in range(steps):
        _folder(data / "runs" / f"run-{number // 10}" / "checkpoints" / f"step-{number}", _model(1))
    for number in range(in_folders):
        _folder(mine / f"publisher-{number % 5}" / f"model-{number}", _model(1))
    gguf = _gguf_header(50_000)
    for number in range(ggufs):
        _cached(cache, f"org{number % 40}/quants-{number}-GGUF", {"model-Q4_K_M.gguf": (gguf, len(gguf) + GIB // 4)})


Files = Mapping[str, tuple[bytes, int]]
"""Each file's beginning, and how long it is; the rest is a hole."""


def _model(shards: int) -> Files:
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "max_position_embeddings": 8192,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "hidden_size": 4096,
        "torch_dtype": "bfloat16",
    }
    special = {str(128_000 + n): {"content": f"<|reserved_special_token_{n}|>", "special": True} for n in range(256)}
    tokenizer = {"added_tokens_decoder": special, "chat_template": "{% for m in messages %}{{ m.content }}{% endfor %}"}
    card = "---\nlicense: apache-2.0\nlanguage:\n- en\nbase_model: org/base\n---\n" + "A model. " * 1000
    files = {
        "config.json": _small(json.dumps(config)),
        "generation_config.json": _small("{}"),
        "tokenizer.json": _small("{}", 9 << 20),
        "tokenizer_config.json": _small(json.dumps(tokenizer, indent=2)),
        "special_tokens_map.json": _small("{}"),
        "README.md": _small(card),
        ".gitattributes": _small("*.safetensors filter=lfs"),
    }
    if shards == 1:
        return files | {"model.safetensors": _weights(range(LAYERS))}
    weight_map = {}
    for shard in range(shards):
        layers = range(shard * LAYERS // shards, (shard + 1) * LAYERS // shards)
        name = f"model-{shard + 1:05}-of-{shards:05}.safetensors"
        files[name] = _weights(layers)
        weight_map.update(dict.fromkeys(_shapes(layers), name))
    return files | {"model.safetensors.index.json": _small(json.dumps({"weight_map": weight_map}))}


def _adapter(base: str) -> Files:
    config = {
        "peft_type": "LORA",
        "base_model_name_or_path": base,
        "r": 16,
        "lora_alpha": 32,
        "target_modules": ["q_proj", "v_proj"],
    }
    shapes = {f"base.{layer}.{name}": (16, 4096) for layer in range(LAYERS) for name in ("qa", "qb", "va", "vb")}
    return {
        "adapter_config.json": _small(json.dumps(config)),
        "adapter_model.safetensors": _safetensors(shapes),
        "README.md": _small("---\nlibrary_name: peft\nlicense: mit\n---\n"),
    }


def _small(text: str, length: int = 0) -> tuple[bytes, int]:
    return text.encode(), max(length, len(text.encode()))


def _shapes(layers: range) -> dict[str, tuple[int, ...]]:
    names = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj", "mlp.gate_proj")
    others = ("mlp.up_proj", "mlp.down_proj", "input_layernorm", "post_attention_layernorm")
    return {f"model.layers.{layer}.{name}.weight": (512, 512) for layer in layers for name in (*names, *others)}


def _weights(layers: range) -> tuple[bytes, int]:
    return _safetensors(_shapes(layers))


def _safetensors(shapes: Mapping[str, tuple[int, ...]]) -> tuple[bytes, int]:
    header, offset = {}, 0
    for name, (rows, columns) in shapes.items():
        end = offset + rows * columns * 2
        header[name] = {"dtype": "BF16", "shape": [rows, columns], "data_offsets": [offset, end]}
        offset = end
    head = json.dumps(header).encode()
    return struct.pack("<Q", len(head)) + head, 8 + len(head) + offset


def _gguf_header(vocabulary: int) -> bytes:
    """A GGUF file's header, with as many tokens as merges."""

    def text(value: str) -> bytes:
        return struct.pack("<Q", len(value.encode())) + value.encode()

    def entry(key: str, value: str | int | list[str]) -> bytes:
        if isinstance(value, str):
            return text(key) + struct.pack("<I", 8) + text(value)
        if isinstance(value, int):
            return text(key) + struct.pack("<II", 4, value)
        return text(key) + struct.pack("<IIQ", 9, 8, len(value)) + b"".join(map(text, value))

    entries = [
        entry("general.architecture", "llama"),
        entry("general.file_type", 15),
        entry("llama.context_length", 8192),
        entry("llama.block_count", LAYERS),
        entry("tokenizer.ggml.model", "gpt2"),
        entry("tokenizer.ggml.tokens", [f"token{number}" for number in range(vocabulary)]),
        entry("tokenizer.ggml.merges", [f"to ken{number}" for number in range(vocabulary)]),
        entry("tokenizer.chat_template", "{{ messages }}"),
    ]
    tensors = [
        text(name) + struct.pack("<IQQIQ", 2, 256, 256, 12, number * 256 * 144)
        for number, name in enumerate(_shapes(range(LAYERS)))
    ]
    return b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(entries)) + b"".join(entries + tensors)


def _cached(cache: Path, repo_id: str, files: Files) -> None:
    repository = cache / ("models--" + repo_id.replace("/", "--"))
    commit = hashlib.sha1(repo_id.encode()).hexdigest()
    snapshot = repository / "snapshots" / commit
    blobs = repository / "blobs"
    for directory in (snapshot, blobs, repository / "refs"):
        directory.mkdir(parents=True, exist_ok=True)
    (repository / "refs" / "main").write_text(commit)
    for name, content in files.items():
        etag = hashlib.sha256(f"{repo_id}/{name}".encode()).hexdigest()
        _write(blobs / etag, content)
        (snapshot / name).symlink_to(f"../../blobs/{etag}")


def _folder(directory: Path, files: Files) -> None:
    directory.mkdir(parents=True)
    for name, content in files.items():
        _write(directory / name, content)


def _write(path: Path, content: tuple[bytes, int]) -> None:
    beginning, length = content
    path.write_bytes(beginning)
    os.truncate(path, length)


if __name__ == "__main__":
    sys.exit(main())
