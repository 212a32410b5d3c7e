"""The command line: what it prints, the exit codes scripts trust, and bad input in words."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import microglia as mg
import zoo
from microglia.cli import run
from microglia.errors import (
    CertificateError,
    ConfigError,
    DataError,
    MicrogliaError,
    StructureError,
    TrainingError,
)
from microglia.experiment import RunConfig
from microglia.experiment.toml import keys
from microglia.surgery.record import write_record

SMALL = """
[network]
name = "digits"
width = 0.25
T = 1

[data]
source = "digits"
train_rows = [0, 80]
batch_size = 40

[training]
epochs = 1
device = "cpu"

[pruning]
sparsity = 0.5
every_epochs = 0.5
controls = ["dense", "uniform-slim"]

[output]
directory = "out"
latency_repeats = 1
latency_batch = 2
"""


class Shell:
    """Runs commands in an empty folder that holds one small config."""

    def __init__(self, folder: Path, captured: pytest.CaptureFixture[str]) -> None:
        self.folder, self._captured = folder, captured
        self.out = self.err = ""

    def __call__(self, *arguments: str) -> int:
        self._captured.readouterr()
        code = run(arguments)
        self.out, self.err = self._captured.readouterr()
        return code

    def files(self) -> set[str]:
        return {p.name for p in self.folder.iterdir()}


@pytest.fixture
def shell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Shell:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "120")
    (tmp_path / "small.toml").write_text(SMALL)
    return Shell(tmp_path, capsys)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a finished run."""
    folder = tmp_path_factory.mktemp("cli")
    (folder / "small.toml").write_text(SMALL)
    code = run(["prune", str(folder / "small.toml"), "--out", str(folder / "run"), "--quiet"])
    assert code == 0
    return folder / "run"


def says(shell: Shell, code: int, *words: str) -> None:
    """One message, on stderr, with these words and no traceback; nothing on stdout."""
    assert "Traceback" not in shell.err
    assert shell.out == ""
    assert shell.err.startswith("microglia: ") or "Usage:" in shell.err
    for word in words:
        assert word in shell.err, shell.err
    assert code not in (0, 1)


# --- what the commands do ------------------------------------------------------------------


def test_prune_prints_one_table_and_leaves_a_run(shell: Shell) -> None:
    assert shell("prune", "small.toml") == 0
    for word in ("dense", "SCA", "uniform-slim", "accuracy, %", "parameters", "latency", "×0."):
        assert word in shell.out
    assert "epoch   1/1" in shell.err
    assert "out/report.html" in shell.out
    assert shell.files() == {"small.toml", "out"}


def test_flags_are_keys_of_the_config(shell: Shell) -> None:
    flags = (
        "--method=activity --sparsity 0.25 --epochs 3 --seeds 4,5 --device cpu --batch-size 8 "
        "--controls dense --out elsewhere --results r.jsonl --overwrite --network.neuron plif "
        "--pruning.protect blocks.0.* --training.learning_rate=0.5 --data.train_rows 0,40"
    )
    assert shell("prune", "small.toml", *flags.split(), "--show-config") == 0
    (shell.folder / "shown.toml").write_text(shell.out)
    config = RunConfig.from_file("shown.toml")
    assert config.pruning.method == "activity"
    assert config.pruning.sparsity == 0.25
    assert config.pruning.controls == ("dense",)
    assert config.pruning.protect == ("blocks.0.*",)
    assert config.training.epochs == 3
    assert config.training.learning_rate == 0.5
    assert config.seeds == (4, 5)
    assert config.data.batch_size == 8
    assert config.data.train_rows == (0, 40)
    assert config.output.directory == "elsewhere"
    assert config.output.results == "r.jsonl"
    assert config.output.overwrite
    assert config.network.neuron == "plif"
    assert config.network.width == 0.25, "what no flag names stays as in the file"


