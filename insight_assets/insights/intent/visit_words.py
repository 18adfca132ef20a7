"""What features of visits are called in Chinese, for reasons that people read."""

WORDS_ZH = {
    "events_seen": "已发生的活动次数",
    "views": "本次浏览商品次数",
    "clicks": "本次点击商品次数",
    "lists": "本次浏览列表次数",
    "pages": "本次浏览页面次数",
    "searches": "本次搜索次数",
    "adds": "本次加购次数",
    "removes": "本次移出购物车次数",
    "wishes": "本次收藏次数",
    "carts": "本次查看购物车次数",
    "checkouts": "本次结算次数",
    "payments": "本次填写支付信息次数",
    "failures": "本次支付失败次数",
    "coupons": "本次用券次数",
    "products": "本次浏览的商品数",
    "categories": "本次浏览的品类数",
    "mean_price": "所看商品的平均价格",
    "max_price": "所看商品的最高价格",
    "cart_value": "购物车金额",
    "empty_searches": "无结果的搜索次数",
    "seconds": "本次访问已用秒数",
    "last_pause_seconds": "最近一次停顿秒数",
    "first_event": "第一个活动",
    "last_event": "最近一个活动",
    "furthest_step": "走到的步骤",
    "channel": "渠道",
    "device": "设备",
    "country": "国家或地区",
    "campaign_source": "来源渠道",
    "hour": "开始的小时",
    "weekday": "开始的星期",
    "signed_in": "是否登录",
    "visits_before": "近30天访问次数",
    "orders_before": "近30天订单数",
    "adds_before": "近30天加购次数",
    "events_before": "近30天活动次数",
    "days_since_visit": "距上次访问天数",
    "days_since_order": "距上次下单天数",
    "left_a_cart": "上次访问留下购物车",
}


def visit_feature_zh(name: str) -> str:
    """Name a feature of a visit in Chinese; its English words where it has no name."""
    return WORDS_ZH.get(name, name.replace("_", " "))
