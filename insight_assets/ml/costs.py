"""What a piece of work costs: seconds and memory, measured around it.

Costs differ from run to run, so they are told in metadata and never stored with what a run makes.
"""

import time
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_RESET_PEAK = "5"
"""What Linux takes as the order to forget the highest memory use so far (proc(5), clear_refs)."""


@dataclass(frozen=True)
class Cost:
    """What a piece of work took.

    Attributes:
        wall_seconds: On the clock.
        cpu_seconds: Of all cores of this process.
        peak_megabytes: Memory at its height beyond what the process held before; None where the system does not say.
    """

    wall_seconds: float
    cpu_seconds: float
    peak_megabytes: float | None


@contextmanager
def measured(costs: MutableMapping[str, Cost], name: str) -> Iterator[None]:
    """Measure the block.

    Args:
        costs: Where the cost is put.
        name: Name of the work.

    Yields:
        Nothing.
    """
    before = _memory("VmRSS") if _forget_peak() else None
    wall, cpu = time.perf_counter(), time.process_time()
    try:
        yield
    finally:
        peak = None
        if before is not None and (highest := _memory("VmHWM")) is not None:
            peak = max(0.0, round((highest - before) / 1024, 1))
        costs[name] = Cost(round(time.perf_counter() - wall, 2), round(time.process_time() - cpu, 2), peak)


def _forget_peak() -> bool:
    try:
        Path("/proc/self/clear_refs").write_text(_RESET_PEAK, encoding="ascii")
    except OSError:
        return False
    return True


def _memory(field: str) -> int | None:
    """A figure of /proc/self/status in kilobytes."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) for line in lines if line.startswith(field + ":")), None)
