"""Sequences told apart by the spikes at their end."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from reservoirs import network, saturated, silent

from microglia.errors import DataError, MicrogliaError
from microglia.tasks import Labelled, Part, classify
from microglia.tasks.labelled import digit_rows, held_out
from microglia.tasks.reservoir import Timing

TIMING = Timing(hold=0.01)


def part(n: int, rng: np.random.Generator, *, told: bool = True) -> Part:
    """Three classes of sequences of 3 to 6 values: the last ones are high in channel 0, 1 or none;
    after the end stands what must not be looked at."""
    labels, lengths = np.arange(n) % 3, rng.integers(3, 7, n)
    values = rng.normal(0, 0.3, (n, 6, 2))
    for k in range(n):
        if told and labels[k] < 2:
            values[k, lengths[k] - 3 : lengths[k], labels[k]] += 3.0
        values[k, lengths[k] :] = 50.0 * rng.standard_normal((6 - lengths[k], 2))
    return Part(values, lengths, labels)


def data(seed: int, *, told: bool = True) -> Labelled:
    rng = np.random.default_rng(seed)
    return Labelled(*(part(n, rng, told=told) for n in (150, 60, 90)), 3)  # type: ignore[call-arg, arg-type]


@pytest.mark.parametrize("seed", [0, 1])
def test_what_differs_is_told_apart_and_what_does_not_is_not(seed: int) -> None:
    found = classify(network(seed), data(seed), TIMING)
    assert min(found["accuracy"], found["logistic"], found["validation"]) > 0.9
    assert found["readout"] == (60 + 1) * 3
    assert found["rate"] > 0
    assert found["synops"] > 0
    blind = classify(network(seed), data(seed, told=False), TIMING, logistic=False)
    assert abs(blind["accuracy"] - 1 / 3) < 0.2
    assert "logistic" not in blind


@pytest.mark.parametrize("seed", [0, 1])
def test_what_stands_after_the_end_is_not_looked_at(seed: int) -> None:
    whole = data(seed)
    other = replace(whole.test, values=whole.test.values.copy())
    for values, length in zip(other.values, other.lengths, strict=True):
        values[length:] = 0.0
    mine, theirs = (
        classify(network(seed), d, TIMING, logistic=False)
        for d in (whole, replace(whole, test=other))
    )
    assert mine["accuracy"] == theirs["accuracy"]


@pytest.mark.parametrize("seed", [0, 1])
def test_the_order_of_samples_does_not_matter(seed: int) -> None:
    whole = data(seed)
    order = np.random.default_rng(seed).permutation(90)
    test = whole.test
    other = Part(test.values[order], test.lengths[order], test.labels[order])
    mine, theirs = (
        classify(network(seed), d, TIMING, logistic=False)["accuracy"]
        for d in (whole, replace(whole, test=other))
    )
    assert mine == theirs


def test_test_labels_choose_nothing() -> None:
    """With other test labels the validation score, and what was learnt, is the same."""
    whole = data(0)
    wrong = replace(whole.test, labels=(whole.test.labels + 1) % 3)
    mine, theirs = (classify(network(), d, TIMING) for d in (whole, replace(whole, test=wrong)))
    assert mine["validation"] == theirs["validation"]
    assert theirs["accuracy"] < 0.1


def test_classes_without_samples_and_empty_parts_are_refused() -> None:
    whole = data(0)
    two = whole.train.labels != 1
    lacking = Part(whole.train.values[two], whole.train.lengths[two], whole.train.labels[two])
    with pytest.raises(DataError, match="class 1 of 3 has no sample"):
        replace(whole, train=lacking)
    none = Part(whole.test.values[:0], whole.test.lengths[:0], whole.test.labels[:0])
    with pytest.raises(DataError, match="validation part has no sequences"):
        replace(whole, validation=none)
    with pytest.raises(DataError, match="wanted 0 to 1, got 2"):
        replace(whole, classes=2)
    with pytest.raises(DataError, match="lengths: wanted 1 to 6"):
        replace(whole.test, lengths=np.full(90, 7))
    with pytest.raises(DataError, match="a length and a label for each"):
        replace(whole.test, labels=np.zeros(5, int))


def test_silent_and_saturated_networks_are_refused() -> None:
    for net, word in ((silent(), "silent"), (saturated(), "saturated")):
        with pytest.raises(MicrogliaError, match=word):
            classify(net, data(0), TIMING)


def test_a_share_of_each_class_is_held_out() -> None:
    labels = np.repeat([0, 1, 2], [4, 12, 40])
    held = held_out(labels, 0.25)
    assert np.bincount(labels[held]).tolist() == [1, 3, 10]
    assert np.array_equal(held, held_out(labels, 0.25))
    with pytest.raises(DataError, match="class 1: 1 samples are too few"):
        held_out(np.array([0, 0, 1]), 0.25)


def test_digits_come_row_by_row_with_the_packages_own_split() -> None:
    digits = digit_rows()
    assert digits.train.values.shape == (1197, 8, 8)
    assert digits.test.values.shape == digits.validation.values.shape == (300, 8, 8)
    assert digits.train.values.min() == 0
    assert digits.train.values.max() == 1
