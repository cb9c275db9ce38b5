"""Training speed against TRL and against HugNLP's way: python -m benchmarks.sft [--steps N] [--rounds N]

The same starter model, rows, length (512), adapter (LoRA 8 on all linear layers) and machine; real tokens a second,
padding not counted, of the steps after the first two. Each way runs in a process of its own, in turns, and the ratios
are of the medians. Bars: 1.3 times TRL's SFTTrainer with packing, 5 times HugNLP's way, which pads every row to 512 and
takes the loss on all of it. TRL is measured where it can be imported (pip install trl).
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

from engine.checkpoints.paths import data_dir
from engine.checkpoints.starter import starter_installed, starter_path

TRL_BAR = 1.3
HUGNLP_BAR = 5.0
LENGTH = 512
ROWS_A_STEP = 2  # packs of 512 tokens, or as many padded rows
WARM = 2  # steps that do not count
WORDS = ["the", "harbour", "gives", "shelter", "to", "every", "boat", "that", "waits", "for", "weather,", "and", "fish"]


def write_rows(path: Path, rows: int) -> None:
    """Conversations as long as Alpaca's: 80 characters of question and 270 of answer on average, a few far longer.

    52,001 rows are 47,764,738 bytes there, with each text twice (huggingface.co/datasets/tatsu-lab/alpaca), which
    leaves some 350 characters a row. Five characters a token, as English prose has: about 106 tokens with the template.
    """
    chance = random.Random(0)
    with path.open("w", encoding="utf-8") as file:
        for number in range(rows):
            length = min(420, max(3, round(chance.lognormvariate(3.51, 0.9))))
            question = f"Question {number}: " + " ".join(chance.choices(WORDS, k=chance.randint(5, 20)))
            answer = " ".join(chance.choices(WORDS, k=length))
            messages = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
            file.write(json.dumps({"messages": messages}) + "\n")


def ours(model: Path, rows: Path, steps: int) -> float:
    """Real tokens a second of a run of sft."""
    from sft.config import Checkpoints, Data, Evaluation, Launch, Model, Recipe, Source, Training
    from sft.events import tail
    from sft.runs import create_run

    with tempfile.TemporaryDirectory() as name:
        recipe = Recipe(
            model=Model(base=str(model)),
            data=Data(sources=(Source(path=str(rows)),), max_length=LENGTH, held_out=0.0),
            training=Training(max_steps=steps, accumulation=ROWS_A_STEP),
            evaluation=Evaluation(every=0),
            checkpoints=Checkpoints(every=0),
            launch=Launch(device="cpu"),
        )
        run = create_run(recipe, Path(name), name="benchmark")
        subprocess.run(
            [sys.executable, "-m", "sft.supervise", str(run.path)],
            env={**os.environ, "HUGCHAT_DATA_DIR": name},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            check=True,
        )
        steps_told = [each for each in tail(run.events, 0, 1 << 28).records if each["type"] == "step"][WARM:]
        tokens: int = steps_told[-1]["tokens"] - steps_told[0]["tokens"]
        seconds: float = sum(each["seconds"] for each in steps_told[1:])
        return tokens / seconds


def trl(model: Path, rows: Path, steps: int) -> float:
    """Real tokens a second of TRL's SFTTrainer, packing its way."""
    import torch
    from datasets import load_dataset
    from peft import LoraConfig
    from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
    from trl import SFTConfig, SFTTrainer

    times: list[float] = []

    class Clock(TrainerCallback):  # type: ignore[misc]
        def on_step_end(self, *arguments: object, **keywords: object) -> None:
            times.append(time.perf_counter())

    tokens: list[int] = []
    with tempfile.TemporaryDirectory() as folder:
        settings = SFTConfig(
            output_dir=folder,
            max_steps=steps,
            per_device_train_batch_size=1,
            gradient_accumulation_steps=ROWS_A_STEP,
            max_length=LENGTH,
            packing=True,
            assistant_only_loss=False,
            learning_rate=2e-4,
            use_cpu=True,
            bf16=False,
            gradient_checkpointing=False,
            report_to=[],
            save_strategy="no",
            logging_steps=1000,
            seed=42,
        )
        trainer = SFTTrainer(
            model=AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32),
            processing_class=AutoTokenizer.from_pretrained(model),
            args=settings,
            train_dataset=load_dataset("json", data_files=str(rows), split="train", cache_dir=folder),
            peft_config=LoraConfig(task_type="CAUSAL_LM", r=8, lora_alpha=16, target_modules="all-linear"),
            callbacks=[Clock()],
        )
        inner = trainer.data_collator

        def counting(examples: list[dict[str, list[int]]]) -> object:
            tokens.append(sum(len(each["input_ids"]) for each in examples))
            return inner(examples)

        trainer.data_collator = counting
        trainer.train()
    return _rate(times, tokens)


