"""Customers as a shop without keys knows them: by name, postcode, birth date and street, with slips of the pen."""

import random
from collections.abc import Mapping

import polars as pl

from insight_assets.people.linkage import DESCRIBED

FIRST_NAMES = [
    "anna", "bea", "carl", "dora", "emil", "frida", "gustav", "hanna", "ida", "jonas", "karla", "lukas", "mona", "nils",
    "olga", "paul", "rosa", "stefan", "tina", "ulf", "vera", "walter", "yara", "zeno", "marta", "peter", "julia",
    "simon", "laura", "felix",
]  # fmt: skip
LAST_NAMES = [
    "schmidt", "mueller", "weber", "wagner", "becker", "schulz", "hoffmann", "koch", "bauer", "richter", "klein",
    "wolf", "schroeder", "neumann", "schwarz", "zimmermann", "braun", "krueger", "hofmann", "hartmann", "lange",
    "werner", "krause", "lehmann", "koehler", "maier",
]  # fmt: skip
STREETS = [
    "lindenweg", "hauptstrasse", "bahnhofstrasse", "gartenweg", "bergstrasse", "schulstrasse", "waldweg", "ringstrasse",
]  # fmt: skip
Pairs = set[tuple[int, int]]

CONTRACT = """\
apiVersion: v3.1.0
kind: DataContract
id: club
name: club
version: 1.0.0
status: active
domain: sources
description: {purpose: "One row is one line of an order form"}
team: {name: tea shop}
customProperties:
  - {property: format, value: csv}
  - {property: time_column, value: ordered_at}
schema:
  - name: delivered
    logicalType: object
    properties:
      - {name: form, logicalType: string, required: true, classification: internal, description: "Number of the form"}
      - {name: ordered_at, logicalType: string, required: true, classification: internal, description: "Time"}
      - {name: member, logicalType: string, classification: personal, description: "Number given to the customer"}
      - {name: full_name, logicalType: string, classification: personal, description: "Name"}
      - {name: zip, logicalType: string, classification: personal, description: "Postcode"}
      - {name: born, logicalType: string, classification: personal, description: "Birth date"}
      - {name: road, logicalType: string, classification: personal, description: "Street and number"}
      - {name: price, logicalType: string, required: true, classification: public, description: "Price"}
  - name: order_lines
    logicalType: object
    properties:
      - {name: order_line_id, transformLogic: "form"}
      - {name: order_id, transformLogic: "form"}
      - {name: kind, transformLogic: "'sale'"}
      - {name: customer_id, transformLogic: "member"}
      - {name: person_name, transformLogic: "full_name"}
      - {name: postcode, transformLogic: "zip"}
      - {name: birth_date, transformLogic: "born"}
      - {name: street, transformLogic: "road"}
      - {name: product_id, transformLogic: "'tea'"}
      - {name: is_product, transformLogic: "TRUE"}
      - {name: quantity, transformLogic: "1"}
      - {name: unit_price, transformLogic: "TRY_CAST(price AS DECIMAL(18,4))"}
      - {name: gross, transformLogic: "TRY_CAST(price AS DECIMAL(18,4))"}
      - {name: currency, transformLogic: "'EUR'"}
      - {name: channel, transformLogic: "'store'"}
"""
HEADER = "form,ordered_at,member,full_name,zip,born,road,price"


def form(number: str, member: object, who: Mapping[str, str | None], *, at: str) -> str:
    """Write a line of the club's export."""
    told = (who["name"], who["postcode"], who["birth_date"], who["street"])
    return ",".join([number, at, str(member), *(each or "" for each in told), "7.90"])


def planted(people: int, twice: int, *, seed: int = 3) -> tuple[list[dict], Pairs]:
    """Describe people of whom some are two customers, the second time with slips, some in another street.

    Returns:
        Customers, and the pairs of keys that are one person.
    """
    draw = random.Random(seed)
    customers, pairs = [], set()
    for number in range(people):
        key = number * 7919 % 100_003 + 1
        born = (draw.randrange(1950, 2005), draw.randrange(1, 13), draw.randrange(1, 29))
        who = {
            "name": f"{draw.choice(FIRST_NAMES)} {draw.choice(LAST_NAMES)}",
            "postcode": str(10_000 + draw.randrange(60)),
            "birth_date": "{}-{:02}-{:02}".format(*born),
            "street": f"{draw.choice(STREETS)} {draw.randrange(1, 99)}",
        }
        customers.append({"customer_key": key, **who})
        if number < twice:
            other = 200_000 + number
            pairs.add((key, other))
            customers.append({"customer_key": other, **_written_again(who, number, draw)})
    return customers, pairs


def _written_again(who: dict, number: int, draw: random.Random) -> dict:
    place = draw.randrange(1, len(who["name"]) - 1)
    again = who | {"name": who["name"][:place] + draw.choice(["", "e", "o"]) + who["name"][place + 1 :]}
    moved = f"{draw.choice(STREETS)} {draw.randrange(1, 99)}"
    if number % 3 == 0:
        again["street"] = moved
    if number % 5 == 0:
        again["birth_date"] = who["birth_date"][:-1] + str((int(who["birth_date"][-1]) + 1) % 9)
    return again


def frame(customers: list[dict]) -> pl.DataFrame:
    return pl.DataFrame(customers, schema=DESCRIBED)
