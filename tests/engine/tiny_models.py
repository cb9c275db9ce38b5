"""Tiny checkpoints on disk, made on the spot: every family of HugChat's table, with a tokenizer and, when taught,
a lesson learnt by heart, so that tests talk to models that really answer."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import (
    AutoModelForCausalLM,
    GlmConfig,
    GPT2Config,
    GPTNeoConfig,
    LlamaConfig,
    OPTConfig,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen3Config,
)

Family = Literal["gpt2", "opt", "gpt_neo", "glm", "llama", "qwen2", "qwen3"]
FAMILIES: tuple[Family, ...] = ("gpt2", "opt", "gpt_neo", "glm", "llama", "qwen2", "qwen3")

CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)

_CORPUS = [
    "[Human]: What is the capital of France? \n [HugChat]: The capital of France is Paris. \n\n [Human]: And of Italy?",
    "user\nassistant\nsystem\n<|You are helpful.|> The quick brown fox jumps over the lazy dog, 1234567890 times.",
    "小明家里有3个苹果，他给了小红1个，小明还剩几个苹果？ 还剩下的苹果是：2 个",
    "Émile naïvely wrote “façade” — 😀 👍🏽 👨‍👩‍👧 — twice…",
]
_END_OF_TEXT: dict[Family, str] = {
    "gpt2": "<|endoftext|>",
    "opt": "</s>",
    "gpt_neo": "<|endoftext|>",
    "glm": "<|endoftext|>",
    "llama": "</s>",
    "qwen2": "<|endoftext|>",
    "qwen3": "<|endoftext|>",
}
_TURN_TOKENS = ("<|im_start|>", "<|im_end|>")


def byte_level_tokenizer(family: Family = "gpt2", special: Sequence[str] = _TURN_TOKENS) -> PreTrainedTokenizerFast:
    """A byte-level BPE of about 500 tokens, with the family's end of text and its habit about BOS."""
    end = _END_OF_TEXT[family]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=500,
        special_tokens=[end, *special],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_CORPUS, trainer)
    if family == "opt":
        tokenizer.post_processor = _begins_with(tokenizer, end)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=end if family == "opt" else None,
        eos_token=end,
        additional_special_tokens=list(special),
    )


def sentencepiece_like_tokenizer(
    prepend: Literal["first", "always"] = "first", special: Sequence[str] = _TURN_TOKENS
) -> PreTrainedTokenizerFast:
    """LLaMA's shape: words begin with U+2581, characters outside the vocabulary fall back to byte tokens."""
    trained = Tokenizer(models.BPE(unk_token="<unk>"))
    trained.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    trainer = trainers.BpeTrainer(vocab_size=150, special_tokens=["<unk>"], show_progress=False)
    trained.train_from_iterator(_CORPUS[:2], trainer)
    model = json.loads(trained.model.__getstate__())
    vocabulary: dict[str, int] = model["vocab"]
    for byte in range(256):
        vocabulary[f"<0x{byte:02X}>"] = len(vocabulary)
    merges = [tuple(merge) for merge in model["merges"]]
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=merges, unk_token="<unk>", byte_fallback=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=prepend, split=False)
    tokenizer.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(content=" ", left=1, right=0),
        ]
    )
    tokenizer.add_special_tokens([AddedToken(each, normalized=False) for each in ("<s>", "</s>", *special)])
    tokenizer.post_processor = _begins_with(tokenizer, "<s>")
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
        additional_special_tokens=list(special),
    )


def _begins_with(tokenizer: Tokenizer, token: str) -> processors.TemplateProcessing:
    token_id = tokenizer.token_to_id(token)
    return processors.TemplateProcessing(single=f"{token}:0 $A:0", special_tokens=[(token, token_id)])


def tokenizer_for(family: Family) -> PreTrainedTokenizerFast:
    return sentencepiece_like_tokenizer() if family == "llama" else byte_level_tokenizer(family)


def tiny_config(family: Family, tokenizer: PreTrainedTokenizerFast, context_length: int = 256) -> PreTrainedConfig:
    """Two layers, 64 wide. GPT-Neo's second layer looks back 16 tokens only."""
    common = {"vocab_size": len(tokenizer), "eos_token_id": tokenizer.eos_token_id, "pad_token_id": None}
    common["bos_token_id"] = tokenizer.bos_token_id
    llama_like = {
        **common,
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": context_length,
    }
    if family == "gpt2":
        return GPT2Config(**common, n_embd=64, n_layer=2, n_head=4, n_positions=context_length)
    if family == "opt":
        return OPTConfig(
            **{**common, "pad_token_id": 1},
            hidden_size=64,
            ffn_dim=128,
            num_hidden_layers=2,
            num_attention_heads=4,
            word_embed_proj_dim=64,
            max_position_embeddings=context_length,
        )
    if family == "gpt_neo":
        return GPTNeoConfig(
            **common,
            hidden_size=64,
            num_layers=2,
            num_heads=4,
            attention_types=[[["global", "local"], 1]],
            window_size=16,
            max_position_embeddings=context_length,
        )
    if family == "glm":
        return GlmConfig(**llama_like, head_dim=16)
    if family == "qwen2":
        return Qwen2Config(**llama_like)
    if family == "qwen3":
        return Qwen3Config(**llama_like, head_dim=16)
    return LlamaConfig(**llama_like)


def tiny_model(config: PreTrainedConfig, seed: int = 0) -> PreTrainedModel:
    """Random weights, the same for the same seed, wide enough apart that logits differ clearly."""
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(config).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() > 1:
                parameter.mul_(3 if "embed" not in name and "wte" not in name else 1)
    return model


def teach(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, texts: Sequence[str]) -> None:
    """Train until the model knows the texts by heart, as they are asked for: with BOS when there is no template."""
    opening = tokenizer.chat_template is None
    rows = [torch.tensor([tokenizer(text, add_special_tokens=opening)["input_ids"]]) for text in texts]
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2, weight_decay=0.0)
    known = 0
    for row in itertools.islice(itertools.cycle(rows), 400 * len(rows)):
        loss = model(input_ids=row, labels=row).loss
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        known = known + 1 if float(loss.detach()) < 0.05 else 0
        if known >= 3 * len(rows):
            break
    else:
        raise AssertionError(f"the lesson was not learnt: loss {float(loss):.3f}")
    model.eval()


def make_checkpoint(
    directory: Path,
    family: Family,
    *,
    chat_template: str | None = None,
    lesson: Sequence[str] = (),
    context_length: int = 256,
    seed: int = 0,
    max_shard_size: str = "1GB",
) -> Path:
    """A standard model directory (safetensors, config, tokenizer and, if given, a chat template)."""
    tokenizer = tokenizer_for(family)
    tokenizer.chat_template = chat_template
    config = tiny_config(family, tokenizer, context_length)
    if lesson:
        torch.manual_seed(seed)
        model = AutoModelForCausalLM.from_config(config)
        teach(model, tokenizer, lesson)
    else:
        model = tiny_model(config, seed)
    directory.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(directory, max_shard_size=max_shard_size)
    tokenizer.save_pretrained(directory)
    return directory
