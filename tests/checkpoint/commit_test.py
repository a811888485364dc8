"""The commit layer: what is left of a folder whose write failed."""

import errno
import threading
import time

import pytest

from jaxdl.checkpoint.commit import clear


@pytest.fixture
def late_writer(tmp_path):
    """Starts a thread that makes files in the folder for so many seconds, as Orbax does for the other arrays."""
    threads = []

    def start(seconds):
        folder, end = tmp_path / "tmp-1", time.monotonic() + seconds

        def write():
            number = 0
            while time.monotonic() < end:
                number += 1
                deep = folder / "state" / str(number % 7)
                try:
                    deep.mkdir(parents=True, exist_ok=True)
                    (deep / str(number)).write_bytes(b"late")
                except OSError:  # deleted between two calls
                    pass
                time.sleep(0.002)

        threads.append(threading.Thread(target=write))
        threads[0].start()
        return folder

    yield start
    for thread in threads:
        thread.join()


def test_a_folder_is_gone_though_writers_come_late(late_writer, tmp_path):
    folder = late_writer(0.6)
    while not folder.exists():
        time.sleep(0.001)
    clear(folder, calm=0.3)
    assert not list(tmp_path.iterdir())


def test_clearing_gives_up_on_a_writer_that_never_ends(late_writer):
    folder = late_writer(1.5)
    began = time.monotonic()
    clear(folder, limit=0.3)
    assert time.monotonic() - began < 1.2


def test_a_disk_that_refuses_is_not_asked_again(tmp_path, monkeypatch):
    def refuses(folder):
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr("jaxdl.checkpoint.commit.shutil.rmtree", refuses)
    began = time.monotonic()
    clear(tmp_path)
    assert time.monotonic() - began < 1
    assert tmp_path.exists()


def test_what_does_not_exist_is_clear(tmp_path):
    clear(tmp_path / "nothing", calm=0.01)
    assert not list(tmp_path.iterdir())
