"""A saved network comes back to the bit; anything else that a file may hold is refused."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

import microglia as mg
import zoo
from microglia.surgery import Compact, compact, files
from microglia.surgery.record import write_record

NETWORKS = zoo.whole_or_sampled(
    [
        "chain",
        "chain, own neuron",
        "concatenation, groups",
        "recurrent, multi-step",
        "snnTorch",
        "snnTorch, hidden inside",
        "plain PyTorch, shared",
        "decoder",
        "dense",
        "temporal-effective norm",
    ],
    zoo.CASES,
)


def small_one(name: str = "chain", *, seed: int = 0) -> tuple[Compact, Tensor]:
    model, x, structure, keep = zoo.masked(name, sparsity=0.5, T=3, seed=seed)
    return compact(model, structure, keep, example_input=x), x


def outputs(model: nn.Module, x: Tensor) -> list[Tensor]:
    mg.reset(model)
    with torch.no_grad():
        out = model.eval()(x)
    return list(out) if isinstance(out, tuple) else [out]


@pytest.mark.parametrize("name", NETWORKS)
def test_saved_and_loaded_is_the_same_to_the_bit(name: str, tmp_path: Path) -> None:
    small, x = small_one(name)
    expected = outputs(small.model, x)
    assert mg.save(small, tmp_path / "net") == tmp_path / "net"
    assert sorted(p.name for p in (tmp_path / "net").iterdir()) == [
        "structure.json",
        "weights.safetensors",
    ]
    assert [p.name for p in tmp_path.iterdir()] == ["net"]
    unpruned, _ = zoo.make(name, T=3, seed=8)
    before = zoo.snapshot(unpruned)
    loaded = mg.load(tmp_path / "net", model=unpruned)
    assert zoo.same(outputs(loaded, x), expected)
    assert zoo.same(loaded.state_dict(), small.model.state_dict())
    assert not loaded.training
    after = zoo.snapshot(unpruned)
    assert not [k for k in before if k != "rng" and not zoo.same(before[k], after.get(k))]


@pytest.mark.parametrize("name", ["chain", "recurrent, single-step", "snnTorch"])
def test_what_was_loaded_can_be_pruned_saved_and_loaded_again(name: str, tmp_path: Path) -> None:
    small, x = small_one(name)
    mg.save(small, tmp_path / "once")
    unpruned, _ = zoo.make(name, T=3)
    loaded = mg.load(tmp_path / "once", model=unpruned)
    pruner = mg.Magnitude(loaded, sparsity=0.4, example_input=x, linear=True)
    pruner.calibrate()
    smaller = pruner.compact()
    mg.save(smaller, tmp_path / "twice")
    again = mg.load(tmp_path / "twice", model=unpruned)
    assert zoo.same(outputs(again, x), outputs(smaller.model, x))


def test_saving_what_a_training_left_behind(tmp_path: Path) -> None:
    """States with a graph behind them, gradients and modes are no part of the file."""
    small, x = small_one("chain, single-step")
    small.model.train()
    small.model(x).sum().backward()
    mg.save(small, tmp_path / "net")
    tensors = load_file(tmp_path / "net" / "weights.safetensors")
    assert set(tensors) == set(small.model.state_dict())


def test_an_old_save_is_replaced(tmp_path: Path) -> None:
    first, x = small_one(seed=0)
    second, _ = small_one(seed=1)
    mg.save(first, tmp_path / "net")
    mg.save(second, tmp_path / "net")
    loaded = mg.load(tmp_path / "net", model=zoo.make("chain", T=3)[0])
    assert zoo.same(outputs(loaded, x), outputs(second.model, x))
    assert [p.name for p in tmp_path.iterdir()] == ["net"]


def test_missing_folders_are_made(tmp_path: Path) -> None:
    small, _ = small_one()
    mg.save(small, str(tmp_path / "a" / "b" / "net"))
    assert (tmp_path / "a" / "b" / "net" / "structure.json").is_file()


def test_a_folder_of_other_things_is_never_replaced(tmp_path: Path) -> None:
    small, _ = small_one()
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.tex").write_text("years of work")
    with pytest.raises(mg.DataError, match="thesis"):
        mg.save(small, tmp_path / "thesis")
    assert (tmp_path / "thesis" / "chapter.tex").read_text() == "years of work"
    (tmp_path / "file").write_text("more work")
    with pytest.raises(mg.DataError, match="file"):
        mg.save(small, tmp_path / "file")
    assert (tmp_path / "file").read_text() == "more work"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "thesis"]


@pytest.mark.parametrize("what", ["weights", "structure", "moving"])
@pytest.mark.parametrize("replaces", [False, True])
def test_a_full_disk_leaves_nothing_half_written(
    what: str, replaces: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small, x = small_one(seed=0)
    if replaces:
        mg.save(small, tmp_path / "net")
    before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    other, _ = small_one(seed=1)

    def full(*args: Any, **settings: Any) -> None:
        raise OSError(28, "No space left on device")

    def half(tensors: dict[str, Tensor], path: Path) -> None:
        Path(path).write_bytes(b"half of it")
        full()

    if what == "weights":
        monkeypatch.setattr(files, "save_file", half)
    elif what == "structure":
        monkeypatch.setattr(Path, "write_text", full)
    else:
        monkeypatch.setattr(Path, "replace", full)
        monkeypatch.setattr(Path, "rename", full)
    with pytest.raises(mg.DataError, match=r"No space left|could not be saved"):
        mg.save(other, tmp_path / "net")
    monkeypatch.undo()
    assert {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()} == before
    if replaces:
        loaded = mg.load(tmp_path / "net", model=zoo.make("chain", T=3)[0])
        assert zoo.same(outputs(loaded, x), outputs(small.model, x))
    else:
        assert list(tmp_path.iterdir()) == []


# --- what a file may hold ---------------------------------------------------------------------


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    mg.save(small_one()[0], tmp_path / "net")
    return tmp_path / "net"


def load(path: Path, name: str = "chain") -> nn.Module:
    model: nn.Module = mg.load(path, model=zoo.make(name, T=3)[0])
    return model


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(mg.DataError, match="no saved network"):
        load(tmp_path / "nowhere")


@pytest.mark.parametrize("file", ["structure.json", "weights.safetensors"])
def test_a_missing_or_damaged_file(saved: Path, file: str) -> None:
    whole = (saved / file).read_bytes()
    for damaged in (b"", whole[: len(whole) // 2], b"\x00" * 64, b"\xff" * 64, whole[:8]):
        (saved / file).write_bytes(damaged)
        with pytest.raises(mg.DataError, match=file.split(".")[0]):
            load(saved)
    (saved / file).unlink()
    with pytest.raises(mg.DataError):
        load(saved)


@pytest.mark.parametrize("file", ["structure.json", "weights.safetensors"])
@pytest.mark.parametrize("seed", range(5))
def test_a_single_bit_that_flipped(saved: Path, file: str, seed: int) -> None:
    content = bytearray((saved / file).read_bytes())
    dice = random.Random(seed)
    content[dice.randrange(len(content))] ^= 1 << dice.randrange(8)
    (saved / file).write_bytes(content)
    with pytest.raises(mg.DataError, match=file.split(".")[0]):
        load(saved)


def test_a_network_in_the_place_of_what_compact_gave(tmp_path: Path) -> None:
    with pytest.raises(mg.ConfigError, match=r"compact\(\).*got a Steps"):
        mg.save(small_one()[0].model, tmp_path / "net")  # type: ignore[arg-type]


def test_a_file_with_a_weight_changed_in_size_or_name(saved: Path) -> None:
    path = saved / "weights.safetensors"
    tensors = load_file(path)
    for change in (
        {"body.0.weight": torch.zeros(9, 3, 3, 3)},
        {"body.0.weight": torch.zeros(2, 3, 3)},
        {"body.0.weight": tensors["body.0.weight"].double()},
        {"body.0.weight": tensors["body.0.weight"].to(torch.int32)},
        {"body.99.weight": torch.zeros(3)},
        {"__class__": torch.zeros(3)},
    ):
        save_file({**tensors, **change}, path)
        rewrite(saved, lambda record: None)
        with pytest.raises((mg.DataError, mg.ConfigError), match=r"body|__class__"):
            load(saved)
    del tensors["body.0.weight"]
    save_file(tensors, path)
    rewrite(saved, lambda record: None)
    with pytest.raises(mg.ConfigError, match=r"body\.0\.weight"):
        load(saved)


@pytest.mark.parametrize("name", ["chain, own neuron", "dense", "pre-activation", "snnTorch"])
def test_another_network_is_refused(saved: Path, name: str) -> None:
    with pytest.raises((mg.ConfigError, mg.DataError), match=str(saved.name)):
        load(saved, name)


def test_a_narrower_network_is_refused(saved: Path) -> None:
    small, _ = small_one(seed=3)
    with pytest.raises((mg.ConfigError, mg.DataError)):
        mg.load(saved, model=small.model)


def test_without_a_network_it_says_what_to_pass(saved: Path) -> None:
    with pytest.raises(mg.ConfigError, match=r"holds a Steps.*model="):
        mg.load(saved)


Edit = Callable[[dict[str, Any]], Any]


def size(attribute: str, value: Any, module: str = "body.0") -> Edit:
    return lambda r: r["sizes"].setdefault(module, {}).__setitem__(attribute, value)


MALICIOUS: dict[str, Edit] = {
    "another format": lambda r: r.update(format="microglia-99"),
    "no format": lambda r: r.update(format=None),
    "a size that is no number": size("out_channels", "8"),
    "a size that is a truth": size("out_channels", True),
    "a size below one": size("out_channels", 0),
    "a negative size": size("out_channels", -4),
    "a size that is a fraction": size("out_channels", 4.5),
    "a size of another width": size("out_channels", 10**9),
    "groups that don't divide": size("groups", 3),
    "an attribute that is no size": size("training", 1),
    "a method": size("forward", 1),
    "a dunder": size("__class__", 1),
    "a module that isn't there": size("out_channels", 4, "body.99"),
    "an attribute the module hasn't": size("num_features", 4, "body.0"),
    "a path out of the network": size("out_channels", 4, "body.0.__class__"),
    "sizes that are a list": lambda r: r.update(sizes=[1, 2]),
    "sizes of a module that are a list": lambda r: r["sizes"].update({"body.0": [1]}),
    "sizes that are nothing": lambda r: r.update(sizes=None),
    "shapes that are a list": lambda r: r.update(shapes=[1]),
    "shapes that are nothing": lambda r: r.update(shapes=None),
    "a shape that lies": lambda r: r["shapes"].update({"body.0.weight": [1]}),
    "a shape that is a word": lambda r: r["shapes"].update({"body.0.weight": "big"}),
    "another class": lambda r: r.update({"class": "Other"}),
    "no class": lambda r: r.pop("class"),
    "groups that are a list": lambda r: r.update(groups=[1]),
    "a group without channels": lambda r: r["groups"].update({"body.0": 3}),
    "a kept channel that never was": lambda r: r["groups"]["body.0"]["kept"].append(10**9),
    "a kept channel below zero": lambda r: r["groups"]["body.0"]["kept"].insert(0, -1),
    "a channel kept twice": lambda r: r["groups"]["body.0"]["kept"].extend(
        r["groups"]["body.0"]["kept"]
    ),
    "a width that is a word": lambda r: r["groups"]["body.0"].update(original="8"),
    "a certificate of nothing": lambda r: r.update(certificate={}),
    "a certificate that is a word": lambda r: r.update(certificate="all well"),
    "a certificate in words": lambda r: r["certificate"].update(spikes="many"),
    "a certificate of more": lambda r: r["certificate"].update(signed_by="me"),
    "a shape too many": lambda r: r["shapes"].update({"ghost": [1]}),
}


def rewrite(saved: Path, edit: Edit) -> None:
    """A structure file changed by somebody who knows how to sign it."""
    record = json.loads((saved / "structure.json").read_text())
    edit(record)
    write_record(saved, record)


@pytest.mark.parametrize("what", MALICIOUS)
def test_a_malicious_structure_is_refused(what: str, saved: Path) -> None:
    rewrite(saved, MALICIOUS[what])
    with pytest.raises((mg.DataError, mg.ConfigError)):
        load(saved)


@pytest.mark.parametrize(
    "network",
    [
        "vgg16",
        ["vgg16"],
        5,
        {"name": "vgg16"},
        {"arguments": {}},
        {"name": "os.system", "arguments": {"command": "true"}},
        {"name": "vgg16", "arguments": {"width": "wide", "classes": 10, "channels": 3}},
        {"name": "vgg16", "arguments": {"classes": 10, "channels": 3, "surprise": 1}},
        {"name": "vgg16", "arguments": [1]},
        {"name": "vgg16", "arguments": {"classes": -1, "channels": 3}},
        {"name": "__import__", "arguments": {}},
    ],
)
def test_a_network_that_the_file_only_claims_is_refused(network: Any, saved: Path) -> None:
    rewrite(saved, lambda record: record.update(network=network))
    with pytest.raises((mg.DataError, mg.ConfigError)):
        mg.load(saved)


@pytest.mark.parametrize("seed", zoo.whole_or_sampled(range(40), range(1000)))
def test_a_structure_file_damaged_at_random_never_breaks_out(seed: int, saved: Path) -> None:
    """Any value replaced by any other: an error of ours, or the very network that was saved."""
    path = saved / "structure.json"
    record = json.loads(path.read_text())
    expected = load(saved).state_dict()
    dice = random.Random(seed)
    for _ in range(1 + seed % 3):
        damage(record, dice)
    write_record(saved, record)
    try:
        loaded = load(saved)
    except (mg.DataError, mg.ConfigError):
        return
    assert zoo.same(loaded.state_dict(), expected)
    outputs(loaded, zoo.make("chain", T=3)[1])


def damage(record: Any, dice: random.Random) -> None:
    places: list[tuple[Any, Any]] = []

    def walk(value: Any) -> None:
        items = value.items() if isinstance(value, dict) else enumerate(value)
        for key, inner in items:
            places.append((value, key))
            if isinstance(inner, (dict, list)):
                walk(inner)

    walk(record)
    holder, key = dice.choice(places)
    values = [None, -1, 0, 10**12, 1.5, "x", [], {}, True, [[1]], {"a": {"b": 1}}]
    holder[key] = copy.deepcopy(dice.choice(values))


def test_loading_executes_nothing(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import builtins
    import pickle

    def refuse(*args: Any, **settings: Any) -> None:
        raise AssertionError("loading must execute nothing that the file names")

    unpruned, _ = zoo.make("chain", T=3)
    monkeypatch.setattr(pickle, "load", refuse)
    monkeypatch.setattr(pickle, "loads", refuse)
    monkeypatch.setattr(torch, "load", refuse)
    monkeypatch.setattr(builtins, "eval", refuse)
    monkeypatch.setattr(builtins, "exec", refuse)
    mg.load(saved, model=unpruned)


def test_the_structure_file_is_readable(saved: Path) -> None:
    record = json.loads((saved / "structure.json").read_text())
    small, _ = small_one()
    assert record["groups"] == small.ledger.to_dict()
    assert record["class"] == "Steps"
    assert record["certificate"]["spikes"] > 0
    kept = record["groups"]["body.0"]["kept"]
    assert record["sizes"]["body.0"]["out_channels"] == len(kept)
    assert record["shapes"]["body.0.weight"] == [len(kept), 3, 3, 3]


@pytest.mark.parametrize(
    "setting", [{"v_threshold": 0.4}, {"v_reset": None}, {"tau": 3.0}, {"decay_input": False}]
)
def test_a_network_whose_neurons_are_set_otherwise_is_refused(
    setting: dict[str, Any], saved: Path
) -> None:
    model, _ = zoo.make("chain", T=3)
    for key, value in setting.items():
        setattr(model.body[2], key, value)
    with pytest.raises(mg.ConfigError, match=r"body\.2.*" + next(iter(setting))):
        mg.load(saved, model=model)


def test_both_files_are_for_the_same_people(tmp_path: Path) -> None:
    model, x, structure, keep = zoo.masked("chain", sparsity=0.5)
    small = compact(model, structure, keep, example_input=x)
    folder = mg.save(small, tmp_path / "saved")
    modes = {path.stat().st_mode & 0o777 for path in folder.iterdir()}
    assert len(modes) == 1
