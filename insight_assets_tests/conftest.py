"""Settings of the test session, and homes with what a build needs.

Partitions are fixed when `insight_assets.partitions` is first imported, so the home and the first day of the whole
session are chosen here, before any module of the project is.
"""

import os
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING
from unittest import mock

SESSION_HOME = tempfile.TemporaryDirectory(prefix="insight-tests-")
for _name in [name for name in os.environ if name.startswith(("INSIGHT_", "DAGSTER_")) and name != "INSIGHT_REAL_DATA"]:
    del os.environ[_name]
os.environ |= {"INSIGHT_HOME": SESSION_HOME.name, "INSIGHT_START_DATE": "2010-12-01", "INSIGHT_SETTLE_SECONDS": "0"}

import pytest  # noqa: E402
from hypothesis import HealthCheck, settings  # noqa: E402

if TYPE_CHECKING:
    from insight_assets_tests.shop_home import ShopHome

# A shared build gives one verdict for one commit; at the desk each run looks at other examples.
settings.register_profile(
    "project", deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize="CI" in os.environ
)
settings.load_profile("project")

# Files whose tests share one dear shop or model: one worker runs them all, so that it is made once.
TOGETHER = (
    "insight_assets_tests/monitoring/", "insight_assets_tests/insights/churn/", "insight_assets_tests/insights/intent/",
)  # fmt: skip

REAL_DATA = Path(os.environ.get("INSIGHT_REAL_DATA") or Path(__file__).parents[2] / "shared" / "data")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> object:
    """Hand out files one by one, and those of a folder in `TOGETHER` at once, where `--dist loadfile` was asked for."""
    if config.getvalue("dist") != "loadfile":
        return None
    from xdist.scheduler import LoadFileScheduling

    class ByShop(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return next((folder for folder in TOGETHER if nodeid.startswith(folder)), super()._split_scope(nodeid))

    return ByShop(config, log)


@pytest.fixture(scope="session", autouse=True)
def unstamped_instances() -> Iterator[None]:
    """Spare instances in memory, which nobody migrates, the stamp of their newest migration: 0.1 s for each of them."""
    places = ("dagster._core.storage.runs.in_memory", "dagster._core.storage.event_log.in_memory")
    with ExitStack() as patched:
        for place in places:
            patched.enter_context(mock.patch(f"{place}.stamp_alembic_rev", create=True))
        yield


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
def home(tmp_path) -> "Iterator[ShopHome]":
    """An empty home with an instance that forgets everything after the test."""
    # The process that hands the tests out runs none; loading the code location costs seconds.
    import dagster as dg

    from insight_assets_tests.shop_home import ShopHome

    with dg.DagsterInstance.ephemeral() as instance:
        yield ShopHome(tmp_path, instance)
