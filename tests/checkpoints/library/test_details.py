"""What the details pane shows of a row, and that no content makes it fail or grow without end."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from engine.checkpoints.card import CARD_LIMIT, CardFacts
from engine.checkpoints.library.details import MAX_FILES, TEMPLATE_LIMIT, Details, FileEntry, read_details
from engine.checkpoints.library.rows import Places, Row
from tests.checkpoints.builders import LLAMA, make_adapter, make_cached, make_gguf, make_model, safetensors_bytes
from tests.checkpoints.library.repositories import add_revision, rows_of

CARD = b"---\nlicense: mit\nbase_model: org/base\n---\n# A model\n"


def _rows(tmp_path: Path) -> dict[str, Row]:
    return {row.name: row for row in rows_of(Places(tmp_path / "cache", tmp_path / "data", (tmp_path / "mine",)))}


def _details(tmp_path: Path, name: str) -> Details:
    return read_details(_rows(tmp_path)[name])


def test_a_cached_model_shows_files_card_template_and_config(tmp_path: Path) -> None:
    config = {**LLAMA, "num_hidden_layers": 2, "rope_scaling": {"type": "yarn"}, "unheard_of": 1}
    files = {
        "config.json": json.dumps(config).encode(),
        "tokenizer.json": b"{}",
        "sub/model.safetensors": b"",
        "model.safetensors": safetensors_bytes(),
        "README.md": CARD,
        "tokenizer_config.json": json.dumps({"chat_template": "{{ messages }}"}).encode(),
    }
    snapshot = add_revision(tmp_path / "cache", "org/model", "new", files, ref="main")
    (snapshot / "gone").symlink_to("../../blobs/gone")
    found = _details(tmp_path, "org/model")
    sizes = {name: len(content) for name, content in files.items()} | {"gone": -1}
    assert found.files == tuple(FileEntry(name, size) for name, size in sorted(sizes.items()))
    assert (found.card, found.facts) == ("# A model\n", CardFacts("mit", ("org/base",)))
    assert (found.template, found.template_source) == ("{{ messages }}", "tokenizer_config.json")
    assert found.config == (
        ("architectures", '["LlamaForCausalLM"]'),
        ("model_type", "llama"),
        ("num_hidden_layers", "2"),
        ("max_position_embeddings", "4096"),
        ("rope_scaling", '{"type": "yarn"}'),
    )
    assert found.notes == ()


@pytest.mark.parametrize(
    ("files", "source", "template"),
    [
        ({"chat_template.jinja": b"a", "tokenizer_config.json": b'{"chat_template": "b"}'}, "chat_template.jinja", "a"),
        ({"chat_template.json": b'{"chat_template": "c"}'}, "chat_template.json", "c"),
        (
            {
                "tokenizer_config.json": b'{"x": NaN, "chat_template": [{"name": "rag", "template": "r"}, '
                b'{"name": "default", "template": "d"}]}'
            },
            "tokenizer_config.json",
            "d",
        ),
        ({"tokenizer_config.json": b'{"chat_template": [{"name": ["x"]}, 7]}'}, "", ""),
        ({}, "", ""),
    ],
)
def test_the_template_is_the_one_transformers_would_take(
    tmp_path: Path, files: dict[str, bytes], source: str, template: str
) -> None:
    model = make_model(tmp_path / "mine" / "m")
    for name, content in files.items():
        (model / name).write_bytes(content)
    found = _details(tmp_path, "m")
    assert (found.template_source, found.template) == (source, template)


def test_an_adapter_shows_its_settings_and_the_template_of_its_base(tmp_path: Path) -> None:
    base = make_model(tmp_path / "mine" / "base")
    (base / "chat_template.jinja").write_text("from the base")
    adapter = make_adapter(tmp_path / "mine" / "adapter", "base")
    config = json.loads((adapter / "adapter_config.json").read_text())
    config |= {"r": 8, "lora_alpha": 16, "use_rslora": True, "target_modules": ["q_proj", "v_proj"]}
    (adapter / "adapter_config.json").write_text(json.dumps(config))
    row = _rows(tmp_path)["adapter"]
    found = read_details(row)
    assert (found.template, found.template_source, found.lineage) == ("from the base", "base", ("base", "adapter"))
    assert dict(found.config)["r"] == "8"
    known = row.checkpoint
    assert known is not None
    assert (known.adapter_method, known.adapter_rank, known.adapter_alpha) == ("rslora", 8, 16.0)
    assert (known.adapter_targets, known.template_source) == (("q_proj", "v_proj"), "base")


def test_a_gguf_file_shows_what_its_header_says_and_the_card_beside_it(tmp_path: Path) -> None:
    snapshot = make_cached(tmp_path / "cache", "org/quants")
    for name in ("a.gguf", "b.gguf"):
        make_gguf(snapshot / name, template="{{ gguf }}")
    (snapshot / "README.md").write_bytes(CARD)
    found = _details(tmp_path, "org/quants/a.gguf")
    assert [file.path for file in found.files] == ["a.gguf"]
    assert (found.template, found.template_source, found.card) == ("{{ gguf }}", "GGUF", "# A model\n")
    assert dict(found.config)["llama.context_length"] == "2048"
    alone = make_gguf(make_cached(tmp_path / "cache", "org/single") / "b.gguf")
    (alone.parent / "README.md").write_bytes(CARD)
    single = _details(tmp_path, "org/single")
    assert (single.card, [file.path for file in single.files]) == ("# A model\n", ["README.md", "b.gguf"])


def test_a_row_without_a_checkpoint_shows_its_files(tmp_path: Path) -> None:
    blobs = tmp_path / "cache" / "models--org--going" / "blobs"
    blobs.mkdir(parents=True)
    (blobs / "x.0123.incomplete").write_bytes(b"123")
    assert read_details(_rows(tmp_path)["org/going"]) == Details(files=(FileEntry("blobs/x.0123.incomplete", 3),))


def test_what_is_too_much_is_cut_and_said(tmp_path: Path) -> None:
    model = make_model(tmp_path / "mine" / "m", {**LLAMA, "architectures": ["x" * 100_000]})
    (model / "README.md").write_bytes(b"x" * (CARD_LIMIT + 1))
    (model / "chat_template.jinja").write_text("x" * (TEMPLATE_LIMIT + 1))
    for number in range(MAX_FILES):
        (model / f"file-{number}").touch()
    found = _details(tmp_path, "m")
    assert (len(found.files), len(found.card), len(found.template)) == (MAX_FILES, CARD_LIMIT, TEMPLATE_LIMIT)
    assert len(dict(found.config)["architectures"]) < 300
    assert ["listed" in note or "cut" in note for note in found.notes] == [True] * len(found.notes)
    assert len(found.notes) >= 2


def test_what_cannot_be_read_is_noted(tmp_path: Path) -> None:
    model = make_model(tmp_path / "mine" / "m")
    row = _rows(tmp_path)["m"]
    (model / "config.json").write_bytes(b"[" * 100_000)
    os.mkfifo(model / "README.md")
    found = read_details(row)
    assert found.notes == ("config.json is nested too deeply.",)
    for path in model.iterdir():
        path.unlink()
    assert read_details(row) == Details()
