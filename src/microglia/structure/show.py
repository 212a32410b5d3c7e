"""A structure as a person likes to read it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from microglia.structure.groups import Group, Structure


def table(structure: Structure) -> str:
    """The groups as a table, then what stays and why."""
    counts: dict[str, int] = {}
    for group in structure.groups:
        counts[group.kind] = counts.get(group.kind, 0) + group.size
    words = {"conv": "convolution channels", "linear": "neurons", "recurrent": "recurrent neurons"}
    total = ", ".join(f"{n:,} {words[kind]}" for kind, n in counts.items()) or "nothing"
    lines = [f"{structure.network}: {total} can be removed, in {len(structure.groups)} groups"]
    if structure.groups:
        rows: list[tuple[str, ...]] = [
            ("group", "size", "kind", "computed by", "norm > neuron", "read by")
        ]
        rows += [_row(g) for g in structure.groups]
        widths = [max(len(row[i]) for row in rows) for i in range(6)]
        lines += [
            "  " + "  ".join(c.ljust(w) for c, w in zip(r, widths, strict=True)).rstrip()
            for r in rows
        ]
    for layer, why in structure.fixed.items():
        lines.append(f"  stays: {layer}: {why}")
    for op, where in structure.refused.items():
        lines.append(f"  refused: {op} in {where}")
    return "\n".join(lines)


def _row(group: Group) -> tuple[str, ...]:
    norms = _few(tuple(group.norms)) if group.norms else "-"
    neurons = _few(tuple(site.module for site in group.neurons))
    kind = group.kind + (", stream" if group.stream else "")
    return (
        group.name,
        str(group.size),
        kind,
        _few(group.layers),
        f"{norms} > {neurons or '-'}",
        _few(group.readers) or "-",
    )


def _few(names: tuple[str, ...]) -> str:
    shown = ", ".join(names[:2])
    return shown if len(names) <= 2 else f"{shown} and {len(names) - 2} more"
