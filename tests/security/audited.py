"""Runs commands of jaxdl under an audit hook: `audited.py EVENTS.json COMMANDS.json`, a list of lists of words.

Each event that matters is written down with where it came from: the innermost frame that is not the interpreter's own
machinery, and the innermost frame of jaxdl.
"""

import json
import os
import sys

WATCHED = (
    *("pickle.find_class", "marshal.load", "marshal.loads", "exec", "compile", "code.__new__"),
    *("socket.__new__", "socket.bind", "socket.connect", "socket.sendto", "socket.getaddrinfo"),
    *("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.fork", "os.forkpty", "pty.spawn"),
    *("urllib.Request", "http.client.connect", "ftplib.connect", "smtplib.connect", "ctypes.dlopen"),
    *("open", "os.remove", "os.rename", "os.rmdir", "os.mkdir", "os.link", "os.symlink", "os.truncate", "os.chmod"),
    *("shutil.rmtree", "shutil.move", "shutil.copyfile", "cpython.run_command", "cpython.run_file", "webbrowser.open"),
)
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
PACKAGE = os.sep + "jaxdl" + os.sep


def watch(events):
    """Appends `[event, what, [frame, ...]]` for all that happens from now on."""

    def hook(event, arguments):
        if event not in WATCHED or watching["busy"]:
            return
        if event == "open" and not (len(arguments) > 2 and (arguments[2] or 0) & WRITING):
            return
        watching["busy"] = True
        try:
            events.append([event, [_plain(one) for one in arguments[:3]], _frames()])
        finally:
            watching["busy"] = False

    watching = {"busy": False}
    sys.addaudithook(hook)


def _plain(value):
    if hasattr(value, "co_filename"):
        return value.co_filename
    if isinstance(value, (list, tuple)):
        return [_plain(one) for one in value]
    if isinstance(value, bytes):
        return value[:200].decode("utf-8", "replace")
    return value if value is None or isinstance(value, (int, bool)) else str(value)[:300]


def _frames():
    """`file:function` of the calls that led here, innermost first."""
    frame, found = sys._getframe(2), []
    while frame is not None and len(found) < 60:
        found.append(f"{frame.f_code.co_filename}:{frame.f_code.co_name}")
        frame = frame.f_back
    return found


def main():
    """Runs the commands; the events are those from the import of jaxdl on."""
    events_path, commands_path = sys.argv[1:3]
    with open(commands_path) as file:
        commands = json.load(file)
    events, codes = [], []
    watch(events)
    import jaxdl  # noqa: F401
    from jaxdl.cli import main as command

    imported = len(events)
    for words in commands:
        try:
            codes.append(command(words))
        except SystemExit as end:
            codes.append(end.code)
        sys.stdout.flush()
    threads = _threads()
    kept, events[:] = list(events), []
    with open(events_path, "w") as file:
        json.dump({"events": kept, "codes": codes, "imported": imported, "threads": threads}, file)


def _threads():
    import threading

    return [thread.name for thread in threading.enumerate()]


if __name__ == "__main__":
    main()
