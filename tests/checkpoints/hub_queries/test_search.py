"""Searching the Hub."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from engine.checkpoints.hub_queries.child import ANSWER_LIMIT
from engine.checkpoints.hub_queries.client import HubError, HubQueries
from engine.checkpoints.hub_queries.messages import HubModel
from tests.hub_api import Facts
from tests.hub_server import HubServer

CONFIG = {"config.json": b'{"model_type": "llama"}', "model.safetensors": b"weights"}


async def test_a_result_tells_what_a_person_chooses_by(hub: HubServer, queries: HubQueries) -> None:
    facts = Facts(
        downloads=1234,
        likes=56,
        updated="2026-03-04T05:06:07.000Z",
        licence="apache-2.0",
        parameters=135_000_000,
        gated_how="auto",
        tags=("en", "base_model:adapter:org/base"),
    )
    hub.add("org/chat", CONFIG, gated=True, access=frozenset(), facts=facts)
    page = await queries.search("chat")
    assert page.results == [
        HubModel(
            id="org/chat",
            downloads=1234,
            likes=56,
            updated=datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC).timestamp(),
            licence="apache-2.0",
            gated="auto",
            parameters=135_000_000,
            pipeline="text-generation",
            library="transformers",
            adapter_of=("org/base",),
        )
    ]
    assert page.cursor == ""


async def test_models_are_text_generation_and_the_other_kinds_are_found_when_asked_for(
    hub: HubServer, queries: HubQueries
) -> None:
    hub.add("org/chat", CONFIG)
    hub.add("org/painter", CONFIG, facts=Facts(pipeline="text-to-image", library="diffusers"))
    quantized = Facts(pipeline=None, library=None, tags=("gguf",), gguf_parameters=7)
    hub.add("org/chat-GGUF", {"a.gguf": b"GGUF"}, facts=quantized)
    hub.add("org/adapter", {"adapter_config.json": b"{}"}, facts=Facts(pipeline=None, library="peft"))

    async def found(**asked: str) -> set[str]:
        return {model.id for model in (await queries.search("", **asked)).results}  # type: ignore[arg-type]

    assert await found() == {"org/chat"}
    assert await found(kind="gguf") == {"org/chat-GGUF"}
    assert await found(kind="adapters") == {"org/adapter"}
    assert await found(kind="all") == set(hub.repositories)
    (result,) = (await queries.search("CHAT", kind="gguf")).results
    assert (result.gguf, result.parameters) == (True, 7)


async def test_pages_follow_each_other_in_the_order_asked_for(hub: HubServer, queries: HubQueries) -> None:
    for number in range(5):
        facts = Facts(downloads=number, likes=-number % 5, updated=f"2026-01-0{5 - number}T00:00:00.000Z")
        hub.add(f"org/model-{number}", CONFIG, facts=facts)
    seen, cursor = [], ""
    while True:
        page = await queries.search("model", limit=2, cursor=cursor)
        seen.append([model.id[-1] for model in page.results])
        cursor = page.cursor
        if not cursor:
            break
    assert seen == [["4", "3"], ["2", "1"], ["0"]]
    liked = await queries.search("model", sort="likes")
    assert [model.id[-1] for model in liked.results] == ["1", "2", "3", "4", "0"]
    fresh = await queries.search("model", sort="updated")
    assert [model.id[-1] for model in fresh.results] == ["0", "1", "2", "3", "4"]


async def test_the_next_page_is_asked_for_here_wherever_its_address_leads(
    hub: HubServer, queries: HubQueries, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The token would follow the address."""
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    hub.add("org/a", CONFIG)
    hub.add("org/b", CONFIG)
    here = hub.url
    hub.url = hub.storage_url  # what the server calls itself in the address of the next page
    first = await queries.search("", limit=1)
    second = await queries.search("", limit=1, cursor=first.cursor)
    assert len({model.id for model in (*first.results, *second.results)}) == 2
    assert {f"http://{request.host}" for request in hub.requests} == {here}


async def test_hostile_values_are_unknown_values(hub: HubServer, queries: HubQueries) -> None:
    facts = Facts(updated="yesterday", licence="\x1b]52;c;\ud800[/bold]", tags=("t" * 10_000,), parameters=-3)
    facts.downloads, facts.likes = "many", 10**40  # type: ignore[assignment]
    hub.add("org/odd\ud800", CONFIG, facts=facts)
    (model,) = (await queries.search("")).results
    assert (model.downloads, model.likes, model.parameters, model.updated) == (0, 0, 0, 0.0)
    assert (model.id, model.licence) == ("org/odd?", "\x1b]52;c;?[/bold]")


async def test_a_date_beyond_all_calendars_is_unknown(hub: HubServer, queries: HubQueries) -> None:
    for name, updated in (("a", "9999-12-31T23:59:59.000Z"), ("b", "0001-01-01T00:00:00.000Z")):
        hub.add(f"org/{name}", CONFIG, facts=Facts(updated=updated))
    assert [model.updated for model in (await queries.search("")).results] == [0.0, 0.0]


async def test_an_answer_without_end_is_refused_and_the_next_question_answered(
    hub: HubServer, queries: HubQueries
) -> None:
    hub.add("org/flood", CONFIG, facts=Facts(tags=("x" * (ANSWER_LIMIT + 1),)))
    hub.add("org/chat", CONFIG)
    with pytest.raises(HubError, match="more than 64 MiB") as caught:
        await queries.search("flood")
    assert (caught.value.reason, bool(caught.value.hint)) == ("server", True)
    assert [model.id for model in (await queries.search("chat")).results] == ["org/chat"]


async def test_text_that_cannot_be_sent_is_refused(queries: HubQueries) -> None:
    with pytest.raises(HubError) as caught:
        await queries.search("caf\udce9")
    assert caught.value.reason == "unusable"
