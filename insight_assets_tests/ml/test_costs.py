import sys

import numpy as np
import pytest

from insight_assets.ml.costs import measured


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process its highest memory use")
def test_memory_that_was_given_back_is_counted():
    costs = {}
    with measured(costs, "large"):
        np.ones(8_000_000)
    with measured(costs, "nothing"):
        pass
    assert costs["large"].peak_megabytes > 50
    assert costs["nothing"].peak_megabytes < 20
    assert costs["large"].wall_seconds >= 0


def test_a_cost_is_kept_when_the_work_fails():
    costs = {}
    with pytest.raises(ValueError, match="on purpose"), measured(costs, "failed"):
        raise ValueError("on purpose")
    assert set(costs) == {"failed"}
