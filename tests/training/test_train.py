"""`train`: it learns, it resumes to the bit, and it breaks down in words."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from small_classifiers import CLASSES, NETWORKS, OverTime, OwnNeuron, Stripes, spikingjelly_network
from torch import Tensor, nn

import microglia as mg
from microglia.errors import TrainingError
from microglia.training import History, TrainingConfig, build_optimizer, has_checkpoint, train

FAST = TrainingConfig(epochs=3, learning_rate=2e-2, warmup_epochs=0.5)
PLAIN = TrainingConfig(epochs=1, accelerate=False)


def network(name: str = "spikingjelly", *, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return NETWORKS[name]()


def pruned(
    model: nn.Module,
    config: TrainingConfig,
    *,
    every: int = 4,
    method: type[mg.Pruner] = mg.SCA,
    **settings: Any,
) -> mg.Pruner:
    settings |= {"example_input": torch.randn(2, 1, 6, 6), "every": every, "sparsity": 0.5}
    return method(model, optimizer=build_optimizer(model, config), **settings)


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw"])
def test_it_learns(name: str, optimizer: str) -> None:
    rate = 0.3 if optimizer == "sgd" else 4e-2
    config = TrainingConfig(epochs=6, learning_rate=rate, optimizer=optimizer, warmup_epochs=0.5)
    history = train(network(name), Stripes(), config=config, progress=False)
    first, last = history.epochs[0], history.epochs[-1]
    assert last.loss < first.loss
    assert last.accuracy > 0.8
    assert [record.epoch for record in history.epochs] == [0, 1, 2, 3, 4, 5]


def test_logits_of_each_timestep_are_averaged() -> None:
    models = []
    for make in (spikingjelly_network, lambda: OverTime(OwnNeuron)):
        torch.manual_seed(0)
        models.append(make())
    config = TrainingConfig(epochs=1)
    histories = [train(model, Stripes(), config=config, progress=False) for model in models]
    assert all(0 < history.epochs[0].loss < 10 for history in histories)


@pytest.mark.parametrize("accumulate", [1, 2, 4])
def test_the_pruner_steps_once_for_each_optimizer_step(accumulate: int) -> None:
    config = TrainingConfig(epochs=2, accumulate=accumulate)
    model = network()
    pruner = pruned(model, config, every=2)
    batches = Stripes(batches=6)
    history = train(
        model,
        batches,
        config=config,
        optimizer=pruner.optimizer,
        pruner=pruner,
        progress=False,
    )
    steps = 2 * -(-len(batches) // accumulate)
    assert pruner.steps == steps
    assert [change.step for change in history.changes] == list(range(2, steps + 1, 2))
    assert history.epochs[-1].kept == pruner.kept() == history.changes[-1].kept


def test_the_penalty_is_part_of_the_loss() -> None:
    model = network()
    optimizer = build_optimizer(model, FAST)
    pruner = mg.SCA(
        model,
        sparsity=0.5,
        example_input=torch.randn(2, 1, 6, 6),
        optimizer=optimizer,
        every=1000,
        penalty=10.0,
    )
    before = pruner.penalty().item()
    history = train(
        model, Stripes(), config=FAST, optimizer=optimizer, pruner=pruner, progress=False
    )
    assert history.epochs[0].penalty == pytest.approx(before, rel=0.5)
    assert pruner.penalty().item() < before / 2


@pytest.mark.parametrize("schedule", ["cosine", "step", "one-cycle"])
def test_the_schedule_repeats_over_a_pruners_cycle(schedule: str) -> None:
    """As three runs of a third would have it, warm-up and all."""
    config = TrainingConfig(epochs=6, schedule=schedule, warmup_epochs=0.5)
    model, batches, rates = network(), Stripes(batches=4), []
    pruner = pruned(model, config, every=8, method=mg.LotteryTicket, rounds=3)
    optimizer = pruner.optimizer
    optimizer.register_step_pre_hook(lambda o, *_: rates.append(o.param_groups[0]["lr"]))
    train(model, batches, config=config, optimizer=optimizer, pruner=pruner, progress=False)
    once = [
        config.learning_rate * config.learning_rate_factor(s, total_steps=8, steps_per_epoch=4)
        for s in range(8)
    ]
    assert rates == pytest.approx(once * 3)
    assert pruner.sparsity_reached == pytest.approx(0.5, abs=0.01)


class Breaks(Stripes):
    """Fails in the middle of one epoch, once."""

    def __init__(self, *, epoch: int, error: BaseException) -> None:
        super().__init__(batches=4)
        self.breaks_at, self.error = epoch, error
        self.begun: list[int] = []

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        self.begun.append(self.epoch)
        for index, batch in enumerate(super().__iter__()):
            if self.epoch == self.breaks_at and index == 2:
                raise self.error
            yield batch


RECIPES = [
    {},
    {"ema": 0.9, "mixup": 0.4, "accumulate": 2},
    {"activity": 0.5, "schedule": "one-cycle"},
    {"warmup_epochs": 0.5, "method": mg.LotteryTicket, "rounds": 3, "rewind": 2},
]


@pytest.mark.parametrize(
    "recipe", RECIPES, ids=["plain", "ema-mixup-accumulate", "activity", "rounds"]
)
@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("broken_epoch", [1, 2])
def test_a_resumed_run_equals_the_straight_one_to_the_bit(
    tmp_path: Path, broken_epoch: int, seed: int, recipe: dict[str, Any]
) -> None:
    method = {key: recipe[key] for key in recipe.keys() & {"method", "rounds", "rewind"}}
    recipe = {key: recipe[key] for key in recipe.keys() - method.keys()}
    config = TrainingConfig(epochs=3, learning_rate=4e-2, **recipe)

    def start() -> tuple[nn.Module, mg.Pruner]:
        model = network(seed=seed)
        pruner = pruned(model, config, **method)
        torch.manual_seed(seed + 100)
        return model, pruner

    def go(model: nn.Module, pruner: mg.Pruner, batches: Stripes, *, resume: bool) -> History:
        return train(
            model,
            batches,
            config=config,
            optimizer=pruner.optimizer,
            pruner=pruner,
            validation=Stripes(batches=2, seed=9),
            run_dir=tmp_path / batches.__class__.__name__,
            resume=resume,
            progress=False,
        )

    straight, straight_pruner = start()
    whole = go(straight, straight_pruner, Stripes(batches=4), resume=False)
    broken = Breaks(epoch=broken_epoch, error=RuntimeError("the power went off"))
    with pytest.raises(RuntimeError, match="the power went off"):
        go(*start(), broken, resume=False)
    torch.manual_seed(12345)
    resumed, resumed_pruner = start()
    broken.breaks_at = -1
    torch.manual_seed(6789)
    rest = go(resumed, resumed_pruner, broken, resume=True)

    for name, value in straight.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name
    assert str(straight_pruner.state_dict()) == str(resumed_pruner.state_dict())
    assert rest.changes == whole.changes
    assert [r.loss for r in rest.epochs] == [r.loss for r in whole.epochs]
    folders = (tmp_path / "Stripes", tmp_path / "Breaks")
    straight_lines, resumed_lines = map(without_times, folders)
    assert straight_lines == resumed_lines, "no epoch may be missing or there twice"


def without_times(folder: Path) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if k != "seconds"} for line in lines]


def test_a_finished_run_is_resumed_to_itself(tmp_path: Path) -> None:
    def go(*, resume: bool) -> tuple[dict[str, Tensor], History]:
        torch.manual_seed(3)
        model = network()
        history = train(
            model, Stripes(), config=FAST, run_dir=tmp_path, resume=resume, progress=False
        )
        return model.state_dict(), history

    (weights, history), before = go(resume=False), torch.get_rng_state()
    again, same_history = go(resume=True)
    assert all(torch.equal(value, again[name]) for name, value in weights.items())
    assert same_history == history
    assert torch.equal(torch.get_rng_state(), before)


def cut_short(content: bytes) -> bytes:
    return content[: len(content) * 2 // 3]


def flip_a_bit(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


def spoil_the_list(content: bytes) -> bytes:
    """A name in the archive's directory that is no text: neither a bad sum nor a bad archive."""
    at = content.rindex(b"data.pkl")
    return content[:at] + b"\xff" + content[at + 1 :]