def test_a_budget_on_the_command_line_takes_the_place_of_the_files(shell: Shell) -> None:
    assert shell("prune", "small.toml", "--pruning.target.macs", "0.3", "--show-config") == 0
    (shell.folder / "target.toml").write_text(shell.out)
    pruning = RunConfig.from_file("target.toml").pruning
    assert (pruning.sparsity, pruning.target) == (None, {"macs": 0.3})
    assert shell("prune", "target.toml", "--sparsity", "0.4", "--show-config") == 0
    (shell.folder / "sparsity.toml").write_text(shell.out)
    pruning = RunConfig.from_file("sparsity.toml").pruning
    assert (pruning.sparsity, pruning.target) == (0.4, {})


def test_show_config_names_every_key_and_runs_nothing(shell: Shell) -> None:
    assert shell("prune", "small.toml", "--show-config") == 0
    for key in (
        *("learning_rate", "every_epochs", "pruning.target", "network.tau", "results"),
        *("pruning.options.regrow (", "pruning.options.score ("),
    ):
        assert key in shell.out
    assert shell.files() == {"small.toml"}


def test_show_config_as_the_readme_has_it_lists_every_key(shell: Shell) -> None:
    root = Path(__file__).parent.parent
    text = (root / "README.md").read_text()
    (command,) = re.findall(r"`microglia (prune[^`]*--show-config)`", text)
    (shell.folder / "examples").symlink_to(root / "examples")
    assert shell(*command.split()) == 0
    for key, _ in keys(RunConfig):
        name = key.split(".")[-1]
        assert re.search(rf"^(# not set: [\w.]*)?\b{name}\b", shell.out, re.MULTILINE), key


@pytest.mark.parametrize("where", ["", "compact", "networks/uniform-slim-seed0"])
def test_measure_gives_the_figures_of_the_run(shell: Shell, finished: Path, where: str) -> None:
    assert shell("measure", str(finished / where), "--json") == 0
    figures = json.loads(shell.out)
    name = "uniform-slim" if "slim" in where else "sca"
    saved = json.loads((finished / "table.json").read_text())["table"]["rows"][name]
    assert figures["accuracy"] == saved["accuracy"]["mean"]
    assert figures["size"]["parameters"] == saved["parameters"]["mean"]
    # The run's own source by name is the run's own data, normalisation and all.
    assert shell("measure", str(finished / where), "--json", "--data", "digits") == 0
    assert json.loads(shell.out)["operations"] == figures["operations"]


def test_reproduce_lists_its_jobs_and_prints_tables(shell: Shell) -> None:
    assert shell("reproduce", "sca", "--list", "--only", "cifar10-conv5/*-seed0") == 0
    assert "cifar10-conv5/dense-seed0" in shell.out
    assert "seed1" not in shell.out
    says(shell, shell("reproduce", "sca", "--tables", "--results", "none.jsonl"), "no job is done")
    says(shell, shell("reproduce", "scaa", "--list"), "Did you mean 'sca'?")
    says(shell, shell("reproduce", "sca", "--tier", "x"), "tier: 'x' is unknown")
    says(shell, shell("reproduce", "sca", "--only", "nothing"), "--list")
    (shell.folder / "bad.jsonl").write_text("{}\n")
    says(shell, shell("reproduce", "sca", "--results", "bad.jsonl", "--tables"), "line 1")
    assert shell.files() == {"small.toml", "bad.jsonl"}


def test_sensitivity_of_a_run_and_of_a_config(shell: Shell, finished: Path) -> None:
    assert shell("sensitivity", str(finished), "--out", "there", "--json", "-q") == 0
    record = json.loads(shell.out)
    assert len(record["accuracy"]["blocks.0.conv"]) == len(record["sparsities"]) == 9
    assert "sensitivity.html" in {p.name for p in (shell.folder / "there").iterdir()}
    assert shell("sensitivity", "small.toml", "-q", "--score", "rate", "--out", "here") == 0
    assert "blocks.2.conv" in shell.out
    code = shell("sensitivity", "small.toml", "--out", "here", "--training.epochs", "2")
    says(shell, code, "another config", "training.epochs", "--out")
    says(shell, shell("sensitivity", "small.toml", "--score", "rat"), "Did you mean 'rate'?")


