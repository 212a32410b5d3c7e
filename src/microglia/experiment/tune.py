"""Settings of a method, searched on the validation images; the test images are never looked at."""

from __future__ import annotations

import dataclasses
import shutil
import time
import tomllib
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from microglia.errors import ConfigError, DataError, MicrogliaError
from microglia.experiment.bench import Bench
from microglia.experiment.config import RunConfig
from microglia.experiment.job import Job, Search, dense_network
from microglia.experiment.processes import run_side_by_side
from microglia.experiment.trial import train_pruned
from microglia.methods import method_named
from microglia.metrics import measure_accuracy

if TYPE_CHECKING:
    import optuna

PATIENCE = 120.0
"""Seconds that a database may be away, such as for a restart."""

EPOCHS = "epochs"
"""Where a trial notes for how long it trained."""

Value = TypeVar("Value")


@dataclass(frozen=True)
class Found:
    """The options that did best, and the search that they come from."""

    options: dict[str, Any]
    search: Search


def tune(job: Job, *, trials: int, storage: str, folder: Path) -> Found:
    """The options of the job's method that did best on the validation images.

    Optuna's TPE sampler proposes them from the method's `search`. Workers of any number, on any
    machines, share a study by its storage, and each stops once `trials` are finished in all; a
    worker that dies loses its own unfinished trial alone, and a storage that goes away is waited
    for. The trial's network, pruned and compacted, has the job's seed. What a trial is proposed
    hangs on that seed, its number, and the trials before it: one worker always searches the same.

    Args:
        storage: any URL of Optuna's, such as `sqlite:///tune.db` or
            `postgresql+psycopg://user@host/database`.
        folder: where networks are trained, that of the jobs, which share the dense ones; what a
            trial leaves there is removed at its end.

    Raises:
        ConfigError: the method has nothing to search, or the storage has a search of this name and
            another config.
        DataError: the storage can't be reached.
    """
    optuna = _optuna()
    space = method_named(job.label).search
    if not space:
        raise ConfigError(f"tune: '{job.label}' names no settings to search")
    study = _patiently(
        lambda: optuna.create_study(
            study_name=job.name,
            storage=open_storage(storage),
            direction="maximize",
            load_if_exists=True,
        )
    )
    _hold_config(study, job)
    failed = 0
    while len(_finished(study)) < trials:
        trial = _patiently(study.ask)
        study.sampler = _sampler(job.seed, trial.number, trials=trials)
        options = _patiently(partial(_suggest, trial, job.label))
        try:
            value, epochs = _validated(job, options, folder=folder, number=trial.number)
        except MicrogliaError as error:
            _tell(study, trial, None)
            failed += 1
            if failed >= trials:
                raise ConfigError(f"tune: {job.name} with {options}: {error}") from error
        else:
            _patiently(partial(trial.set_user_attr, EPOCHS, epochs))
            _tell(study, trial, value)
    finished = _finished(study)
    best = max(finished, key=lambda t: (t.value or 0.0, -t.number))
    epochs = sum(t.user_attrs.get(EPOCHS, 0) for t in finished)
    return Found(dict(best.params), Search(len(finished), epochs))


