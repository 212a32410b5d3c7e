"""From a gated network in training to a smaller one, with everything that belongs to it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torch.optim.swa_utils import AveragedModel

from microglia.structure import Keep, Structure
from microglia.surgery.certificate import Certificate, certify
from microglia.surgery.cut import Sizes, cut, narrowed
from microglia.surgery.ledger import Ledger
from microglia.surgery.optimizers import (
    carry_average,
    carry_optimizer,
    carry_scheduler,
    check_average,
)


@dataclass(frozen=True)
class Compact:
    """A compacted network, and what was carried over to it."""

    model: nn.Module
    certificate: Certificate | None
    ledger: Ledger
    sizes: Sizes
    """Module -> attribute -> value, where the cut changed them."""
    optimizer: Optimizer | None = None
    scheduler: LRScheduler | None = None
    average: nn.Module | None = None


def compact(
    model: nn.Module,
    structure: Structure,
    keep: Keep,
    *,
    example_input: Any,
    optimizer: Optimizer | None = None,
    scheduler: LRScheduler | None = None,
    average: AveragedModel | None = None,
    ledger: Ledger | None = None,
    verify: bool = True,
    unread: bool = False,
) -> Compact:
    """Remove the closed channels of a gated network for good; the network itself is untouched.

    Args:
        model: a network whose gates are set to `keep`.
        example_input: what the certificate is computed on.
        optimizer, scheduler, average: carried over, with the state that belongs to what is left;
            `average` is an `AveragedModel` made of the network when its gates were in place.
        ledger: of an earlier cut of this network, so that ids stay the original ones.
        verify: compute the certificate.
        unread: the channels that go are not silenced by gates, but nothing reads them.

    Raises:
        CertificateError: the compacted network does not compute what the masked one does.
        ConfigError: a mask that would empty a group; an optimizer state that can't be carried.
    """
    if average is not None:
        check_average(average, model)
    small, sizes = cut(model, structure, keep)
    certificate = None
    if verify:
        certificate = certify(model, small, structure, keep, example_input, unread=unread)
    positions = structure.positions(keep)
    leaf_of = {name: i for i, names in enumerate(structure.leaves) for name in names}

    def reshape(name: str, value: Tensor) -> Tensor:
        return narrowed(value, {d: p for (i, d), p in positions.items() if i == leaf_of[name]})

    carried = carry_optimizer(optimizer, model, small, reshape) if optimizer else None
    return Compact(
        model=small,
        certificate=certificate,
        ledger=(ledger or Ledger.open(model, structure)).after(model, keep),
        sizes=sizes,
        optimizer=carried,
        scheduler=carry_scheduler(scheduler, carried) if scheduler and carried else None,
        average=carry_average(average, cut(average.module, structure, keep)[0])
        if average is not None
        else None,
    )
