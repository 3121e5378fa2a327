"""Notes outside the state: files of JSON lines that only grow, each line through to the disk before anything relies on it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import orjson

from tasks.connector import SetupError


def add_notes(file: Path, lines: Sequence[dict[str, Any]]) -> None:
    """Append lines, through to the disk. A line that a power cut left half is ended first.

    Raises SetupError when they cannot be written.
    """
    text = b"".join(orjson.dumps(line) + b"\n" for line in lines)
    try:
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with open(file, "ab+", opener=private) as opened:  # a path's own `open` takes no opener
            size = opened.seek(0, os.SEEK_END)
            opened.seek(max(size - 1, 0))
            opened.write(text if opened.read() in {b"", b"\n"} else b"\n" + text)
            opened.flush()
            os.fsync(opened.fileno())
    except OSError as error:
        raise SetupError(f"nothing can be noted in {file} ({error.strerror}): mend that, then run again.") from error


def private(path: str, flags: int) -> int:
    """An opener of files for the user alone."""
    return os.open(path, flags, 0o600)


def read_notes(file: Path, names: Collection[str]) -> list[dict[str, Any]]:
    """The lines that have these names; what cannot be read is as good as missing."""
    found = []
    for line in file.read_bytes().splitlines() if file.exists() else ():
        with contextlib.suppress(orjson.JSONDecodeError, KeyError, TypeError):
            said = orjson.loads(line)
            found.append({name: said[name] for name in names})
    return found
