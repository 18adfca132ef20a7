"""The home's keys: made once, kept from others, one per purpose, and replaced without losing the old ones."""

import multiprocessing
from pathlib import Path

import pytest

from insight_assets.validation.key_ring import (
    ANALYTICS,
    KEY_BYTES,
    PURPOSES,
    SUPPRESSION,
    VAULT,
    current_number,
    drop_retired_keys,
    read_ring,
    rotate_key,
)
from insight_assets.validation.pseudonyms import CUSTOMER, pseudonymiser


def test_keys_are_made_once_and_for_their_owner_alone(tmp_path):
    path = tmp_path / "secrets" / "pseudonym.key"
    ring = read_ring(path)
    assert [(key.purpose, key.number, key.retired) for key in ring.keys] == [(each, 1, False) for each in PURPOSES]
    assert {len(key.secret) for key in ring.keys} == {KEY_BYTES}
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert read_ring(path) == ring
    assert list(path.parent.iterdir()) == [path]


def test_no_two_purposes_and_no_two_homes_share_a_key(tmp_path):
    rings = [read_ring(tmp_path / home / "key") for home in ("one", "two")]
    assert len({key.secret for ring in rings for key in ring.keys}) == 2 * len(PURPOSES)
    keys = {pseudonymiser(rings[0].current(each).secret)(CUSTOMER, "17850") for each in PURPOSES}
    assert len(keys) == len(PURPOSES)


def test_the_single_key_of_an_older_home_goes_on_as_its_analytics_key(tmp_path):
    path = tmp_path / "key"
    path.write_bytes(bytes(range(KEY_BYTES)))
    path.chmod(0o600)
    ring = read_ring(path)
    assert ring.current(ANALYTICS).secret == bytes(range(KEY_BYTES))
    assert ring.current(ANALYTICS).id == "analytics-1"
    assert read_ring(path) == ring
    assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o666, 0o777])
def test_keys_that_others_may_read_are_refused(tmp_path, mode):
    read_ring(tmp_path / "key")
    (tmp_path / "key").chmod(mode)
    with pytest.raises(PermissionError, match="chmod 600"):
        read_ring(tmp_path / "key")


@pytest.mark.parametrize(
    "damage", [lambda data: b"", lambda data: bytes(31), lambda data: data[:-30], lambda data: b"{}"]
)
def test_a_damaged_file_is_refused_and_its_content_not_told(tmp_path, damage):
    secret = read_ring(tmp_path / "key").keys[0].secret.hex()
    (tmp_path / "key").write_bytes(damage((tmp_path / "key").read_bytes()))
    with pytest.raises(ValueError, match="restore it from your backup") as refusal:
        read_ring(tmp_path / "key")
    assert secret[:8] not in str(refusal.value)
    assert refusal.value.__suppress_context__


def test_secrets_are_not_shown(tmp_path):
    ring = read_ring(tmp_path / "key")
    assert not [key for key in ring.keys if key.secret.hex() in repr(ring) or repr(key.secret) in repr(ring)]


def test_a_rotated_key_is_kept_and_the_other_purposes_stay(tmp_path):
    path = tmp_path / "key"
    before = read_ring(path)
    made = rotate_key(path, ANALYTICS)
    after = read_ring(path)
    assert (made.id, after.current(ANALYTICS)) == ("analytics-2", made)
    assert after.find("analytics-1").secret == before.current(ANALYTICS).secret != made.secret
    assert after.find("analytics-1").retired
    assert all(after.current(each) == before.current(each) for each in PURPOSES if each != ANALYTICS)
    assert [current_number(path, each) for each in (ANALYTICS, VAULT)] == [2, 1]
    assert rotate_key(path, ANALYTICS).id == "analytics-3"


def test_retired_keys_are_dropped_on_demand_and_their_ids_not_given_again(tmp_path):
    path = tmp_path / "key"
    read_ring(path)
    rotate_key(path, ANALYTICS)
    rotate_key(path, VAULT)
    assert drop_retired_keys(path, ANALYTICS) == ["analytics-1"]
    assert drop_retired_keys(path, ANALYTICS) == []
    with pytest.raises(KeyError, match="analytics-1 is not on the ring"):
        read_ring(path).find("analytics-1")
    assert read_ring(path).find("vault-1").retired
    assert rotate_key(path, ANALYTICS).id == "analytics-3"


def test_unknown_purposes_are_named_with_the_known_ones(tmp_path):
    with pytest.raises(KeyError, match="'advertising'; one of analytics"):
        rotate_key(tmp_path / "key", "advertising")


def test_looking_for_the_number_makes_no_key(tmp_path):
    assert current_number(tmp_path / "key", SUPPRESSION) == 1
    assert list(tmp_path.iterdir()) == []


def _read_together(path: Path, start, found) -> None:
    start.wait()
    found.put(read_ring(path))


@pytest.mark.parametrize("held", [b"", bytes(range(KEY_BYTES))])
def test_processes_that_start_together_share_their_keys(tmp_path, held):
    if held:
        (tmp_path / "key").write_bytes(held)
        (tmp_path / "key").chmod(0o600)
    context = multiprocessing.get_context("fork")
    start, found = context.Barrier(6), context.Queue()
    readers = [context.Process(target=_read_together, args=(tmp_path / "key", start, found)) for _ in range(6)]
    for reader in readers:
        reader.start()
    rings = {found.get(timeout=30) for _ in readers}
    for reader in readers:
        reader.join()
    assert rings == {read_ring(tmp_path / "key")}