def _sampler(seed: int, number: int, *, trials: int) -> optuna.samplers.BaseSampler:
    """One for each trial: a seed that workers shared would have them all draw the same."""
    (mixed,) = np.random.SeedSequence((seed, number)).generate_state(1)
    return _optuna().samplers.TPESampler(
        n_startup_trials=max(3, trials // 3),
        seed=int(mixed),
        multivariate=False,  # else it draws in `ask`, before the trial's number is known
        constant_liar=True,  # what others are at counts as poor, so that two don't do the same
    )


def open_storage(url: str) -> optuna.storages.RDBStorage:
    """A storage whose connections are closed after each use: a restarted database breaks none."""
    from sqlalchemy.pool import NullPool

    return _optuna().storages.RDBStorage(url, engine_kwargs={"poolclass": NullPool})


def tune_all(
    jobs: Sequence[Job], *, trials: int, storage: str, folder: Path, processes: int
) -> dict[str, Found]:
    """The best options of each job, by its method and sparsity; studies shared by processes here.

    Raises:
        ConfigError: as `tune` does.
        DataError: as `tune` does.
    """
    if processes > 1:
        run_side_by_side(_work, list(jobs), trials, storage, folder, count=processes)
    return {
        f"{job.label}-{job.sparsity:g}": tune(job, trials=trials, storage=storage, folder=folder)
        for job in jobs
    }


def _work(jobs: list[Job], trials: int, storage: str, folder: Path) -> None:
    """A helper's part; what goes wrong, the process that waits for it meets itself."""
    with suppress(MicrogliaError):
        for job in jobs:
            tune(job, trials=trials, storage=storage, folder=folder)


def _hold_config(study: optuna.Study, job: Job) -> None:
    """Write down what is searched, or refuse trials of another network, data or training."""
    known = _patiently(lambda: study.user_attrs.get("config"))
    if known is None:
        _patiently(lambda: study.set_user_attr("config", job.config.to_toml()))
    elif different := job.config.differs_from(RunConfig.from_table(tomllib.loads(known))):
        raise ConfigError(
            f"tune: the storage has a search '{job.name}' of another config, in "
            f"{', '.join(different)}. Name another storage."
        )


def _tell(study: optuna.Study, trial: optuna.Trial, value: float | None) -> None:
    """A trial's end, told once however often the storage must be asked; None where it failed."""
    state = _optuna().trial.TrialState.FAIL if value is None else None
    _patiently(lambda: study.tell(trial, value, state=state, skip_if_finished=True))


def _finished(study: optuna.Study) -> list[optuna.trial.FrozenTrial]:
    states = (_optuna().trial.TrialState.COMPLETE,)
    return _patiently(lambda: study.get_trials(deepcopy=False, states=states))


def _suggest(trial: optuna.Trial, method: str) -> dict[str, Any]:
    """A value of each searched setting: from a range, by its logarithm, or of several words."""
    found: dict[str, Any] = {}
    for name, values in method_named(method).search.items():
        if isinstance(values[0], str):
            found[name] = trial.suggest_categorical(name, values)
        else:
            low, high = float(values[0]), float(values[1])
            found[name] = trial.suggest_float(name, low, high, log=low > 0)
    return found


def _validated(
    job: Job, options: dict[str, Any], *, folder: Path, number: int
) -> tuple[float, int]:
    """Accuracy on the validation images of one network trained with these options, and its epochs.

    Those of the dense network, which all trials share, aren't among them.
    """
    pruning = job.config.pruning
    pruning = dataclasses.replace(pruning, options={**pruning.options, **options})
    config = dataclasses.replace(job.config, pruning=pruning)
    work = folder / f"{job.name}-trial{number}"
    shutil.rmtree(work, ignore_errors=True)  # of a killed worker, of a search begun again since
    work.mkdir(parents=True)
    try:
        bench = Bench.open(config, work, progress=False)
        dense = dense_network(job, folder, progress=False) if pruning.needs_dense else None
        made = train_pruned(bench, job.seed, dense=dense)
        model = made.model.to(bench.device)
        accuracy = measure_accuracy(model, bench.validation_batches())
        return accuracy, len(made.history.epochs)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _optuna() -> Any:
    """Raises ConfigError where Optuna isn't installed."""
    try:
        import optuna
    except ModuleNotFoundError as missing:
        raise ConfigError(
            "tune: Optuna is not installed. Run: pip install 'microglia[search]'"
        ) from missing
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna


def _patiently(ask: Callable[[], Value]) -> Value:
    """Ask a storage again for as long as it is away.

    Raises:
        DataError: it stayed away.
    """
    import sqlalchemy

    errors = (_optuna().exceptions.StorageInternalError, sqlalchemy.exc.SQLAlchemyError)
    end = time.monotonic() + PATIENCE
    while True:
        try:
            return ask()
        except errors as error:
            if time.monotonic() > end:
                raise DataError(f"tune: the storage can't be reached ({error})") from error
            time.sleep(1.0)
