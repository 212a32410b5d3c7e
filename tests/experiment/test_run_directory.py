"""A run directory appears whole or not at all, and never costs anyone a file."""

from __future__ import annotations

import errno
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from microglia.errors import ConfigError, DataError
from microglia.experiment import RunConfig
from microglia.experiment.run_dir import CONFIG, LOCK, TABLE, hold_config, run_directory, unfinished


def config(path: Path, *, overwrite: bool = False, sparsity: float = 0.5) -> RunConfig:
    return RunConfig.from_table(
        {
            "network": {"name": "digits"},
            "data": {"source": "digits"},
            "pruning": {"sparsity": sparsity},
            "output": {"directory": str(path), "overwrite": overwrite},
        }
    )


def fill(path: Path, *, overwrite: bool = False, text: str = "new") -> None:
    with run_directory(config(path, overwrite=overwrite)) as work:
        (work / TABLE).write_text(text)
        (work / "compact").mkdir()
        (work / "compact" / "weights").write_text(text)


def fail(path: Path, error: type[BaseException], *, overwrite: bool = False) -> None:
    with run_directory(config(path, overwrite=overwrite)) as work:
        (work / TABLE).write_text("half")
        raise error


def files(folder: Path) -> dict[str, str]:
    found = (p for p in folder.rglob("*") if p.is_file() and p.name != CONFIG)
    return {str(p.relative_to(folder)): p.read_text() for p in found}


def test_it_appears_only_when_all_is_done(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "run"
    with run_directory(config(path)) as work:
        (work / TABLE).write_text("x")
        assert not path.exists()
    assert files(path) == {TABLE: "x"}
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_failure_leaves_nothing(tmp_path: Path, error: type[BaseException]) -> None:
    with pytest.raises(error):
        fail(tmp_path / "run", error)
    assert list(tmp_path.iterdir()) == []


def test_failure_leaves_an_earlier_run_as_it_was(tmp_path: Path) -> None:
    fill(tmp_path / "run", text="old")
    before = files(tmp_path)
    with pytest.raises(ZeroDivisionError):
        fail(tmp_path / "run", ZeroDivisionError, overwrite=True)
    assert files(tmp_path) == before


def test_overwriting_replaces_an_earlier_run_and_leaves_no_trace(tmp_path: Path) -> None:
    fill(tmp_path / "run", text="old")
    (tmp_path / "run" / "stale").write_text("old")
    fill(tmp_path / "run", overwrite=True, text="new")
    assert files(tmp_path / "run") == {TABLE: "new", "compact/weights": "new"}
    assert list(tmp_path.iterdir()) == [tmp_path / "run"]


def test_nothing_is_lost_that_is_not_an_earlier_run(tmp_path: Path) -> None:
    fill(tmp_path / "run")
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "thesis.tex").write_text("years of work")
    (tmp_path / "file").write_text("mine")
    (tmp_path / "empty").mkdir()
    before = files(tmp_path)
    with pytest.raises(ConfigError, match="is there already"):
        fill(tmp_path / "run")
    with pytest.raises(ConfigError, match="holds files, but no run"):
        fill(tmp_path / "thesis", overwrite=True)
    for overwrite in (False, True):
        with pytest.raises(ConfigError, match="is a file"):
            fill(tmp_path / "file", overwrite=overwrite)
    with pytest.raises(ConfigError, match="no place for a run"):
        fill(Path("/"), overwrite=True)
    assert files(tmp_path) == before
    fill(tmp_path / "empty", overwrite=True)


@pytest.mark.parametrize(
    ("code", "reason"), [(errno.ENOSPC, "the disk is full"), (errno.EROFS, "Read-only")]
)
def test_a_full_or_read_only_disk_is_said_in_words(tmp_path: Path, code: int, reason: str) -> None:
    with (
        pytest.raises(DataError, match=f"output.directory.*{reason}"),
        run_directory(config(tmp_path / "run")),
    ):
        raise OSError(code, "Read-only file system")
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_made_is_said_in_words(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="could not be written"):
        fill(tmp_path / "file" / "below" / "run")


def train_a_little(path: Path, **settings: Any) -> Path:
    """A run that breaks off after its first checkpoint."""
    with suppress(KeyboardInterrupt), run_directory(config(path, **settings)) as work:
        (work / "networks" / "dense-seed0").mkdir(parents=True)
        (work / "networks" / "dense-seed0" / "checkpoint.ckpt").write_text("weights")
        raise KeyboardInterrupt
    return unfinished(path)


def test_what_was_trained_stays_to_be_resumed(tmp_path: Path) -> None:
    path = tmp_path / "run"
    work = train_a_little(path)
    before = files(work)
    assert "networks/dense-seed0/checkpoint.ckpt" in before
    assert not path.exists()
    with pytest.raises(ConfigError, match="--resume"), run_directory(config(path)):
        pass
    other = config(path, sparsity=0.4)
    with (
        pytest.raises(ConfigError, match=r"another config, in pruning\.sparsity"),
        run_directory(other, resume=True),
    ):
        pass
    assert files(work) == before
    with run_directory(config(path), resume=True) as again:
        assert again == work
        assert files(again) == before
    assert not work.exists()
    assert set(files(path)) == set(before) - {LOCK}


def test_starting_again_throws_the_unfinished_run_away(tmp_path: Path) -> None:
    path = tmp_path / "run"
    work = train_a_little(path)
    with run_directory(config(path, overwrite=True)):
        assert set(files(work)) <= {LOCK}
    assert files(path) == {}


def test_what_appears_meanwhile_is_not_lost(tmp_path: Path) -> None:
    def meanwhile() -> None:
        with run_directory(config(tmp_path / "run")):
            (tmp_path / "run").mkdir()
            (tmp_path / "run" / "thesis.tex").write_text("years of work")

    with pytest.raises(ConfigError, match="is there already"):
        meanwhile()
    assert files(tmp_path / "run") == {"thesis.tex": "years of work"}


def test_a_kill_between_two_renames_does_not_spoil_the_next_run(tmp_path: Path) -> None:
    path = tmp_path / "run"
    for there in (False, True):
        old = tmp_path / ".run.unfinished-old"
        old.mkdir()
        (old / TABLE).write_text("older")
        fill(path, overwrite=there, text="new")
        assert files(tmp_path) == {f"run/{TABLE}": "new", "run/compact/weights": "new"}


def test_checkpoints_of_nobody_knows_what_are_not_gone_on_from(tmp_path: Path) -> None:
    work = train_a_little(tmp_path / "run")
    (work / CONFIG).unlink()
    with pytest.raises(ConfigError, match="no config"):
        hold_config(config(tmp_path / "run"), work, remedy="name another")


def test_two_processes_do_not_share_a_directory(tmp_path: Path) -> None:
    path = tmp_path / "run"
    with run_directory(config(path)) as work:
        (work / TABLE).write_text("mine")
        for resume in (False, True):
            with (
                pytest.raises(ConfigError, match="another process"),
                run_directory(config(path), resume=resume),
            ):
                pass
        assert (work / TABLE).read_text() == "mine"
    assert files(path) == {TABLE: "mine"}
