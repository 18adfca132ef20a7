"""Settings: where they come from, which of them win, and which are refused."""

import os
from datetime import date
from pathlib import Path

import pytest
from pydantic import ValidationError

from insight_assets.settings import HOME_SETTINGS_FILE, choose_home, settings


@pytest.fixture
def home(tmp_path, kept_environment) -> Path:
    for name in [name for name in os.environ if name.startswith("INSIGHT_")]:
        del os.environ[name]
    os.environ["INSIGHT_HOME"] = str(tmp_path / "home")
    (tmp_path / "home").mkdir()
    return tmp_path / "home"


def test_defaults_lie_below_the_home(home):
    shop = settings()
    assert shop.home == home
    assert {shop.landing, shop.lake, shop.models, shop.dagster_home, shop.truth, shop.key_file.parent} == {
        home / name for name in ("landing", "lake", "models", "dagster", "truth", "secrets")
    }
    assert (shop.timezone, shop.horizon_days, shop.k_anonymity, shop.reject_budgets) == ("UTC", 90, 10, {})


def test_the_environment_wins_over_the_home_and_the_home_over_the_defaults(home):
    (home / HOME_SETTINGS_FILE).write_text("INSIGHT_HORIZON_DAYS=30\nINSIGHT_TIMEZONE=Asia/Shanghai\n")
    assert (settings().horizon_days, settings().timezone) == (30, "Asia/Shanghai")
    os.environ["INSIGHT_HORIZON_DAYS"] = "60"
    assert (settings().horizon_days, settings().timezone) == (60, "Asia/Shanghai")


def test_the_home_s_file_cannot_move_the_home(home):
    (home / HOME_SETTINGS_FILE).write_text("INSIGHT_HOME=/elsewhere\n")
    assert settings().home == home


@pytest.mark.parametrize("value", [None, ""])
def test_without_a_home_it_is_a_folder_of_its_own(home, tmp_path, monkeypatch, value):
    monkeypatch.chdir(tmp_path)
    del os.environ["INSIGHT_HOME"]
    if value is not None:
        os.environ["INSIGHT_HOME"] = value
    assert settings().home == tmp_path / "insight_home"


def test_choosing_a_home_holds_for_this_process_and_its_children(home, tmp_path):
    shop = choose_home(tmp_path / "other")
    assert shop.home == tmp_path / "other"
    assert (os.environ["INSIGHT_HOME"], os.environ["DAGSTER_HOME"]) == (str(shop.home), str(shop.dagster_home))
    assert settings() == shop


def test_paths_are_absolute(home, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    os.environ |= {"INSIGHT_SOURCES": "own", "INSIGHT_KEY_PATH": "~/key"}
    assert settings().sources == tmp_path / "own"
    assert settings().key_file == Path.home() / "key"


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("TIMEZONE", "Mars/Olympus", "unknown time zone 'Mars/Olympus'"),
        ("TIMEZONE", "../../etc/passwd", ""),
        ("TIMEZONE", "", ""),
        ("HORIZON_DAYS", "0", "greater than or equal to 1"),
        ("HORIZON_DAYS", "ninety", "valid integer"),
        ("START_DATE", "01.02.2025", "valid date"),
        ("REJECT_BUDGETS", '{"segment": 30}', "a share from 0 to 1"),
        ("REJECT_BUDGETS", '{"segment": -0.1}', "a share from 0 to 1"),
        ("MAX_FILE_BYTES", "0", "greater than or equal to 1"),
        ("K_ANONYMITY", "0", "greater than or equal to 1"),
    ],
)
def test_impossible_values_are_refused_in_words(home, name, value, told):
    os.environ[f"INSIGHT_{name}"] = value
    with pytest.raises(ValidationError, match=told or name.lower()):
        settings()


def test_values_are_remembered_beside_those_that_are_there(home):
    path = home / HOME_SETTINGS_FILE
    path.write_text("# our shop\nINSIGHT_TIMEZONE=Asia/Shanghai\nINSIGHT_START_DATE=2024-01-01\n")
    settings().remember(start_date=date(2023, 5, 1), horizon_days=30)
    assert (settings().start_date, settings().timezone, settings().horizon_days) == (
        date(2023, 5, 1),
        "Asia/Shanghai",
        30,
    )
    assert path.read_text().startswith("# our shop\n")
    assert path.read_text().count("START_DATE") == 1
    settings().remember(horizon_days=None)
    assert settings().horizon_days == 90
    assert [each.name for each in home.iterdir()] == [HOME_SETTINGS_FILE]


def test_values_are_remembered_in_a_home_that_is_not_there_yet(home, tmp_path):
    shop = choose_home(tmp_path / "new")
    shop.remember(end_date=date(2025, 1, 1))
    assert settings().end_date == date(2025, 1, 1)


@pytest.mark.parametrize(("horizon", "spacing"), [(1, 7), (30, 7), (60, 14), (90, 28), (365, 119)])
def test_origins_are_whole_weeks_apart(home, horizon, spacing):
    os.environ["INSIGHT_HORIZON_DAYS"] = str(horizon)
    assert settings().origin_spacing_days == spacing


def test_rules_about_people_are_read_from_json(home):
    os.environ["INSIGHT_IDENTITY_KINDS"] = '{"device_of_visitor": "2025-03-01", "phone_of_customer": null}'
    os.environ["INSIGHT_CONSENT_WITHOUT_RECORD"] = '{"marketing": true}'
    assert settings().identity_kinds == {"device_of_visitor": date(2025, 3, 1), "phone_of_customer": None}
    assert settings().consent_without_record == {"marketing": True}
    os.environ["INSIGHT_CONSENT_WITHOUT_RECORD"] = '{"advertising": true}'
    with pytest.raises(ValidationError, match="consent_without_record"):
        settings()