@pytest.mark.parametrize("damage", [cut_short, flip_a_bit, spoil_the_list, lambda content: b""])
def test_a_damaged_checkpoint_is_named_and_the_one_before_is_used(
    tmp_path: Path, damage: Callable[[bytes], bytes]
) -> None:
    def go(folder: Path, batches: Stripes, *, resume: bool) -> dict[str, Tensor]:
        torch.manual_seed(3)
        model = network()
        train(model, batches, config=FAST, run_dir=folder, resume=resume, progress=False)
        return model.state_dict()

    straight = go(tmp_path / "straight", Stripes(batches=4), resume=False)
    broken = Breaks(epoch=2, error=RuntimeError("the power went off"))
    with pytest.raises(RuntimeError, match="power"):
        go(tmp_path / "run", broken, resume=False)
    latest = tmp_path / "run" / "checkpoint.ckpt"
    latest.write_bytes(damage(latest.read_bytes()))
    broken.breaks_at, broken.begun = -1, []
    with pytest.warns(UserWarning, match="checkpoint.ckpt is damaged"):
        resumed = go(tmp_path / "run", broken, resume=True)
    assert broken.begun[0] == 1, "it goes on after epoch 0, which the one before is of"
    assert all(torch.equal(value, resumed[name]) for name, value in straight.items())
    latest.write_bytes(damage(latest.read_bytes()))
    with (
        pytest.warns(UserWarning, match="damaged"),
        pytest.raises(TrainingError, match="every checkpoint"),
    ):
        go(tmp_path / "run", broken, resume=True)


