import contextlib
import itertools
import multiprocessing
import os
import signal
import subprocess
import sys
import textwrap
import time

import numpy as np
import pytest

from jaxdl.data import Pipeline, batches
from jaxdl.data.sources import digits
from jaxdl.data.transforms import RandomCrop, RandomFlip
from jaxdl.errors import DataError


def pipeline(processes, **options):
    transforms = (RandomFlip(), RandomCrop(size=8, padding=1))
    return Pipeline(source=digits(), batch_size=16, transforms=transforms, processes=processes, threads=1, **options)


@pytest.mark.slow
def test_processes_change_nothing():
    expected = pipeline(0)
    with contextlib.closing(batches(pipeline(2), 1000, 1006)) as stream:
        for step, batch in zip(range(1000, 1006), stream, strict=True):
            for name, value in expected[step].items():
                assert (batch[name] == value).all()
    assert multiprocessing.active_children() == []


@pytest.mark.slow
def test_stopping_early_and_errors_end_the_workers():
    with contextlib.closing(batches(pipeline(2))) as stream:
        assert len(list(itertools.islice(stream, 3))) == 3
    assert multiprocessing.active_children() == []
    bad = Pipeline(source=digits(), batch_size=16, processes=1, check=refuse)
    with pytest.raises(DataError, match=r"digits train, example .*: refused"):
        next(batches(bad))
    assert multiprocessing.active_children() == []


def refuse(batch):
    return [(3, "refused")]


@pytest.mark.slow
def test_workers_die_with_their_parent(tmp_path):
    program = tmp_path / "program.py"
    program.write_text(
        textwrap.dedent("""
        import multiprocessing, time
        from jaxdl.data import Pipeline, batches
        from jaxdl.data.sources import digits

        if __name__ == "__main__":
            stream = batches(Pipeline(source=digits(), batch_size=16, processes=2))
            for _ in range(4):
                next(stream)
            print(*(child.pid for child in multiprocessing.active_children()), flush=True)
            time.sleep(300)
        """)
    )
    with subprocess.Popen([sys.executable, str(program)], stdout=subprocess.PIPE, text=True) as parent:
        workers = [int(pid) for pid in parent.stdout.readline().split()]
        assert len(workers) == 2
        parent.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + 10
    while any(alive(pid) for pid in workers) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not any(alive(pid) for pid in workers)


def alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    with open(f"/proc/{pid}/stat") as file:
        return file.read().rsplit(")", 1)[1].split()[0] != "Z"


def test_without_processes_no_worker_starts():
    stream = batches(pipeline(0), 5, 7)
    assert [np.asarray(batch["label"]).shape for batch in stream] == [(16,), (16,)]
    assert multiprocessing.active_children() == []
