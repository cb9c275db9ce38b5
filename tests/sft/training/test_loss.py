"""The loss without whole logits is the loss with them, and its gradients are the same."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import AutoModelForCausalLM, Gemma2Config, GraniteConfig

from sft.training import loss
from sft.training.language_model import choose_head
from sft.training.loss import LogitRule, fused_loss, fused_loss_of, layered_loss, logit_rule

POSITIONS, WIDTH, VOCABULARY = 37, 8, 50


def drawn() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    torch.manual_seed(0)
    hidden = torch.randn(POSITIONS, WIDTH, requires_grad=True)
    labels = torch.randint(0, VOCABULARY, (POSITIONS,))
    weight = torch.randn(VOCABULARY, WIDTH, requires_grad=True)
    bias = torch.randn(VOCABULARY, requires_grad=True)
    return hidden, labels, weight, bias


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sixteen positions a part, so that there are several and the last is shorter."""
    monkeypatch.setattr(loss, "_LOGITS_BYTES", 1)


@pytest.mark.usefixtures("small_parts")
@pytest.mark.parametrize("rule", [LogitRule(), LogitRule(scale=0.25), LogitRule(cap=3.0), LogitRule(0.5, 2.0)])
@pytest.mark.parametrize("with_bias", [False, True])
def test_value_and_gradients_are_those_of_cross_entropy(rule: LogitRule, with_bias: bool) -> None:
    hidden, labels, weight, bias = drawn()
    found = fused_loss(hidden, labels, weight, bias if with_bias else None, rule)
    parameters = [hidden, weight, *([bias] if with_bias else [])]
    gradients = torch.autograd.grad(found * 0.3, parameters)
    logits = rule(functional.linear(hidden, weight, bias if with_bias else None))
    truth = functional.cross_entropy(logits, labels, reduction="sum")
    torch.testing.assert_close(found, truth)
    for mine, theirs in zip(gradients, torch.autograd.grad(truth * 0.3, parameters), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.usefixtures("small_parts")
@pytest.mark.parametrize("positions", [0, 1, POSITIONS])
def test_the_layer_is_called_once_however_many_labels_a_rank_has(positions: int) -> None:
    """ZeRO-3 gathers its weights at each call: ranks that call it differently often wait for each other for ever."""
    hidden, labels, weight, _ = drawn()
    layer = nn.Linear(WIDTH, VOCABULARY, bias=False)
    layer.load_state_dict({"weight": weight.detach()})
    calls: list[object] = []
    layer.register_forward_hook(lambda *call: calls.append(call))
    found = fused_loss_of(layer, hidden[:positions], labels[:positions], LogitRule())
    found.backward()  # type: ignore[no-untyped-call]
    torch.testing.assert_close(found, fused_loss(hidden[:positions], labels[:positions], weight, None, LogitRule()))
    assert len(calls) == 1 and layer.weight.grad is not None and hidden.grad is not None
    assert layer(hidden).shape == (POSITIONS, VOCABULARY), "it is itself again"


@pytest.mark.usefixtures("small_parts")
def test_calling_the_layer_gives_the_same() -> None:
    hidden, labels, weight, bias = drawn()
    layer = nn.Linear(WIDTH, VOCABULARY)
    layer.load_state_dict({"weight": weight.detach(), "bias": bias.detach()})
    rule = LogitRule(0.5, 2.0)
    found = layered_loss(hidden, labels, layer, VOCABULARY, rule)
    truth = fused_loss(hidden, labels, weight, bias, rule)
    torch.testing.assert_close(found, truth)
    (mine,) = torch.autograd.grad(found, [hidden])
    (theirs,) = torch.autograd.grad(truth, [hidden])
    torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-5)


def test_a_frozen_output_layer_gets_no_gradient_and_the_hidden_states_do() -> None:
    hidden, labels, weight, _ = drawn()
    fused_loss(hidden, labels, weight.detach(), None, LogitRule()).backward()  # type: ignore[no-untyped-call]
    assert hidden.grad is not None and weight.grad is None


@pytest.mark.parametrize(
    "config",
    [
        Gemma2Config(
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            head_dim=8,
            vocab_size=99,
            query_pre_attn_scalar=8,
            final_logit_softcapping=0.3,
        ),
        GraniteConfig(
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            vocab_size=99,
            logits_scaling=8.0,
        ),
    ],
    ids=["capped", "scaled"],
)
def test_models_that_change_their_logits_are_met(config: object) -> None:
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
    assert logit_rule(model.config) != LogitRule()
    assert choose_head(model, partitioned=False) == "fused"
    assert choose_head(model, partitioned=True) == "fused", "in one call of the layer, however many parts"


def test_a_model_whose_output_is_more_than_its_layer_makes_its_own_logits() -> None:
    config = Gemma2Config(
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=1,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        vocab_size=99,
        query_pre_attn_scalar=8,
    )
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
    plain = model.forward

    def shifted(*args: object, **kwargs: object) -> object:
        output = plain(*args, **kwargs)
        output.logits = output.logits * 3
        return output

    model.forward = shifted
    assert choose_head(model, partitioned=False) == "whole"
