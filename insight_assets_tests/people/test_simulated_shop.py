"""People of a simulated shop against its hidden truth: whose the anonymous browsing was."""

from collections.abc import Iterator
from datetime import timedelta
from typing import NamedTuple

import numpy as np
import polars as pl
import pytest

from insight_assets.contracts.sources import source_contracts
from insight_assets.people.identities import SHARED_DEVICE, IdentityRules, resolve_identities
from insight_assets.purposes import as_people
from insight_assets.simulator.customers import FIRST_CUSTOMER_NUMBER
from insight_assets.simulator.landing import write_landing
from insight_assets.simulator.plan import SimulationPlan
from insight_assets.simulator.sessions import CHANNELS, scatter
from insight_assets.validation.pseudonyms import CUSTOMER, VISITOR
from insight_assets_tests.validation.judging import PSEUDONYM, validate

PLAN = SimulationPlan(customers=80, days=12, products=60, seed=3)
LAST = PLAN.start + timedelta(days=PLAN.days - 1)


class Shop(NamedTuple):
    """Validated rows, and the customer behind each browser: columns actor_key and truth."""

    anonymous: pl.DataFrame
    links: pl.DataFrame
    truth: pl.DataFrame


def owners() -> Iterator[tuple[int, int]]:
    """Give the key of each browser of a customer, and the customer's."""
    numbers = scatter(np.arange(PLAN.customers * len(CHANNELS)))
    for place, number in enumerate(numbers.tolist()):
        owner = FIRST_CUSTOMER_NUMBER + place // len(CHANNELS)
        yield PSEUDONYM(VISITOR, f"a{number}"), PSEUDONYM(CUSTOMER, f"c{owner}")


@pytest.fixture(scope="module")
def shop(tmp_path_factory) -> Shop:
    folder = tmp_path_factory.mktemp("landing")
    write_landing(PLAN, folder, compression=None)
    files = [path.read_bytes() for path in sorted(folder.glob("*.ndjson"))]
    days = validate(source_contracts()["segment"], *files, shop=PLAN.timezone).values()
    events = pl.concat([day.tables["events"] for day in days])
    links = pl.concat([day.tables["identity_links"] for day in days])
    truth = pl.DataFrame(list(owners()), schema={"actor_key": pl.Int64, "truth": pl.Int64}, orient="row")
    return Shop(events.filter(pl.col("customer_key").is_null() & pl.col("visitor_key").is_not_null()), links, truth)


def joined(shop: Shop, links: pl.DataFrame) -> pl.DataFrame:
    """Give the anonymous events that count for a customer, with whose they truly are."""
    found = resolve_identities(links.lazy(), as_of=LAST, rules=IdentityRules())
    seen = as_people(shop.anonymous.lazy(), found.people.lazy()).collect()
    return seen.join(shop.truth, on="actor_key", how="left")


def test_anonymous_browsing_is_joined_to_the_right_customer_and_to_no_wrong_one(shop):
    seen = joined(shop, shop.links)
    assert seen.filter(pl.col("customer_key").ne_missing(pl.col("truth"))).height == 0
    theirs = shop.anonymous.join(shop.truth, on="actor_key", how="semi")
    signed_in = shop.links.filter(pl.col("kind") == "login")["identifier_key"].unique()
    known = theirs.filter(pl.col("actor_key").is_in(signed_in.implode()))
    assert known.height > 100
    assert seen.height == known.height
    assert seen.height / theirs.height > 0.5


def test_a_planted_shared_browser_joins_nobody_and_takes_nothing_else_along(shop):
    before = joined(shop, shop.links)
    logins = shop.links.filter(pl.col("kind") == "login").sort("identifier_key", "event_day")
    first = logins.head(1)
    browser = first["identifier_key"][0]
    other = logins.filter(pl.col("linked_key") != first["linked_key"][0]).head(1)
    planted = pl.concat([shop.links, first.with_columns(linked_key=pl.lit(other["linked_key"][0]))])
    after = joined(shop, planted)
    assert after.height == before.filter(pl.col("actor_key") != browser).height
    assert after.filter(pl.col("customer_key").ne_missing(pl.col("truth"))).height == 0
    aside = resolve_identities(planted.lazy(), as_of=LAST, rules=IdentityRules()).quarantined
    assert set(aside["reason"]) == {SHARED_DEVICE}
    assert set(aside["identifier_key"]) == {browser}
