"""Another adapter on the base that is loaded: the same numbers as after a load, and the base comes back bit for bit."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
import torch
from peft import IA3Config, LoraConfig, TaskType, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from engine import protocol
from engine.checkpoints.model import Checkpoint
from engine.errors import CheckpointRefusedError, EngineError
from engine.pool import EnginePool
from engine.slots import measure_place
from engine.worker.session import Session
from tests.engine.scripted import SCRIPTS, text_of
from tests.engine.scripted import ask as ask_worker
from tests.engine.tiny_models import CHATML, Family, make_checkpoint
from tests.engine.worker.conversing import ask

PLENTY = 1 << 30
QUESTION = "What is the capital of France?"


def quiet(stage: str, done: int, total: int) -> None:
    """Progress that nobody watches."""


_opened: list[Session] = []


@pytest.fixture(autouse=True)
def sessions_are_closed() -> Iterator[None]:
    """Each has a process that renders its template, and the tests of workers look for processes left behind."""
    yield
    for session in _opened:
        session.close()
    _opened.clear()


def load(path: Path, base: Path | None = None, spare: int = PLENTY, dtype: str = "float32") -> Session:
    where = None if base is None else str(base)
    request = protocol.Load(id=1, path=str(path), base=where, device="cpu", dtype=dtype, spare=spare)
    _opened.append(Session.load(request, quiet))
    return _opened[-1]


def adapt(session: Session, adapter: Path | None, spare: int = PLENTY) -> Session:
    request = protocol.Adapt(id=2, adapter=None if adapter is None else str(adapter), spare=spare)
    _opened.append(session.adapt(request, quiet))
    return _opened[-1]


def weights(session: Session) -> dict[str, torch.Tensor]:
    """A copy of every number of the model."""
    return {name: tensor.clone() for name, tensor in session._loaded.model.state_dict().items()}


def same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    """Whether two models are the same, bit for bit."""
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def make_adapter(base: Path, directory: Path, seed: int = 1, **options: object) -> Path:
    torch.manual_seed(seed)
    settings = {"target_modules": "all-linear", "init_lora_weights": False, **options}
    config = LoraConfig(r=4, task_type=TaskType.CAUSAL_LM, **settings)
    get_peft_model(AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32), config).save_pretrained(directory)
    return directory


@pytest.mark.parametrize(
    ("family", "dtype", "options"),
    [
        ("llama", "bfloat16", {}),
        ("gpt2", "float32", {"use_dora": True}),
        ("opt", "float32", {"target_modules": ["q_proj", "fc1"], "use_rslora": True}),
    ],
)
def test_an_exchanged_adapter_is_as_if_it_had_been_loaded_and_the_base_comes_back_bit_for_bit(
    tmp_path: Path, family: Family, dtype: str, options: dict[str, object]
) -> None:
    base = make_checkpoint(tmp_path / "base", family, chat_template=CHATML)
    first, second = (make_adapter(base, tmp_path / str(seed), seed, **options) for seed in (1, 2))
    fresh = {path: load(path, base, dtype=dtype) for path in (first, second)}
    session = load(base, dtype=dtype)
    plain, said = weights(session), ask(session, QUESTION)
    for adapter in (first, second, first, None, second):
        session = adapt(session, adapter)
        if adapter is None:
            assert same(weights(session), plain)
            assert ask(session, QUESTION).token_ids == said.token_ids
            assert (session.info.adapter, session.info.path, session.info.kept_bytes) == (None, str(base), 0)
            continue
        assert not same(weights(session), plain)
        assert same(weights(session), weights(fresh[adapter]))
        assert session.info == fresh[adapter].info and session.info.kept_bytes > 0
        reply = ask(session, QUESTION)
        assert reply.token_ids == ask(fresh[adapter], QUESTION).token_ids
    assert same(weights(adapt(fresh[first], None)), plain), "the way back of what was loaded as an adapter"


def test_what_was_read_with_another_adapter_is_read_again(tmp_path: Path) -> None:
    base = make_checkpoint(tmp_path / "base", "llama", chat_template=CHATML)
    session = load(base)
    ask(session, QUESTION)
    assert ask(session, QUESTION).started.cached_tokens > 0
    adapted = adapt(session, make_adapter(base, tmp_path / "adapter"))
    assert ask(adapted, QUESTION).started.cached_tokens == 0


def test_an_adapters_own_tokenizer_and_template_come_and_go_with_it(tmp_path: Path) -> None:
    base = make_checkpoint(tmp_path / "base", "llama")
    adapter = make_adapter(base, tmp_path / "adapter")
    tokenizer = AutoTokenizer.from_pretrained(base)
    tokenizer.chat_template = CHATML
    tokenizer.save_pretrained(adapter)
    session = load(base)
    templates = [session.info.template]
    for each in (adapter, None):
        session = adapt(session, each)
        templates.append(session.info.template)
    assert templates == ["hugchat", "checkpoint", "hugchat"]


@pytest.mark.parametrize("begin", ["base", "adapter"])
def test_an_exchange_that_fails_leaves_everything_as_it_was(tmp_path: Path, begin: str) -> None:
    base = make_checkpoint(tmp_path / "base", "llama", chat_template=CHATML)
    good = make_adapter(base, tmp_path / "good")
    session = load(base) if begin == "base" else load(good, base)
    before, said = weights(session), ask(session, QUESTION).token_ids

    tensors = load_file(good / "adapter_model.safetensors")
    lacking = make_adapter(base, tmp_path / "lacking")
    save_file(dict(list(tensors.items())[1:]), lacking / "adapter_model.safetensors")
    broken = make_adapter(base, tmp_path / "broken")
    last = max(tensors)
    save_file({**tensors, last: tensors[last] * float("nan")}, broken / "adapter_model.safetensors")
    wider = make_checkpoint(tmp_path / "wider", "gpt2")
    misfit = make_adapter(wider, tmp_path / "misfit")
    for adapter in (lacking, broken, misfit, tmp_path / "nowhere"):
        with pytest.raises(EngineError):
            adapt(session, adapter)
        assert same(weights(session), before), adapter.name
        assert ask(session, QUESTION).token_ids == said
    session = adapt(session, None)
    assert same(weights(session), weights(load(base)))


def test_where_memory_is_short_nothing_is_exchanged(tmp_path: Path) -> None:
    """A load does without what it would take to go back; an exchange does not begin."""
    base = make_checkpoint(tmp_path / "base", "llama")
    first, second = (make_adapter(base, tmp_path / str(seed), seed) for seed in (1, 2))
    session = load(base)
    plain = weights(session)
    with pytest.raises(EngineError, match="cannot be kept"):
        adapt(session, first, spare=1000)
    assert same(weights(session), plain)
    poor = load(first, base, spare=1000)
    assert poor.info.kept_bytes == 0
    with pytest.raises(EngineError, match="were not kept"):
        adapt(poor, second)
    assert same(weights(poor), weights(load(first, base)))


def test_an_adapter_that_does_more_than_to_add_is_not_exchanged(tmp_path: Path) -> None:
    """PEFT writes biases and embeddings that came with an adapter over the base's own."""
    base = make_checkpoint(tmp_path / "base", "opt")
    biased = make_adapter(base, tmp_path / "biased", bias="all")
    embedding = make_adapter(base, tmp_path / "embedding", target_modules=["q_proj", "embed_tokens"])
    for changed, part in ((biased, ".bias"), (embedding, ".base_layer.")):
        tensors = load_file(changed / "adapter_model.safetensors")
        assert any(part in name for name in tensors)
        otherwise = {name: tensor + 1 if part in name else tensor for name, tensor in tensors.items()}
        save_file(otherwise, changed / "adapter_model.safetensors")
    torch.manual_seed(1)
    scaling = IA3Config(task_type=TaskType.CAUSAL_LM, init_ia3_weights=False)
    get_peft_model(AutoModelForCausalLM.from_pretrained(base), scaling).save_pretrained(tmp_path / "scaling")
    session = load(base)
    plain = weights(session)
    for adapter in (biased, embedding, tmp_path / "scaling"):
        assert load(adapter, base).info.kept_bytes == 0
        with pytest.raises(EngineError, match="does more than to add"):
            adapt(session, adapter)
        assert same(weights(session), plain), adapter.name


