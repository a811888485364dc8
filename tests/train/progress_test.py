import io

import pytest

from jaxdl.train.hardware import peak_flops
from jaxdl.train.progress import Progress, Speed, format_duration, format_progress


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_line_says_what_is_known():
    assert format_progress(5, 10, {}, Speed()) == "step 5/10"
    line = format_progress(1500, 20000, {"loss": 1e-9, "accuracy": 0.98765}, Speed(steps_per_second=0.5))
    assert line == "step 1,500/20,000  loss 1.000e-09  accuracy 0.9877  0.5 steps/s  10h 16m left"
    assert format_progress(10, 10, {}, Speed(steps_per_second=2.0, mfu=0.5)) == "step 10/10  2.0 steps/s  MFU 50.0%"
    assert format_progress(1, 10, {}, Speed(steps_per_second=0.0)) == "step 1/10  0 steps/s"


@pytest.mark.parametrize(("seconds", "text"), [(59.6, "1m 00s"), (3599.7, "1h 00m"), (-3, "0s"), (float("inf"), "?")])
def test_durations_round_up_into_the_next_unit(seconds, text):
    assert format_duration(seconds) == text


def test_without_a_terminal_there_are_plain_lines_at_intervals(monkeypatch):
    now = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    stream = io.StringIO()
    progress = Progress(100, stream=stream, interval=10.0)
    for step in range(1, 101):
        now[0] += 0.25
        progress.update(step, {"loss": 0.5})
    progress.note("saved")
    progress.close()
    steps = [line.split()[1] for line in stream.getvalue().splitlines()[:-1]]
    assert steps == ["1/100", "41/100", "81/100", "100/100"]
    assert stream.getvalue().endswith("saved\n")
    assert "\r" not in stream.getvalue()


def test_a_terminal_gets_one_bar():
    stream = Terminal()
    progress = Progress(100, start=10, stream=stream)
    progress.update(50, {"loss": 0.5}, Speed(steps_per_second=10.0))
    progress.note("a note")
    progress.close()
    progress.close()
    shown = stream.getvalue()
    assert " 50%|" in shown
    assert "step 50/100  loss 0.5000  10.0 steps/s  5s left" in shown
    assert "a note\n" in shown


@pytest.mark.parametrize(
    ("kind", "bfloat16", "float32"),
    [
        ("NVIDIA A100-SXM4-80GB", 312e12, 156e12),
        ("NVIDIA H100 80GB HBM3", 989.5e12, 494.5e12),
        ("NVIDIA H100 PCIe", 756.5e12, 378e12),
        ("NVIDIA H200", 989.5e12, 494.5e12),
        ("NVIDIA GH200 480GB", 989.5e12, 494.5e12),
        ("NVIDIA B200", 2250e12, 1125e12),
        ("NVIDIA GB200", 2500e12, 1250e12),
        ("TPU v2", 22.5e12, 22.5e12),
        ("TPU v3", 61.5e12, 61.5e12),
        ("TPU v4", 275e12, 275e12),
        ("TPU v4 lite", 138e12, 138e12),
        ("TPU v5 lite", 197e12, 197e12),
        ("TPU v5", 459e12, 459e12),
        ("TPU v5p", 459e12, 459e12),
        ("TPU v6 lite", 918e12, 918e12),
        ("cpu", None, None),
        ("NVIDIA A1000 Laptop GPU", None, None),
        ("TPU v55", None, None),
    ],
)
def test_peaks_by_device_kind(kind, bfloat16, float32):
    assert peak_flops(kind) == bfloat16
    assert peak_flops(kind, "float16") == bfloat16
    assert peak_flops(kind, "float32") == float32
    assert peak_flops(kind, "int8") is None