def test_watching_a_validation_set_changes_nothing() -> None:
    results = []
    for validation in (None, Stripes(batches=2, seed=5)):
        model = network()
        pruner = pruned(model, FAST)
        torch.manual_seed(1)
        history = train(
            model,
            Stripes(),
            config=FAST,
            optimizer=pruner.optimizer,
            pruner=pruner,
            validation=validation,
            progress=False,
        )
        results.append((model.state_dict(), history))
    (alone, _), (watched, history) = results
    assert all(torch.equal(alone[name], watched[name]) for name in alone)
    assert all(record.validation_accuracy is not None for record in history.epochs)


def test_what_a_run_leaves_behind(tmp_path: Path) -> None:
    model = network()
    pruner = pruned(model, FAST)
    history = train(
        model,
        Stripes(),
        config=FAST,
        optimizer=pruner.optimizer,
        pruner=pruner,
        run_dir=tmp_path,
        progress=False,
        labels={"network": "mine", "seed": 3},
    )
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert all((line["network"], line["seed"]) == ("mine", 3) for line in lines)
    assert [x["loss"] for x in lines if x["event"] == "epoch"] == [r.loss for r in history.epochs]
    assert [x["kept"] for x in lines if x["event"] == "change"] == [c.kept for c in history.changes]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["checkpoint.ckpt", "metrics.jsonl"]
    # No pickled code: the checkpoint opens where only tensors and plain values may.
    checkpoint = torch.load(tmp_path / "checkpoint.ckpt", weights_only=True)
    assert checkpoint["epoch"] == FAST.epochs - 1
    assert History.from_dict(history.to_dict()) == history


def test_no_hook_of_ours_stays_on_the_optimizer() -> None:
    model = network()
    pruner = pruned(model, FAST)
    optimizer = pruner.optimizer
    assert optimizer is not None
    before = dict(optimizer._optimizer_step_post_hooks)
    train(model, Stripes(), config=FAST, optimizer=optimizer, pruner=pruner, progress=False)
    assert dict(optimizer._optimizer_step_post_hooks) == before


