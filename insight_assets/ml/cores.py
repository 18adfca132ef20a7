"""How many cores numerical libraries compute on.

Sums come out the same on machines with any number of cores only where one thread makes them. What is computed belongs
to whoever computes it; the threads of torch, which has its own, are bounded in `training`.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from threadpoolctl import ThreadpoolController


@contextmanager
def one_core(*, openmp: int | None = 1) -> Iterator[None]:
    """Let libraries compute on one thread.

    Args:
        openmp: threads of OpenMP, where these may be others than one; None for all. Those of linear algebra are one in
            any case.
    """
    # Libraries come into the process with modules alone.
    pools = _pools(len(sys.modules))
    with pools.limit(limits=1, user_api="blas"), pools.limit(limits=openmp, user_api="openmp"):
        yield


@lru_cache(maxsize=1)
def _pools(modules: int) -> "ThreadpoolController":  # noqa: ARG001
    # Looking for the libraries of a process takes some 5 ms, and scoring one customer's drivers asks a thousand times.
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()
