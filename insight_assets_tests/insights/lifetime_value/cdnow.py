"""The CDNOW sample, where a machine has it."""

import os
from pathlib import Path

import pytest

VARIABLE = "INSIGHT_REAL_DATA"


def cdnow_file(name: str) -> Path:
    """Return a file of the CDNOW sample, or skip the test with the reason."""
    default = Path(__file__).parents[4] / "shared" / "data"
    folder = Path(os.environ.get(VARIABLE, default)) / "cdnow"
    path = folder / name
    if not path.is_file():
        pytest.skip(f"{name} of the CDNOW sample is not there: set {VARIABLE} to the data folder")
    return path
