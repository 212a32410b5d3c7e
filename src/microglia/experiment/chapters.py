"""All that there is to see in some records, a chapter for each experiment."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from microglia.experiment.activity_figures import activity_figures
from microglia.experiment.config import DENSE
from microglia.experiment.job import Record
from microglia.experiment.paper_figures import paper_figures
from microglia.experiment.pareto import pareto
from microglia.experiment.seeds import labels_of, runs_of
from microglia.experiment.statistics import mean_and_spread
from microglia.experiment.training_figures import training_figures
from microglia.report import Chapter, Figure

PARTS = (pareto, paper_figures, activity_figures, training_figures)
"""Each gives figures of one experiment's records, or a sentence where one can't be drawn."""


def chapters(records: Iterable[Record]) -> list[Chapter]:
    """The figures of each experiment, and sentences on those that its records don't give."""
    by_experiment: dict[str, list[Record]] = {}
    for record in records:
        by_experiment.setdefault(record["experiment"], []).append(record)
    return [_chapter(name, mine) for name, mine in by_experiment.items()]


def _chapter(name: str, records: Sequence[Record]) -> Chapter:
    found = [one for part in PARTS for one in part(records)]
    return Chapter(
        title=name,
        figures=[one for one in found if isinstance(one, Figure)],
        facts=_facts(records),
        missing=[one for one in found if isinstance(one, str)],
    )


def _facts(records: Sequence[Record]) -> list[tuple[str, str]]:
    config = records[0]["config"]
    network, data, training = config["network"], config["data"], config["training"]
    dense = runs_of(records, DENSE)
    facts = [
        ("data", str(data["source"])),
        ("network", f"{network['name']} ×{network['width']:g}, T = {network['T']}"),
        ("training", f"{training['epochs']} epochs"),
        ("methods", ", ".join(labels_of(records)) or "none, dense networks alone"),
        ("networks", f"{len(records)}, of {len({r['seed'] for r in records})} seeds"),
    ]
    if dense:
        accuracy = mean_and_spread([r["figures"]["accuracy"] for r in dense], scale=100)
        facts.append(("dense", f"{accuracy} % of the test data"))
    return facts