class Spoils(nn.Module):
    """A layer that spoils its output from the third call on."""

    def __init__(self, spoil: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.spoil, self.calls = spoil, 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return self.spoil(x) if self.calls > 2 else x


def spoiled(spoil: Callable[[Tensor], Tensor]) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 4, 3),
        nn.BatchNorm2d(4),
        OwnNeuron(),
        Spoils(spoil),
        nn.Flatten(),
        nn.Linear(64, CLASSES),
    )


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_loss_that_is_not_a_number_names_step_layer_and_remedy(value: float) -> None:
    with pytest.raises(TrainingError) as error:
        train(spoiled(lambda x: x * value), Stripes(), config=FAST, progress=False)
    message = str(error.value)
    assert "optimizer step 2" in message
    assert "'3'" in message  # the layer's name in the Sequential
    assert "training.learning_rate" in message


@pytest.mark.parametrize("name", ["spikingjelly", "snntorch", "own neuron"])
def test_weights_that_are_not_numbers_are_named_even_where_neurons_hide_them(name: str) -> None:
    model = network(name)
    with torch.no_grad():
        model.get_parameter("conv2.weight").fill_(float("nan"))
    with pytest.raises(TrainingError, match=r"'conv\d\.weight'.*training\.learning_rate"):
        train(model, Stripes(), config=FAST, progress=False)


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
        MemoryError(),
    ],
)
def test_out_of_memory_says_what_to_lower(error: Exception) -> None:
    def fail(x: Tensor) -> Tensor:
        raise error

    with pytest.raises(TrainingError, match=r"Lower data\.batch_size"):
        train(spoiled(fail), Stripes(), config=FAST, progress=False)


def test_labels_that_do_not_fit_are_refused() -> None:
    batches = Stripes()
    batches.labels[0] = CLASSES + 4
    batches.size = len(batches.labels)
    with pytest.raises(TrainingError, match=rf"{CLASSES} outputs.*0 to {CLASSES + 4}"):
        train(network(), batches, config=FAST, progress=False)


@pytest.mark.parametrize("name", ["spikingjelly", "snntorch", "own neuron"])
@pytest.mark.parametrize("value", [float("nan"), float("-inf")])
def test_inputs_that_are_not_numbers_are_named_and_not_the_learning_rate(
    name: str, value: float
) -> None:
    """Also where a neuron hides them from the loss."""
    batches = Stripes()
    batches.images[7, 0, 2, 3] = value
    with pytest.raises(TrainingError, match=r"1 of the .* inputs .* NaN or infinite") as error:
        train(network(name), batches, config=FAST, progress=False)
    assert "learning_rate" not in str(error.value)


@pytest.mark.parametrize(
    "empty",
    [[], (), torch.utils.data.DataLoader([(torch.zeros(1), 0)], batch_size=2, drop_last=True)],
)
def test_nothing_to_train_on_is_refused(tmp_path: Path, empty: Any) -> None:
    with pytest.raises(TrainingError, match="there is none to train on"):
        train(network(), empty, config=FAST, run_dir=tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists()


IMAGES, LABELS = torch.zeros(2, 1, 6, 6), torch.zeros(2, dtype=torch.long)


@pytest.mark.parametrize(
    ("batches", "words"),
    [
        ([IMAGES], "got a Tensor"),
        ((IMAGES, LABELS), "got a Tensor"),
        ([(IMAGES, LABELS, LABELS)], r"got a tuple of \(Tensor, Tensor, Tensor\)"),
        ([(IMAGES, [0, 1])], r"got a tuple of \(Tensor, list\)"),
        ([{"image": IMAGES, "label": LABELS}], "got a dict"),
        (torch.utils.data.DataLoader(IMAGES), "got a Tensor"),
    ],
)
def test_batches_that_are_no_pairs_are_refused(batches: Any, words: str) -> None:
    with pytest.raises(TrainingError, match=rf"batches: wanted pairs.*{words}"):
        train(network(), batches, config=FAST, progress=False)
    with pytest.raises(TrainingError, match=rf"batches: wanted pairs.*{words}"):
        train(network(), Stripes(), config=PLAIN, validation=batches, progress=False)


@pytest.mark.parametrize("loss", ["cross-entropy", "mse-rate"])
def test_labels_are_whole_numbers(loss: str) -> None:
    config = TrainingConfig(epochs=1, loss=loss)
    for kind in (torch.float32, torch.bool):
        with pytest.raises(TrainingError, match=rf"whole numbers.*{kind}.*labels.long\(\)"):
            train(network(), [(IMAGES, LABELS.to(kind))], config=config, progress=False)
    for kind in (torch.uint8, torch.int32):
        train(network(), [(IMAGES, LABELS.to(kind))], config=config, progress=False)


def test_outputs_that_are_no_logits_are_refused() -> None:
    with pytest.raises(TrainingError, match=r"logits \[N, classes\]"):
        train(nn.Conv2d(1, 2, 3), Stripes(), config=FAST, progress=False)


def test_an_interrupt_is_an_interrupt() -> None:
    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        train(network(), Breaks(epoch=1, error=KeyboardInterrupt()), config=FAST, progress=False)
    assert signal.getsignal(signal.SIGINT) is handler


def test_nothing_to_resume_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="Nothing to resume"):
        train(network(), Stripes(), config=FAST, run_dir=tmp_path, resume=True, progress=False)


