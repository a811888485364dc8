"""What differs between a checkpoint and the state that should take it, as a table for a person."""

import difflib
from collections.abc import Sequence

from jaxdl.checkpoint.manifest import Leaf

ROWS = 20


def differences(saved: Sequence[Leaf], wanted: Sequence[Leaf]) -> list[tuple[str, str, str, str]]:
    """Rows (what differs, leaf name, in the checkpoint, in this run); none when the checkpoint fits."""
    saved_by_name = {leaf.name: leaf for leaf in saved}
    wanted_by_name = {leaf.name: leaf for leaf in wanted}
    unused = [name for name in saved_by_name if name not in wanted_by_name]
    rows: list[tuple[str, str, str, str]] = []
    for name, leaf in wanted_by_name.items():
        if name not in saved_by_name:
            rows.append(("missing", name, _nearest(name, unused) if len(rows) < ROWS else "", _kind(leaf)))
            continue
        other = saved_by_name[name]
        if other.shape != leaf.shape:
            rows.append(("shape", name, _kind(other), _kind(leaf)))
        elif other.dtype != leaf.dtype:
            rows.append(("dtype", name, _kind(other), _kind(leaf)))
    return rows + [("not used", name, _kind(saved_by_name[name]), "-") for name in unused]


def table(rows: Sequence[tuple[str, str, str, str]]) -> str:
    """The rows as aligned text, at most 20 of them."""
    shown = [("what", "name", "in the checkpoint", "in this run"), *rows[:ROWS]]
    widths = [max(len(row[i]) for row in shown) for i in range(4)]
    lines = ["  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in shown]
    if len(rows) > ROWS:
        lines.append(f"  and {len(rows) - ROWS} more")
    return "\n".join(lines)


def _kind(leaf: Leaf) -> str:
    return f"{leaf.dtype}[{','.join(map(str, leaf.shape))}]"


def _nearest(name: str, unused: Sequence[str]) -> str:
    near = difflib.get_close_matches(name, unused, n=1, cutoff=0.7)
    return f"- (nearest: {near[0]})" if near else "-"
