"""Which identifiers belong to one person, as a pure function of the links known by a day and of dated rules.

Nothing is merged for good: the answer is worked out anew from the links of every day, so that a link that is taken
away leaves no trace. What was delivered together is listed in `validation.identifiers`; how tables follow from actors
to people is in `insight_assets.purposes`.

Links are used in two steps, the stronger first. E-mail addresses and telephone numbers of signed-in customers may make
one person of two accounts. Visitors (browsers) and devices only ever join a person and never join two: what would is
quarantined.
"""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date

import numpy as np
import polars as pl

from insight_assets.validation.identifiers import EMAIL, LINK_KINDS, PHONE
from insight_assets.validation.pseudonyms import CUSTOMER

SHARED_DEVICE = "shared_device"
SHARED_CONTACT = "shared_contact"
REUSED_CONTACT = "reused_contact"
JOINS_CUSTOMERS = "joins_customers"
CLUSTER_TOO_LARGE = "cluster_too_large"
OTHER_CUSTOMER = "other_customer_first"
REASONS: Mapping[str, str] = {
    SHARED_DEVICE: "the browser or device was used by more signed-in customers than the rules allow",
    SHARED_CONTACT: "the e-mail address or telephone number belongs to more customers than the rules allow",
    REUSED_CONTACT: "the address or number went to another customer after a long pause",
    JOINS_CUSTOMERS: "it would join two signed-in customers through browsers or devices alone",
    CLUSTER_TOO_LARGE: "one person would have more identifiers than the rules allow",
    OTHER_CUSTOMER: "the browser or device belongs to the customer who was seen with it first",
}
"""Why a link is not used, and what that means."""

CONFIDENCE: Mapping[str, float] = {
    "login": 0.95, "email_of_customer": 0.95, "phone_of_customer": 0.9, "device_of_customer": 0.8,
    "email_of_visitor": 0.8, "phone_of_visitor": 0.75, "device_of_visitor": 0.6,
}  # fmt: skip
"""How much a kind of link says: an order of trust by convention, no measured probability."""

CONTACTS = (EMAIL, PHONE)
_LINK = ("kind", "identifier_type", "identifier_key", "linked_type", "linked_key")


@dataclass(frozen=True)
class IdentityRules:
    """What may make one person of several identifiers.

    Attributes:
        since: kind of link to the first day on which it counts; None never; a kind that is absent always counts.
        customers_per_device: most people of a browser or device that is not held to be shared.
        customers_per_contact: most customers of an e-mail address or telephone number that still are one person.
        identifiers_per_person: most identifiers that one person may have.
        reuse_days: an address or number that comes with another customer more than so many days after it was last
            seen was given to somebody else.
    """

    since: Mapping[str, date | None] = field(default_factory=dict)
    customers_per_device: int = 1
    customers_per_contact: int = 2
    identifiers_per_person: int = 200
    reuse_days: int = 180

    def __post_init__(self) -> None:
        """Refuse rules about kinds of links that do not exist."""
        if unknown := sorted(set(self.since) - set(LINK_KINDS)):
            message = f"unknown kind of identity link {unknown[0]!r}; write one of {', '.join(LINK_KINDS)}"
            raise ValueError(message)


@dataclass(frozen=True)
class Identities:
    """Who is who as of a day.

    Attributes:
        people: one row per identifier of a person, customers included: identifier_key, identifier_type, customer_key
            (of the account of that person that was seen first), linked_since (Date), confidence (0 to 1). Sorted by
            identifier_key.
        quarantined: one row per link that is not used: kind, both ends, reason, first_day, last_day, rows.
        anonymous: identifiers of nobody who ever signed in; they have no row.
    """

    people: pl.DataFrame
    quarantined: pl.DataFrame
    anonymous: int