def test_measure_takes_other_data_and_prints_for_people(shell: Shell, finished: Path) -> None:
    shutil.copytree(finished / "compact", shell.folder / "alone")
    assert shell("measure", "alone", "--data", "digits", "--batch-size", "100") == 0
    for word in ("accuracy", "parameters", "SynOps", "Horowitz", "latency"):
        assert word in shell.out


@pytest.mark.parametrize(
    "options",
    [
        "digits",
        "conv5 --width 0.25",
        "preresnet20 --width 0.5 --classes 100",
        pytest.param("sew_resnet18 --size 64", marks=pytest.mark.full),
        pytest.param("vgg16 --T 4", marks=pytest.mark.full),
    ],
)
def test_inspect_knows_networks_by_name(shell: Shell, options: str) -> None:
    assert shell("inspect", "--T", "1", *options.split()) == 0
    assert "parameters" in shell.out
    assert "can be removed" in shell.out


def test_inspect_shows_what_a_saved_network_kept(shell: Shell, finished: Path) -> None:
    assert shell("inspect", str(finished)) == 0
    assert "20 convolution channels can be removed" in shell.out
    assert "blocks.0.conv" in shell.out
    assert "same in float64" in shell.out


def test_methods_lists_them_all(shell: Shell) -> None:
    assert shell("methods") == 0
    for name, cls in mg.METHODS.items():
        line = next(line for line in shell.out.splitlines() if f" {name} " in line)
        for word in (cls.prunes, cls.budget_kind, cls.needs, cls.source):
            assert word in line


@pytest.mark.parametrize("command", ["prune", "inspect", "measure"])
def test_help_has_examples(shell: Shell, command: str) -> None:
    assert shell(command, "--help") == 0
    assert "Examples" in shell.out
    assert f"microglia {command} " in shell.out


# --- bad input -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "wanted", "words"),
    [
        (["--sparsity", "1.0"], ConfigError, ["sparsity", "[0, 1)", "1.0"]),
        (["--sparsity", "-0.1"], ConfigError, ["sparsity", "[0, 1)"]),
        (["--sparsity", "nan"], ConfigError, ["sparsity", "[0, 1)"]),
        (["--sparsity", "half"], ConfigError, ["sparsity", "a number", "half"]),
        (["--method", "scaa"], ConfigError, ["scaa", "Did you mean 'sca'?"]),
        (["--network.name", "vg16"], ConfigError, ["vg16", "Did you mean 'vgg16'?"]),
        (["--network.name", "conv5"], ConfigError, ["size"]),
        (["--network.neuron", "lof"], ConfigError, ["Did you mean 'lif'?"]),
        (["--data.augment", "shfit"], ConfigError, ["Did you mean 'shift'?"]),
        (["--pruning.sparcity", "0.5"], ConfigError, ["Did you mean 'pruning.sparsity'?"]),
        (["--pruning.options.scoer", "rate"], ConfigError, ["Did you mean 'score'?"]),
        (["--pruning.options.score", "mebrane"], ConfigError, ["membrane"]),
        (["--pruning.options.regrow", "0.7"], ConfigError, ["regrow", "below"]),
        (["--pruning.protect", "block.0"], ConfigError, ["protect", "blocks.0"]),
        (["--pruning.floor", "15"], ConfigError, ["floor"]),
        (["--pruning.target.macs", "1e-4"], ConfigError, ["target macs", "raise the target"]),
        (["--pruning.target.mac", "0.5"], ConfigError, ["Did you mean 'macs'?"]),
        (["--controls", "dense,randon"], ConfigError, ["Did you mean 'random'?"]),
        (["--seeds", "0,one"], ConfigError, ["seeds", "one"]),
        (["--data.batch_size", "0"], ConfigError, ["batch_size"]),
        (["--frobnicate", "1"], ConfigError, ["--frobnicate"]),
        (["--network.width"], ConfigError, ["wants a value"]),
        (["--data.source", "no/such/place"], DataError, ["no/such/place"]),
        (["--data.source", "small.toml"], DataError, ["small.toml"]),
        (["--data.train_rows", "0,99999"], DataError, ["rows"]),
        (["--device", "cuda:99"], TrainingError, ["cuda:99", "'cpu' or 'auto'"]),
        (["--device", "tpu"], ConfigError, ["tpu", "cuda"]),
        (["--training.learning_rate", "1e30"], TrainingError, ["learning_rate"]),
        (["--training.learning_rate", "nan"], ConfigError, ["learning_rate"]),
        (["--out", "small.toml"], ConfigError, ["is a file"]),
        (["--out", "."], ConfigError, ["output.directory"]),
        (["--out", "small.toml/below/it"], DataError, ["could not be written"]),
    ],
)
def test_bad_input_to_prune(
    shell: Shell, arguments: list[str], wanted: type[MicrogliaError], words: list[str]
) -> None:
    code = shell("prune", "small.toml", "--quiet", *arguments)
    says(shell, code, *words)
    assert code == wanted.exit_code
    assert shell.files() == {"small.toml"}, "something half written was left"