@pytest.mark.parametrize("kept", ["checkpoint.ckpt", "checkpoint-before.ckpt"])
def test_a_training_is_never_lost_to_one_that_starts_afresh(tmp_path: Path, kept: str) -> None:
    """Also where a kill left the checkpoint before the latest alone."""
    train(network(), Stripes(), config=PLAIN, run_dir=tmp_path, progress=False)
    (tmp_path / "checkpoint.ckpt").rename(tmp_path / kept)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(TrainingError, match=rf"'{tmp_path}'.*resume=True.*another folder"):
        train(network(seed=1), Stripes(), config=PLAIN, run_dir=tmp_path, progress=False)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    train(network(), Stripes(), config=PLAIN, run_dir=tmp_path / "other", progress=False)


@pytest.mark.parametrize("kind", [str, Path])
def test_a_folder_is_a_path_or_its_text(tmp_path: Path, kind: Callable[[Path], str | Path]) -> None:
    folder = kind(tmp_path / "run")
    assert not has_checkpoint(folder)
    for resume in (False, True):
        train(network(), Stripes(), config=PLAIN, run_dir=folder, resume=resume, progress=False)
        assert has_checkpoint(folder)
    assert (tmp_path / "run" / "metrics.jsonl").is_file()


def test_progress_says_what_a_person_watches(capsys: pytest.CaptureFixture[str]) -> None:
    train(network(), Stripes(), config=FAST, validation=Stripes(), title="my run")
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "my run" in shown.err
    assert "epoch   3/3" in shown.err
    assert "validation" in shown.err


def test_a_checkpoint_of_another_network_or_optimizer_is_named(tmp_path: Path) -> None:
    short = TrainingConfig(epochs=1)
    train(network(), Stripes(), config=short, run_dir=tmp_path, progress=False)
    longer = TrainingConfig(epochs=2)
    wider = nn.Sequential(nn.Flatten(), nn.Linear(36, CLASSES))
    other = TrainingConfig(epochs=2, optimizer="sgd")
    averaged = TrainingConfig(epochs=2, ema=0.9)
    for model, config in ((wider, longer), (network(), other), (network(), averaged)):
        with pytest.raises(TrainingError, match="of another network, optimizer or config"):
            train(model, Stripes(), config=config, run_dir=tmp_path, resume=True, progress=False)


@pytest.mark.parametrize("words", ["CUDA error: out of memory", "CUBLAS_STATUS_ALLOC_FAILED"])
def test_running_out_of_memory_says_what_to_lower(words: str) -> None:
    class Greedy(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.zeros(1))

        def forward(self, x: Tensor) -> Tensor:
            raise RuntimeError(words)

    with pytest.raises(TrainingError, match=r"Lower data\.batch_size"):
        train(Greedy(), [(torch.zeros(2, 1), torch.zeros(2))], config=PLAIN, progress=False)


def test_a_wrong_label_is_named_in_any_batch() -> None:
    inputs, labels = next(iter(Stripes()))
    wrong = labels.clone()
    wrong[1] = 9
    with pytest.raises(TrainingError, match="the labels run from"):
        train(network(), [(inputs, labels), (inputs, wrong)], config=FAST, progress=False)
