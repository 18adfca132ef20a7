"""What the README says is true: its worked example runs, its settings and assets are those of the project."""

import json
import re
from pathlib import Path

from insight_assets.contracts.sources import source_contracts
from insight_assets.definitions import build_defs
from insight_assets.settings import Settings, settings
from insight_assets_tests.flows.shop import Home

README = Path(__file__).parents[1] / "README.md"
RECEIPTS = """\
Bon;Zeile;Zeit;Kundenkarte;Artikel;Menge;Preis
1001;1;03.02.2025 09:15;K-17;DARJEELING;2;7,90
1001;2;03.02.2025 09:15;K-17;KANNE;1;24,50
1002;1;04.02.2025 18:40;;ASSAM;1;6,20
1003;1;04.02.2025 18:55;K-18;ASSAM;drei;6,20
1004;1;04.02.2025 19:00;K-19;ASSAM;1;6,20
"""


def test_the_worked_example_of_a_new_source_runs(tmp_path):
    contract = re.search(r"```yaml\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)[1]
    (tmp_path / "contracts").mkdir()
    (tmp_path / "contracts" / "till.odcs.yaml").write_text(contract, encoding="utf-8")
    export = tmp_path / "export.csv"
    export.write_text(RECEIPTS, encoding="utf-8")
    home = Home(tmp_path / "home", {"INSIGHT_SOURCES": str(tmp_path / "contracts"), "INSIGHT_REJECT_BUDGETS": '{"till": 0.5}'})
    strict = Home(tmp_path / "strict", {"INSIGHT_SOURCES": str(tmp_path / "contracts")})
    assert json.loads(strict.run("check-source", "till", str(export), "--json", expect=1).stdout)["refused_days"] == ["2025-02-04"]
    checked = json.loads(home.run("check-source", "till", str(export), "--json").stdout)
    assert (checked["rows"], checked["accepted"], checked["quarantined"]) == (5, 4, 1)
    assert checked["broken"][0]["rule"] == "units.type"
    home.run("land", "till", str(export))
    report = home.build("--select", "group:raw or group:validated")
    assert report["failures"] == []
    assert (report["first"], report["last"]) == ("2025-02-03", "2025-02-04")
    orders = home.show("orders", "--as-of", "2025-02-03")
    assert [(row["order_id"], row["gross"], row["currency"]) for row in orders] == [("1001", 40.3, "EUR")]
    quarantine = home.show("quarantine", "--as-of", "2025-02-04")
    assert [(row["rule"], row["line"]) for row in quarantine] == [("units.type", 5)]


def test_every_setting_is_told_with_its_meaning():
    text = README.read_text(encoding="utf-8")
    for name, field in Settings.model_fields.items():
        assert f"| `INSIGHT_{name.upper()}` |" in text
        assert field.description in text


def test_the_listed_assets_are_those_of_the_graph():
    table = re.search(r"\| group \| assets \| partition \|\n(.*?)\n\n", README.read_text(encoding="utf-8"), re.DOTALL)[1]
    listed = {}
    for row in table.splitlines()[1:]:
        _, group, assets, _, _ = (cell.strip() for cell in row.split("|"))
        listed[group] = set(re.findall(r"`(\w+)`", assets))
    graph = {"raw": set()}
    for spec in build_defs().resolve_all_asset_specs():
        if spec.group_name not in {"landing", "raw"}:
            graph.setdefault(spec.group_name, set()).add(spec.key.to_user_string())
    # The README tells of shops with any horizon; of a window as long as it there is no asset.
    graph["ledger"].add(f"value_{settings().horizon_days}d_grades")
    assert listed == graph


def test_the_shipped_sources_are_told():
    told = re.search(r"Shipped contracts: (.*?)\.\n`insight sources`", README.read_text(encoding="utf-8"), re.DOTALL)[1]
    assert re.findall(r"`(\w+)`", told) == list(source_contracts())
