"""Training in 16 bit with a pruner in it, on the CPU."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from small_classifiers import NETWORKS, Stripes
from torch import Tensor, nn

import microglia as mg
from microglia.frameworks import fresh_copy
from microglia.training import TrainingConfig, build_optimizer, train

METHODS: dict[type[mg.Pruner], dict[str, Any]] = {
    mg.SCA: {"sparsity": 0.5},
    mg.ESL: {"sparsity": 0.6},
    mg.STDS: {"sparsity": 0.6, "until": 20},
}


@pytest.mark.parametrize("accelerate", [pytest.param(False, marks=pytest.mark.full), True])
@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("method", METHODS)
def test_a_pruner_rides_in_16_bit(method: type[mg.Pruner], name: str, accelerate: bool) -> None:
    torch.manual_seed(0)
    model, batches = NETWORKS[name](), Stripes()
    seen: set[torch.dtype] = set()

    def look(module: nn.Module, inputs: Any, output: Tensor) -> None:
        seen.add(output.dtype)

    convolution = next(m for m in model.modules() if isinstance(m, nn.Conv2d))
    handle = convolution.register_forward_hook(look)
    config = TrainingConfig(
        epochs=5, learning_rate=4e-2, precision="bf16-mixed", accelerate=accelerate, device="cpu"
    )
    x = batches.images[:4]
    optimizer = build_optimizer(model, config)
    settings = METHODS[method]
    pruner = method(model, example_input=x, optimizer=optimizer, every=4, **settings)
    seen.clear()  # the analysis runs in its own precision
    history = train(
        model, batches, config=config, optimizer=optimizer, pruner=pruner, progress=False
    )
    assert seen == {torch.bfloat16}
    handle.remove()

    assert all(torch.isfinite(torch.tensor(epoch.loss)) for epoch in history.epochs)
    assert history.epochs[-1].loss < history.epochs[0].loss
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    masks = pruner.masks.keep()
    assert {mask.dtype for mask in masks.values()} == {torch.bool}
    assert pruner.sparsity_reached == pytest.approx(settings["sparsity"], abs=0.08)
    if pruner.prunes == "weights":
        weights = dict(model.named_parameters())
        assert all(not weights[key].flatten()[~mask].any() for key, mask in masks.items())

    small = pruner.compact()
    assert small.certificate is not None
    if name == "snntorch":  # its spikes are float32 whatever it is given, which only certify knows
        return
    masked, compacted = (logits(m, batches.images) for m in (model, small.model))
    assert masked.std() > 1e-4
    assert (masked - compacted).abs().max() < 1e-10


def logits(model: nn.Module, x: Tensor) -> Tensor:
    """Of a float64 copy at rest, in evaluation mode."""
    copy = fresh_copy(model).double().eval()
    mg.reset(copy)
    with torch.no_grad():
        return copy(x.double())
