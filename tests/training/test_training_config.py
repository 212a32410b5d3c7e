"""The config refuses what cannot work, and its learning rate follows the equation it states."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import pytest

from microglia.errors import ConfigError, TrainingError
from microglia.training import TrainingConfig, resolve_device


@pytest.mark.parametrize(
    ("setting", "value", "hint"),
    [
        ("epochs", 0, "at least 1"),
        ("learning_rate", 0.0, "above 0"),
        ("learning_rate", math.nan, "above 0"),
        ("learning_rate", math.inf, "above 0"),
        ("momentum", 1.0, "[0, 1)"),
        ("weight_decay", -1e-4, "at least 0"),
        ("warmup_epochs", 21.0, "between 0 and epochs"),
        ("step_factor", 0.0, "(0, 1]"),
        ("label_smoothing", 1.0, "[0, 1)"),
        ("gradient_clip", -1.0, "at least 0"),
        ("accumulate", 0, "at least 1"),
        ("optimizer", "admw", "Did you mean 'adamw'?"),
        ("schedule", "cosin", "Did you mean 'cosine'?"),
        ("loss", "te", "Did you mean 'tet'?"),
        ("tet_share", 1.5, "[0, 1]"),
        ("activity", -1.0, "at least 0"),
        ("mixup", -0.1, "at least 0"),
        ("mixup", math.nan, "at least 0"),
        ("ema", 1.0, "[0, 1)"),
        ("precision", "bf16", "bf16-mixed"),
        ("device", "gpu", "cuda"),
        ("device", "cuda:x", "cuda"),
    ],
)
def test_refuses_what_cannot_work(setting: str, value: Any, hint: str) -> None:
    with pytest.raises(ConfigError) as error:
        TrainingConfig(**{setting: value})
    assert f"training.{setting}" in str(error.value)
    assert hint in str(error.value)


@pytest.mark.parametrize("schedule", ["constant", "cosine", "step"])
@pytest.mark.parametrize("warmup", [0.0, 0.5, 2.0])
def test_learning_rate_climbs_to_its_peak_and_never_rises_again(
    schedule: str, warmup: float
) -> None:
    config = TrainingConfig(epochs=10, schedule=schedule, warmup_epochs=warmup)
    rates = [
        config.learning_rate_factor(step, total_steps=200, steps_per_epoch=20)
        for step in range(200)
    ]
    peak = round(warmup * 20)
    assert all(a < b for a, b in pairwise(rates[:peak]))
    assert max(rates) == rates[max(0, peak - 1)] == 1.0
    assert all(a >= b for a, b in pairwise(rates[peak:]))
    assert all(rate > 0 for rate in rates)


def test_learning_rate_at_the_places_the_equation_names() -> None:
    def rate(step: int, **settings: Any) -> float:
        config = TrainingConfig(epochs=10, warmup_epochs=0, **settings)
        return config.learning_rate_factor(step, total_steps=100, steps_per_epoch=10)

    assert rate(99, schedule="constant") == 1.0
    assert rate(50, schedule="cosine") == pytest.approx(0.5)
    assert rate(99, schedule="cosine") == pytest.approx((1 + math.cos(math.pi * 0.99)) / 2)
    steps = [rate(s, schedule="step", step_count=4, step_factor=0.5) for s in (0, 24, 25, 50, 99)]
    assert steps == [1.0, 1.0, 0.5, 0.25, 0.125]


def test_one_cycle_climbs_once_and_falls_to_nearly_nothing() -> None:
    config = TrainingConfig(epochs=10, schedule="one-cycle")
    rates = [
        config.learning_rate_factor(step, total_steps=201, steps_per_epoch=20)
        for step in range(201)
    ]
    assert rates[0] == pytest.approx(1 / 25)
    assert rates[60] == max(rates) == pytest.approx(1)
    assert rates[-1] == pytest.approx(1 / 250_000)
    assert all(a < b for a, b in pairwise(rates[:61]))
    assert all(a > b for a, b in pairwise(rates[60:]))
    assert rates[30] == pytest.approx((1 + 1 / 25) / 2)


def test_smoothed_labels_want_a_loss_that_has_them() -> None:
    with pytest.raises(ConfigError, match="label_smoothing"):
        TrainingConfig(loss="mse-rate", label_smoothing=0.1)


def test_a_device_that_is_not_there_is_refused() -> None:
    with pytest.raises(TrainingError, match=r"device: .*'cpu' or 'auto'"):
        resolve_device("cuda:99")
    assert resolve_device("cpu").type == "cpu"
