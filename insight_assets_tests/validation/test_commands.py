"""The commands about keys and people: what they say, what they refuse, and what they never print."""

import pytest
from typer.testing import CliRunner

from insight_assets.building import exclusive
from insight_assets.cli import BUSY, WRONG_USE, app
from insight_assets.validation.key_ring import ANALYTICS, VAULT, read_ring
from insight_assets.validation.suppression import list_beside, read_suppressed
from insight_assets_tests.deliveries import call

DAY = "2025-01-01"
GONE = "gone.girl@example.com"

pytestmark = pytest.mark.usefixtures("kept_environment")


def insight(home, *arguments: str, expect: int = 0) -> str:
    done = CliRunner().invoke(app, [*arguments, "--home", str(home)])
    assert done.exit_code == expect, done.output
    return " ".join(done.output.split())


def key_file(home):
    return home / "secrets" / "pseudonym.key"


def test_a_key_is_rotated_and_told_by_its_id(tmp_path):
    secret = read_ring(key_file(tmp_path)).current(VAULT).secret.hex()
    told = insight(tmp_path, "rotate-key", "--purpose", "vault")
    assert "vault-2 is the key for encryption" in told
    assert "insight rotate-key --purpose vault --drop-retired" in told
    ring = read_ring(key_file(tmp_path))
    assert (ring.current(VAULT).id, ring.current(ANALYTICS).id) == ("vault-2", "analytics-1")
    assert not [key for key in ring.keys if key.secret.hex()[:8] in told]
    assert insight(tmp_path, "rotate-key", "--purpose", "vault", "--drop-retired") == "dropped: vault-1"
    assert insight(tmp_path, "rotate-key", "--purpose", "vault", "--drop-retired") == "dropped: nothing"
    assert secret not in key_file(tmp_path).read_text()


def test_what_would_bring_suppressed_people_back_is_refused(tmp_path):
    insight(tmp_path, "suppress", GONE)
    insight(tmp_path, "rotate-key", "--purpose", "suppression")
    told = insight(tmp_path, "rotate-key", "--purpose", "suppression", "--drop-retired", expect=WRONG_USE)
    assert "would come back" in told
    ring = read_ring(key_file(tmp_path))
    assert read_suppressed(list_beside(key_file(tmp_path))).recogniser(ring)(GONE)


def test_unknown_purposes_and_busy_homes_are_refused(tmp_path):
    assert "one of analytics" in insight(tmp_path, "rotate-key", "--purpose", "adverts", expect=WRONG_USE)
    with exclusive(tmp_path):
        assert "wait for it to end" in insight(tmp_path, "rotate-key", expect=BUSY)
        assert "wait for it to end" in insight(tmp_path, "suppress", GONE, expect=BUSY)
    assert not key_file(tmp_path).exists()


def test_a_suppressed_person_is_not_named(tmp_path):
    first, second = insight(tmp_path, "suppress", GONE), insight(tmp_path, "suppress", f" {GONE}")
    assert "is on the list of people left out" in first
    assert "was on the list already" in second
    assert GONE not in first + second


def test_delivered_rows_are_shown_only_to_who_asks_for_them(home):
    home.land_calls("a.ndjson", [call(f"{n}", f"{DAY}T10:00:00Z") for n in range(30)])
    home.land_calls("bad.ndjson", [call("bad", f"{DAY}T10:00:00Z", "No Event", userId=GONE)])
    home.build(DAY)
    for table, rule in (("quarantine", "event.enum"), ("raw_segment", "bad.ndjson")):
        shown = ("show", table, "--as-of", DAY, "--limit", "50", "--json")
        told = insight(home.root, *shown)
        assert rule in told
        assert GONE not in told
        assert GONE in insight(home.root, *shown, "--payload")
    vault = insight(home.root, "show", "identity_vault", "--as-of", DAY, "--json")
    assert "analytics-1" in vault
    assert "identifier" not in vault


def test_exchange_rates_are_landed_like_rows(tmp_path):
    quotes = tmp_path / "quotes.csv"
    quotes.write_text("date,currency,base_currency,rate\n2025-01-01,USD,EUR,0.9\n", encoding="utf-8")
    assert "1 landed" in insight(tmp_path / "home", "land", "currency_rates", str(quotes))
    assert (tmp_path / "home" / "landing" / "currency_rates" / "quotes.csv").read_bytes() == quotes.read_bytes()


def test_nobody_is_suppressed_by_an_empty_name(tmp_path):
    assert "an empty name" in insight(tmp_path, "suppress", " ", expect=WRONG_USE)
    assert not list_beside(key_file(tmp_path)).exists()


def test_a_folder_that_no_contract_reads_is_told(tmp_path):
    (tmp_path / "landing" / "shopfy").mkdir(parents=True)
    (tmp_path / "landing" / "currency_rates").mkdir()
    assert "not read shopfy in" in insight(tmp_path, "build", expect=1)