# The pool, with real workers whose session is scripted (worker_scripts/scripted_adapters.py).


@pytest.fixture
async def pool(monkeypatch: pytest.MonkeyPatch, notices: list[str]) -> AsyncIterator[EnginePool]:
    monkeypatch.setenv("PYTHONPATH", str(SCRIPTS))
    pool = EnginePool(notices.append, session="scripted_adapters")
    before = psutil.Process().children()
    yield pool
    await pool.close()
    left = [child for child in psutil.Process().children() if child.status() != psutil.STATUS_ZOMBIE]
    assert set(left) <= set(before)


@pytest.fixture
def notices() -> list[str]:
    return []


BASE = Checkpoint(name="base", path=Path("/scripted/base"), kind="model", source="folder", parameters=10**6)


def adapter(name: str) -> Checkpoint:
    return replace(BASE, name=name, path=Path("/scripted") / name, kind="adapter", base=BASE.path)


def names(pool: EnginePool) -> list[str]:
    return [resident.checkpoint.name for resident in pool.resident()]


async def what(pool: EnginePool, checkpoint: Checkpoint, *keep: str) -> tuple[str, int]:
    """What the worker of a checkpoint says that it holds, and its process."""
    worker = await pool.acquire(checkpoint, keep=keep)
    return await text_of(ask_worker(worker, "what")), worker.pid


@pytest.fixture
def _weights(monkeypatch: pytest.MonkeyPatch) -> None:
    """The base of the scripted checkpoints cannot be looked at."""
    monkeypatch.setattr("engine.checkpoints.describe.describe", lambda path: BASE)


