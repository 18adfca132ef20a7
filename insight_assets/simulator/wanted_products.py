"""What simulated customers will buy next: the best that anybody could rank products by.

`oracles` says whether and when customers order, this says what: the chance that the next order holds a product. It
follows from a customer's taste, purse and style, from the product that the customer has in mind, and from what goes
with what. Two oracles can be asked:

| oracle | knows | use |
|---|---|---|
| of taste | taste, purse, style and the product in mind | what nobody can see; exact but for prices |
| of the past | all that customers looked at and bought, and how tastes are spread | the fair bound, nearly |

Of prices the mean over some days is taken, since nobody knows on which of them the order will come. The oracle of the
past knows the catalogue's hidden sides and each customer's rates. Which looks were chosen afresh, what a visit was
about and who a customer is, it weighs in rounds, each given what was last found of the others. No asset reads any of
this.
"""

from dataclasses import dataclass
from itertools import islice

import numpy as np
from scipy.special import gammaln

from insight_assets.simulator.catalogue import (
    CATEGORIES,
    COMPLEMENTS,
    STYLES,
    SUBSTITUTES,
    Catalogue,
    fill_shelf,
    week_prices,
)
from insight_assets.simulator.customers import Customers, CustomerType, type_tastes
from insight_assets.simulator.events import Kind
from insight_assets.simulator.sessions import (
    BASKETS_A_VISIT,
    LINE_COMPLEMENT,
    LOOK_COMPLEMENT,
    LOOK_SUBSTITUTE,
    MOST_LINES,
    ORDER,
    REMEMBERED,
    Shop,
    intent_chance,
)
from insight_assets.simulator.simulation import WEEK, simulate_sessions

NOTHING = -1
"""Stands for no product in mind."""

ROUNDS = 6


@dataclass(frozen=True)
class Past:
    """What customers looked at up to a day, one row a look, and what that left in their minds.

    Attributes:
        customer: Position of the customer, ascending, shape (looks,).
        visit: Number of the visit, ascending within a customer, shape (looks,).
        product: Position of the product, each once a visit, shape (looks,).
        bought: Whether it was ordered in the visit, shape (looks,).
        memory: The product that each customer has in mind at the end of the day, `NOTHING` for none, shape (N,). It is
            hidden.
    """

    customer: np.ndarray
    visit: np.ndarray
    product: np.ndarray
    bought: np.ndarray
    memory: np.ndarray


def past_of(shop: Shop, *, day: int) -> Past:
    """Tell what customers, signed in or not, did up to the end of a day; its days are simulated again."""
    memory = np.full(len(shop.customers), NOTHING, dtype=np.int32)
    parts: list[tuple[np.ndarray, ...]] = []
    for sessions in islice(simulate_sessions(shop), day + 1):
        memory[sessions.customers] = sessions.remembered
        events, lines = sessions.events, sessions.events.lines
        seen = (events["kind"] == Kind.PRODUCT_VIEWED) & (events["customer"] >= 0)
        customer, visit, product = (events[name][seen].astype(np.int64) for name in ("customer", "session", "product"))
        ordered = lines["basket"] % BASKETS_A_VISIT == ORDER
        sold = lines["basket"][ordered] // BASKETS_A_VISIT * len(shop.catalogue) + lines["product"][ordered]
        parts.append((customer, visit, product, np.isin(visit * len(shop.catalogue) + product, sold)))
    customer, visit, product, bought = (np.concatenate(of) for of in zip(*parts, strict=True))
    order = np.lexsort((product, visit, customer))
    return Past(customer[order], visit[order], product[order], bought[order], memory)


