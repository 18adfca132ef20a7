"""The goods of the simulated shop: names, prices, hidden quality, and what goes with what.

A shopper's choice has two steps: a category by personal taste, then a product within it by a
weight that rises with popularity, with the shopper's style, and falls with a price that is high
for the shopper's purse. `Shelf` holds those weights as cumulative sums for one day's prices, so
that a million choices are one binary search. Who chooses is in `customers`.
"""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import polars as pl

from insight_assets.simulator.plan import SimulationPlan, Stream


@dataclass(frozen=True)
class Category:
    """One category: its names, what it sells, its price level and what it goes with."""

    slug: str
    zh: str
    nouns: tuple[tuple[str, str], ...]
    median_price: float
    price_spread: float
    goes_with: str
    share: float
    sized: bool = False


CATEGORIES: tuple[Category, ...] = (
    Category(
        "clothing",
        "服饰",
        (
            ("Linen Shirt", "亚麻衬衫"),
            ("Down Jacket", "羽绒服"),
            ("Cotton T-shirt", "纯棉T恤"),
            ("Wool Sweater", "羊毛衫"),
            ("Summer Dress", "夏季连衣裙"),
            ("Jeans", "牛仔裤"),
        ),
        189.0,
        0.55,
        "shoes",
        0.16,
        sized=True,
    ),
    Category(
        "shoes",
        "鞋靴",
        (
            ("Running Shoes", "跑步鞋"),
            ("Canvas Sneakers", "帆布鞋"),
            ("Leather Boots", "皮靴"),
            ("Sandals", "凉鞋"),
            ("Slippers", "拖鞋"),
            ("Hiking Shoes", "登山鞋"),
        ),
        269.0,
        0.5,
        "sports",
        0.09,
        sized=True,
    ),
    Category(
        "beauty",
        "美妆",
        (
            ("Lipstick", "口红"),
            ("Face Cream", "面霜"),
            ("Sunscreen", "防晒霜"),
            ("Shampoo", "洗发水"),
            ("Face Mask", "面膜"),
            ("Perfume", "香水"),
        ),
        129.0,
        0.6,
        "health",
        0.13,
    ),
    Category(
        "snacks",
        "零食",
        (
            ("Nut Mix", "混合坚果"),
            ("Dark Chocolate", "黑巧克力"),
            ("Rice Crackers", "米饼"),
            ("Dried Mango", "芒果干"),
            ("Beef Jerky", "牛肉干"),
            ("Cookies", "曲奇饼干"),
        ),
        39.0,
        0.45,
        "drinks",
        0.12,
    ),
    Category(
        "drinks",
        "饮品",
        (
            ("Green Tea", "绿茶"),
            ("Coffee Beans", "咖啡豆"),
            ("Sparkling Water", "气泡水"),
            ("Oat Milk", "燕麦奶"),
            ("Black Tea", "红茶"),
            ("Fruit Juice", "果汁"),
        ),
        59.0,
        0.5,
        "snacks",
        0.08,
    ),
    Category(
        "kitchen",
        "厨具",
        (
            ("Frying Pan", "平底锅"),
            ("Knife Set", "刀具套装"),
            ("Rice Cooker", "电饭煲"),
            ("Lunch Box", "便当盒"),
            ("Thermos", "保温杯"),
            ("Cutting Board", "砧板"),
        ),
        149.0,
        0.65,
        "home",
        0.09,
    ),
    Category(
        "home",
        "家居",
        (
            ("Bed Sheet Set", "四件套"),
            ("Pillow", "枕头"),
            ("Storage Box", "收纳箱"),
            ("Table Lamp", "台灯"),
            ("Curtain", "窗帘"),
            ("Scented Candle", "香薰蜡烛"),
        ),
        139.0,
        0.6,
        "kitchen",
        0.09,
    ),
    Category(
        "electronics",
        "数码",
        (
            ("Earbuds", "无线耳机"),
            ("Power Bank", "充电宝"),
            ("Keyboard", "机械键盘"),
            ("Smart Watch", "智能手表"),
            ("Phone Case", "手机壳"),
            ("Charger", "充电器"),
        ),
        299.0,
        0.8,
        "sports",
        0.08,
    ),
    Category(
        "sports",
        "运动",
        (
            ("Yoga Mat", "瑜伽垫"),
            ("Dumbbells", "哑铃"),
            ("Backpack", "双肩包"),
            ("Water Bottle", "运动水壶"),
            ("Tent", "帐篷"),
            ("Badminton Racket", "羽毛球拍"),
        ),
        159.0,
        0.65,
        "shoes",
        0.06,
    ),
    Category(
        "baby",
        "母婴",
        (
            ("Diapers", "纸尿裤"),
            ("Baby Bottle", "奶瓶"),
            ("Stroller", "婴儿推车"),
            ("Baby Wipes", "婴儿湿巾"),
            ("Romper", "连体衣"),
            ("Building Blocks", "积木"),
        ),
        119.0,
        0.7,
        "health",
        0.05,
    ),
    Category(
        "pets",
        "宠物",
        (
            ("Cat Food", "猫粮"),
            ("Dog Food", "狗粮"),
            ("Cat Litter", "猫砂"),
            ("Pet Bed", "宠物窝"),
            ("Dog Leash", "牵引绳"),
            ("Cat Toy", "逗猫棒"),
        ),
        79.0,
        0.55,
        "home",
        0.03,
    ),
    Category(
        "health",
        "健康",
        (
            ("Vitamin C", "维生素C"),
            ("Toothbrush", "电动牙刷"),
            ("Massage Gun", "筋膜枪"),
            ("Face Towel", "洗脸巾"),
            ("Fish Oil", "鱼油"),
            ("Thermometer", "体温计"),
        ),
        99.0,
        0.6,
        "beauty",
        0.02,
    ),
)
CATEGORY_POSITIONS = {category.slug: place for place, category in enumerate(CATEGORIES)}

