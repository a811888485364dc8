"""A curve out of a run's metrics log, as an SVG picture.

python -m benchmarks.curve runs/fashion/metrics.jsonl accuracy > docs/fashion_mnist.svg
"""

import argparse
import math
from collections.abc import Sequence

from jaxdl.train.writers import read_rows

WIDTH, HEIGHT, LEFT, BOTTOM, TOP, RIGHT = 640, 360, 56, 44, 20, 90
COLOURS = ("#4269d0", "#ff725c", "#3ca951", "#a463f2")
Points = Sequence[tuple[float, float]]


def main() -> None:
    """Prints the picture."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("log", help="a metrics.jsonl")
    parser.add_argument("metric", help="the metric to draw for each kind of row that has it, such as accuracy")
    options = parser.parse_args()
    curves: dict[str, list[tuple[float, float]]] = {}
    for row in read_rows(options.log):
        if options.metric in row and math.isfinite(row[options.metric]):
            curves.setdefault(row["kind"], []).append((row["step"], row[options.metric]))
    print(draw(curves, options.metric))


def draw(curves: dict[str, list[tuple[float, float]]], metric: str) -> str:
    """An SVG of the curves by name, over the step."""
    points = [point for curve in curves.values() for point in curve]
    last = max(step for step, _ in points)
    values = sorted(value for _, value in points)
    low, high = values[len(values) // 50], values[-1]
    margin = 0.05 * (high - low or 1.0)
    low, high = low - margin, high + margin

    def place(step: float, value: float) -> tuple[float, float]:
        x = LEFT + step / last * (WIDTH - LEFT - RIGHT)
        share = (min(max(value, low), high) - low) / (high - low)
        return x, HEIGHT - BOTTOM - share * (HEIGHT - BOTTOM - TOP)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
        'font-family="sans-serif" font-size="12">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
    ]
    for i in range(6):
        value = low + i / 5 * (high - low)
        x, y = place(0, value)
        parts.append(f'<line x1="{x}" y1="{y:.1f}" x2="{WIDTH - RIGHT}" y2="{y:.1f}" stroke="#ddd"/>')
        parts.append(f'<text x="{x - 6}" y="{y + 4:.1f}" text-anchor="end">{value:.3g}</text>')
        x, _ = place(last * i / 5, low)
        parts.append(f'<text x="{x:.1f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">{last * i / 5:,.0f}</text>')
    parts.append(f'<text x="{(WIDTH - RIGHT + LEFT) / 2}" y="{HEIGHT - 6}" text-anchor="middle">step</text>')
    parts.append(f'<text x="{LEFT}" y="13">{metric}</text>')
    for i, ((name, curve), colour) in enumerate(zip(curves.items(), COLOURS)):
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in (place(*point) for point in curve))
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts.append(
            f'<text x="{WIDTH - RIGHT + 8}" y="{TOP + 16 * i}" fill="{colour}">{name} {curve[-1][1]:.4g}</text>'
        )
    return "\n".join([*parts, "</svg>"])


if __name__ == "__main__":
    main()
