"""Plain tables."""

from collections.abc import Sequence


def table(header: Sequence[str], rows: Sequence[Sequence[str]], *, right: Sequence[str] = ()) -> str:
    """Columns as wide as they need, those named in `right` aligned to the right.

    >>> print(table(("name", "size"), [("kernel", "1,024"), ("bias", "32")], right=("size",)))
    name     size
    kernel  1,024
    bias       32
    """
    widths = [max(len(row[column]) for row in [header, *rows]) for column in range(len(header))]

    def line(row: Sequence[str]) -> str:
        cells = [
            cell.rjust(width) if name in right else cell.ljust(width) for name, cell, width in zip(header, row, widths)
        ]
        return "  ".join(cells).rstrip()

    return "\n".join(line(row) for row in [header, *rows])