STYLES: tuple[tuple[str, str], ...] = (
    ("Classic", "经典"),
    ("Sport", "运动风"),
    ("Natural", "自然"),
    ("Neon", "炫彩"),
)
MAKERS = (
    "Lanxi", "Northbay", "Qingshan", "Mira", "Tofu&Co", "Hexa", "Yunfei", "Orchid", "Bamboo9",
    "Polar", "Jiayu", "Vesta", "Sanli", "Kumo", "Redleaf", "Ocean7",
)  # fmt: skip
BRANDS_PER_CATEGORY = 5

# A price elasticity of -1.8 lies in the middle of what studies of online retail report.
PRICE_ELASTICITY = -1.8
# How strongly each purse (loose, usual, tight) turns away from prices above the category's.
PURSE_AVERSION = (-0.55, 0.15, 0.9)
PURSES = len(PURSE_AVERSION)
STYLE_ATTRACTION = 6.0
SHOPPER_GROUPS = PURSES * len(STYLES)
ZIPF_EXPONENT = 0.85
SUBSTITUTES = 4
COMPLEMENTS = 3
PROMOTED_SHARE = 0.10
PROMOTION_FACTORS = (0.8, 0.85, 0.9)
FIRST_PRODUCT_NUMBER = 10_000


@dataclass(frozen=True)
class Catalogue:
    """All products, in an order in which each category is one run.

    Attributes:
        category: Position of the category, shape (P,).
        noun: Position of the noun within the category, shape (P,).
        style: Position of the style, shape (P,).
        brand: Position of the maker, shape (P,).
        price: Usual price in cents, shape (P,).
        quality: Hidden quality, about standard normal, shape (P,).
        popularity: Weight within the category, sums to 1 a category, shape (P,).
        substitutes: Nearest products of the same category, shape (P, SUBSTITUTES).
        complements: Products that go with it, shape (P, COMPLEMENTS).
        starts: Position of each category's first product, and P at the end, shape (C + 1,).
    """

    category: np.ndarray
    noun: np.ndarray
    style: np.ndarray
    brand: np.ndarray
    price: np.ndarray
    quality: np.ndarray
    popularity: np.ndarray
    substitutes: np.ndarray
    complements: np.ndarray
    starts: np.ndarray

    def __len__(self) -> int:
        """Give the number of products."""
        return len(self.price)

    @property
    def product_ids(self) -> pl.Series:
        """Identities of the products, in order."""
        numbers = pl.Series("product_id", np.arange(len(self)) + FIRST_PRODUCT_NUMBER)
        return ("p" + numbers.cast(pl.String)).alias("product_id")

    def names(self, language: int) -> list[str]:
        """Give the products' names in English (0) or Chinese (1)."""
        order = np.arange(len(self)) - self.starts[self.category] + 1
        names = []
        for category, noun, style, number in zip(
            self.category, self.noun, self.style, order, strict=True
        ):
            styled = STYLES[style][language]
            plain = CATEGORIES[category].nouns[noun][language]
            names.append(f"{styled}{'' if language else ' '}{plain} {number}")
        return names

    def truth(self) -> pl.DataFrame:
        """Give what is hidden about each product, one row a product."""
        return pl.DataFrame(
            {
                "product_id": self.product_ids,
                "name_en": self.names(0),
                "name_zh": self.names(1),
                "category": [CATEGORIES[place].slug for place in self.category],
                "brand": [MAKERS[place] for place in self.brand],
                "style": [STYLES[place][0] for place in self.style],
                "price": self.price / 100,
                "quality": self.quality,
                "popularity": self.popularity,
                "substitutes": [
                    [f"p{FIRST_PRODUCT_NUMBER + other}" for other in row]
                    for row in self.substitutes
                ],
                "complements": [
                    [f"p{FIRST_PRODUCT_NUMBER + other}" for other in row]
                    for row in self.complements
                ],
            }
        )


