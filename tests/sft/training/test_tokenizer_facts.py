"""The tokenizer of a checkpoint, read by a process with transformers for those without."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tokenizers import Tokenizer
from transformers import AutoTokenizer

from engine.chat_templates import hugchat_template
from engine.checkpoints.describe import describe
from engine.checkpoints.model import Checkpoint
from engine.errors import CheckpointRefusedError, EngineError
from sft.data.tokenizer import ChatTokenizer, kept_chat_tokenizer, read_chat_tokenizer
from sft.errors import SftError
from sft.training.tokenizer_facts import tokenizer_facts
from tests.engine.tiny_models import CHATML, FAMILIES, Family, tokenizer_for

TEXT = "Émile wrote 3 lines —\n twice… 😀 小明"


def checkpoint(directory: Path, family: Family = "llama", template: str | None = CHATML, **config: object) -> Path:
    """Config and tokenizer; weights are not looked at."""
    tokenizer = tokenizer_for(family)
    tokenizer.chat_template = template
    tokenizer.save_pretrained(directory)
    kind = {"model_type": family, "vocab_size": len(tokenizer), **config}
    (directory / "config.json").write_text(json.dumps(kind))
    return directory


@pytest.mark.parametrize("family", FAMILIES)
def test_it_encodes_as_transformers_does(tmp_path: Path, family: Family) -> None:
    path = checkpoint(tmp_path, family)
    facts = tokenizer_facts(path)
    tokenizer = AutoTokenizer.from_pretrained(path, trust_remote_code=False)
    ids = tokenizer(TEXT, add_special_tokens=False)["input_ids"]
    assert Tokenizer.from_str(facts.tokenizer_json).encode(TEXT, add_special_tokens=False).ids == ids
    assert facts.eos_id == tokenizer.eos_token_id
    assert facts.vocabulary == len(tokenizer)
    assert facts.template == CHATML
    assert facts.template_kind == "checkpoint"
    assert facts.variables["eos_token"] == tokenizer.eos_token
    assert list(facts.opening_ids) + ids == tokenizer(TEXT)["input_ids"]
    assert {content: token_id for content, token_id, *_ in facts.special} == {
        token.content: token_id for token_id, token in tokenizer.added_tokens_decoder.items() if token.special
    }


def test_the_starter_model_is_read_by_a_process_of_its_own(starter: Path) -> None:
    facts = read_chat_tokenizer(describe(starter))
    assert facts == tokenizer_facts(starter)
    assert facts.vocabulary == 49152
    assert "<|im_start|>" in facts.template


def test_an_answer_is_kept_while_the_checkpoint_stays_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = checkpoint(tmp_path / "model")
    asked: list[str] = []

    def read(checkpoint: Checkpoint, template: str) -> ChatTokenizer:
        asked.append(template)
        return tokenizer_facts(checkpoint.path, template=template)

    monkeypatch.setattr("sft.data.tokenizer.read_chat_tokenizer", read)
    model = Checkpoint("model", path, "model", "folder")
    first = kept_chat_tokenizer(model, "", tmp_path / "kept")
    assert kept_chat_tokenizer(model, "", tmp_path / "kept") == first
    assert asked == [""]
    assert kept_chat_tokenizer(model, "hugchat", tmp_path / "kept").template_kind == "hugchat"
    checkpoint(path, template=CHATML + " ")
    assert kept_chat_tokenizer(model, "", tmp_path / "kept").template == CHATML + " "
    assert asked == ["", "hugchat", ""]


def test_an_answer_that_was_torn_is_asked_for_again(tmp_path: Path) -> None:
    model = Checkpoint("model", checkpoint(tmp_path / "model"), "model", "folder")
    first = kept_chat_tokenizer(model, "", tmp_path / "kept")
    (kept,) = (tmp_path / "kept").iterdir()
    kept.write_text("{")
    assert kept_chat_tokenizer(model, "", tmp_path / "kept") == first


def test_it_is_saved_whole_and_says_when_it_changed(tmp_path: Path) -> None:
    facts = tokenizer_facts(checkpoint(tmp_path / "model"))
    facts.save(tmp_path / "chat.json")
    assert ChatTokenizer.load(tmp_path / "chat.json") == facts
    assert ChatTokenizer.load(tmp_path / "chat.json").fingerprint() == facts.fingerprint()
    other = tokenizer_facts(checkpoint(tmp_path / "other", template=CHATML + " "))
    assert other.fingerprint() != facts.fingerprint()
    (tmp_path / "chat.json").write_text("{")
    with pytest.raises(SftError, match="could not be read"):
        ChatTokenizer.load(tmp_path / "chat.json")


def test_without_a_template_it_is_hugchats_and_one_may_be_named(tmp_path: Path) -> None:
    path = checkpoint(tmp_path / "model", template=None)
    assert tokenizer_facts(path).template_kind == "hugchat"
    with_own = checkpoint(tmp_path / "own")
    hugchat = tokenizer_facts(with_own, template="hugchat")
    assert (hugchat.template, hugchat.template_kind) == (hugchat_template(), "hugchat")
    (tmp_path / "mine.jinja").write_text("{{ messages }}")
    mine = tokenizer_facts(path, template=str(tmp_path / "mine.jinja"))
    assert (mine.template, mine.template_kind) == ("{{ messages }}", "checkpoint")
    with pytest.raises(SftError, match=r"absent\.jinja"):
        tokenizer_facts(path, template=str(tmp_path / "absent.jinja"))


def test_an_adapter_uses_its_own_tokenizer_or_its_bases(tmp_path: Path) -> None:
    base = checkpoint(tmp_path / "base", template=None)
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    (adapter / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "task_type": "CAUSAL_LM"}))
    assert tokenizer_facts(adapter, base) == tokenizer_facts(base)
    tokenizer = tokenizer_for("llama")
    tokenizer.chat_template = CHATML
    tokenizer.save_pretrained(adapter)
    assert tokenizer_facts(adapter, base).template == CHATML
    with pytest.raises(CheckpointRefusedError, match="needs the model"):
        tokenizer_facts(adapter)


def test_code_of_a_checkpoint_is_refused_and_never_run(tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    path = checkpoint(tmp_path / "model", auto_map={"AutoConfig": "code.Config", "AutoModelForCausalLM": "code.Model"})
    (path / "code.py").write_text(f"open({str(ran)!r}, 'w')")
    with pytest.raises(EngineError, match="its own code") as refused:
        read_chat_tokenizer(Checkpoint("model", path, "model", "folder"))
    assert "converted" in refused.value.hint
    assert not ran.exists()


def test_a_tokenizer_with_code_of_its_own_is_refused(tmp_path: Path) -> None:
    path = checkpoint(tmp_path / "model")
    config = json.loads((path / "tokenizer_config.json").read_text())
    config["auto_map"] = {"AutoTokenizer": ["code.Slow", None]}
    (path / "tokenizer_config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointRefusedError, match="code of its own"):
        tokenizer_facts(path)


def test_what_is_broken_or_absent_is_told_in_words(tmp_path: Path) -> None:
    path = checkpoint(tmp_path / "model")
    (path / "tokenizer.json").write_text("{}")
    with pytest.raises(SftError, match="could not be loaded"):
        read_chat_tokenizer(Checkpoint("model", path, "model", "folder"))
    with pytest.raises(SftError, match="There is no"):
        read_chat_tokenizer(Checkpoint("gone", tmp_path / "gone", "model", "folder"))
