"""How much memory a measurement took."""

import re
import resource
import sys
from pathlib import Path


def peak_megabytes() -> float:
    """Give the largest resident size of this process so far.

    Linux hands `ru_maxrss` of a parent on to the program that a child becomes, so the process's own mark is read there.
    """
    status = Path("/proc/self/status")
    if status.exists() and (found := re.search(r"VmHWM:\s+(\d+) kB", status.read_text())):
        return int(found[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024**2 if sys.platform == "darwin" else 1024)
