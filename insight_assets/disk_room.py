"""Room on the disk: looked for before something large is written, and told of when it ran out on the way.

Whoever writes leaves what was there as it was; what to do about a full disk is said here, once.
"""

import errno
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# The modules that errors of deltalake and Polars give as their own; they do not pass on the number of the error.
_FOREIGN = frozenset({"_internal", "deltalake", "polars"})
_SAID = ("no space left on device", "database or disk is full")


class DiskFull(OSError):
    """There is not room enough to write; the message says what was to be written and what to do."""


def demand_room(folder: Path, needed: int, *, doing: str = "loading") -> None:
    """Refuse to begin what the disk cannot hold.

    Args:
        folder: where it is to be written, existing or not.
        needed: bytes that come in; twice as many must be free, since old and new partitions, or what is landed and
            what is made of it, lie side by side.
        doing: what needs the room, for people.

    Raises:
        DiskFull: if they are not.
    """
    place = next(path for path in (folder, *folder.parents) if path.exists())
    free = shutil.disk_usage(place).free
    if free < 2 * needed:
        message = (
            f"{free:,} bytes are free in {place}, and {doing} needs {2 * needed:,}; nothing was written. "
            "Next: free some space, or take fewer days at a time"
        )
        raise DiskFull(message)


def is_full(error: BaseException | None) -> bool:
    """Tell whether an error, or what caused it, is that the disk is full.

    Args:
        error: the error.
    """
    while error is not None:
        if isinstance(error, DiskFull) or (isinstance(error, OSError) and error.errno in {errno.ENOSPC, errno.EDQUOT}):
            return True
        foreign = isinstance(error, OSError | sqlite3.Error) or type(error).__module__.split(".")[0] in _FOREIGN
        if foreign and any(said in str(error).lower() for said in _SAID):
            return True
        error = error.__cause__ or error.__context__
    return False


@contextmanager
def telling_of_full_disk(what: str) -> Iterator[None]:
    """Say what could not be written, and what to do, where the disk fills up on the way.

    Args:
        what: what is being written, for people, e.g. "table events".

    Raises:
        DiskFull: instead of whatever says that the disk is full.
    """
    try:
        yield
    except Exception as error:
        if isinstance(error, DiskFull) or not is_full(error):
            raise
        message = (
            f"the disk is full: {what} could not be written and is as it was before. "
            "Next: free some space and run it again"
        )
        raise DiskFull(message) from error