def resolve_identities(links: pl.LazyFrame, *, as_of: date, rules: IdentityRules) -> Identities:
    """Find the people behind identifiers.

    Args:
        links: rows of the contract `identity_links`; days after `as_of` are ignored, order does not matter.
        as_of: as-of day.
        rules: what counts.

    Returns:
        People and the links that were set aside.
    """
    seen = _counted(links, as_of, rules)
    customers = (
        seen.filter(pl.col("linked_type") == CUSTOMER)
        .group_by(customer_key="linked_key")
        .agg(pl.col("first_at", "first_day").min())
        .sort("customer_key")
    )
    contacts = seen.filter((pl.col("linked_type") == CUSTOMER) & pl.col("identifier_type").is_in(CONTACTS))
    bad_contacts = _bad_contacts(contacts, rules)
    contacts = contacts.join(bad_contacts, on=_LINK, how="anti")
    accounts = _accounts(contacts, customers, rules)
    contacts, large = accounts.kept, accounts.set_aside
    # An address that says nothing sure of customers says nothing of visitors either.
    doubtful = pl.concat([bad_contacts, large]).select("identifier_key", "reason").unique("identifier_key")
    rest = seen.join(pl.concat([contacts, bad_contacts.drop("reason"), large.drop("reason")]), on=_LINK, how="anti")
    with_doubt = rest.join(doubtful, on="identifier_key")
    rest = rest.join(doubtful, on="identifier_key", how="anti")
    browsers = _browsers(rest, contacts, accounts.person, rules)
    used = pl.concat([contacts, browsers.kept])
    people = _people(browsers.person, accounts.person, customers, used)
    named = pl.concat([seen["identifier_key"], seen["linked_key"]]).n_unique()
    quarantined = pl.concat([bad_contacts, large, with_doubt, browsers.set_aside])
    return Identities(people, quarantined.drop("first_at").sort(_LINK), named - people.height)


class IdentityHistory:
    """Who is who as of any day, each day worked out once."""

    def __init__(self, links: pl.LazyFrame, rules: IdentityRules) -> None:
        """Take the rows of the contract `identity_links` up to the last day that will be asked for."""
        self._links = links
        self._rules = rules
        self._days: dict[date, pl.LazyFrame] = {}

    def as_of(self, day: date) -> pl.LazyFrame:
        """Give the people of a day: rows as `Identities.people` has them."""
        if day not in self._days:
            self._days[day] = resolve_identities(self._links, as_of=day, rules=self._rules).people.lazy()
        return self._days[day]


@dataclass(frozen=True)
class _Step:
    """Links used and set aside (with their reason), and the person of each key: columns key, person."""

    kept: pl.DataFrame
    set_aside: pl.DataFrame
    person: pl.DataFrame


def _counted(links: pl.LazyFrame, as_of: date, rules: IdentityRules) -> pl.DataFrame:
    """Add up what was seen of each link, on the days on which its kind counts."""
    counts = pl.lit(value=True)
    for kind, since in rules.since.items():
        counts &= (
            (pl.col("kind") != kind) if since is None else (pl.col("kind") != kind) | (pl.col("event_day") >= since)
        )
    return (
        links.filter((pl.col("event_day") <= as_of) & counts)
        .group_by(_LINK)
        .agg(
            pl.col("first_at").min(),
            first_day=pl.col("event_day").min(),
            last_day=pl.col("event_day").max(),
            rows=pl.col("rows").sum(),
        )
        .sort(_LINK)
        .collect()
    )


def _aside(links: pl.DataFrame, reason: str) -> pl.DataFrame:
    return links.with_columns(reason=pl.lit(reason))


def _bad_contacts(contacts: pl.DataFrame, rules: IdentityRules) -> pl.DataFrame:
    """Find addresses and numbers that do not stand for one person."""
    pause = pl.col("first_day") - pl.col("last_day").cum_max().shift(1).over("identifier_key")
    told = contacts.sort("identifier_key", "first_day", "linked_key").with_columns(
        shared=pl.col("linked_key").n_unique().over("identifier_key") > rules.customers_per_contact,
        passed_on=(pause > pl.duration(days=rules.reuse_days)).fill_null(value=False).any().over("identifier_key"),
    )
    reason = pl.when("shared").then(pl.lit(SHARED_CONTACT)).when("passed_on").then(pl.lit(REUSED_CONTACT))
    return told.with_columns(reason=reason).filter(pl.col("reason").is_not_null()).drop("shared", "passed_on")


def _accounts(contacts: pl.DataFrame, customers: pl.DataFrame, rules: IdentityRules) -> _Step:
    """Put accounts together that share an address or number."""
    group = components(contacts.select("identifier_key", "linked_key"))
    large = group.filter(pl.len().over("group") > rules.identifiers_per_person).select(identifier_key="key")
    set_aside = _aside(contacts.join(large, on="identifier_key", how="semi"), CLUSTER_TOO_LARGE)
    kept = contacts.join(large, on="identifier_key", how="anti")
    grouped = customers.join(
        group.join(large, left_on="key", right_on="identifier_key", how="anti"),
        left_on="customer_key", right_on="key", how="left",
    ).with_columns(group=pl.coalesce("group", "customer_key"))  # fmt: skip
    first = grouped.sort("first_at", "customer_key").group_by("group", maintain_order=True).first()
    person = grouped.join(first.select("group", person="customer_key"), on="group")
    return _Step(kept, set_aside, person.select(key="customer_key", person="person"))


