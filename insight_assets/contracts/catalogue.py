"""Finding of the shipped contracts by table name.

Contracts lie in the top-level `data_contracts/` of a checkout and travel in the wheel as the package
`insight_assets.contracts_data`. Source contracts, which a user may add to, are found in `sources`.
"""

import functools
import importlib.resources
from pathlib import Path

from insight_assets.contracts.documents import suggestion
from insight_assets.contracts.loading import STAGES, load_table
from insight_assets.contracts.types import Contract, ContractError


@functools.cache
def shipped_folder() -> Path:
    """Return the folder of the shipped contracts.

    Raises:
        ContractError: If neither the installed package nor the checkout holds them.
    """
    try:
        return Path(str(importlib.resources.files("insight_assets.contracts_data")))
    except ModuleNotFoundError:
        folder = Path(__file__).parents[2] / "data_contracts"
    if not folder.is_dir():
        message = f"no contracts: neither insight_assets.contracts_data nor {folder} exists"
        raise ContractError(message)
    return folder


@functools.cache
def _files() -> dict[str, Path]:
    """Return the file of each table contract, in the order of the flow."""
    found: dict[str, Path] = {}
    for stage in STAGES:
        for path in sorted((shipped_folder() / stage).glob("*.odcs.yaml")):
            name = path.name.removesuffix(".odcs.yaml")
            if name in found:
                message = f"table {name!r} has a second contract, {found[name]}"
                raise ContractError(message, path)
            found[name] = path
    return found


@functools.cache
def contract(name: str) -> Contract:
    """Return the contract of a table.

    Raises:
        ContractError: If there is no such table, or its file is refused.
    """
    path = _files().get(name)
    if path is None:
        message = f"unknown table {name!r}{suggestion(name, _files())}"
        raise ContractError(message)
    loaded = load_table(path)
    if loaded.stage != path.parent.name:
        message = f"domain {loaded.stage!r} differs from the folder's, {path.parent.name!r}"
        raise ContractError(message, path)
    return loaded


def contracts() -> dict[str, Contract]:
    """Return every table contract by name, in the order of the flow."""
    return {name: contract(name) for name in _files()}
