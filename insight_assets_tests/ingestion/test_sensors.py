"""The sensor of the landing folder: one run at a time for what landed, and none for nothing."""

import itertools
import random

import dagster as dg
import pytest

from insight_assets.definitions import build_defs
from insight_assets.ingestion import landing as landing_module
from insight_assets.ingestion import raw as raw_module
from insight_assets.ingestion.sensors import _MOST_KILLS, LANDING_TAG, landed_files
from insight_assets.lake import Lake
from insight_assets.settings import choose_home
from insight_assets_tests.deliveries import ORDERS_HEADER, call, orders_row
from insight_assets_tests.shop_home import ShopHome

RANGE = ("dagster/asset_partition_range_start", "dagster/asset_partition_range_end")


@pytest.fixture
def shop(home: ShopHome, kept_environment) -> ShopHome:
    choose_home(home.root)
    return home


def tick(shop: ShopHome) -> dg.RunRequest | str:
    """Evaluate the sensor; give the one run it asks for, or why it asks for none."""
    resources = {name: shop.resources()[name] for name in ("landing", "tables")}
    with dg.build_sensor_context(instance=shop.instance, resources=resources, definitions=build_defs()) as context:
        result = landed_files(context)
    if isinstance(result, dg.SkipReason):
        return result.skip_message or ""
    assert len(result.run_requests) == 1
    return result.run_requests[0]


def run(shop: ShopHome, request: dg.RunRequest, *only: str) -> None:
    """Do the part of what a tick asked for that makes some assets."""
    defs = build_defs(resources=shop.resources())
    result = defs.resolve_implicit_global_asset_job_def().execute_in_process(
        instance=shop.instance,
        asset_selection=[dg.AssetKey(name) for name in only],
        tags={name: request.tags[name] for name in RANGE},
    )
    assert result.success


def names(request: dg.RunRequest) -> set[str]:
    return {key.to_user_string() for key in request.asset_selection}


def days(request: dg.RunRequest) -> tuple[str, str]:
    return tuple(request.tags[name] for name in RANGE)


def test_an_empty_landing_folder_asks_for_nothing(shop):
    assert tick(shop) == "nothing has landed since INSIGHT_START_DATE"
    shop.land("segment", "empty.ndjson", "")
    assert tick(shop) == "nothing has landed since INSIGHT_START_DATE"


def test_rows_before_the_first_day_ask_for_nothing(shop):
    shop.land_calls("old.ndjson", [call("m1", "2009-01-01T00:00:00Z")])
    assert tick(shop) == "nothing has landed since INSIGHT_START_DATE"


def test_new_files_ask_for_the_days_they_touch(shop):
    shop.land_calls("a.ndjson", [call("m1", "2025-01-05T10:00:00Z"), call("m2", "2025-01-07T10:00:00Z")])
    request = tick(shop)
    # The day between them, which nothing was delivered for, is built as an empty one.
    assert days(request) == ("2025-01-05", "2025-01-07")
    assert "raw_segment" in names(request)
    assert request.tags[LANDING_TAG] == "true"


def test_unfinished_files_ask_for_nothing(shop):
    shop.land_calls("a.ndjson.tmp", [call("m1", "2025-01-05T10:00:00Z")])
    assert tick(shop) == "nothing has landed since INSIGHT_START_DATE"


def test_the_same_need_has_the_same_key_and_a_new_one_another(shop):
    shop.land_calls("a.ndjson", [call("m1", "2025-01-05T10:00:00Z")])
    first = tick(shop)
    assert tick(shop).run_key == first.run_key
    shop.land_calls("b.ndjson", [call("m2", "2025-01-05T11:00:00Z")])
    assert tick(shop).run_key != first.run_key


def test_names_that_sort_before_older_ones_are_not_missed(shop):
    shop.land_calls("z.ndjson", [call("m1", "2025-01-05T10:00:00Z")])
    seen = {tick(shop).run_key}
    for name in ("m", "a", "0"):
        shop.land_calls(f"{name}.ndjson", [call(name, "2025-01-05T10:00:00Z")])
        seen.add(tick(shop).run_key)
    assert len(seen) == 4


def test_a_repeated_content_asks_for_nothing_new(shop):
    path = shop.land_calls("b.ndjson", [call("m1", "2025-01-05T10:00:00Z")])
    first = tick(shop)
    shop.land("segment", "a.ndjson", path.read_bytes())
    again = tick(shop)
    assert (names(again), days(again)) == (names(first), days(first))


def test_what_is_built_is_not_asked_for_again(shop):
    shop.land_calls("a.ndjson", [call("m1", "2025-01-05T10:00:00Z")])
    first = tick(shop)
    run(shop, first, *(names(first) - {"sessions", "customer_days", "product_days"}))
    request = tick(shop)
    # Raw and validated are there; only what follows from them is left.
    assert not isinstance(request, str)
    assert "raw_segment" not in names(request)
    assert "events" not in names(request)