def _browsers(rest: pl.DataFrame, contacts: pl.DataFrame, accounts: pl.DataFrame, rules: IdentityRules) -> _Step:
    """Let visitors, devices and the addresses that visitors gave join one person each."""
    direct = rest.filter(pl.col("linked_type") == CUSTOMER).join(accounts, left_on="linked_key", right_on="key")
    indirect = rest.filter(pl.col("linked_type") != CUSTOMER)
    set_aside = []

    met = direct.select("identifier_key", "person")
    through = indirect.filter(pl.col("kind") == "device_of_visitor").join(
        met, left_on="linked_key", right_on="identifier_key"
    )
    together = pl.concat([met, through.select("identifier_key", "person")]).unique()
    shared = (
        together.group_by(key="identifier_key")
        .agg(people=pl.len())
        .filter(pl.col("people") > rules.customers_per_device)
    )
    for links in (direct.drop("person"), indirect):
        for end in ("identifier_key", "linked_key"):
            set_aside.append(_aside(links.join(shared, left_on=end, right_on="key", how="semi"), SHARED_DEVICE))
    direct, indirect = (_without(links, set_aside) for links in (direct, indirect))

    first = direct.sort("first_at", "person").unique("identifier_key", keep="first", maintain_order=True)
    mine = direct.join(first, on=["identifier_key", "person"], how="semi")
    set_aside.append(_aside(_without(direct, [mine]).drop("person"), OTHER_CUSTOMER))
    crowded = mine.filter(pl.len().over("person") > rules.identifiers_per_person).drop("person")
    set_aside.append(_aside(crowded, CLUSTER_TOO_LARGE))
    direct = _without(mine, [crowded])

    known = contacts.join(accounts, left_on="linked_key", right_on="key")
    owned = pl.concat([each.select(key="identifier_key", person="person") for each in (direct, known)]).unique()
    group = _owned_groups(indirect, owned)
    for reason, bad in (
        (JOINS_CUSTOMERS, pl.col("person").drop_nulls().n_unique().over("group") > 1),
        (CLUSTER_TOO_LARGE, pl.len().over("group") > rules.identifiers_per_person),
    ):
        barred = group.filter(bad).select("key").unique()
        links = _without(indirect, set_aside)
        set_aside.append(_aside(links.join(barred, left_on="identifier_key", right_on="key", how="semi"), reason))
    indirect = _without(indirect, set_aside)
    group = _owned_groups(indirect, owned)
    owner = group.drop_nulls("person").select("group", owner="person").unique()
    joined = group.join(owner, on="group").select("key", person="owner").unique()
    told = pl.concat(set_aside).unique(_LINK, keep="first", maintain_order=True)
    return _Step(pl.concat([direct.drop("person"), indirect]), told, joined)


def _without(links: pl.DataFrame, others: list[pl.DataFrame]) -> pl.DataFrame:
    return links.join(pl.concat([each.select(_LINK) for each in others]), on=_LINK, how="anti")


def _owned_groups(links: pl.DataFrame, owned: pl.DataFrame) -> pl.DataFrame:
    """Group keys that hang together, with the person of those that have one: columns key, group, person."""
    group = components(links.select("identifier_key", "linked_key"))
    keys = pl.concat([group.select("key"), owned.select("key")]).unique()
    return (
        keys.join(group, on="key", how="left")
        .with_columns(group=pl.coalesce("group", "key"))
        .join(owned, on="key", how="left")
    )