@pytest.mark.parametrize(
    ("text", "code", "word"),
    [
        (None, 5, "No config file"),
        ("[network", 2, "not valid TOML"),
        ("", 2, "missing"),
        ("network = 3", 2, "section"),
        (SMALL.replace("sparsity", "sparseness"), 2, "sparsity"),
        (SMALL.replace("0.5", "1.5"), 2, "[0, 1)"),
    ],
)
def test_bad_config_files(shell: Shell, text: str | None, code: int, word: str) -> None:
    if text is not None:
        (shell.folder / "bad.toml").write_text(text)
    assert shell("prune", "bad.toml") == code
    says(shell, code, word)


def test_an_earlier_run_is_not_overwritten_unless_asked(shell: Shell, finished: Path) -> None:
    shutil.copytree(finished, shell.folder / "out")
    code = shell("prune", "small.toml", "--quiet")
    says(shell, code, "is there already", "--overwrite")


def spoil(name: str, how: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        file = folder / name
        file.write_bytes(how(file.read_bytes()))

    return change


def edit(change: Callable[[dict[str, Any]], Any]) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        record = json.loads((folder / "structure.json").read_text())
        change(record)
        write_record(folder, record)  # with a check sum that is right

    return apply


CORRUPTIONS: dict[str, Callable[[Path], None]] = {
    "weights cut short": spoil("weights.safetensors", lambda b: b[: len(b) // 2]),
    "weights of noise": spoil("weights.safetensors", lambda b: bytes(len(b))),
    "a bit flipped": spoil("weights.safetensors", lambda b: b[:-1] + bytes([b[-1] ^ 1])),
    "weights gone": lambda folder: (folder / "weights.safetensors").unlink(),
    "structure gone": lambda folder: (folder / "structure.json").unlink(),
    "structure cut short": spoil("structure.json", lambda b: b[:100]),
    "structure not text": spoil("structure.json", lambda b: b"\xff\xfe\x00"),
    "structure a list": spoil("structure.json", lambda b: b"[1, 2]"),
    "another format": edit(lambda r: r.update(format="microglia-99")),
    "network unknown": edit(lambda r: r["network"].update(name="digts")),
    "network without a name": edit(lambda r: r["network"].pop("name")),
    "arguments unknown": edit(lambda r: r["network"]["arguments"].update(colour="blue")),
    "arguments of text": edit(lambda r: r["network"]["arguments"].update(T="four")),
    "groups of text": edit(lambda r: r.update(groups="none")),
    "a group without ids": edit(lambda r: r["groups"]["blocks.0.conv"].pop("kept")),
    "shapes gone": edit(lambda r: r.pop("shapes")),
    "shapes that lie": edit(lambda r: r["shapes"].update({"readout.weight": [1, 1]})),
    "sizes of text": edit(lambda r: r["sizes"]["readout"].update(in_features="many")),
    "sizes of an unknown layer": edit(lambda r: r["sizes"].update(ghost={"groups": 1})),
}


@pytest.mark.parametrize("command", ["inspect", "measure"])
@pytest.mark.parametrize("corruption", CORRUPTIONS)
def test_corrupt_saved_networks(
    shell: Shell, finished: Path, corruption: str, command: str
) -> None:
    shutil.copytree(finished / "compact", shell.folder / "saved")
    CORRUPTIONS[corruption](shell.folder / "saved")
    options = ["--data", "digits"] if command == "measure" else []
    code = shell(command, "saved", *options)
    says(shell, code)
    assert code in (DataError.exit_code, ConfigError.exit_code)


def test_a_saved_file_executes_nothing(shell: Shell, finished: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.mkdir, (str(shell.folder / "executed"),)

    shutil.copytree(finished / "compact", shell.folder / "saved")
    torch.save({"readout.weight": Evil()}, shell.folder / "saved" / "weights.safetensors")
    code = shell("measure", "saved", "--data", "digits")
    says(shell, code, "weights.safetensors")
    assert not (shell.folder / "executed").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["inspect", "vgg61"], ["Did you mean 'vgg16'?"]),
        (["inspect", "nowhere/at/all"], ["neither a network nor a directory"]),
        (["inspect", "digits", "--size", "1"], ["size"]),
        (["inspect", "digits", "--width", "0"], ["width"]),
        (["inspect", "digits", "--T", "0"], ["T"]),
        (["measure", "nowhere"], ["holds no saved network"]),
        (["measure", "."], ["holds no saved network"]),
        (["measure", "small.toml"], ["holds no saved network"]),
        (["frobnicate"], ["frobnicate"]),
        (["inspect", "digits", "--channels", "0"], ["channels: at least 1"]),
        (["prune", "small.toml", "--results", "/proc/none/x.jsonl"], ["can't be written"]),
        (["prune"], ["Missing argument"]),
        (["inspect", "digits", "--classes", "ten"], ["--classes"]),
    ],
)
def test_bad_input_to_the_other_commands(
    shell: Shell, arguments: list[str], words: list[str]
) -> None:
    says(shell, shell(*arguments), *words)


def test_measure_without_data_says_what_is_missing(shell: Shell, finished: Path) -> None:
    shutil.copytree(finished / "compact", shell.folder / "alone")
    says(shell, shell("measure", "alone"), "--data")


def test_images_of_another_shape(shell: Shell, finished: Path) -> None:
    """A saved network that was built for other images than those it is to be measured on."""
    shutil.copytree(finished / "compact", shell.folder / "saved")
    edit(lambda r: r["network"]["arguments"].update(size=16))(shell.folder / "saved")
    code = shell("measure", "saved", "--data", "digits")
    says(shell, code, "takes images of 1x16x16", "these are 1x8x8")


def test_a_warning_is_one_line(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    def warn(*_: Any, **__: Any) -> None:
        warnings.simplefilter("always")
        warnings.warn("the disk is nearly full", stacklevel=1)

    monkeypatch.setattr("microglia.cli.commands.methods", warn)
    assert shell("methods") == 0
    assert shell.err == "microglia: warning: the disk is nearly full\n"


@pytest.mark.parametrize(("load", "said"), [(0.3, False), (2.2, False), (7.1, True), (None, False)])
def test_times_of_a_busy_machine_are_called_so(
    load: float | None, said: bool, shell: Shell, finished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    if load is None:
        monkeypatch.delattr(os, "getloadavg", raising=False)
    else:
        monkeypatch.setattr(os, "getloadavg", lambda: (load, 0.0, 0.0), raising=False)
    assert shell("measure", str(finished)) == 0
    assert ("Other work was running" in shell.out) == said


# --- errors of every kind ------------------------------------------------------------------


def raising(error: BaseException) -> Callable[..., None]:
    def fail(*_: Any, **__: Any) -> None:
        raise error

    return fail


@pytest.mark.parametrize(
    "kind", [ConfigError, StructureError, CertificateError, DataError, TrainingError]
)
def test_each_kind_of_error_has_its_code(
    shell: Shell, monkeypatch: pytest.MonkeyPatch, kind: type[MicrogliaError]
) -> None:
    monkeypatch.setattr("microglia.cli.commands.methods", raising(kind("what was wrong")))
    assert shell("methods") == kind.exit_code
    assert shell.err == "microglia: what was wrong\n"


def test_exit_codes_differ() -> None:
    kinds = [ConfigError, StructureError, CertificateError, DataError, TrainingError]
    assert len({kind.exit_code for kind in kinds}) == len(kinds)


def test_the_version(shell: Shell) -> None:
    assert shell("--version") == 0
    assert shell.out == f"microglia {mg.__version__}\n"


def test_settings_of_what_is_saved_or_done_are_refused(shell: Shell, finished: Path) -> None:
    says(shell, shell("inspect", str(finished), "--width", "0.5"), "--width", "has its own")
    code = shell("sensitivity", str(finished), "--training.epochs", "9")
    says(shell, code, "training.epochs", "has its config already")


def test_train_leaves_the_dense_network(shell: Shell) -> None:
    text = SMALL.split("[pruning]")[0] + "[output]" + SMALL.split("[output]")[1]
    (shell.folder / "plain.toml").write_text(text)
    assert shell("train", "plain.toml", "-q") == 0
    assert "accuracy" in shell.out
    record = json.loads((shell.folder / "out" / "table.json").read_text())
    assert list(record["table"]["rows"]) == ["dense"]
    names = {p.name for p in (shell.folder / "out" / "networks" / "dense-seed0").iterdir()}
    assert names == {"checkpoint.ckpt", "figures.json", "metrics.jsonl", "trained"}
    says(shell, shell("train", "plain.toml", "-q"), "is there already")
    assert shell("train", "plain.toml", "-q", "--resume") == 0


def test_a_network_that_cannot_be_analysed_is_trained_all_the_same(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "microglia.experiment.run.save_trained", raising(mg.StructureError("who knows"))
    )
    assert shell("train", "small.toml", "-q") == 0
    left = shell.folder / "out" / "networks" / "dense-seed0"
    assert (left / "checkpoint.ckpt").is_file()
    assert not (left / "trained").exists()


@pytest.mark.parametrize("network", [(), ("--network.T", "2", "--network.final_T", "1")])
def test_measure_and_inspect_read_what_train_left(shell: Shell, network: tuple[str, ...]) -> None:
    """The network of the first seed, though another comes first by name."""
    assert shell("train", "small.toml", "-q", "--seeds", "9,10", *network) == 0
    left = shell.folder / "out" / "networks" / "dense-seed9"
    wanted = json.loads((left / "figures.json").read_text())
    for where in ("out", "out/networks/dense-seed9", "out/networks/dense-seed9/trained"):
        assert shell("measure", where, "--json") == 0
        figures = json.loads(shell.out)
        for figure in ("accuracy", "size", "operations"):
            assert figures[figure] == wanted[figure]
    assert shell("inspect", "out") == 0
    assert f"{wanted['size']['parameters']:,} parameters" in shell.out


def test_an_interrupt_is_130(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("microglia.cli.commands.methods", raising(KeyboardInterrupt()))
    assert shell("methods") == 130
    assert "interrupted" in shell.err
    assert "Traceback" not in shell.err


def test_the_unexpected_is_one_line_unless_debugged(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("microglia.cli.commands.methods", raising(ZeroDivisionError("a\nb")))
    assert shell("methods") == 1
    assert shell.err.splitlines()[0] == "microglia: unexpected ZeroDivisionError: a"
    assert "--debug" in shell.err
    assert "Traceback" not in shell.err
    with pytest.raises(ZeroDivisionError):
        shell("methods", "--debug")


def test_missing_packages_are_named(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lightning.pytorch", None)
    for name in [n for n in sys.modules if n.startswith("microglia.training.")]:
        if name.rsplit(".", 1)[1] in ("callback", "module", "recorder", "progress"):
            monkeypatch.delitem(sys.modules, name)
    code = shell("prune", "small.toml")
    says(shell, code, "lightning", "pip install 'microglia[train]'")
    assert shell.files() == {"small.toml"}


# --- a real process ------------------------------------------------------------------------


def process(*arguments: str, folder: Path) -> subprocess.Popen[str]:
    command = "from microglia_launcher import main; main()"
    source = str(Path(mg.__file__).parents[1])
    return subprocess.Popen(
        [sys.executable, "-c", command, *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": source, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # Jobs that a shell has put in the background ignore Ctrl-C, and so would this one.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # type: ignore[arg-type, return-value, unused-ignore]
    )


def test_the_entry_point_leaves_with_the_code(tmp_path: Path) -> None:
    out, err = (started := process("prune", "absent.toml", folder=tmp_path)).communicate()
    assert (started.returncode, out) == (5, "")
    assert err == "microglia: No config file at 'absent.toml'.\n"


def wait_for(pattern: str, folder: Path, started: subprocess.Popen[str]) -> None:
    while not list(folder.glob(pattern)):
        assert started.poll() is None, started.communicate()
        time.sleep(0.05)


@pytest.mark.parametrize("moment", [0.1, 0.5, 1.0, 1.5])
def test_ctrl_c_while_packages_load_is_one_line(tmp_path: Path, moment: float) -> None:
    started = process("methods", folder=tmp_path)
    time.sleep(moment)
    started.send_signal(signal.SIGINT)
    _, err = started.communicate(timeout=120)
    assert started.returncode in (0, 130, -signal.SIGINT)  # done; said; or Python itself began
    assert "microglia" not in err.replace("microglia: interrupted\n", "")


def test_ctrl_c_while_training_says_how_to_go_on(tmp_path: Path) -> None:
    (tmp_path / "small.toml").write_text(SMALL.replace("epochs = 1", "epochs = 100000"))
    started = process("prune", "small.toml", folder=tmp_path)
    wait_for(".out.unfinished/networks/*/checkpoint.ckpt", tmp_path, started)
    started.send_signal(signal.SIGINT)
    _, err = started.communicate(timeout=120)
    assert started.returncode == 130
    assert "Traceback" not in err
    assert "--resume" in err
    assert {p.name for p in tmp_path.iterdir()} == {"small.toml", ".out.unfinished"}


@pytest.mark.parametrize("seed", zoo.whole_or_sampled([0], range(4)))
def test_killed_at_random_moments_it_still_ends_at_the_same_weights(
    tmp_path: Path, seed: int
) -> None:
    """`kill -9`, again and again; every start but the first goes on from what is there."""
    moments = random.Random(seed)
    text = SMALL.replace("epochs = 1", "epochs = 40").replace(
        "latency_", "report = false\nlatency_", 1
    )
    for place in ("straight", "killed"):
        (tmp_path / place).mkdir()
        (tmp_path / place / "small.toml").write_text(text)
    began = time.monotonic()
    straight = process("prune", "small.toml", "-q", folder=tmp_path / "straight")
    _, err = straight.communicate()
    assert straight.returncode == 0, err
    whole, kills = time.monotonic() - began, 0
    while not (tmp_path / "killed" / "out").exists():
        started = process("prune", "small.toml", "-q", "--resume", folder=tmp_path / "killed")
        if not kills:
            wait_for(".out.unfinished/**/checkpoint.ckpt", tmp_path / "killed", started)
            time.sleep(moments.random() * 0.3)
            started.kill()
            kept = next((tmp_path / "killed").glob(".out.unfinished/**/checkpoint.ckpt"))
            first_epoch = kept.with_name("metrics.jsonl").read_text().splitlines()[0]
            kills = 1
        elif kills < 4:
            try:
                started.wait(timeout=whole * moments.uniform(0.3, 0.7))
            except subprocess.TimeoutExpired:
                started.kill()
                kills += 1
        _, err = started.communicate()
        assert started.returncode in (0, -signal.SIGKILL), err
    a, b = (tmp_path / place / "out" for place in ("straight", "killed"))
    written = "".join(path.read_text() for path in b.rglob("metrics.jsonl"))
    assert first_epoch in written, "with its seconds: that epoch was trained but once"
    weights = sorted(str(p.relative_to(a)) for p in a.rglob("*.safetensors"))
    assert len(weights) == 2
    assert all((a / name).read_bytes() == (b / name).read_bytes() for name in weights)
    rows = [json.loads((x / "table.json").read_text())["table"]["rows"] for x in (a, b)]
    assert rows[0]["sca"]["accuracy"] == rows[1]["sca"]["accuracy"]
    assert [p.name for p in (tmp_path / "killed").iterdir() if p.name.startswith(".")] == []


@pytest.mark.parametrize(("given", "wanted"), [(None, "PASSIVE"), ("ACTIVE", "ACTIVE")])
def test_threads_are_told_to_rest_before_torch_is_loaded(given: str | None, wanted: str) -> None:
    """Spinning threads are slow beside other work; but whoever asks for them gets them."""
    code = (
        "import sys, os, microglia_launcher; assert 'torch' not in sys.modules; "
        "import microglia.cli as cli; cli.main = lambda: print(os.environ['OMP_WAIT_POLICY']); "
        "microglia_launcher.main()"
    )
    environment = {k: v for k, v in os.environ.items() if k != "OMP_WAIT_POLICY"}
    environment["PYTHONPATH"] = str(Path(mg.__file__).parents[1])
    if given:
        environment["OMP_WAIT_POLICY"] = given
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == wanted


def test_report_draws_finished_runs(shell: Shell, finished: Path) -> None:
    assert shell("report", str(finished), "--no-pictures", "--out", "there") == 0
    assert "Figure 4b" in shell.out, "what is left out is said"
    assert {p.name for p in (shell.folder / "there").iterdir()} == {"report.html", "figures"}
    names = " ".join(p.name for p in (shell.folder / "there" / "figures").iterdir())
    for word in ("importance", "firing-rate", "dead-and-saturated", "latency", "training-loss"):
        assert word in names
    says(shell, shell("report", str(finished), "--out", "there"), "--overwrite")
    says(shell, shell("report", "nowhere"), "'nowhere' is not there")


LNP = """
controls = ["random"]
seconds = 0.3
values = 400
[network]
neurons = 60
wiring = { neighbours = 12 }
weight = 0.2
[pruning]
sparsity = 0.7
calibrate = "deviation"
[output]
directory = "run"
"""


def test_lnp_prints_its_steps_and_inspect_reads_what_it_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("lnp.toml").write_text(LNP)
    assert run(["lnp", "lnp.toml", "--pruning.sparsity", "0.5", "--network.fed", "0.3"]) == 0
    said = capsys.readouterr()
    assert "I: 60 neurons, 360 synapses" in said.err
    assert "memory capacity" in said.out
    same = ["lnp", "lnp.toml", "--pruning.sparsity", "0.5", "--network.fed", "0.3", "--resume"]
    assert run(same) == 0
    said = capsys.readouterr()
    assert "already finished" in said.err
    assert "memory capacity" in said.out
    assert run(["inspect", "run", "--lyapunov"]) == 0
    assert "λ_1" in capsys.readouterr().out
    Path(".killed.unfinished").mkdir()
    assert run(["inspect", "killed", "--lyapunov"]) == 5
    assert "--resume" in capsys.readouterr().err
    assert run(["lnp", "lnp.toml", "--out", "x", "--network.fedd", "1"]) == 2
    assert "network.fed" in capsys.readouterr().err
    assert run(["lnp"]) == 2
    assert run(["inspect", "digits", "--lyapunov"]) == 2
    assert "no recurrent layer" in capsys.readouterr().err
