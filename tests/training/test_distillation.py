"""Distillation: the loss of its equation, and what it refuses."""

from __future__ import annotations

import copy

import pytest
import torch
from small_classifiers import NETWORKS, Stripes
from torch import nn

from microglia.errors import ConfigError, TrainingError
from microglia.training import Distillation, TrainingConfig, train


class Fixed(nn.Module):
    def __init__(self, logits: torch.Tensor) -> None:
        super().__init__()
        self.logits = nn.Parameter(logits)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.logits


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("temperature", [1.0, 4.0])
@pytest.mark.parametrize("over_time", [False, True])
def test_the_loss_is_that_of_the_equation(
    share: float, temperature: float, over_time: bool
) -> None:
    torch.manual_seed(0)
    wanted, logits = torch.randn(5, 3), torch.randn(5, 3)
    shown = torch.stack([wanted + 1, wanted - 1]) if over_time else wanted
    teacher = Fixed(shown)
    loss = Distillation(teacher=teacher, share=share, temperature=temperature).loss(
        torch.zeros(5, 1), logits, torch.tensor(2.0)
    )
    p, q = ((z.double() / temperature).softmax(1) for z in (wanted, logits))
    divergence = (p * (p / q).log()).sum(1).mean()
    expected = (1 - share) * 2.0 + share * temperature**2 * divergence
    assert torch.allclose(loss.double(), expected, atol=1e-5)
    assert not loss.requires_grad, "the teacher doesn't learn"


def test_a_student_comes_to_answer_as_its_teacher() -> None:
    """Beside a network that sees the labels alone, which are noise here."""
    torch.manual_seed(0)
    teacher = NETWORKS["spikingjelly"]()
    train(teacher, Stripes(), config=TrainingConfig(epochs=6, learning_rate=4e-2), progress=False)
    before = copy.deepcopy(teacher.state_dict())
    config = TrainingConfig(epochs=4, learning_rate=4e-2)
    agree = []
    for share in (0.0, 1.0):
        torch.manual_seed(1)
        student = NETWORKS["spikingjelly"]()
        batches = [(x, torch.randint(2, y.shape)) for x, y in Stripes()]
        distillation = Distillation(teacher=teacher, share=share)
        train(student, batches, config=config, distillation=distillation, progress=False)
        agree.append(agreement(student, teacher))
    assert agree[1] > agree[0]
    assert all(torch.equal(value, teacher.state_dict()[key]) for key, value in before.items())


def agreement(a: nn.Module, b: nn.Module) -> float:
    from microglia.frameworks import reset
    from microglia.training.logits import average_over_time

    same = []
    for x, _ in Stripes():
        answers = []
        for model in (a.eval(), b.eval()):
            reset(model)
            with torch.no_grad():
                answers.append(average_over_time(model(x)).argmax(1))
        same.append((answers[0] == answers[1]).float().mean())
    return float(torch.stack(same).mean())


def test_bad_settings_and_another_teacher_are_refused() -> None:
    teacher = Fixed(torch.zeros(5, 4))
    for bad in ({"share": 1.5}, {"share": -0.1}, {"temperature": 0.0}, {"share": float("nan")}):
        with pytest.raises(ConfigError, match="wanted"):
            Distillation(teacher=teacher, **bad)
    with pytest.raises(TrainingError, match=r"teacher gives logits \(5, 4\)"):
        Distillation(teacher=teacher).loss(torch.zeros(5, 1), torch.zeros(5, 3), torch.tensor(1.0))
