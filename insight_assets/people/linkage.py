"""Which customers are probably one person, from how they are described: for shops whose customers share no key.

Off unless the setting `probable_links` says otherwise. Probabilities are those of a Fellegi-Sunter model that Splink
fits to the customers of the day. What is probable is worked out anew for every day and never stored as a link; the sure
links, which go first, are in `identities`. How descriptions get here is in `validation.attributes`.
"""

import logging
from dataclasses import replace
from datetime import date

import polars as pl

from insight_assets.people.identities import CLUSTER_TOO_LARGE, Identities, IdentityRules, components
from insight_assets.validation.attributes import ATTRIBUTES
from insight_assets.validation.identifiers import EMAIL, PHONE
from insight_assets.validation.pseudonyms import CUSTOMER

PROBABLE = "probable"
CONTACT_KEYS = {EMAIL: "email_key", PHONE: "phone_key"}
DESCRIBED: dict[str, pl.DataType] = {
    "customer_key": pl.Int64(), **dict.fromkeys(ATTRIBUTES, pl.String()),
    **dict.fromkeys(CONTACT_KEYS.values(), pl.Int64()),
}  # fmt: skip
"""Columns of a frame of described customers, one row a customer."""
PROPOSED = {"customer_key": pl.Int64(), "other_key": pl.Int64(), "probability": pl.Float64()}
NOT_INSTALLED = (
    "INSIGHT_PROBABLE_LINKS is set, and what finds probable links is not installed. "
    'Next: pip install "insight-assets[linkage]", or take the setting away'
)
_BLOCKS = (("postcode", "birth_year"), ("postcode", "initials"), ("birth_date",), ("email_key",), ("phone_key",))
_DIGITS = 6
_SEED = 1
_PAIRS_SAMPLED = 1e7
_SURE_RULES_FIND = 0.6


class LinkageMissingError(Exception):
    """Probable links are wanted and Splink is not installed."""


def describe_customers(attributes: pl.DataFrame, links: pl.DataFrame, quarantined: pl.DataFrame) -> pl.DataFrame:
    """Put together what is known of each customer.

    Args:
        attributes: customer_key, kind (of `ATTRIBUTES`) and value; one row a customer and kind.
        links: rows of the contract `identity_links` up to the day.
        quarantined: links that are not used; an address or number in one of them tells nobody apart.

    Returns:
        Columns `DESCRIBED`, customers without any attribute left out.
    """
    described = attributes.group_by("customer_key").agg(
        *(pl.col("value").filter(pl.col("kind") == kind).max().alias(kind) for kind in ATTRIBUTES)
    )
    sure = links.filter(pl.col("linked_type") == CUSTOMER).join(
        quarantined.select("identifier_key"), on="identifier_key", how="anti"
    )
    contacts = sure.group_by(customer_key="linked_key").agg(
        pl.col("identifier_key").filter(pl.col("identifier_type") == kind).min().alias(key)
        for kind, key in CONTACT_KEYS.items()
    )
    return described.join(contacts, on="customer_key", how="left").select(list(DESCRIBED)).cast(DESCRIBED)


def propose_links(people: pl.DataFrame, *, threshold: float) -> pl.DataFrame:
    """Find pairs of customers who are probably one person.

    Args:
        people: columns `DESCRIBED`; order does not matter.
        threshold: least probability of a match, above 0 and up to 1.

    Returns:
        Columns customer_key, other_key (the larger of the two) and probability, sorted; equal input gives equal output.

    Raises:
        LinkageMissingError: if Splink is not installed.
    """
    try:
        import duckdb
        from splink import DuckDBAPI, Linker, SettingsCreator, block_on
        from splink import comparison_library as compare
    except ImportError as error:
        raise LinkageMissingError(NOT_INSTALLED) from error

    # An absent contact is no attribute: who has none of those is in no block and in no comparison.
    rows = people.sort("customer_key").filter(pl.any_horizontal(pl.col(each).is_not_null() for each in ATTRIBUTES))
    rows = rows.with_columns(
        birth_year=pl.col("birth_date").str.slice(0, 4), initials=pl.col("name").str.slice(0, 3)
    )
    filled = {name for name in rows.columns if rows[name].drop_nulls().is_duplicated().any()}
    blocks = [each for each in _BLOCKS if filled.issuperset(each)]
    compared = {
        "name": compare.JaroWinklerAtThresholds("name", [0.92, 0.85, 0.7]),
        "birth_date": compare.LevenshteinAtThresholds("birth_date", [1, 2]),
        "street": compare.LevenshteinAtThresholds("street", [2, 5]),
        "postcode": compare.ExactMatch("postcode"),
        "email_key": compare.ExactMatch("email_key"),
        "phone_key": compare.ExactMatch("phone_key"),
    }
    comparisons = [each for name, each in compared.items() if rows[name].drop_nulls().len() > 1]
    if not blocks or len(comparisons) < 2:
        return pl.DataFrame(schema=PROPOSED)
    # One thread adds floats in one order; without a temp_directory nothing is spilled to disk in the clear.
    connection = duckdb.connect(config={"threads": 1, "temp_directory": "", "autoinstall_known_extensions": False})
    database = DuckDBAPI(connection)
    settings = SettingsCreator(
        link_type="dedupe_only",
        unique_id_column_name="customer_key",
        probability_two_random_records_match=_share_of_matches(rows),
        blocking_rules_to_generate_predictions=[block_on(*each) for each in blocks],
        comparisons=comparisons,
        retain_matching_columns=False,
    )
    logging.getLogger("splink").setLevel(logging.ERROR)
    linker = Linker(database.register(rows.to_arrow()), settings, log_level=None)
    linker.training.estimate_u_using_random_sampling(max_pairs=_PAIRS_SAMPLED, seed=_SEED, min_count_per_level=None)
    for block in blocks:
        linker.training.estimate_parameters_using_expectation_maximisation(block_on(*block))
    found = pl.from_arrow(linker.inference.predict(threshold_match_probability=threshold).as_pyarrow_table())
    connection.close()
    return _in_order(found, threshold)


