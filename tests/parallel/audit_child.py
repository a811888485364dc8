"""jaxdl, which notes every file that Python opens to write, makes, renames or removes below a folder.

Words: the folder, where to write the notes, and the words of jaxdl.
"""

import json
import os
import sys

from jaxdl.cli import main

CHANGES = {
    "os.mkdir": 0,
    "os.rename": 1,
    "os.link": 1,
    "os.symlink": 1,
    "os.remove": 0,
    "os.rmdir": 0,
    "os.truncate": 0,
}


def watch(folder, notes):
    """Adds what happens below `folder` to `notes`, as pairs of the event and the path from there."""

    def hook(event, words):
        if event == "open":
            path, _, flags = words
            if not flags & (os.O_WRONLY | os.O_RDWR) or flags & os.O_TMPFILE == os.O_TMPFILE:
                return  # A nameless file only tries whether the folder can be written.
        elif event in CHANGES:
            path = words[CHANGES[event]]
        else:
            return
        if isinstance(path, int):
            return
        path = os.path.abspath(os.fsdecode(path))
        if path.startswith(folder + os.sep):
            notes.append((event, os.path.relpath(path, folder)))

    sys.addaudithook(hook)


if __name__ == "__main__":
    folder, target, *words = sys.argv[1:]
    notes = []
    watch(os.path.abspath(folder), notes)
    code = main(words)
    with open(target, "w") as file:
        json.dump(notes, file)
    sys.exit(code)
