import subprocess
import sys

import pytest

from insight_assets.ml.costs import measured

MEASURED = """
import numpy as np
from insight_assets.ml.costs import measured
costs = {}
with measured(costs, "large"):
    np.ones(8_000_000)
with measured(costs, "nothing"):
    pass
print(costs["large"].peak_megabytes, costs["nothing"].peak_megabytes, costs["large"].wall_seconds)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process its highest memory use")
def test_memory_that_was_given_back_is_counted():
    # In a process of its own: one that ran other tests may give their memory back meanwhile.
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", MEASURED], capture_output=True, text=True, check=True)
    large, nothing, seconds = map(float, done.stdout.split())
    assert large > 50
    assert nothing < 20
    assert seconds >= 0


def test_a_cost_is_kept_when_the_work_fails():
    costs = {}
    with pytest.raises(ValueError, match="on purpose"), measured(costs, "failed"):
        raise ValueError("on purpose")
    assert set(costs) == {"failed"}
