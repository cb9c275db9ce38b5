"""Describing what lies on disk: right for whole checkpoints, a problem in words for everything else."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.checkpoints.describe import GGUF_FILE_TYPES, describe
from engine.checkpoints.gguf_header import TENSOR_TYPES, read_gguf_header
from engine.checkpoints.native import native_classes
from engine.checkpoints.reading import SAFETENSORS_HEADER_LIMIT, UnreadableError
from tests.checkpoints.builders import LLAMA, PARAMETERS, make_adapter, make_gguf, make_model, safetensors_bytes


def test_a_model_directory_is_described_from_config_and_headers(tmp_path: Path) -> None:
    model = make_model(tmp_path / "tiny")
    (model / "tokenizer_config.json").write_text(json.dumps({"chat_template": "{{ messages }}"}))
    found = describe(model)
    assert found.problem is None
    assert (found.name, found.kind, found.source, found.path) == ("tiny", "model", "folder", model)
    assert (found.family, found.dtype, found.context_length) == ("llama", "bfloat16", 4096)
    assert (found.parameters, found.size_bytes) == (PARAMETERS, len(safetensors_bytes()))
    assert found.has_chat_template


def test_the_starter_is_described_as_it_is(starter: Path) -> None:
    found = describe(starter)
    assert found.problem is None
    assert (found.family, found.dtype, found.parameters) == ("llama", "bfloat16", 134_515_008)
    assert (found.context_length, found.has_chat_template) == (8192, True)


@pytest.mark.parametrize(
    ("config", "length"),
    [
        ({"n_positions": 1024, "n_ctx": 512}, 1024),
        ({"n_ctx": 512}, 512),
        ({"seq_length": 2048}, 2048),
        ({"max_sequence_length": 1024}, 1024),
        ({"text_config": {"max_position_embeddings": 32768}}, 32768),
        ({"max_position_embeddings": "4096"}, 0),
        ({"max_position_embeddings": -1, "n_ctx": True}, 0),
        ({}, 0),
    ],
)
def test_the_context_length_is_found_under_every_familys_key(
    tmp_path: Path, config: dict[str, object], length: int
) -> None:
    found = describe(make_model(tmp_path / "m", {"model_type": "llama", **config}))
    assert (found.context_length, found.problem) == (length, None)


def test_shards_are_summed_and_a_missing_one_is_named(tmp_path: Path) -> None:
    model = make_model(tmp_path / "m")
    (model / "model.safetensors").unlink()
    names = [f"model-0000{number}-of-00002.safetensors" for number in (1, 2)]
    index = {"weight_map": {"a": names[0], "b": names[1], "c": names[0]}}
    (model / "model.safetensors.index.json").write_text(json.dumps(index))
    for name in names:
        (model / name).write_bytes(safetensors_bytes())
    assert (describe(model).parameters, describe(model).problem) == (2 * PARAMETERS, None)

    (model / names[1]).unlink()
    found = describe(model)
    assert found.size_bytes == 0
    assert "1 of 2 weight files are missing (model-00002-of-00002.safetensors)" in (found.problem or "")


def test_pickled_weights_are_sized_but_never_opened(tmp_path: Path) -> None:
    model = make_model(tmp_path / "m", {**LLAMA, "torch_dtype": "float16"})
    (model / "model.safetensors").unlink()
    (model / "pytorch_model.bin").write_bytes(b"not a pickle")
    found = describe(model)
    assert (found.problem, found.size_bytes, found.parameters, found.dtype) == (None, 12, 0, "float16")


def test_packed_weights_are_named_by_their_method_and_not_counted_as_parameters(tmp_path: Path) -> None:
    config = {**LLAMA, "quantization_config": {"quant_method": "gptq", "bits": 4}}
    found = describe(make_model(tmp_path / "m", config, dtype="I32"))
    assert (found.dtype, found.parameters, found.problem) == ("gptq", 0, None)


@pytest.mark.parametrize(
    ("quantization", "words"),
    [
        ({"quant_method": "gptq", "bits": 4}, "gptq 4-bit"),
        ({"quant_method": "bitsandbytes", "load_in_8bit": True}, "bitsandbytes 8-bit"),
        ({"quant_method": "fp8"}, "fp8"),
        ({"bits": "4", "quant_method": ["x"]}, ""),
        ("gptq", ""),
    ],
)
def test_the_quantization_is_named_with_its_bits(tmp_path: Path, quantization: object, words: str) -> None:
    found = describe(make_model(tmp_path / "m", {**LLAMA, "quantization_config": quantization}))
    assert (found.quantization, found.problem) == (words, None)


def test_the_licence_is_the_cards_and_else_the_configs(tmp_path: Path) -> None:
    model = make_model(tmp_path / "m", {**LLAMA, "license": "mit"})
    assert describe(model).licence == "mit"
    (model / "README.md").write_text("---\nlicense: apache-2.0\n---\n")
    assert describe(model).licence == "apache-2.0"
    gguf = make_gguf(tmp_path / "g" / "only.gguf")
    (gguf.parent / "README.md").write_text("---\nlicense: apache-2.0\n---\n")
    assert describe(gguf.parent).licence == "apache-2.0"


@pytest.mark.parametrize(
    ("files", "source"),
    [
        ({}, ""),
        ({"tokenizer_config.json": '{"chat_template": "x"}'}, "tokenizer_config.json"),
        ({"tokenizer_config.json": '{"a": Infinity, "chat_template": "x"}'}, "tokenizer_config.json"),
        ({"tokenizer_config.json": '{"chat_template": ""}'}, ""),
        ({"tokenizer_config.json": '{"chat_template": "x"}', "chat_template.jinja": "y"}, "chat_template.jinja"),
    ],
)
def test_the_chat_templates_file_is_named(tmp_path: Path, files: dict[str, str], source: str) -> None:
    model = make_model(tmp_path / "m")
    for name, content in files.items():
        (model / name).write_text(content)
    found = describe(model)
    assert (found.template_source, found.has_chat_template, found.problem) == (source, bool(source), None)


@pytest.mark.parametrize(
    ("config", "method"),
    [
        ({"peft_type": "LORA"}, "lora"),
        ({"peft_type": "LORA", "use_dora": True, "use_rslora": True}, "dora"),
        ({"peft_type": "LORA", "use_rslora": True}, "rslora"),
        ({"peft_type": "IA3", "use_dora": True}, "ia3"),
        ({"peft_type": 7}, ""),
    ],
)
def test_an_adapters_method_is_named_with_its_variant(tmp_path: Path, config: dict[str, object], method: str) -> None:
    adapter = make_adapter(tmp_path / "a", "org/base")
    (adapter / "adapter_config.json").write_text(json.dumps(config | {"target_modules": "q_.*", "r": 4}))
    found = describe(adapter)
    assert (found.adapter_method, found.adapter_targets, found.adapter_rank) == (method, ("q_.*",), 4)


@pytest.mark.parametrize(
    ("damage", "fault"),
    [
        (lambda model: None, ""),
        (lambda model: (model / "model.safetensors").unlink(), "incomplete"),
        (lambda model: (model / "tokenizer.json").unlink(), "incomplete"),
        (lambda model: (model / "model.safetensors").write_bytes(b""), "damaged"),
        (lambda model: (model / "config.json").write_bytes(b"{"), "damaged"),
        (lambda model: (model / "config.json").unlink(), "foreign"),
        (lambda model: (model / "config.json").write_text('{"model_type": "invented"}'), ""),
    ],
)
def test_missing_and_broken_files_are_told_from_kinds_that_cannot_be_loaded(
    tmp_path: Path, damage: Callable[[Path], object], fault: str
) -> None:
    model = make_model(tmp_path / "m")
    damage(model)
    assert describe(model).fault == fault


def test_looking_at_a_checkpoint_is_not_using_it(tmp_path: Path) -> None:
    model = make_model(tmp_path / "m")
    (model / "README.md").write_text("---\nlicense: mit\n---\n")
    for path in model.iterdir():
        os.utime(path, (1_000.0, 2_000.0))  # read before it was written: most systems note the next reading
    describe(model)
    assert {path.stat().st_atime for path in model.iterdir()} == {1_000.0}


def test_a_gguf_file_is_described_as_its_own_library_wrote_it(tmp_path: Path) -> None:
    path = make_gguf(tmp_path / "tiny-Q4_1.gguf")
    found = describe(path)
    assert found.problem is None
    assert (found.kind, found.family, found.dtype, found.context_length) == ("gguf", "llama", "Q4_1", 2048)
    assert (found.parameters, found.size_bytes) == (4 * 64 + 64, path.stat().st_size)
    assert (found.quantization, found.template_source) == ("Q4_1", "GGUF")
    assert not describe(make_gguf(tmp_path / "b.gguf", template=None)).has_chat_template
    header = read_gguf_header(path, keep_arrays=True)
    assert header.metadata["tokenizer.ggml.tokens"] == [f"token{number}" for number in range(1000)]
    assert describe(tmp_path / "b.gguf").path == tmp_path / "b.gguf"


def test_an_unpacked_gguf_file_is_not_called_quantized(tmp_path: Path) -> None:
    path = make_gguf(tmp_path / "x.gguf")
    key = b"general.file_type" + struct.pack("<I", 4)
    path.write_bytes(path.read_bytes().replace(key + struct.pack("<I", 3), key + struct.pack("<I", 1)))
    assert (describe(path).dtype, describe(path).quantization) == ("F16", "")


@pytest.mark.parametrize("length", [0, 1, 7, 253, 300_000])
def test_what_follows_a_long_vocabulary_is_read(tmp_path: Path, length: int) -> None:
    """The file is read in pieces, whose ends fall anywhere in a token or in its length."""
    count = 3_000_000 // (length + 8)
    vocabulary = struct.pack("<IIQ", 9, 8, count) + _string(b"x" * length) * count
    scores = struct.pack("<IIQ", 9, 6, 4) + struct.pack("<4f", 1, 2, 3, 4)
    after = _string(b"after") + struct.pack("<I", 8) + _string(b"here")
    path = tmp_path / "x.gguf"
    path.write_bytes(_gguf(entries=3, rest=_string(b"tokens") + vocabulary + _string(b"few") + scores + after))
    assert read_gguf_header(path).metadata == {"few": [1, 2, 3, 4], "after": "here"}


def test_a_folder_with_one_gguf_file_means_that_file(tmp_path: Path) -> None:
    path = make_gguf(tmp_path / "repo" / "only.gguf")
    assert describe(path.parent).path == path
    make_gguf(tmp_path / "repo" / "second.gguf")
    assert "2 GGUF files (only.gguf, second.gguf)" in (describe(path.parent).problem or "")


def test_tables_of_gguf_types_agree_with_its_library() -> None:
    import gguf

    assert {int(kind): (kind.name, *sizes) for kind, sizes in gguf.GGML_QUANT_SIZES.items()} == TENSOR_TYPES
    names = {int(kind): kind.name.removeprefix("MOSTLY_").removeprefix("ALL_") for kind in gguf.LlamaFileType}
    del names[int(gguf.LlamaFileType.GUESSED)]
    assert names == GGUF_FILE_TYPES


def test_native_classes_agree_with_the_installed_transformers() -> None:
    """The table is read from source text; another layout of that source must not pass unseen."""
    from transformers.models.auto import modeling_auto

    for kind, names in modeling_auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.items():
        assert native_classes()[kind] >= ({names} if isinstance(names, str) else set(names))
    assert native_classes().keys() == modeling_auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.keys()


GLM_2B = {
    "model_type": "glm",
    "architectures": ["GLMModel"],
    "auto_map": {
        "AutoConfig": "configuration_glm.GLMConfig",
        "AutoModel": "modeling_glm.GLMModel",
        "AutoModelForSeq2SeqLM": "modeling_glm.GLMForConditionalGeneration",
    },
}


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (GLM_2B, "another architecture"),
        ({"model_type": "chatglm", "auto_map": {"AutoModel": "modeling_chatglm.ChatGLM"}}, "code from its own"),
        ({"model_type": "llama", "auto_map": "modeling_x.X"}, "auto_map"),
        ({"model_type": "invented"}, "no text-generating model"),
        ({"model_type": "bert", "architectures": ["BertForMaskedLM"]}, "does not generate text"),
        ({"model_type": 7}, "no model_type"),
    ],
)
def test_what_would_need_code_or_would_load_wrongly_is_refused_in_words(
    tmp_path: Path, config: dict[str, object], words: str
) -> None:
    found = describe(make_model(tmp_path / "m", config))
    assert words in (found.problem or "")
    assert found.size_bytes > 0, "what was learnt before the problem stays"


def test_an_auto_map_that_names_the_native_class_is_no_hindrance(tmp_path: Path) -> None:
    auto_map = {"AutoConfig": "c.PhiConfig", "AutoModelForCausalLM": "modeling_phi.PhiForCausalLM"}
    assert describe(make_model(tmp_path / "m", {"model_type": "phi", "auto_map": auto_map})).problem is None


def _write(name: str, content: bytes) -> Callable[[Path], object]:
    return lambda model: (model / name).write_bytes(content)


def _index(weight_map: object) -> Callable[[Path], None]:
    def change(model: Path) -> None:
        (model / "model.safetensors").unlink()
        (model / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))

    return change


def _replace_by_fifo(model: Path) -> None:
    (model / "config.json").unlink()
    os.mkfifo(model / "config.json")


def _huge_config(model: Path) -> None:
    os.truncate(model / "config.json", 1 << 40)


def _huge_header(model: Path) -> None:
    (model / "model.safetensors").write_bytes(struct.pack("<Q", SAFETENSORS_HEADER_LIMIT + 1))
    os.truncate(model / "model.safetensors", 1 << 32)


def _link_to_itself(model: Path) -> None:
    (model / "config.json").unlink()
    (model / "config.json").symlink_to("config.json")


def _header(entry: object) -> bytes:
    head = json.dumps({"a": entry}).encode()
    return struct.pack("<Q", len(head)) + head


HOSTILE: dict[str, tuple[Callable[[Path], object], str]] = {
    "header length of 2^62": (_write("model.safetensors", struct.pack("<Q", 2**62) + b"x" * 100), "claims"),
    "header larger than is read": (_huge_header, "at most"),
    "empty weights": (_write("model.safetensors", b""), "cut off"),
    "weights cut off": (_write("model.safetensors", safetensors_bytes()[:-1]), "not whole"),
    "weights with a tail": (_write("model.safetensors", safetensors_bytes() + b"x"), "not whole"),
    "shape of text": (_write("model.safetensors", _header({"dtype": "F32", "shape": "x"})), "broken header"),
    "negative shape": (
        _write("model.safetensors", _header({"dtype": "F32", "shape": [-1, 2**70], "data_offsets": [0, 0]})),
        "makes no sense",
    ),
    "shape of a million dimensions": (
        _write("model.safetensors", _header({"dtype": "X", "shape": [9] * 1_000_000, "data_offsets": [0, 0]})),
        "dimensions",
    ),
    "header that is a list": (_write("model.safetensors", struct.pack("<Q", 2) + b"[]"), "broken header"),
    "header nested deeply": (
        _write("model.safetensors", struct.pack("<Q", 100_000) + b'{"a":' * 20_000),
        "broken header",
    ),
    "config nested deeply": (_write("config.json", b"[" * 100_000), "nested too deeply"),
    "config that is a list": (_write("config.json", b"[]"), "JSON object"),
    "config in no encoding": (_write("config.json", b'{"a": "\xff\xfe"}'), "not valid JSON"),
    "config cut off": (_write("config.json", b'{"model_type": "lla'), "not valid JSON"),
    "config of a terabyte": (_huge_config, "at most"),
    "config that is a pipe": (_replace_by_fifo, "not a regular file"),
    "config that links to itself": (_link_to_itself, "config.json"),
    "template config of a wrong kind": (_write("tokenizer_config.json", b"[1]"), "JSON object"),
    "index that leads outside": (_index({"a": "../../etc/passwd"}), "outside"),
    "index of numbers": (_index({"a": 7}), "outside"),
    "index of lists": (_index({"a": ["x"]}), "outside"),
    "index of nothing": (_index([]), "lists no weight files"),
    "no weights": (lambda model: (model / "model.safetensors").unlink(), "no weights"),
    "no tokenizer": (lambda model: (model / "tokenizer.json").unlink(), "no tokenizer"),
    "no config": (lambda model: (model / "config.json").unlink(), "no config.json"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_and_broken_checkpoints_are_rows_with_a_reason(tmp_path: Path, case: str) -> None:
    change, words = HOSTILE[case]
    model = make_model(tmp_path / "m")
    change(model)
    assert words in (describe(model).problem or "")


@pytest.mark.parametrize(
    ("path", "words"),
    [
        (Path("/nothing/here"), "nothing at this path"),
        (Path("/etc/passwd"), "neither a folder nor a GGUF file"),
        (Path("a\0b"), "nothing at this path"),
        (Path(os.fsdecode(b"/caf\xe9")), "not valid UTF-8"),
        (Path("x" * 5000), "cannot be read"),
    ],
)
def test_paths_that_lead_nowhere_are_rows_with_a_reason(path: Path, words: str) -> None:
    assert words in (describe(path).problem or "")


def _gguf(version: int = 3, tensors: int = 0, entries: int = 1, rest: bytes = b"") -> bytes:
    return b"GGUF" + struct.pack("<IQQ", version, tensors, entries) + rest


def _string(text: bytes) -> bytes:
    return struct.pack("<Q", len(text)) + text


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "ends inside"),
        (b"GGML" + bytes(100), "does not begin"),
        (_gguf(version=9), "version 9"),
        (_gguf(tensors=2**60), "claims"),
        (_gguf(rest=struct.pack("<Q", 2**63)), "claims"),
        (_gguf(rest=_string(b"k") + struct.pack("<IIQ", 9, 8, 2**62)), "claims"),
        (_gguf(rest=_string(b"k") + struct.pack("<IIQ", 9, 4, 2**62)), "claims"),
        (_gguf(rest=_string(b"k") + struct.pack("<I", 9) + struct.pack("<IQ", 9, 1) * 10), "nested"),
        (_gguf(rest=_string(b"k") + struct.pack("<I", 77)), "unknown type"),
        (_gguf(rest=_string(b"k") + struct.pack("<IIQ", 9, 8, 1000) + bytes(40)), "ends inside"),
        (_gguf(tensors=1, entries=0, rest=_string(b"t") + struct.pack("<I", 2**31)), "dimensions"),
        (_gguf(tensors=1, entries=0, rest=_string(b"t") + struct.pack("<IQIQ", 1, 2**62, 0, 0)), "not whole"),
    ],
)
def test_hostile_gguf_headers_are_refused_in_words(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "x.gguf"
    path.write_bytes(content)
    assert words in (describe(path).problem or "")


def test_a_gguf_file_that_was_cut_off_is_refused(tmp_path: Path) -> None:
    path = make_gguf(tmp_path / "x.gguf")
    os.truncate(path, path.stat().st_size - 1)
    assert "not whole" in (describe(path).problem or "")


def test_a_part_of_a_split_gguf_says_what_to_do(tmp_path: Path) -> None:
    path = make_gguf(tmp_path / "big-00001-of-00003.gguf")
    assert "llama-gguf-split --merge" in (describe(path).problem or "")


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_no_damage_to_a_header_raises_anything_but_its_own_error(tmp_path: Path, data: st.DataObject) -> None:
    original = tmp_path / "original.gguf"
    if not original.exists():
        make_gguf(original)
    content = bytearray(original.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    damaged = tmp_path / "damaged.gguf"
    damaged.write_bytes(content[: data.draw(st.integers(0, len(content)))])
    describe(damaged)
    for keep in (True, False):
        try:
            read_gguf_header(damaged, keep_arrays=keep)
        except UnreadableError:
            continue


def test_the_light_half_of_the_checkpoints_imports_nothing_heavy() -> None:
    modules = "describe, discover, resolve, starter, hub_cache, paths, library"
    library = "details, index, inventory, lineage, notes, scan"
    script = (
        f"import sys; from engine.checkpoints import {modules}; from engine.checkpoints.library import {library}; "
        "from engine import fit; print(' '.join(sys.modules))"
    )
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()
    heavy = {"torch", "transformers", "peft", "numpy", "gguf", "huggingface_hub", "tokenizers", "textual"}
    assert not heavy & set(loaded)
