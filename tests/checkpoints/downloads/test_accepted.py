"""What other programs make of a download: a model pulled from the loopback Hub, and the tools that it is for."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from engine.checkpoints.downloads.manager import Downloads
from engine.checkpoints.hub_cache import HubReference
from tests.engine.tiny_models import make_checkpoint
from tests.hub_server import HubServer

# The client's own tools on the cache, with the Hub there for its checksums alone.
_TOOLS = """
import sys
from pathlib import Path
from huggingface_hub import HfApi, scan_cache_dir, snapshot_download
cache, commit, count = sys.argv[1:]
path = snapshot_download("org/tiny", cache_dir=cache, local_files_only=True)
assert Path(path).name == commit, path
scanned = scan_cache_dir(cache)
assert not scanned.warnings, scanned.warnings
[revision] = [revision for repo in scanned.repos for revision in repo.revisions]
assert (revision.commit_hash, revision.refs, revision.nb_files) == (commit, {"main"}, int(count)), revision
result = HfApi().verify_repo_checksums("org/tiny", revision=commit, cache_dir=cache)
assert not result.mismatches and result.checked_count == int(count), result
"""
_TRANSFORMERS = """
import sys
from transformers import AutoModelForCausalLM, AutoTokenizer
cache = sys.argv[1]
tokenizer = AutoTokenizer.from_pretrained("org/tiny", cache_dir=cache)
model, report = AutoModelForCausalLM.from_pretrained("org/tiny", cache_dir=cache, output_loading_info=True)
assert not any(report.values()), report
print(model(**tokenizer("Hello", return_tensors="pt")).logits[0, -1].sum().item())
"""
_ORIGINAL = """
import sys
from transformers import AutoModelForCausalLM, AutoTokenizer
tokenizer, model = AutoTokenizer.from_pretrained(sys.argv[1]), AutoModelForCausalLM.from_pretrained(sys.argv[1])
print(model(**tokenizer("Hello", return_tensors="pt")).logits[0, -1].sum().item())
"""


def _output(script: str, *arguments: object) -> str:
    command = [sys.executable, "-c", script, *map(str, arguments)]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


@pytest.mark.slow
async def test_transformers_and_the_hubs_own_tools_take_a_download_for_theirs(
    hub: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = make_checkpoint(tmp_path / "original", "gpt2", max_shard_size="200KB")
    repository = hub.add("org/tiny", {file.name: file.read_bytes() for file in original.iterdir()})
    cache = tmp_path / "cache"
    assert len(list(original.glob("*.safetensors"))) > 1
    downloads = Downloads(tmp_path / "data")
    path = await downloads.wait(await downloads.add(HubReference("org/tiny"), cache_dir=cache))
    await downloads.close()
    _output(_TOOLS, cache, repository.commit, len(list(path.iterdir())))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert _output(_TRANSFORMERS, cache) == _output(_ORIGINAL, original)
