"""The nine corpora that HugChat was trained on: where each comes from, under which licence, and in which format."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

_HUB = "https://huggingface.co/datasets/"


@dataclass(frozen=True, slots=True)
class Corpus:
    """A corpus by name.

    licence: its SPDX id, or what its source says. hub: the id of the Hub data set it is fetched from. files: patterns
    of the files there that are trained on. rows: as published, 0 where nobody says. format: of formats.FORMATS. notes:
    what a person is to know before using it.
    """

    name: str
    title: str
    licence: str
    licence_url: str
    hub: str
    files: tuple[str, ...]
    rows: int
    language: Literal["en", "zh"]
    format: str
    original: str
    notes: str = ""


_RESEARCH = "For research only: its authors forbid commercial use, whatever the licence tag says. Written by ChatGPT."
_ALL = (
    Corpus(
        "medmcqa",
        "MedMCQA: questions of Indian medical entrance exams",
        "apache-2.0",
        f"{_HUB}openlifescienceai/medmcqa",
        "openlifescienceai/medmcqa",
        ("data/train-*.parquet",),
        182_822,
        "en",
        "medmcqa",
        "https://github.com/medmcqa/medmcqa",
        "cop counts from 0 on the Hub and from 1 in the original; the test split has no answers.",
    ),
    Corpus(
        "medqa-usmle",
        "MedQA: questions of the United States medical licensing exam",
        "cc-by-4.0",
        f"{_HUB}GBaker/MedQA-USMLE-4-options",
        "GBaker/MedQA-USMLE-4-options",
        ("phrases_no_exclude_train.jsonl",),
        10_178,
        "en",
        "medqa-usmle",
        "https://github.com/jind11/MedQA",
        "A copy with four options of each question; the original has five.",
    ),
    Corpus(
        "pubmedqa",
        "PubMedQA: questions answered by abstracts of articles",
        "mit",
        f"{_HUB}qiaojin/PubMedQA",
        "qiaojin/PubMedQA",
        ("pqa_artificial/train-*.parquet",),
        211_269,
        "en",
        "pubmedqa",
        "https://github.com/pubmedqa/pubmedqa",
        "The generated questions, on which HugChat was trained; its 1,000 labelled ones are the usual test set.",
    ),
    Corpus(
        "alpaca",
        "Stanford Alpaca: instructions written by text-davinci-003",
        "cc-by-nc-4.0",
        f"{_HUB}tatsu-lab/alpaca",
        "tatsu-lab/alpaca",
        ("data/train-*.parquet",),
        52_002,
        "en",
        "alpaca",
        "https://github.com/tatsu-lab/stanford_alpaca/blob/main/alpaca_data.json",
        "Not for commercial use.",
    ),
    Corpus(
        "belle-1m",
        "BELLE train_1M_CN: a million Chinese instructions",
        "gpl-3.0",
        f"{_HUB}BelleGroup/train_1M_CN",
        "BelleGroup/train_1M_CN",
        ("*.json",),
        917_424,
        "zh",
        "alpaca",
        "https://github.com/LianjiaTech/BELLE",
        _RESEARCH,
    ),
    Corpus(
        "belle-school-math",
        "BELLE school_math_0.25M: Chinese school mathematics, solved step by step",
        "gpl-3.0",
        f"{_HUB}BelleGroup/school_math_0.25M",
        "BelleGroup/school_math_0.25M",
        ("*.json",),
        248_481,
        "zh",
        "alpaca",
        "https://github.com/LianjiaTech/BELLE",
        f"{_RESEARCH} Its authors did not check the answers.",
    ),
    Corpus(
        "belle-multiturn",
        "BELLE multiturn_chat_0.8M: Chinese conversations",
        "gpl-3.0",
        f"{_HUB}BelleGroup/multiturn_chat_0.8M",
        "BelleGroup/multiturn_chat_0.8M",
        ("*.json",),
        831_036,
        "zh",
        "belle-multiturn",
        "https://github.com/LianjiaTech/BELLE",
        _RESEARCH,
    ),
    Corpus(
        "gpt4all-p3",
        "GPT4All: prompts answered by GPT-3.5-Turbo, those of P3 among them",
        "apache-2.0",
        f"{_HUB}nomic-ai/gpt4all_prompt_generations_with_p3",
        "nomic-ai/gpt4all_prompt_generations_with_p3",
        ("data.jsonl",),
        0,
        "en",
        "gpt4all-p3",
        "https://github.com/nomic-ai/gpt4all",
        "815 MB. OpenAI's terms may apply to the answers. Many answers to P3's prompts are a single word.",
    ),
    Corpus(
        "oig",
        "OIG: the Open Instruction Generalist data set",
        "apache-2.0",
        f"{_HUB}laion/OIG",
        "laion/OIG",
        tuple(
            f"unified_{name}.jsonl"
            for name in (
                "abstract_infill",
                "chip2",
                "conv_finqa",
                "essays",
                "grade_school_math_instructions",
                "hc3_human",
                "joke_explanations",
                "soda_dialog",
                "squad_v2",
                "unnatural_instructions",
            )
        ),
        0,
        "en",
        "oig",
        "https://huggingface.co/datasets/laion/OIG",
        "The files that HugChat was trained on; the whole is tens of GB. Its parts come from many sources, and "
        "their own terms apply.",
    ),
)

CORPORA: dict[str, Corpus] = {corpus.name: corpus for corpus in _ALL}
