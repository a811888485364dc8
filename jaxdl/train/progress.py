"""Progress for a person: a bar in a terminal, plain lines elsewhere."""

import dataclasses
import math
import sys
import time
from collections.abc import Mapping
from typing import Any, TextIO

BAR = "{percentage:3.0f}%|{bar}| {postfix}"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Speed:
    """How fast training goes; None where it is not known. `mfu` is a fraction of the devices' peak."""

    steps_per_second: float | None = None
    examples_per_second: float | None = None
    mfu: float | None = None


def format_duration(seconds: float) -> str:
    """Seconds as a person says them.

    >>> [format_duration(s) for s in (4.4, 65, 3725, 200_000)]
    ['4s', '1m 05s', '1h 02m', '2d 07h']
    """
    if not math.isfinite(seconds):
        return "?"
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m {whole % 60:02d}s"
    if whole < 86400:
        return f"{whole // 3600}h {whole % 3600 // 60:02d}m"
    return f"{whole // 86400}d {whole % 86400 // 3600:02d}h"


def format_number(value: float) -> str:
    """A measurement in four significant digits.

    >>> [format_number(x) for x in (0.25, 12345.6, 1.5e-07, float("nan"), 3)]
    ['0.2500', '12,346', '1.500e-07', 'nan', '3']
    """
    if not isinstance(value, float) or not math.isfinite(value):
        return str(value)
    size = abs(value)
    if size and (size < 1e-3 or size >= 1e7):
        return f"{value:.3e}"
    return f"{value:,.{max(0, 4 - len(str(int(size)))) if size >= 1 else 4}f}"


def format_progress(step: int, total_steps: int, values: Mapping[str, float], speed: Speed) -> str:
    """One line on where training is.

    >>> format_progress(50, 200, {"loss": 0.5}, Speed(steps_per_second=10.0, examples_per_second=640.0, mfu=0.412))
    'step 50/200  loss 0.5000  10.0 steps/s  640 examples/s  MFU 41.2%  15s left'
    """
    parts = [f"step {step:,}/{total_steps:,}", *(f"{name} {format_number(value)}" for name, value in values.items())]
    rate = speed.steps_per_second
    if rate is not None:
        parts.append(f"{rate:,.1f} steps/s" if rate >= 1 else f"{rate:.3g} steps/s")
    if speed.examples_per_second is not None:
        parts.append(f"{speed.examples_per_second:,.0f} examples/s")
    if speed.mfu is not None:
        parts.append(f"MFU {speed.mfu:.1%}")
    if rate and step < total_steps:
        parts.append(f"{format_duration((total_steps - step) / rate)} left")
    return "  ".join(parts)


class Progress:
    """Shows how training goes.

    In a terminal this is one bar that redraws itself; elsewhere (a file, a pipe, a batch job) it is a plain line at
    most every `interval` seconds, and one for the last step.
    """

    def __init__(
        self, total_steps: int, *, start: int = 0, stream: TextIO | None = None, interval: float = 10.0
    ) -> None:
        """Starts at step `start` of `total_steps`; `stream` is standard error by default."""
        self._total_steps = total_steps
        self._stream = stream if stream is not None else sys.stderr
        self._interval = interval
        self._shown = -math.inf
        self._bar: Any = None
        if self._stream.isatty():
            from tqdm import tqdm

            self._bar = tqdm(
                total=total_steps, initial=start, file=self._stream, bar_format=BAR, dynamic_ncols=True, leave=True
            )

    def update(self, step: int, values: Mapping[str, float], speed: Speed | None = None) -> None:
        """Shows a step, with what was measured in it."""
        line = format_progress(step, self._total_steps, values, speed or Speed())
        if self._bar is not None:
            self._bar.n = step
            self._bar.set_postfix_str(line)
            return
        now = time.monotonic()
        if now - self._shown >= self._interval or step >= self._total_steps:
            self._shown = now
            print(line, file=self._stream, flush=True)

    def note(self, text: str) -> None:
        """Prints a line that stays, above the bar where there is one."""
        if self._bar is None:
            print(text, file=self._stream, flush=True)
        else:
            self._bar.write(text, file=self._stream)

    def close(self) -> None:
        """Ends the bar."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None
