"""Who can reach a run over the network: nobody, and several processes of one machine only one another."""

import ipaddress
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

CONFIG = "configs/vision/digits_mlp.py"
TRAIN = ["train", "--config", CONFIG, "--config.tensorboard=false", "--config.steps_per_dispatch=1"]
ENDLESS = ["--config.steps=1000000", "--config.saving.every=1000000", "--config.log_every=10"]
LISTENING = "0A"
pytestmark = pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="sockets are read from Linux's /proc")


def start(words, root, wrapper=()):
    environment = {**os.environ, "JAX_PLATFORMS": "cpu"}
    for name in ("XLA_FLAGS", "PYTEST_CURRENT_TEST"):
        environment.pop(name, None)
    command = [*wrapper, sys.executable, "-m", "jaxdl", *map(str, words)]
    return subprocess.Popen(
        command, cwd=root, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def family(pid):
    """The process and those below it."""
    below = subprocess.run(["pgrep", "-P", str(pid)], capture_output=True, text=True, check=False).stdout.split()
    return [pid, *(one for child in below for one in family(int(child)))]


def inodes(pid):
    found = set()
    try:
        for link in Path(f"/proc/{pid}/fd").iterdir():
            try:
                name = os.readlink(link)
            except FileNotFoundError:
                continue
            if name.startswith("socket:["):
                found.add(name[8:-1])
    except (FileNotFoundError, PermissionError):
        pass
    return found


def address(text):
    """The IP address of the kernel's hexadecimal, which is little-endian by groups of four bytes."""
    data = bytes.fromhex(text)
    data = b"".join(data[i : i + 4][::-1] for i in range(0, len(data), 4))
    found = ipaddress.ip_address(data)
    return getattr(found, "ipv4_mapped", None) or found


def sockets(pids):
    """`(state, local address, remote address)` of every TCP and UDP socket of some processes."""
    mine = set().union(*map(inodes, pids))
    found = set()
    for table in ("tcp", "tcp6", "udp", "udp6"):
        path = Path("/proc/net", table)
        for line in path.read_text().splitlines()[1:] if path.exists() else ():
            fields = line.split()
            if fields[9] in mine:
                local, remote = (address(fields[n].split(":")[0]) for n in (1, 2))
                found.add((fields[3] if table.startswith("tcp") else "udp", local, remote))
    return found


def watched(process, workdir, rows=5, seconds=240):
    """All the sockets that were seen from the start until the run has written some rows."""
    seen, deadline = set(), time.monotonic() + seconds
    log = workdir / "metrics.jsonl"
    while not (log.exists() and len(log.read_text().splitlines()) > rows):
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline, "it took too long"
        seen |= sockets(family(process.pid))
        time.sleep(0.05)
    return seen | sockets(family(process.pid))


def stop(process):
    process.send_signal(signal.SIGTERM)
    out, _ = process.communicate(timeout=120)
    assert process.returncode == 75, out


def test_the_kernels_addresses_are_read_right():
    assert str(address("0100007F")) == "127.0.0.1"
    assert str(address("00000000000000000000000001000000")) == "::1"
    assert str(address("0000000000000000FFFF00000100007F")) == "127.0.0.1"
    assert address("00000000").is_unspecified


def test_sockets_of_a_process_are_found():
    import socket

    with socket.socket() as one:
        one.bind(("127.0.0.2", 0))
        one.listen()
        assert (LISTENING, ipaddress.ip_address("127.0.0.2"), ipaddress.ip_address("0.0.0.0")) in sockets([os.getpid()])


def test_a_run_of_one_process_has_no_socket_at_all(tmp_path, request):
    process = start([*TRAIN, *ENDLESS, "--workdir", tmp_path / "run"], request.config.rootpath)
    try:
        assert watched(process, tmp_path / "run") == set()
        stop(process)
    finally:
        process.kill()


def launched(tmp_path):
    return ["launch", "local", "--processes", "2", *TRAIN, *ENDLESS, "--workdir", tmp_path / "run"]


@pytest.mark.slow
def test_processes_of_one_machine_listen_on_its_loopback_alone(tmp_path, request):
    check_loopback(start(launched(tmp_path), request.config.rootpath), tmp_path)


@pytest.mark.slow
def test_they_do_so_whatever_the_name_of_the_machine_means(tmp_path, request):
    outside = subprocess.run(["hostname", "-I"], capture_output=True, text=True, check=False).stdout.split()
    if os.geteuid() != 0 or not outside or subprocess.run(["unshare", "-m", "-u", "true"], check=False).returncode:
        pytest.skip("needs root, unshare and an address outside of the loopback, to give this machine another name")
    hosts = tmp_path / "hosts"
    hosts.write_text(f"{Path('/etc/hosts').read_text()}\n{outside[0]} elsewhere\n")
    under = f'hostname elsewhere && mount --bind {hosts} /etc/hosts && exec "$@"'
    wrapper = ["unshare", "-m", "-u", "sh", "-c", under, "sh"]
    check_loopback(start(launched(tmp_path), request.config.rootpath, wrapper), tmp_path)


def check_loopback(process, tmp_path):
    try:
        seen = watched(process, tmp_path / "run")
        assert any(state == LISTENING for state, _, _ in seen), seen
        for state, local, remote in seen:
            assert local.is_loopback, (state, local, remote)
            assert remote.is_loopback or remote.is_unspecified, (state, local, remote)
        stop(process)
    finally:
        process.kill()