def _in_order(found: pl.DataFrame, threshold: float) -> pl.DataFrame:
    left, right = pl.col("customer_key_l"), pl.col("customer_key_r")
    return (
        found.select(
            customer_key=pl.min_horizontal(left, right),
            other_key=pl.max_horizontal(left, right),
            probability=pl.col("match_probability").round(_DIGITS),
        )
        .filter(pl.col("probability") >= threshold)
        .cast(PROPOSED)
        .sort("customer_key", "other_key")
    )


def _share_of_matches(rows: pl.DataFrame) -> float:
    """Guess the share of pairs that are one person, from those who agree in name and birth date, or in a contact."""
    pairs = rows.height * (rows.height - 1) / 2
    alike = []
    for keys in (("name", "birth_date"), ("name", "postcode"), ("email_key",), ("phone_key",)):
        sizes = rows.drop_nulls(keys).group_by(keys).len()["len"].cast(pl.Int64)
        alike.append(int((sizes * (sizes - 1) // 2).sum()))
    return min(max(max(alike), 1) / _SURE_RULES_FIND / pairs, 0.5)


def join_probable(
    found: Identities, proposed: pl.DataFrame, *, known_since: pl.DataFrame, as_of: date, rules: IdentityRules
) -> Identities:
    """Let customers who are probably one person be one.

    Args:
        found: who is who by sure links alone.
        proposed: rows of `propose_links`.
        known_since: customer_key and known_since (Date) of everybody in `proposed`.
        as_of: as-of day.
        rules: what counts; people that would have too many identifiers stay apart.

    Returns:
        People, with the least probability among the person's links as confidence of what was joined, and quarantined
        links with the probable ones that are not used. Without proposals, what was found.
    """
    if proposed.is_empty():
        return found
    ends = pl.concat([proposed["customer_key"], proposed["other_key"].alias("customer_key")]).unique().to_frame()
    strangers = (
        ends.join(found.people, left_on="customer_key", right_on="identifier_key", how="anti")
        .join(known_since, on="customer_key")
        .select(
            identifier_key="customer_key", identifier_type=pl.lit(CUSTOMER), customer_key="customer_key",
            linked_since="known_since", confidence=pl.lit(1.0),
        )
    )  # fmt: skip
    people = pl.concat([found.people, strangers])
    person = people.select("identifier_key", person="customer_key")
    between = (
        proposed.join(person, left_on="customer_key", right_on="identifier_key")
        .join(person.rename({"person": "other"}), left_on="other_key", right_on="identifier_key")
        .filter(pl.col("person") != pl.col("other"))
    )
    group = components(between.select("person", "other")).rename({"key": "customer_key"})
    between = between.join(group.rename({"customer_key": "person"}), on="person")
    size = people.join(group, on="customer_key").group_by("group").agg(size=pl.len())
    large = size.filter(pl.col("size") > rules.identifiers_per_person)
    used = between.join(large, on="group", how="anti")
    least = used.group_by("group").agg(pl.col("probability").min())
    owners = (
        people.filter(pl.col("identifier_key") == pl.col("customer_key"))
        .join(group, on="customer_key")
        .sort("linked_since", "customer_key")
        .group_by("group", maintain_order=True)
        .agg(owner=pl.col("customer_key").first())
    )
    joined = people.join(group, on="customer_key", how="left").join(least, on="group", how="left")
    joined = joined.join(owners, on="group", how="left")
    moves = pl.col("probability").is_not_null() & (pl.col("owner") != pl.col("customer_key"))
    # Who stays alone and is linked to nothing has no row, as without proposals.
    alone = strangers.select("identifier_key").join(
        joined.filter(pl.col("probability").is_not_null()), on="identifier_key", how="anti"
    )
    together = (
        joined.join(alone, on="identifier_key", how="anti")
        .with_columns(
            confidence=pl.when(moves).then(pl.min_horizontal("confidence", "probability")).otherwise("confidence"),
            customer_key=pl.when(moves).then("owner").otherwise("customer_key"),
        )
        .select(found.people.columns)
        .sort("identifier_key")
    )
    aside = between.join(large, on="group", how="semi").select(
        kind=pl.lit(PROBABLE), identifier_type=pl.lit(CUSTOMER), identifier_key="customer_key",
        linked_type=pl.lit(CUSTOMER), linked_key="other_key", reason=pl.lit(CLUSTER_TOO_LARGE),
        first_day=pl.lit(as_of), last_day=pl.lit(as_of), rows=pl.lit(1, dtype=pl.Int64),
    )  # fmt: skip
    quarantined = pl.concat([found.quarantined, aside.select(found.quarantined.columns)])
    return replace(found, people=together, quarantined=quarantined.sort("kind", "identifier_key", "linked_key"))
