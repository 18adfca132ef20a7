"""What features are called in Chinese, for reasons that people read.

A feature's name is a measure and a window; both are translated by themselves, so that a new window needs no new word.
A feature that has no word here keeps its English name. How reasons are found does not belong here.
"""

import re

WINDOWS_ZH = {"lifetime": "累计"}
_WINDOW = re.compile(r"^(?P<measure>.+)_(?P<window>lifetime|(?P<days>\d+)d)$")

MEASURES_ZH = {
    "tenure_days": "成为顾客的天数",
    "days_since_last_event": "距上次活动天数",
    "days_since_last_session": "距上次访问天数",
    "days_since_last_view": "距上次浏览商品天数",
    "days_since_last_search": "距上次搜索天数",
    "days_since_last_add": "距上次加购天数",
    "days_since_last_checkout": "距上次结算天数",
    "days_since_last_order": "距上次下单天数",
    "days_since_last_refund": "距上次退款天数",
    "days_since_last_review": "距上次评价天数",
    "days_since_last_ticket": "距上次咨询客服天数",
    "days_since_last_list_view": "距上次浏览列表天数",
    "days_since_last_click": "距上次点击商品天数",
    "days_since_last_page_view": "距上次浏览页面天数",
    "days_since_last_cart_view": "距上次查看购物车天数",
    "days_since_last_remove": "距上次移出购物车天数",
    "days_since_last_wishlist": "距上次收藏天数",
    "days_since_last_signup": "距注册天数",
    "open_cart_units": "购物车中未结算的件数",
    "open_cart_value": "购物车中未结算的金额",
    "open_cart_age_days": "购物车闲置天数",
    "carts": "购物车数",
    "abandoned_carts": "放弃的购物车数",
    "cart_views": "查看购物车次数",
    "active_days": "活跃天数",
    "events": "活动次数",
    "sessions": "访问次数",
    "product_views": "商品浏览次数",
    "searches": "搜索次数",
    "adds": "加购次数",
    "checkouts": "结算次数",
    "orders": "订单数",
    "purchase_days": "购买天数",
    "units": "购买件数",
    "net": "净消费额",
    "gross": "消费总额",
    "refunded": "退款总额",
    "mean_order_value": "平均订单金额",
    "max_order_value": "最大订单金额",
    "units_per_order": "每单件数",
    "lines_per_order": "每单商品种数",
    "mean_gap_days": "平均购买间隔天数",
    "std_gap_days": "购买间隔的波动天数",
    "cv_gap": "购买间隔的不规律程度",
    "last_gap_days": "最近一次购买间隔天数",
    "max_gap_days": "最长购买间隔天数",
    "expected_gap_ratio": "距上次下单与平常间隔之比",
    "products_bought": "购买的商品数",
    "categories_bought": "购买的品类数",
    "brands_bought": "购买的品牌数",
    "categories_viewed": "浏览的品类数",
    "category_entropy": "品类分散程度",
    "repeat_product_share": "重复购买商品占比",
    "adds_per_view": "每次浏览的加购数",
    "checkouts_per_add": "每次加购的结算数",
    "orders_per_checkout": "每次结算的成单数",
    "orders_per_session": "每次访问的成单数",
    "cart_abandonment": "购物车放弃率",
    "payment_failure_share": "支付失败占比",
    "zero_result_share": "搜索无结果占比",
    "bounce_share": "跳出占比",
    "events_per_session": "每次访问的活动数",
    "mean_session_seconds": "平均访问时长（秒）",
    "discount_share": "折扣占比",
    "refund_share": "退款占比",
    "coupon_order_share": "用券订单占比",
    "discounted_order_share": "打折订单占比",
    "night_share": "夜间活动占比",
    "morning_share": "上午活动占比",
    "afternoon_share": "下午活动占比",
    "evening_share": "晚间活动占比",
    "weekend_share": "周末活动占比",
    "preferred_weekday": "最常活跃的星期",
    "web_share": "网页活动占比",
    "app_share": "应用活动占比",
    "mini_program_share": "小程序活动占比",
    "store_share": "门店活动占比",
    "phone_share": "电话活动占比",
    "email_share": "邮件活动占比",
    "other_share": "其他渠道活动占比",
    "events_trend": "活动趋势",
    "orders_trend": "下单趋势",
    "gross_trend": "消费趋势",
    "wishlists": "收藏次数",
    "reviews": "评价次数",
    "mean_rating": "平均评分",
    "tickets": "咨询客服次数",
    "refunds": "退款次数",
    "currencies": "使用的币种数",
    "first_campaign_source": "首次来源渠道",
    "last_campaign_source": "最近来源渠道",
    "x_repeat_purchases": "复购次数",
    "t_x_days": "首次到最近一次购买的天数",
    "age_days": "距首次购买天数",
    "mean_purchase_value": "平均每次购买金额",
    "mean_repeat_purchase_value": "平均每次复购金额",
}


def feature_zh(name: str) -> str:
    """Name a feature in Chinese.

    Args:
        name: Column name of a feature.

    Returns:
        Measure and window, such as 近30天访问次数; the English words where the measure has none.
    """
    if name in MEASURES_ZH:
        return MEASURES_ZH[name]
    found = _WINDOW.match(name)
    if found is None or found["measure"] not in MEASURES_ZH:
        return name.replace("_", " ")
    window = f"近{found['days']}天" if found["days"] else WINDOWS_ZH[found["window"]]
    return window + MEASURES_ZH[found["measure"]]
