"""Which group of marketing channels a visit came through, from its source and medium.

The words are those that trackers and shops commonly write; what is none of them counts as other. No visit is looked at
here.
"""

import polars as pl

GROUPS = {
    "paid_search": (r"^(cpc|ppc|paid.?search|sem)$", ""),
    "paid_social": (r"^(paid.?social|social.?paid)$", ""),
    "display": (r"^(display|banner|cpm|expandable|interstitial)$", ""),
    "affiliate": (r"^(affiliates?|partners?)$", r"affiliate|partner"),
    "email": (r"^(e.?mail|newsletter|mail)$", r"^(e.?mail|newsletter|mail)$|mailchimp|edm"),
    "messages": (r"^(sms|push|mms|notification)$", r"^(sms|push)$"),
    "organic_search": (r"^(organic|seo)$", r"^(google|bing|baidu|sogou|yandex|duckduckgo|yahoo|ecosia|naver)$"),
    "social": (
        r"^(social|social.?network|social.?media|sns|kol|influencer)$",
        r"facebook|instagram|tiktok|douyin|weibo|wechat|weixin|xiaohongshu|red_?book|twitter|^x$|linkedin|pinterest|"
        r"reddit|youtube|social",
    ),
    "referral": (r"^(referral|link)$", r"referral"),
    "direct": (r"^(\(none\)|none|\(not set\)|direct)$", r"^\(?direct\)?$"),
}
"""Group to the patterns of its medium and of its source, lower case; the first group that fits wins."""

OTHER = "other"


def channel_group(source: str, medium: str) -> pl.Expr:
    """Name the group of channels of a touch.

    Args:
        source: name of the column with the marketing source.
        medium: name of the column with the medium; it speaks before the source does.

    Returns:
        A text; null where there is no source.
    """
    named, through = pl.col(source).str.to_lowercase(), pl.col(medium).str.to_lowercase().fill_null("")
    chosen = pl.lit(OTHER)
    for group, (_, of_source) in reversed(GROUPS.items()):
        if of_source:
            chosen = pl.when(named.str.contains(of_source)).then(pl.lit(group)).otherwise(chosen)
    for group, (of_medium, _) in reversed(GROUPS.items()):
        chosen = pl.when(through.str.contains(of_medium)).then(pl.lit(group)).otherwise(chosen)
    return pl.when(named.is_not_null()).then(chosen)
