"""Errors that are raised over people's rows, told without what the rows hold.

Dagster keeps the message of an error for ever and shows it to everybody. Python, Polars and others quote the value they
fell over, so their messages are not passed on; the project's own errors speak of rules, columns and counts only.
"""

import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from insight_assets.disk_room import DiskFull, is_full

_PACKAGE = Path(__file__).parent
# What these say is of files and memory, not of rows.
_TOLD = (OSError, MemoryError)


class UntoldError(Exception):
    """An error whose own message may quote values of rows."""


@contextmanager
def without_values(what: str) -> Iterator[None]:
    """Replace the message of an unforeseen error by its kind and the place where it came up.

    Args:
        what: what was being done, for people, e.g. "validating 2025-01-31".

    Raises:
        UntoldError: instead of any error that is not one of the project's own, of files or of memory.
        DiskFull: instead of what a library says when the disk is full.
    """
    try:
        yield
    except Exception as error:
        own = type(error).__module__.split(".")[0] in {__name__.split(".")[0], "dagster", "deltalake"}
        if own or isinstance(error, _TOLD):
            raise
        if is_full(error):
            message = f"the disk is full: {what} could not go on. Next: free some space and run it again"
            raise DiskFull(message) from None
        frames = [each for each in traceback.extract_tb(error.__traceback__) if _PACKAGE in Path(each.filename).parents]
        place = f"{Path(frames[-1].filename).relative_to(_PACKAGE)}:{frames[-1].lineno}"
        message = (
            f"{what} failed with {type(error).__name__} at {place}; its message may hold values of people and is not "
            "kept. This is a defect: report kind and place. Next: take the newest files out of the landing folder to "
            "go on without them"
        )
        raise UntoldError(message) from None
