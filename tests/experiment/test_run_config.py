"""The config: TOML in, TOML out, every key a flag, and nothing unknown or impossible let in."""

from __future__ import annotations

import dataclasses
import tomllib
from pathlib import Path
from typing import Any

import pytest

from microglia.errors import ConfigError, DataError
from microglia.experiment import NetworkConfig, RunConfig
from microglia.experiment.bench import build_network
from microglia.experiment.compare import CompareConfig
from microglia.experiment.recurrent.lnp_config import LNPRun
from microglia.experiment.toml import keys, read_table, set_key, unset_keys
from microglia.methods import METHODS

MINIMAL: dict[str, Any] = {
    "network": {"name": "digits"},
    "data": {"source": "digits"},
    "pruning": {"sparsity": 0.5},
}

FULL = """
seeds = [3, 1]

[network]
name = "vgg16"
T = 2
width = 0.25
neuron = "plif"

[data]
source = 'C:\\data "quoted" ünïcode'
train_rows = [0, 100]
validation_rows = [100, 120]

[training]
epochs = 3
learning_rate = 1e-2
precision = "bf16-mixed"

[pruning]
method = "sca"
protect = ["layer1.*", "stem"]
controls = []

[pruning.target]
macs = 0.3

[pruning.options]
regrow = 0
score = "released"
penalty = 3e-5

[output]
directory = "runs/x"
overwrite = true
"""


def changed(section: str, **values: Any) -> dict[str, Any]:
    if not section:
        return {**MINIMAL, **values}
    return {**MINIMAL, section: {**MINIMAL.get(section, {}), **values}}


@pytest.mark.parametrize("table", [MINIMAL, tomllib.loads(FULL)], ids=["minimal", "full"])
def test_toml_reads_back_equal(table: dict[str, Any]) -> None:
    config = RunConfig.from_table(table)
    again = RunConfig.from_table(tomllib.loads(config.to_toml()))
    assert again == config
    assert again.to_toml() == config.to_toml()


def test_the_shipped_examples_are_valid() -> None:
    folder = Path(__file__).parents[2] / "examples"
    files = sorted(folder.glob("*.toml"))
    assert folder / "digits.toml" in files
    for file in files:
        if "microglia compare" in file.read_text():
            assert CompareConfig.from_file(file).jobs()
        elif "microglia lnp" in file.read_text():
            LNPRun.from_table(read_table(file))
        elif "microglia train" in file.read_text():
            RunConfig.from_table({**read_table(file), "pruning": {"sparsity": 0.0}})
        else:
            RunConfig.from_file(file)


@pytest.mark.parametrize(
    ("section", "values", "message"),
    [
        ("", {"sedes": [1]}, r"'sedes'.*Did you mean 'seeds'"),
        ("network", {"widht": 1}, r"'network\.widht'.*Did you mean 'width'"),
        ("pruning", {"sparsty": 0.5}, r"'pruning\.sparsty'.*Did you mean 'sparsity'"),
        ("network", {"T": "four"}, r"'network\.T' wants a whole number, got \"four\""),
        ("network", {"T": True}, r"'network\.T' wants a whole number"),
        ("network", {"T": 2.5}, r"'network\.T' wants a whole number"),
        ("network", {"T": 0}, r"network\.T.*at least 1"),
        ("network", {"width": 0}, r"network\.width.*above 0"),
        ("network", {"width": float("inf")}, r"network\.width.*above 0"),
        ("output", {"overwrite": 1}, r"'output\.overwrite' wants true or false"),
        ("pruning", {"controls": "dense"}, r"'pruning\.controls' wants a list.*\[.dense.\]\.$"),
        ("training", {"loggers": "csv"}, r"'training\.loggers' wants a list.*Write \[.csv.\]\.$"),
        ("data", {"train_rows": 500}, r"'data\.train_rows' wants a list.*got 500\.$"),
        ("pruning", {"controls": ["dense", 1]}, r"'pruning\.controls\[1\]' wants text"),
        ("pruning", {"controls": ["dense", "randm"]}, r"Did you mean 'random'"),
        ("pruning", {"controls": ["random"]}, r"add it"),
        ("pruning", {"method": "scaa"}, r"Did you mean 'sca'"),
        ("pruning", {"sparsity": 1.0}, r"pruning\.sparsity.*\[0, 1\).*1\.0"),
        ("pruning", {"sparsity": -0.1}, r"pruning\.sparsity.*\[0, 1\)"),
        ("pruning", {"sparsity": float("nan")}, r"pruning\.sparsity.*\[0, 1\)"),
        ("pruning", {"target": {"macs": 0.5}}, r"not both"),
        ("pruning", {"sparsity": None, "target": {"mac": 0.5}}, r"Did you mean 'macs'"),
        ("pruning", {"sparsity": None, "target": {"macs": 0.0}}, r"\(0, 1\]"),
        ("pruning", {"options": {"regorw": 0.1}}, r"options\.regorw.*Did you mean 'regrow'"),
        ("pruning", {"method": "random", "options": {"scope": "layer"}}, r"no such setting"),
        ("pruning", {"method": "random", "options": {"penalty": 1e-4}}, r"no such setting"),
        ("pruning", {"every_epochs": 0}, r"every_epochs.*above 0"),
        ("pruning", {"residual": "outer"}, r"residual"),
        ("training", {"epochs": 0}, r"training\.epochs"),
        ("training", {"device": "tpu"}, r"training\.device"),
        ("data", {"train_rows": [5, 5]}, r"data\.train_rows"),
        ("data", {"batch_size": 0}, r"data\.batch_size"),
        ("data", {"cutout": -1}, r"data\.cutout.*at least 0"),
        ("output", {"directory": ""}, r"output\.directory"),
        ("output", {"latency_repeats": 0}, r"output\.latency_repeats"),
        ("", {"seeds": []}, r"seeds"),
        ("", {"seeds": [1, 1]}, r"seeds"),
        ("", {"seeds": [-1]}, r"seeds"),
        ("", {"network": 3}, r"'network' is a section"),
        ("", {"network": {}}, r"'network\.name' is missing"),
    ],
)
def test_what_cannot_work_is_refused_by_its_key(
    section: str, values: dict[str, Any], message: str
) -> None:
    table = changed(section, **values)
    # TOML has no null; here None takes a key of the minimal config away.
    table = {
        name: {k: v for k, v in part.items() if v is not None} if isinstance(part, dict) else part
        for name, part in table.items()
    }
    with pytest.raises(ConfigError, match=message):
        RunConfig.from_table(table)


