"""The app with the real engine on tiny checkpoints: nothing scripted."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.pool import EnginePool
from hugchat_tui.settings.schema import ModelSettings, SamplingSettings, Settings
from tests.chat.driving import Home, chat
from tests.engine.tiny_models import CHATML, make_checkpoint


@pytest.fixture
def unscripted(home: Home, monkeypatch: pytest.MonkeyPatch) -> Home:
    monkeypatch.setattr("engine.pool.EnginePool", EnginePool)
    return home


@pytest.mark.slow
async def test_a_conversation_goes_on_with_another_checkpoint_that_has_no_template(
    unscripted: Home, tmp_path: Path
) -> None:
    llama = make_checkpoint(tmp_path / "tiny-llama", "llama", chat_template=CHATML)
    gpt2 = make_checkpoint(tmp_path / "tiny-gpt2", "gpt2")
    settings = Settings(
        model=ModelSettings(default=str(llama)), sampling=SamplingSettings(temperature=0, max_new_tokens=8)
    )
    async with chat(unscripted, settings=settings) as it:
        await it.ask("What is the capital of France?")
        reply = it.session.branch[-1].reply
        assert reply is not None and (reply.ended, reply.new_tokens) in {("length", 8), ("done", reply.new_tokens)}
        assert "● tiny-llama · cpu" in it.text() and "/256" in it.text()

        await it.send(f"<model_name_or_path={gpt2}>")
        await it.until(lambda: "● tiny-gpt2" in it.text(), "the other checkpoint")
        await it.ask("And of Italy?")
        second = it.session.branch[-1].reply
        assert second is not None and second.model_path == str(gpt2)
        assert second.prompt_tokens > reply.prompt_tokens, "it heard the whole conversation"
        await it.press("ctrl+n")
        await it.until(lambda: not it.session.branch)
        assert "the checkpoint has no chat template; HugChat's format is used" in it.text()
