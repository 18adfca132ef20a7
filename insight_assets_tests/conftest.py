"""Settings of the test session, and homes with what a build needs.

Partitions are fixed when `insight_assets.partitions` is first imported, so the home and the first day of the whole
session are chosen here, before any module of the project is.
"""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

SESSION_HOME = tempfile.TemporaryDirectory(prefix="insight-tests-")
for _name in [name for name in os.environ if name.startswith(("INSIGHT_", "DAGSTER_")) and name != "INSIGHT_REAL_DATA"]:
    del os.environ[_name]
os.environ |= {"INSIGHT_HOME": SESSION_HOME.name, "INSIGHT_START_DATE": "2010-12-01", "INSIGHT_SETTLE_SECONDS": "0"}

import dagster as dg  # noqa: E402
import pytest  # noqa: E402
from hypothesis import HealthCheck, settings  # noqa: E402

from insight_assets_tests.shop_home import ShopHome  # noqa: E402

# A shared build gives one verdict for one commit; at the desk each run looks at other examples.
settings.register_profile(
    "project", deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize="CI" in os.environ
)
settings.load_profile("project")

REAL_DATA = Path(os.environ.get("INSIGHT_REAL_DATA") or Path(__file__).parents[2] / "shared" / "data")


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder of the real data sets; skips the test where it is absent."""
    if not REAL_DATA.is_dir():
        pytest.skip(f"no real data: neither INSIGHT_REAL_DATA nor {REAL_DATA} is a folder")
    return REAL_DATA


@pytest.fixture
def kept_environment() -> Iterator[None]:
    """Put the environment back after the test."""
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture
def home(tmp_path) -> Iterator[ShopHome]:
    """An empty home with an instance that forgets everything after the test."""
    with dg.DagsterInstance.ephemeral() as instance:
        yield ShopHome(tmp_path, instance)