def build_catalogue(plan: SimulationPlan) -> Catalogue:
    """Draw the catalogue of a plan.

    Args:
        plan: The shop.

    Returns:
        Its products.
    """
    random = plan.generator(Stream.CATALOGUE)
    shares = np.array([category.share for category in CATEGORIES])
    # At least one product more than substitutes, so that each product has its own neighbours.
    fewest = SUBSTITUTES + 1
    spare = plan.products - fewest * len(CATEGORIES)
    sizes = fewest + np.floor(shares * spare).astype(np.int64)
    sizes[0] += plan.products - sizes.sum()
    starts = np.concatenate([[0], np.cumsum(sizes)])
    category = np.repeat(np.arange(len(CATEGORIES)), sizes)

    count = plan.products
    noun = random.integers(0, len(CATEGORIES[0].nouns), count)
    style = random.integers(0, len(STYLES), count)
    brand = (category * 3 + random.integers(0, BRANDS_PER_CATEGORY, count)) % len(MAKERS)
    noun_level = random.normal(0.0, 0.35, (len(CATEGORIES), len(CATEGORIES[0].nouns)))
    medians = np.array([each.median_price for each in CATEGORIES])
    spreads = np.array([each.price_spread for each in CATEGORIES])
    level = noun_level[category, noun] + spreads[category] * random.normal(0.0, 1.0, count)
    price = np.maximum(np.round(medians[category] * np.exp(level)) * 100 - 10, 490)
    premium = (np.log(price / 100) - np.log(medians[category])) / spreads[category]
    quality = 0.3 * premium + 0.95 * random.normal(0.0, 1.0, count)

    popularity = np.empty(count)
    substitutes = np.empty((count, SUBSTITUTES), dtype=np.int32)
    for first, last in pairwise(starts):
        size = last - first
        weights = 1.0 / (1.0 + random.permutation(size)) ** ZIPF_EXPONENT
        popularity[first:last] = weights / weights.sum()
        # Like products share the noun first, then the style, then the price.
        here = slice(first, last)
        gap = (
            2.0 * (noun[here, None] != noun[None, here])
            + 1.0 * (style[here, None] != style[None, here])
            + np.abs(np.log(price[here, None] / price[None, here]))
        )
        np.fill_diagonal(gap, np.inf)
        substitutes[here] = first + np.argsort(gap, axis=1, kind="stable")[:, :SUBSTITUTES]

    complements = np.empty((count, COMPLEMENTS), dtype=np.int32)
    for place, each in enumerate(CATEGORIES):
        other = CATEGORY_POSITIONS[each.goes_with]
        near = np.arange(starts[other], starts[other + 1])
        own = np.arange(starts[place], starts[place + 1])
        # Popular partners are drawn more often; a product and its partners share a style.
        score = (
            np.log(popularity[near])[None, :]
            + 1.2 * (style[own][:, None] == style[near][None, :])
            + random.gumbel(size=(len(own), len(near)))
        )
        complements[own] = near[np.argsort(-score, axis=1, kind="stable")[:, :COMPLEMENTS]]
    return Catalogue(
        category=category.astype(np.int8),
        noun=noun.astype(np.int8),
        style=style.astype(np.int8),
        brand=brand.astype(np.int8),
        price=price.astype(np.int64),
        quality=quality,
        popularity=popularity,
        substitutes=substitutes,
        complements=complements,
        starts=starts,
    )