@pytest.mark.parametrize("missing", ["network", "data", "pruning"])
def test_a_missing_section_is_named_by_what_it_must_hold(missing: str) -> None:
    table = {name: part for name, part in MINIMAL.items() if name != missing}
    with pytest.raises(ConfigError, match=missing):
        RunConfig.from_table(table)


@pytest.mark.parametrize("method", METHODS)
def test_every_method_can_be_asked_for(method: str) -> None:
    table = changed("pruning", method=method, until_epochs=1.0)
    assert RunConfig.from_table(table).pruning.method == method


@pytest.mark.parametrize(
    ("key", "text", "value"),
    [
        ("seeds", "0,1,2", (0, 1, 2)),
        ("seeds", "[4]", (4,)),
        ("network.width", "0.5", 0.5),
        ("network.width", "1", 1.0),
        ("network.name", "5", "5"),
        ("training.epochs", "7", 7),
        ("output.overwrite", "true", True),
        ("pruning.controls", "dense,random", ("dense", "random")),
        ("pruning.protect", "layer1.*", ("layer1.*",)),
        ("pruning.options.regrow", "0.1", 0.1),
        ("pruning.options.score", "released", "released"),
        ("data.train_rows", "0,50", (0, 50)),
        ("network.detach_reset", "false", False),
        ("network.tau_a", "3", 3.0),
    ],
)
def test_any_key_can_be_set_from_text(key: str, text: str, value: Any) -> None:
    table = tomllib.loads(RunConfig.from_table(MINIMAL).to_toml())
    set_key(table, key, text, cls=RunConfig)
    found: Any = RunConfig.from_table(table)
    for part in key.split("."):
        found = found[part] if isinstance(found, dict) else getattr(found, part)
    assert found == value
    assert type(found) is type(value)


def test_every_setting_of_the_network_reaches_it() -> None:
    settings = {
        **{"neuron": "alif", "tau": 3.0, "alpha": 2.0, "surrogate": "atan", "reset": "soft"},
        **{"detach_reset": False, "beta": 0.5, "tau_a": 6.0, "norm": "tebn", "width": 0.25, "T": 3},
    }
    names = {f.name for f in dataclasses.fields(NetworkConfig)}
    assert set(settings) == names - {"name", "final_T", "cnf"}
    network = build_network(NetworkConfig(name="digits", **settings), (1, 8, 8), classes=4)
    assert settings.items() <= network.microglia_network["arguments"].items()


@pytest.mark.parametrize(
    ("key", "text", "message"),
    [
        ("network.widht", "1", "Did you mean 'network.width'"),
        ("nothing.at.all", "1", "Unknown key"),
        ("network", "digits", "is a section"),
        ("network.name.more", "x", "is not a section"),
        ("training.epochs", "many", "wants a whole number, got 'many'"),
        ("training.epochs", "1\nseeds = [9]", "wants a whole number"),
    ],
)
def test_a_flag_that_is_no_key_or_no_value_is_refused(key: str, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        set_key({}, key, text, cls=RunConfig)


def test_every_key_is_either_written_or_named_as_unset() -> None:
    config = RunConfig.from_table(MINIMAL)
    written = tomllib.loads(config.to_toml())
    unset = {name for name, _ in unset_keys(config)}
    for name, _ in keys(RunConfig):
        section, _, key = name.rpartition(".")
        table = written[section] if section else written
        assert (key in table) != (name in unset), name


def test_files_that_cannot_be_read_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="No config file"):
        read_table(tmp_path / "absent.toml")
    with pytest.raises(DataError, match="Cannot read"):
        read_table(tmp_path)
    broken = tmp_path / "broken.toml"
    broken.write_text("[network\nname = 1")
    with pytest.raises(ConfigError, match="line 1"):
        read_table(broken)
    broken.write_bytes(b"\xff\xfe")
    with pytest.raises(DataError, match="Cannot read"):
        read_table(broken)


def test_a_rate_of_fine_tuning_counts_where_there_is_some() -> None:
    def config(**pruning: Any) -> RunConfig:
        return RunConfig.from_table({**MINIMAL, "pruning": {"sparsity": 0.5, **pruning}})

    assert config(finetune_rate=0.1).differs_from(config(finetune_rate=0.3)) == []
    tuned = {"finetune_epochs": 2}
    assert config(**tuned).differs_from(config(**tuned, finetune_rate=0.1)) == []
    other = config(**tuned, finetune_rate=0.3)
    assert config(**tuned).differs_from(other) == ["pruning.finetune_rate"]
    trained = config(method="weight-magnitude")
    assert trained.differs_from(config(method="weight-magnitude", finetune_rate=1.0)) == []
