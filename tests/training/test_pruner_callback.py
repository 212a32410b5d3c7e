"""A Pruner in a user's own LightningModule."""

from __future__ import annotations

import pytest
import torch
from small_classifiers import NETWORKS, Stripes
from torch import Tensor, nn
from torch.nn import functional as F

import microglia as mg
from microglia.training import PrunerCallback, TrainingModule
from microglia.training.manners import lightning

with lightning():
    from lightning.pytorch import LightningModule, Trainer


class Theirs(LightningModule):
    """As a user might have written it, before they knew of pruning."""

    def __init__(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        super().__init__()
        self.network, self.optimizer = model, optimizer

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        mg.reset(self.network)
        return F.cross_entropy(self.network(batch[0]), batch[1])

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return self.optimizer


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("counts_itself", [True, False])
def test_the_callback_prunes_in_a_module_of_the_users(name: str, counts_itself: bool) -> None:
    torch.manual_seed(0)
    model = NETWORKS[name]()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    pruner = mg.SCA(
        model,
        sparsity=0.5,
        example_input=torch.randn(2, 1, 6, 6),
        optimizer=optimizer if counts_itself else None,
        every=3,
    )
    callback = PrunerCallback(pruner)
    with lightning():
        trainer = Trainer(
            max_epochs=2,
            accelerator="cpu",
            accumulate_grad_batches=2,
            callbacks=[callback],
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        trainer.fit(Theirs(model, optimizer), Stripes(batches=6))
    assert pruner.steps == 6
    assert [change.step for change in callback.changes] == [3, 6]
    assert [change.epoch for change in callback.changes] == [0, 1]
    assert pruner.sparsity_reached == pytest.approx(0.5, abs=0.05)
    assert callback.changes[-1].kept == pruner.kept()


def test_the_module_is_reachable_by_its_short_name() -> None:
    assert issubclass(TrainingModule, LightningModule)
