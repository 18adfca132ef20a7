"""What a built wheel holds, and that setup.cfg lists every package."""

import configparser
import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[1]


def _listed_packages() -> set[str]:
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg")
    return set(parser["options"]["packages"].split())


def test_every_package_is_listed():
    found = {
        ".".join(path.parent.relative_to(ROOT).parts) for path in (ROOT / "insight_assets").rglob("__init__.py")
    }
    assert _listed_packages() == found | {"insight_assets.contracts_data"}


def test_the_wheel_holds_every_module_and_contract(tmp_path):
    source = tmp_path / "source"
    source.mkdir()
    for name in ("pyproject.toml", "setup.cfg", "README.md", "insight_assets", "data_contracts"):
        subprocess.run(["cp", "-r", str(ROOT / name), str(source)], check=True)
    subprocess.run(
        [sys.executable, "-c", "from setuptools.build_meta import build_wheel; print(build_wheel('..'))"],
        cwd=source, check=True, capture_output=True,
    )
    wheel = next(tmp_path.glob("*.whl"))
    held = set(zipfile.ZipFile(wheel).namelist())
    modules = {str(path.relative_to(ROOT)) for path in (ROOT / "insight_assets").rglob("*.py")}
    contracts = {
        "insight_assets/contracts_data/" + str(path.relative_to(ROOT / "data_contracts"))
        for path in (ROOT / "data_contracts").rglob("*.yaml")
    }
    assert modules <= held
    assert contracts <= held
    assert not any("insight_assets_tests" in name for name in held)