def week_prices(plan: SimulationPlan, catalogue: Catalogue, *, week: int) -> np.ndarray:
    """Give the prices of one week: most as usual, a tenth of the products cheaper.

    Args:
        plan: The shop.
        catalogue: Its products.
        week: Number of the week since the start, from 0.

    Returns:
        Prices in cents, shape (P,).
    """
    random = plan.generator(Stream.PROMOTIONS, week)
    promoted = random.random(len(catalogue)) < PROMOTED_SHARE
    factor = np.where(promoted, random.choice(PROMOTION_FACTORS, len(catalogue)), 1.0)
    return np.round(catalogue.price * factor / 10).astype(np.int64) * 10


@dataclass(frozen=True)
class Shelf:
    """The products as shoppers see them at given prices.

    Attributes:
        prices: Prices in cents, shape (P,).
        steps: Cumulative choice weights; group g's category c lies in (g*C + c, g*C + c + 1],
            ascending over all groups, shape (SHOPPER_GROUPS * P,).
        weights: Choice probability of each product in its category, shape (SHOPPER_GROUPS, P).
        catalogue: The products.
    """

    prices: np.ndarray
    steps: np.ndarray
    weights: np.ndarray
    catalogue: Catalogue

    def choose(
        self, group: np.ndarray, category: np.ndarray, *, random: np.random.Generator
    ) -> np.ndarray:
        """Choose one product for each shopper.

        Args:
            group: The shoppers' groups (purse * styles + style), shape (n,).
            category: The categories that they want, shape (n,).
            random: Source of the choice.

        Returns:
            Positions of the products, shape (n,).
        """
        count = len(self.catalogue)
        base = group.astype(np.int64) * len(CATEGORIES) + category
        places = np.searchsorted(self.steps, base + random.random(len(base)), side="right")
        product = places - group.astype(np.int64) * count
        # A draw that rounds up to the category's end would fall into the next category.
        return np.minimum(product, self.catalogue.starts[category.astype(np.int64) + 1] - 1)


def fill_shelf(catalogue: Catalogue, prices: np.ndarray) -> Shelf:
    """Work out how likely each group of shoppers is to choose each product.

    Args:
        catalogue: The products.
        prices: Prices in cents, shape (P,).

    Returns:
        The products with their choice weights at these prices.
    """
    medians = np.array([each.median_price for each in CATEGORIES]) * 100
    spreads = np.array([each.price_spread for each in CATEGORIES])
    premium = np.log(prices / medians[catalogue.category]) / spreads[catalogue.category]
    drawn_by_price = (prices / catalogue.price) ** PRICE_ELASTICITY
    aversion = np.array(PURSE_AVERSION)[:, None, None]
    likes = np.arange(len(STYLES))[:, None] == catalogue.style[None, :]
    weights = (
        catalogue.popularity
        * drawn_by_price
        * np.exp(-aversion * premium[None, None, :])
        * np.where(likes, STYLE_ATTRACTION, 1.0)[None, :, :]
    ).reshape(SHOPPER_GROUPS, len(catalogue))
    totals = np.add.reduceat(weights, catalogue.starts[:-1], axis=1)
    weights = weights / totals[:, catalogue.category]
    summed = np.cumsum(weights, axis=1)
    offset = np.concatenate(
        [np.zeros((SHOPPER_GROUPS, 1)), summed[:, catalogue.starts[1:-1] - 1]], axis=1
    )
    within = np.minimum(summed - offset[:, catalogue.category], 1.0)
    within[:, catalogue.starts[1:] - 1] = 1.0
    base = np.arange(SHOPPER_GROUPS)[:, None] * len(CATEGORIES) + catalogue.category[None, :]
    return Shelf(prices, (base + within).ravel(), weights, catalogue)
