"""The recurrent layers of a network whose synapses are a matrix of parameters."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy import sparse
from torch import Tensor, nn

from microglia.errors import ConfigError
from microglia.frameworks import (
    RecurrentNetwork,
    RecurrentWeight,
    recurrent_network,
    recurrent_weights,
)


@dataclass(frozen=True, eq=False, kw_only=True)
class Recurrence:
    """One layer. `units` says which elements of the weight `name` are synapses, boolean in its
    shape; `network` has these alone, in the same order, and acts with what is `besides` [N, N].

    A weight that is zero is no synapse.
    """

    name: str
    units: Tensor
    block: Tensor
    network: RecurrentNetwork
    besides: sparse.csr_array

    def acting(self, network: RecurrentNetwork) -> RecurrentNetwork:
        """A network of some of the synapses as it acts."""
        return network.with_weights((network.weights + self.besides).tocsr())


def recurrences(model: nn.Module, *, dt: float, drive: float) -> dict[str, Recurrence]:
    """All such layers of the network, by the names of their weights.

    Args:
        dt: the length of a time step in seconds, where a layer doesn't know it.
        drive: what inputs are multiplied by.

    Raises:
        ConfigError: there is none, or one that can't be read, or whose reader takes its weight for
            another matrix than it is; or two that can't be pruned apart.
    """
    found = {}
    for path, weight in _apart(model).items():
        layer = model.get_submodule(path)
        name = f"{path}.{weight.name}".lstrip(".")
        try:
            found[name] = _read(layer, weight, name=name, dt=dt, drive=drive)
        except ConfigError as error:
            raise ConfigError(f"{path or type(model).__name__}: {error}") from None
    if not found:
        raise ConfigError(_nothing(model))
    return found


def _apart(model: nn.Module) -> dict[str, RecurrentWeight]:
    """The recurrent layers by module name, each with a weight of its own.

    Of two that have one weight, one inside the other, the outer knows what is around the inner.
    """
    found: dict[str, RecurrentWeight] = {}
    owner: dict[int, str] = {}
    for path, weight in recurrent_weights(model).items():  # the outer before the inner
        first = owner.setdefault(id(model.get_submodule(path).get_parameter(weight.name)), path)
        outer = next((p for p in found if not p or path.startswith(f"{p}.")), None)
        if outer is None and first == path:
            found[path] = weight
        elif outer is None:
            raise ConfigError(
                f"{path}: has the weight of '{first}', and what is worth keeping in one layer may "
                "not be in the other; give each its own, or use one layer twice"
            )
        elif first != outer:
            raise ConfigError(
                f"{path}: stands inside '{outer or type(model).__name__}', a recurrent layer with "
                "another weight; register_recurrent the outer with the inner's weight, or with none"
            )
    return found


def _read(
    layer: nn.Module, weight: RecurrentWeight, *, name: str, dt: float, drive: float
) -> Recurrence:
    parameter = layer.get_parameter(weight.name)
    block = torch.zeros(parameter.shape, dtype=torch.bool)
    block[:, weight.first :] = True
    P = parameter.detach()[:, weight.first :].clone()
    if P.shape[0] != P.shape[1]:
        raise ConfigError(f"{weight.name}: wanted a square matrix [N, N], got {list(P.shape)}")

    def read(values: Tensor) -> RecurrentNetwork:
        with _in_place_of(parameter, weight.first, values):
            return recurrent_network(layer, dt)

    whole = read(P)
    # W is affine in the weight: what stays without it isn't the weight's to prune.
    besides = read(torch.zeros_like(P)).weights
    post, pre = P.cpu().numpy().nonzero()
    W = _values(whole.weights - besides, post, pre)
    half = _values(read(P.tril()).weights - besides, post, pre)
    if not len(W):
        raise ConfigError(f"{weight.name}: it is zero throughout, there is no recurrence to prune")
    lower = np.where(pre <= post, W, 0.0)
    if not (W.all() and np.allclose(half, lower, atol=1e-6 * np.abs(W).max())):
        raise ConfigError(
            f"{weight.name}: row i was said to be the synapses into neuron i, but the network that "
            "is read has them elsewhere; give register_recurrent the weight that W is made of"
        )
    synapses = sparse.csr_array((W, (post, pre)), shape=P.shape)
    inputs = None if whole.inputs is None else whole.inputs * drive
    return Recurrence(
        name=name,
        units=block & (parameter.detach() != 0).cpu(),
        block=block,
        network=replace(whole, weights=synapses, inputs=inputs),
        besides=besides,
    )


def _values(matrix: sparse.csr_array, post: np.ndarray, pre: np.ndarray) -> np.ndarray:
    return np.asarray(matrix.toarray()[post, pre])


@contextmanager
def _in_place_of(parameter: nn.Parameter, first: int, values: Tensor) -> Iterator[None]:
    """The parameter with other columns from `first` on; unchanged to the bit afterwards."""
    kept = parameter.detach().clone()
    try:
        with torch.no_grad():
            parameter[:, first:] = values
        yield
    finally:
        with torch.no_grad():
            parameter.copy_(kept)


def _nothing(model: nn.Module) -> str:
    for path, module in model.named_modules():
        if callable(getattr(module, "recurrent_network", None)):
            return (
                f"'{path or type(module).__name__}' holds its synapses sparse, and no mask would "
                "make it smaller: mg.prune_recurrent(module, mg.LNPConfig(...)).network is the "
                "smaller network"
            )
    return (
        f"{type(model).__name__} has no recurrence that can be pruned: no layer whose recurrent "
        "synapses are a dense parameter. For a layer of your own: "
        "microglia.frameworks.register_recurrent(cls, reader, weight=...)"
    )
