"""The methods that the page on adding one builds keep to the contract."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import test_contract as contract
from torch import nn

from microglia.methods import Pruner
from microglia.methods.parts.part import Part

PAGE = Path(__file__).parents[2] / "docs" / "adding-a-method.md"
LAWS: list[Callable[..., None]] = [
    contract.test_the_same_seed_gives_the_same_masks,
    contract.test_resume_equals_straight_run,
    contract.test_compacted_computes_what_masked_computes,
]


def built(block: int, name: str) -> type[Pruner]:
    """The class that an example of the page defines."""
    code = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)[block]
    names: dict[str, Any] = {"__name__": "example"}
    exec(compile(code, PAGE.name, "exec"), names)
    found = names[name]
    assert issubclass(found, Pruner)
    return found


@pytest.fixture(params=[(0, "SpikeVariance"), (1, "Shrinking")], ids=lambda p: p[1])
def method(request: pytest.FixtureRequest) -> type[Pruner]:
    return built(*request.param)


@pytest.mark.parametrize("network", ["chain", "snnTorch"])
@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
def test_a_law_holds(law: Callable[..., None], method: type[Pruner], network: str) -> None:
    law(method, network)


@pytest.mark.parametrize("sparsity", [0.3, 0.8])
def test_the_budget_is_exact(method: type[Pruner], sparsity: float) -> None:
    contract.test_the_budget_is_exact_and_no_layer_is_emptied(method, "chain", sparsity)


def test_a_detached_network_is_the_users_own(method: type[Pruner]) -> None:
    contract.test_detach_gives_the_users_own_network_back(method)
    contract.test_a_refused_network_is_left_alone(method)
    contract.test_settings_out_of_range_are_refused(method)


def test_a_part_says_only_what_concerns_it(method: type[Pruner]) -> None:
    class Looks(Part):
        def __init__(self, model: nn.Module) -> None:
            self._handles = [model.register_forward_hook(lambda *_: None)]

    loop = contract.Loop(method, "chain", sparsity=0.5)
    loop.pruner._parts["looks"] = Looks(loop.model)
    loop.prune()
    loop.run(2)
    loop.pruner.load_state_dict(loop.pruner.state_dict())
    loop.pruner.detach()
    assert not loop.model._forward_hooks