@pytest.mark.usefixtures("_weights")
async def test_base_and_adapters_take_turns_in_one_worker(pool: EnginePool) -> None:
    said, pid = await what(pool, BASE)
    assert said == "base with None"
    assert await what(pool, adapter("a")) == ("base with a", pid)
    assert await what(pool, adapter("b")) == ("base with b", pid)
    assert names(pool) == ["b"]
    assert await what(pool, adapter("b")) == ("base with b", pid)
    assert await what(pool, BASE) == ("base with None", pid)
    assert await what(pool, replace(BASE, name="other", path=Path("/scripted/other"))) != ("base with None", pid)
    assert names(pool) == ["base", "other"]


@pytest.mark.usefixtures("_weights")
async def test_what_is_kept_or_answers_stays_and_a_second_worker_is_loaded(pool: EnginePool) -> None:
    _, pid = await what(pool, BASE)
    (resident,) = pool.resident()
    said, second = await what(pool, adapter("a"), resident.key)
    assert said == "base with a" and second != pid
    assert names(pool) == ["base", "a"]
    base = await pool.acquire(BASE)
    reply = ask_worker(base, "wait")
    assert await what(pool, adapter("b")) == ("base with b", second)
    assert names(pool) == ["base", "b"]
    await reply.cancel()


@pytest.mark.usefixtures("_weights")
async def test_an_adapter_that_does_not_fit_is_refused_and_the_base_stays_loaded(
    monkeypatch: pytest.MonkeyPatch, pool: EnginePool, notices: list[str]
) -> None:
    _, pid = await what(pool, BASE)
    monkeypatch.delattr(EnginePool, "_make_room")  # it is refused once, and nothing makes room to load it
    with pytest.raises(CheckpointRefusedError, match="made for another model"):
        await pool.acquire(adapter("misfit"))
    assert names(pool) == ["base"]
    assert await what(pool, BASE) == ("base with None", pid)
    assert notices == []


@pytest.mark.usefixtures("_weights")
async def test_an_exchange_that_nobody_waits_for_any_more_keeps_its_base_loaded(pool: EnginePool) -> None:
    _, pid = await what(pool, BASE)
    loop = asyncio.get_running_loop()

    def left(progress: protocol.LoadProgress) -> None:
        loop.call_soon(waiting.cancel)

    waiting = asyncio.create_task(pool.acquire(adapter("a"), on_progress=left))
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert await what(pool, adapter("b")) == ("base with b", pid)
    assert names(pool) == ["b"]


@pytest.mark.usefixtures("_weights")
async def test_what_nobody_waits_for_any_more_takes_no_room_of_others(
    monkeypatch: pytest.MonkeyPatch, pool: EnginePool
) -> None:
    await pool.acquire(BASE)
    monkeypatch.delattr(EnginePool, "_make_room")

    def leave(progress: protocol.LoadProgress) -> None:
        waiting.cancel()

    waiting = asyncio.create_task(pool.acquire(adapter("dies"), on_progress=leave))
    with pytest.raises(asyncio.CancelledError):
        await waiting
    (slot,) = pool._slots.values()
    assert slot.loading is not None
    await asyncio.wait([slot.loading])
    assert slot.loading.cancelled() and names(pool) == []


@pytest.mark.usefixtures("_weights")
async def test_a_worker_that_dies_of_an_adapter_is_followed_by_a_new_one(pool: EnginePool, notices: list[str]) -> None:
    _, pid = await what(pool, BASE)
    said, second = await what(pool, adapter("dies"))
    assert said == "base with dies" and second != pid
    assert names(pool) == ["dies"]
    assert notices == []


@pytest.mark.usefixtures("_weights")
async def test_what_cannot_go_back_is_left_alone(monkeypatch: pytest.MonkeyPatch, pool: EnginePool) -> None:
    monkeypatch.setattr("engine.memory.weights_estimate", lambda *arguments, **options: 0)
    _, pid = await what(pool, adapter("a"))
    said, second = await what(pool, adapter("b"))
    assert said == "base with b" and second != pid
    assert names(pool) == ["a", "b"]


@pytest.mark.usefixtures("_weights")
async def test_what_an_exchange_may_take_stays_reserved_until_it_is_done(pool: EnginePool) -> None:
    await pool.acquire(BASE)
    (slot,) = pool._slots.values()
    slot.loaded, slot.bytes = False, 123
    measure_place(slot.place, [slot])
    assert slot.bytes == 123
    slot.loaded = True
    measure_place(slot.place, [slot])
    assert slot.bytes > 1 << 20


async def test_a_broken_adapter_takes_no_worker(pool: EnginePool) -> None:
    _, pid = await what(pool, BASE)
    with pytest.raises(CheckpointRefusedError, match="cannot be loaded"):
        await pool.acquire(replace(adapter("a"), problem="It holds nothing."))
    assert await what(pool, BASE) == ("base with None", pid)
