"""Histories of simulated shops as the pipeline sees them, beside what only the simulator knows.

Files are read, mapped and validated by the pipeline's own code, several days at a time; who visited and ordered on
which day is taken from the simulator itself, signed in or not.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from itertools import islice
from pathlib import Path

import numpy as np
import polars as pl

from insight_assets.contracts.catalogue import contract
from insight_assets.contracts.sources import source_contracts
from insight_assets.features.customer_days import build_customer_days
from insight_assets.features.sessions import build_sessions
from insight_assets.people.identities import IdentityHistory, IdentityRules
from insight_assets.simulator.customers import FIRST_CUSTOMER_NUMBER, TYPES, CustomerType
from insight_assets.simulator.events import Kind
from insight_assets.simulator.plan import SimulationPlan
from insight_assets.simulator.sessions import Shop
from insight_assets.simulator.simulation import open_shop, simulate_days
from insight_assets.validation.pseudonyms import CUSTOMER
from insight_assets.validation.publishing import validate_day
from insight_assets_tests.validation.judging import PSEUDONYM, SHOP, raw_rows

_RHYTHM, _CHANNEL = (0.25, 0.25, 0.25, 0.25), (0.4, 0.3, 0.3)
FOREVER = 1e5
PLANTED = (
    CustomerType(
        "household", 0.3, 14.0, 40.0, 18.0, FOREVER, (0.0, 0.0, 1.0), _CHANNEL, _RHYTHM, 0.2, 0.5, 0.1, 0.0,
        ("snacks", "drinks"), visit_shape=40.0, already=1.0,
    ),
    CustomerType(
        "stocker", 0.25, 3.5, 40.0, 5.0, FOREVER, (1.0, 0.0, 0.0), _CHANNEL, _RHYTHM, 5.0, 0.5, 0.1, 0.0,
        ("electronics", "home"), visit_shape=40.0, already=1.0,
    ),
    CustomerType(
        "newcomer", 0.25, 6.0, 40.0, 12.0, FOREVER, (0.0, 0.0, 1.0), _CHANNEL, _RHYTHM, 0.0, 2.0, 0.1, 0.0,
        ("beauty", "health"), visit_shape=40.0, already=0.0, joins=(0.75, 0.85),
    ),
    CustomerType(
        "gone", 0.2, 7.0, 40.0, 14.0, 12.0, (0.0, 1.0, 0.0), _CHANNEL, _RHYTHM, 0.5, 0.5, 0.1, 0.0,
        ("clothing", "shoes"), visit_shape=40.0, hazard_shape=40.0, already=1.0,
    ),
)  # fmt: skip
"""Kinds of customers whose habits hardly overlap: frequent, dear, new, and gone."""

READ = ("events", "orders", "order_lines", "identity_links", "product_history")
DAYS_AT_ONCE = 14
"""A call of the validation costs as much as thousands of rows, and all files of a call are held at once."""


@dataclass(frozen=True)
class History:
    """What the pipeline made of a simulated shop, and what is true of it.

    Attributes:
        plan: the shop's plan.
        shop: the shop with all that is hidden.
        customer_days: rows of the contract `customer_days`, actors as delivered.
        events: rows of the contract `events`.
        orders: rows of the contract `orders`.
        order_lines: rows of the contract `order_lines`.
        product_history: rows of the contract `product_history`.
        people: who is who as of any day.
        visits: visits of each customer on each day, shape (N, days).
    """

    plan: SimulationPlan
    shop: Shop
    customer_days: pl.LazyFrame
    events: pl.LazyFrame
    orders: pl.LazyFrame
    order_lines: pl.LazyFrame
    product_history: pl.LazyFrame
    people: IdentityHistory
    visits: np.ndarray

    def day_index(self, day: date) -> int:
        return (day - self.plan.start).days

    def places(self, keys: pl.Series) -> np.ndarray:
        """Positions of customers in the truth by their keys, -1 for people whom it does not know, shape (n,)."""
        known = pl.DataFrame({"key": _keys(self.plan), "place": np.arange(self.plan.customers)})
        found = pl.DataFrame({"key": keys}).join(known, on="key", how="left", maintain_order="left")
        return found["place"].fill_null(-1).to_numpy()


def simulate_history(
    plan: SimulationPlan,
    types: tuple[CustomerType, ...] = TYPES,
    *,
    kept: Path | None = None,
    days_at_once: int = DAYS_AT_ONCE,
) -> History:
    """Simulate a shop and let the pipeline read it, or take what an earlier call with this plan left in `kept`."""
    shop = open_shop(plan, types)
    if kept is not None and (kept / "visits.npy").exists():
        tables = {name: pl.read_parquet(kept / f"{name}.parquet") for name in (*READ, "customer_days")}
        visits = np.load(kept / "visits.npy")
    else:
        tables, visits = _validated(plan, types, days_at_once)
        tables["customer_days"] = _customer_days(tables, plan)
        if kept is not None:
            kept.mkdir(parents=True, exist_ok=True)
            for name, table in tables.items():
                table.write_parquet(kept / f"{name}.parquet")
            np.save(kept / "visits.npy", visits)
    people = IdentityHistory(tables["identity_links"].lazy(), IdentityRules())
    told = {name: table.lazy() for name, table in tables.items() if name != "identity_links"}
    return History(plan, shop, people=people, visits=visits, **told)


def _validated(
    plan: SimulationPlan, types: tuple[CustomerType, ...], days_at_once: int
) -> tuple[dict[str, pl.DataFrame], np.ndarray]:
    source, visits = source_contracts()["segment"], np.zeros((plan.customers, plan.days), dtype=np.int8)
    parts: dict[str, list[pl.DataFrame]] = {name: [contract(name).empty()] for name in READ}
    days = enumerate(simulate_days(plan, types))
    while together := list(islice(days, days_at_once)):
        for index, day in together:
            # Each visit opens one page; a device's customer is known to the simulator without a login.
            who = day.events["customer"][(day.events["kind"] == Kind.PAGE_VIEWED) & (day.events["customer"] >= 0)]
            visits[:, index] = np.bincount(who, minlength=plan.customers)
        files = ["\n".join(texts.str.join("\n")[0] or "" for texts in day.texts()) for _, day in together]
        validated = validate_day(
            plan.start, {source.name: raw_rows(source, "\n".join(files))}, {source.name: source},
            pseudonym=PSEUDONYM, shop_timezone=SHOP, budgets={},
        )  # fmt: skip
        for name, frames in parts.items():
            frames.append(validated.tables[name])
    return {name: pl.concat(frames) for name, frames in parts.items()}, visits


def _customer_days(tables: Mapping[str, pl.DataFrame], plan: SimulationPlan) -> pl.DataFrame:
    events, orders, lines = (tables[name].lazy() for name in ("events", "orders", "order_lines"))
    sessions = build_sessions(events, first=plan.start, last=plan.last_day).collect().lazy()
    return build_customer_days(events, orders, lines, sessions, timezone=SHOP).collect()


def _keys(plan: SimulationPlan) -> list[int]:
    return [PSEUDONYM(CUSTOMER, f"c{number + FIRST_CUSTOMER_NUMBER}") for number in range(plan.customers)]
