"""Groups of channels from source and medium."""

import polars as pl
import pytest

from insight_assets.contracts.catalogue import contract
from insight_assets.features.acquisition import GROUPS, OTHER, channel_group


@pytest.mark.parametrize(
    ("source", "medium", "group"),
    [
        ("google", "cpc", "paid_search"), ("google", "organic", "organic_search"), ("Google", None, "organic_search"),
        ("facebook", "paid_social", "paid_social"), ("douyin", None, "social"), ("xiaohongshu", "kol", "social"),
        ("newsletter", "email", "email"), ("crm", "EDM", "other"), ("mail", None, "email"), ("crm", "sms", "messages"),
        ("awin", "affiliate", "affiliate"), ("blog.example", "referral", "referral"), ("direct", "(none)", "direct"),
        ("partner_site", "banner", "display"), ("x", None, "social"), ("xyz", "unheard", "other"), (None, "cpc", None),
    ],
)  # fmt: skip
def test_the_medium_speaks_before_the_source(source, medium, group):
    frame = pl.DataFrame({"s": [source], "m": [medium]}, schema={"s": pl.String, "m": pl.String})
    assert frame.select(channel_group("s", "m")).item() == group


def test_the_contract_knows_every_group():
    for end in ("first", "last"):
        allowed = contract("customer_features").column(f"{end}_channel_group").allowed
        assert set(allowed or ()) == {*GROUPS, OTHER}