def hugnlp(model: Path, rows: Path, steps: int) -> float:
    """Real tokens a second of what HugNLP does: every row padded to 512, loss on all of it."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model)
    network = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
    network = get_peft_model(
        network, LoraConfig(task_type="CAUSAL_LM", r=8, lora_alpha=16, target_modules="all-linear")
    ).train()
    optimizer = torch.optim.AdamW([each for each in network.parameters() if each.requires_grad], lr=2e-4)
    texts = [json.loads(line)["messages"] for line in rows.read_text("utf-8").splitlines()]
    random.Random(1).shuffle(texts)
    times, tokens, at = [], [], 0
    for _ in range(steps):
        for _ in range(ROWS_A_STEP):
            ids = tokenizer.apply_chat_template(texts[at % len(texts)], tokenize=True, return_dict=False)[:LENGTH]
            at += 1
            row = torch.tensor([ids + [tokenizer.pad_token_id] * (LENGTH - len(ids))])
            (network(input_ids=row, labels=row).loss / ROWS_A_STEP).backward()
            tokens.append(len(ids))
        optimizer.step()
        optimizer.zero_grad()
        times.append(time.perf_counter())
    return _rate(times, tokens)


def _rate(times: list[float], tokens: list[int]) -> float:
    """tokens: of each micro step; times: of each step's end."""
    counted = tokens[(WARM + 1) * ROWS_A_STEP : len(times) * ROWS_A_STEP]
    return sum(counted) / (times[-1] - times[WARM])


WAYS: dict[str, Callable[[Path, Path, int], float]] = {"ours": ours, "trl": trl, "hugnlp": hugnlp}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    parser.add_argument("--rows", type=Path, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if not starter_installed(data_dir()):
        print("The starter model is not installed: hugchat --model starter")
        return 1
    model = starter_path(data_dir())
    if chosen.way:
        print(f"rate {WAYS[chosen.way](model, chosen.rows, chosen.steps)}")
        return 0
    ways = [way for way in WAYS if way != "trl" or find_spec("trl")]
    rates: dict[str, list[float]] = {way: [] for way in ways}
    with tempfile.TemporaryDirectory() as name:
        rows = Path(name) / "rows.jsonl"
        write_rows(rows, 600)
        for _ in range(chosen.rounds):
            for way in ways:
                rates[way].append(_measured(way, rows, chosen.steps))
                print(f"{way}: {rates[way][-1]:.1f} real tokens/s", flush=True)
    medians = {way: statistics.median(found) for way, found in rates.items()}
    held = _told("HugNLP's way", medians["ours"] / medians["hugnlp"], HUGNLP_BAR)
    if "trl" not in medians:
        print("TRL is not installed, so it was not measured: pip install trl")
        return 1
    return 0 if _told("TRL with packing", medians["ours"] / medians["trl"], TRL_BAR) and held else 1


def _measured(way: str, rows: Path, steps: int) -> float:
    command = [sys.executable, "-m", "benchmarks.sft", "--way", way, "--rows", str(rows), "--steps", str(steps)]
    told = subprocess.run(command, capture_output=True, text=True, check=False)
    rate = next((line for line in told.stdout.splitlines() if line.startswith("rate ")), None)
    if rate is None:
        raise SystemExit(f"{way} failed:\n{told.stderr[-3000:]}")
    return float(rate.removeprefix("rate "))


def _told(other: str, ratio: float, bar: float) -> bool:
    print(f"{ratio:.2f} times {other} (bar {bar})")
    return ratio >= bar


if __name__ == "__main__":
    sys.exit(main())