def test_a_refused_file_asks_for_the_published_days_that_it_holds_back(shop):
    source, good = "generic_orders_csv", "\n".join([ORDERS_HEADER, orders_row("o1", "2025-01-05T10:00:00Z")])
    shop.land(source, "good.csv", good)
    shop.build("2025-01-05", sources=[source])
    bad = good.replace("quantity", "menge").replace("o1", "o2")
    path = shop.land(source, "bad.csv", bad)
    request = tick(shop)
    assert days(request) == ("2025-01-05", "2025-01-05")
    assert "raw_generic_orders_csv" in names(request)
    assert not shop.build("2025-01-05", sources=[source], check=False).success
    assert shop.table("orders")["order_id"].to_list() == ["o1"]
    path.unlink()
    assert "raw_generic_orders_csv" in names(tick(shop))
    assert shop.build("2025-01-05", sources=[source]).success


def test_one_run_at_a_time(shop):
    shop.land_calls("a.ndjson", [call("m1", "2025-01-05T10:00:00Z")])
    shop.instance.add_run(dg.DagsterRun(job_name="any", tags={LANDING_TAG: "true"}, status=dg.DagsterRunStatus.STARTED))
    assert tick(shop) == "a run for landed files is under way"


def test_a_run_that_is_killed_over_and_over_is_given_up_with_what_to_do(shop):
    shop.land_calls("a.ndjson", [call("m1", "2025-01-05T10:00:00Z")])
    keys = []
    for _ in range(_MOST_KILLS):
        request = tick(shop)
        keys.append(request.run_key)
        shop.instance.add_run(dg.DagsterRun(job_name="any", tags=request.tags, status=dg.DagsterRunStatus.FAILURE))
    assert len(set(keys)) == _MOST_KILLS, "Dagster launches no run of a key that it has seen"
    assert f"ended from outside {_MOST_KILLS} times" in tick(shop)
    shop.land_calls("b.ndjson", [call("m2", "2025-01-05T11:00:00Z")])
    assert tick(shop).run_key not in keys


def test_a_folder_that_cannot_be_listed_is_not_an_empty_one(shop, monkeypatch):
    shop.land_calls("a.ndjson", [call("m1", "2025-01-05T10:00:00Z")])
    assert not isinstance(tick(shop), str)

    def refuse(_: object) -> None:
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patched:
        patched.setattr("insight_assets.ingestion.landing.complete_files", refuse)
        assert tick(shop).startswith("the landing folder cannot be read")
    # The files are still known afterwards.
    assert days(tick(shop)) == ("2025-01-05", "2025-01-05")


def test_an_unreadable_file_does_not_stop_the_others(shop):
    shop.land("uci_online_retail", "bad.csv.gz", b"\x1f\x8b\x08\x00cut")
    shop.land_calls("a.ndjson", [call("m1", "2025-01-05T10:00:00Z")])
    assert days(tick(shop)) == ("2025-01-05", "2025-01-05")


class Killed(BaseException):
    """What nothing catches, as nothing catches SIGKILL."""


STOPS = [
    (landing_module, "complete_files"), (landing_module, "read_delivery"), (landing_module.Inventory, "_record"),
    (raw_module, "read_standing"), (raw_module, "read_delivery"), (Lake, "_replace"), (None, "after the tick"),
]  # fmt: skip


def test_no_file_is_lost_and_none_read_twice_whenever_the_daemon_dies_and_in_whatever_order_names_come(shop):
    chance = random.Random(5)
    order = [f"{letter}.ndjson" for letter in "mazbyc"]
    for name, (owner, stop) in zip(order, itertools.cycle(chance.sample(STOPS, len(STOPS))), strict=False):
        shop.land_calls(name, [call(name, f"2025-01-0{1 + len(name + stop) % 3}T10:00:00Z")])

        def die(*_: object, **__: object) -> None:
            raise Killed

        with pytest.MonkeyPatch.context() as patched, pytest.raises(Killed):
            if owner is not None:
                patched.setattr(owner, stop, die)
            request = tick(shop)
            if owner is None:
                raise Killed
            run(shop, request, "raw_segment")
            # The stop was not on the way of this tick and run.
            raise Killed
    for _ in range(10):
        request = tick(shop)
        if isinstance(request, str) or "raw_segment" not in names(request):
            break
        run(shop, request, "raw_segment")
    raw = shop.table("raw_segment")
    assert sorted(raw["identity"]) == sorted(order)
    assert raw["file_hash"].n_unique() == len(order)


def test_a_file_put_back_as_it_was_is_asked_for_again(shop):
    keys = set()
    for message in ("m1", "m2", "m1"):
        shop.land_calls("a.ndjson", [call(message, "2025-01-05T10:00:00Z")])
        request = tick(shop)
        assert "raw_segment" in names(request)
        keys.add(request.run_key)
        run(shop, request, "raw_segment")
    assert len(keys) == 3
    standing = shop.table("raw_segment")
    assert standing.filter(standing["replaced_at"].is_null())["identity"].to_list() == ["m1"]