def mean_weights(shop: Shop, *, day: int, horizon: int) -> np.ndarray:
    """Give how likely each group of shoppers is to choose each product within its category.

    Args:
        shop: The shop.
        day: Day index of the as-of day.
        horizon: Days after it over whose prices the mean is taken, at least 1.

    Returns:
        Shape (groups, P); sums to 1 over each category.
    """
    weeks, days = np.unique(np.arange(day + 1, day + 1 + horizon) // WEEK, return_counts=True)
    prices = (week_prices(shop.plan, shop.catalogue, week=int(week)) for week in weeks)
    return sum(
        fill_shelf(shop.catalogue, of_week).weights * share
        for of_week, share in zip(prices, days / horizon, strict=True)
    )


def fresh_chances(shop: Shop, weights: np.ndarray) -> np.ndarray:
    """Give what each customer chooses with nothing in mind: a category by taste, and a product within it.

    Args:
        shop: The shop.
        weights: See `mean_weights`.

    Returns:
        Shape (N, P); rows sum to 1.
    """
    taste = np.diff(shop.customers.taste.astype(np.float64), axis=1, prepend=0.0)
    return taste[:, shop.catalogue.category] * weights[shop.customers.group]


def still_in_mind(customers: Customers) -> np.ndarray:
    """Give the chance that the order to come is about the product in mind now, shape (N,).

    The visits before it may put another in its place: each that looks at something is about a new choice unless it is
    about what was in mind.
    """
    orders = customers.order_rate.astype(np.float64) / customers.visit_rate
    comes_to_buy = intent_chance(customers)
    looks_at_nothing = 1.0 / (1.0 + customers.curiosity.astype(np.float64))
    # Who came to buy and could not pay has looked at something.
    idle = (1.0 - comes_to_buy) * (looks_at_nothing + (1.0 - looks_at_nothing) * REMEMBERED)
    kept = idle + (comes_to_buy - orders) * REMEMBERED
    return REMEMBERED * orders / (1.0 - kept)


def about_chances(shop: Shop, fresh: np.ndarray, memory: np.ndarray) -> np.ndarray:
    """Give the chances of the product that each customer's next order is about.

    Args:
        shop: The shop.
        fresh: See `fresh_chances`.
        memory: Chances of the product that each customer has in mind, shape (N, P); what rows lack of 1 is the chance
            that there is none.

    Returns:
        Shape (N, P); rows sum to 1.
    """
    kept = memory * still_in_mind(shop.customers)[:, None]
    return kept + fresh * (1.0 - kept.sum(axis=1, keepdims=True))


def certain(memory: np.ndarray, products: int) -> np.ndarray:
    """Give chances of the product in mind, shape (N, P), where it is known which it is, shape (N,)."""
    chances = np.zeros((len(memory), products))
    known = np.flatnonzero(memory != NOTHING)
    chances[known, memory[known]] = 1.0
    return chances


def next_order_chances(shop: Shop, fresh: np.ndarray, about: np.ndarray) -> np.ndarray:
    """Give the chance that the next order of each customer holds each product.

    Args:
        shop: The shop.
        fresh: Chances of the choices made with nothing in mind, shape (N, P); see `fresh_chances`.
        about: Chances of the product that the order is about, shape (N, P); rows sum to 1.

    Returns:
        Shape (N, P). New products among those of the order are as likely in proportion, whatever is new to whom.
    """
    catalogue = shop.catalogue
    goes_with = np.zeros((len(catalogue), len(catalogue)))
    np.put_along_axis(goes_with, catalogue.complements.astype(np.int64), 1.0, axis=1)
    by_choice = (1.0 - LINE_COMPLEMENT) * fresh
    missed = _missed(by_choice, shop.customers.extra_lines)
    missed_beside = _missed(by_choice + LINE_COMPLEMENT / COMPLEMENTS, shop.customers.extra_lines)
    return about + (1.0 - about) * (1.0 - missed) + (about @ goes_with) * (missed - missed_beside)


def _missed(chance: np.ndarray, mean_lines: np.ndarray) -> np.ndarray:
    """Give the chance that none of the further lines is it, by the chance that one is; shape (N, P)."""
    most = MOST_LINES - 1
    share = np.exp(-mean_lines.astype(np.float64))
    left, power = np.ones(len(share)), np.ones_like(chance)
    total = np.zeros_like(chance)
    for lines in range(most):
        total += share[:, None] * power
        left -= share
        power *= 1.0 - chance
        share = share * mean_lines / (lines + 1)
    return total + np.maximum(left, 0.0)[:, None] * power


def inferred(shop: Shop, past: Past, weights: np.ndarray, *, rounds: int = ROUNDS) -> tuple[np.ndarray, np.ndarray]:
    """Work out what the past tells of choices made afresh and of the product in mind.

    Args:
        shop: The shop; of its customers only the types, which they are drawn from, are read.
        past: What they did; `memory` is not read.
        weights: See `mean_weights`.
        rounds: Times that each part is worked out again, given the others.

    Returns:
        What `fresh_chances` gives where tastes are known, and chances of the product in mind, both of shape (N, P).
    """
    count, catalogue = len(shop.customers), shop.catalogue
    usual = fill_shelf(catalogue, catalogue.price).weights
    visits = _Visits.of(past, catalogue)
    chosen = np.ones(len(past.product))
    for _ in range(rounds):
        by_group = _weigh_people(shop.customers.types, past, chosen, count=count, catalogue=catalogue, weights=usual)
        of_category = by_group[past.customer, :, catalogue.category[past.product]]
        fresh = (of_category * usual[:, past.product].T).sum(axis=1)
        about, chosen = visits.weigh(fresh)
        visits.about = about
    found = np.einsum("ngp,gp->np", by_group[:, :, catalogue.category], weights, optimize=True)
    memory = np.zeros((count, len(catalogue)))
    last = visits.in_mind_at_the_end(past)
    memory[past.customer[last], past.product[last]] = visits.about[last]
    return found, memory


def _weigh_people(
    types: tuple[CustomerType, ...],
    past: Past,
    chosen: np.ndarray,
    *,
    count: int,
    catalogue: Catalogue,
    weights: np.ndarray,
) -> np.ndarray:
    """Give the joint mean of who a customer is and what is wanted: shape (N, groups, C), each customer's sums to 1.

    Args:
        types: Types that customers are drawn from.
        past: What they did.
        chosen: Chance of each look that it was chosen afresh, shape (looks,).
        count: Number of customers.
        catalogue: The products.
        weights: Choice probability of each product in its category, shape (groups, P).
    """
    wanted = np.zeros((count, len(CATEGORIES)))
    np.add.at(wanted, (past.customer, catalogue.category[past.product]), chosen)
    groups = len(weights)
    likely = np.zeros((count, groups))
    np.add.at(likely, past.customer, chosen[:, None] * np.log(weights[:, past.product].T))
    prior = type_tastes(types)
    purse = np.repeat(np.array([each.purse for each in types]), len(STYLES), axis=1) / len(STYLES)
    share = np.log([each.share for each in types])
    # How likely the categories are under each type's spread of tastes (Dirichlet and multinomial).
    told = gammaln(wanted[:, None] + prior).sum(axis=2) - gammaln(prior).sum(axis=1)
    told = told - gammaln(wanted.sum(axis=1)[:, None] + prior.sum(axis=1))
    joint = (share + told)[:, :, None] + np.log(purse)[None] + likely[:, None, :]
    joint = np.exp(joint - joint.max(axis=(1, 2), keepdims=True))
    joint /= joint.sum(axis=(1, 2), keepdims=True)
    taste = (wanted[:, None] + prior) / (wanted.sum(axis=1)[:, None, None] + prior.sum(axis=1)[:, None])
    return np.einsum("ntg,ntc->ngc", joint, taste)


@dataclass
class _Visits:
    """Looks by visit, and what each visit was about.

    Attributes:
        pairs: Two looks of one visit, the one it may be about and the other, shape (pairs,) each.
        beside: Chance that the other was chosen as going with or instead of it, shape (pairs,).
        afresh: Chance that the other was chosen afresh, whatever the visit was about, shape (looks,).
        possible: Whether the visit may be about a look: about one that was bought if any was, shape (looks,).
        before: The same product among the looks of the visit before, if nothing was ordered then, else -1.
        starts: Place of the first look of each visit.
        visit_of: Number of each look's visit among all, shape (looks,).
        about: Chance that a visit is about the look, shape (looks,).
    """

    pairs: tuple[np.ndarray, np.ndarray]
    beside: np.ndarray
    afresh: np.ndarray
    possible: np.ndarray
    before: np.ndarray
    starts: np.ndarray
    visit_of: np.ndarray
    about: np.ndarray

    @classmethod
    def of(cls, past: Past, catalogue: Catalogue) -> "_Visits":
        opens = np.ones(len(past.visit), dtype=bool)
        opens[1:] = (past.visit[1:] != past.visit[:-1]) | (past.customer[1:] != past.customer[:-1])
        starts, visit_of = np.flatnonzero(opens), np.cumsum(opens) - 1
        sizes = np.diff(np.append(starts, len(opens)))
        one = np.repeat(np.arange(len(opens)), sizes[visit_of])
        other = starts[visit_of[one]] + np.arange(len(one)) - np.repeat(
            np.cumsum(sizes[visit_of]) - sizes[visit_of], sizes[visit_of]
        )
        one, other = one[one != other], other[one != other]
        instead, goes_with = (np.zeros((len(catalogue), len(catalogue))) for _ in range(2))
        np.put_along_axis(instead, catalogue.substitutes.astype(np.int64), 1.0 / SUBSTITUTES, axis=1)
        np.put_along_axis(goes_with, catalogue.complements.astype(np.int64), 1.0 / COMPLEMENTS, axis=1)
        near = past.product[one], past.product[other]
        idle = LOOK_SUBSTITUTE * instead[near] + LOOK_COMPLEMENT * goes_with[near]
        beside = np.where(past.bought[other], LINE_COMPLEMENT * goes_with[near], idle)
        afresh = np.where(past.bought, 1.0 - LINE_COMPLEMENT, 1.0 - LOOK_SUBSTITUTE - LOOK_COMPLEMENT)
        ordered = np.logical_or.reduceat(past.bought, starts)[visit_of]
        # A look, found by its visit and product among all; the visit before is the one before in the list.
        key = visit_of * len(catalogue) + past.product
        place = np.minimum(np.searchsorted(key, key - len(catalogue)), len(key) - 1)
        same = (key[place] == key - len(catalogue)) & (past.customer[place] == past.customer) & ~ordered[place]
        possible = past.bought | ~ordered
        return cls(
            (one, other), beside, afresh, possible, np.where(same, place, -1), starts, visit_of,
            possible / np.add.reduceat(possible, starts)[visit_of],
        )  # fmt: skip

    def weigh(self, fresh: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Give the chance that a visit is about each look, and that a look was chosen afresh, both of shape (looks,).

        Args:
            fresh: Chance of the product where it is chosen afresh, shape (looks,).
        """
        one, other = self.pairs
        in_mind = REMEMBERED * np.where(self.before >= 0, self.about[self.before], 0.0)
        start = (1.0 - REMEMBERED) * fresh + in_mind
        chance = self.beside + (self.afresh * fresh)[other]
        likely = np.log(start)
        np.add.at(likely, one, np.log(chance))
        likely = np.where(self.possible, likely, -np.inf)
        most = np.maximum.reduceat(likely, self.starts)[self.visit_of]
        about = np.exp(likely - most)
        about /= np.add.reduceat(about, self.starts)[self.visit_of]
        chosen = about * (1.0 - REMEMBERED) * fresh / start
        np.add.at(chosen, other, about[one] * (self.afresh * fresh)[other] / chance)
        return about, chosen

    def in_mind_at_the_end(self, past: Past) -> np.ndarray:
        """Give the looks of each customer's last visit with any, unless it ended in an order."""
        last_visit = np.append(past.customer[self.starts][1:] != past.customer[self.starts][:-1], True)
        ordered = np.logical_or.reduceat(past.bought, self.starts)
        return np.flatnonzero((last_visit & ~ordered)[self.visit_of])
