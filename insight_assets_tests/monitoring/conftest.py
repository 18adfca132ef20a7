"""One clean shop for all tests of drift: 200 days to judge, and the days that they are judged by."""

import pytest

from insight_assets_tests.monitoring.simulated_shop import SimulatedShop, simulate_shop


@pytest.fixture(scope="package")
def shop() -> SimulatedShop:
    return simulate_shop(customers=1_000, days=228)