def components(pairs: pl.DataFrame) -> pl.DataFrame:
    """Find what hangs together.

    Args:
        pairs: two Int64 columns, one row a tie.

    Returns:
        Columns key and group, one row per key; the group is named by its smallest key, whatever the order of pairs.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    ends = np.concatenate([pairs.to_series(side).to_numpy() for side in (0, 1)])
    keys, place = np.unique(ends, return_inverse=True)
    left, right = np.split(place, 2)
    graph = coo_array((np.ones(len(left), dtype=np.int8), (left, right)), shape=(len(keys), len(keys)))
    labels = connected_components(graph, directed=False)[1] if len(keys) else place
    # Keys ascend, so that the first of a label is its smallest.
    _, first = np.unique(labels, return_index=True)
    named = keys[first][labels] if len(keys) else keys
    return pl.DataFrame({"key": keys, "group": named}, schema={"key": pl.Int64, "group": pl.Int64})


def _people(joined: pl.DataFrame, accounts: pl.DataFrame, customers: pl.DataFrame, used: pl.DataFrame) -> pl.DataFrame:
    """Describe each identifier of a person: since when it has been linked, and how surely it is theirs."""
    trust = pl.col("kind").replace_strict(CONFIDENCE, return_dtype=pl.Float64)
    ends = [
        used.select(key=key, type=kind, first_day="first_day", confidence=trust)
        for key, kind in (("identifier_key", "identifier_type"), ("linked_key", "linked_type"))
    ]
    described = (
        pl.concat(ends)
        .group_by("key")
        .agg(pl.col("type").first(), pl.col("first_day").min(), pl.col("confidence").max())
    )
    others = joined.join(accounts, on="key", how="anti").join(described, on="key")
    own = (
        accounts.join(customers, left_on="key", right_on="customer_key")
        .join(described.select("key", "confidence"), on="key", how="left")
        .with_columns(
            type=pl.lit(CUSTOMER),
            confidence=pl.when(pl.col("key") == pl.col("person")).then(1.0).otherwise(pl.col("confidence")),
        )
    )
    columns = {
        "identifier_key": "key", "identifier_type": "type", "customer_key": "person", "linked_since": "first_day",
        "confidence": "confidence",
    }  # fmt: skip
    return pl.concat([each.select(**columns) for each in (own, others)]).sort("identifier_key")


@dataclass(frozen=True)
class IdentityChanges:
    """How one picture of the people differs from another; counts only.

    Attributes:
        merged: people of before who are now one with another of before.
        unmerged: people of now who were one with another of now.
        joined: identifiers that belong to a person now and to nobody before.
        left: identifiers that belonged to a person before and to nobody now.
    """

    merged: int
    unmerged: int
    joined: int
    left: int


def compare_identities(before: pl.DataFrame, now: pl.DataFrame) -> IdentityChanges:
    """Count merges and un-merges between two pictures.

    Args:
        before: column identifier_key and customer_key of the earlier picture.
        now: the same of the later one.
    """
    both = before.join(now.select("identifier_key", now="customer_key"), on="identifier_key")
    pairs = both.select(before="customer_key", now="now").unique()
    return IdentityChanges(
        merged=pairs.height - pairs["now"].n_unique(),
        unmerged=pairs.height - pairs["before"].n_unique(),
        joined=now.height - both.height,
        left=before.height - both.height,
    )


SIZES = (1, 2, 3, 6, 11, 51)
"""Smallest number of identifiers in each step of the histogram of people by size."""


def cluster_sizes(people: pl.DataFrame, *, smallest_group: int) -> pl.DataFrame:
    """Count people by the number of their identifiers; safe to show.

    Args:
        people: column customer_key, one row per identifier.
        smallest_group: steps with fewer people are left out.

    Returns:
        Columns identifiers (text, e.g. "3 to 5") and people, smallest step first.
    """
    names = [
        f"{low}" if high == low + 1 else f"{low} to {high - 1}" for low, high in itertools.pairwise(SIZES)
    ] + [f"{SIZES[-1]} or more"]
    step = pl.sum_horizontal((pl.col("size") >= low).cast(pl.Int32) for low in SIZES) - 1
    return (
        people.group_by("customer_key")
        .agg(size=pl.len())
        .group_by(step=step)
        .agg(people=pl.len())
        .filter(pl.col("people") >= smallest_group)
        .sort("step")
        .select(
            identifiers=pl.col("step").replace_strict(dict(enumerate(names)), return_dtype=pl.String), people="people"
        )
    )


def quarantine_reasons(quarantined: pl.DataFrame) -> pl.DataFrame:
    """Count quarantined links by reason, with what the reason means."""
    return (
        quarantined.group_by("reason")
        .agg(links=pl.len())
        .sort("links", "reason", descending=[True, False])
        .with_columns(meaning=pl.col("reason").replace_strict(REASONS, return_dtype=pl.String))
    )
