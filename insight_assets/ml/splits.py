"""Which customers may be learnt from, and which are kept apart.

Splits are functions of keys alone, never of row order or of a random state, so that every stage and
every run draws the same line. Which days are learnt from is said by `origins`; what is learnt from
either side does not belong here.
"""

import numpy as np

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)


def customer_groups(customer_key: np.ndarray, groups: int, *, salt: int = 0) -> np.ndarray:
    """Assign every customer to one of some groups of about equal size, for ever the same.

    Keys are mixed first (splitmix64, Steele et al., "Fast splittable pseudorandom number
    generators", 2014), so that groups are even and unlike any other grouping by the key itself.

    Args:
        customer_key: Shape (n,), integers.
        groups: Number of groups, at least 1.
        salt: Another salt gives another grouping.

    Returns:
        Shape (n,), group of each key from 0 to `groups` - 1.
    """
    mixed = mixed_keys(customer_key, salt=salt)
    return (mixed % np.uint64(groups)).astype(np.int64)


def mixed_keys(customer_key: np.ndarray, *, salt: int = 0) -> np.ndarray:
    """Scramble keys into a fixed order that has nothing to do with the customers.

    Args:
        customer_key: Shape (n,), integers.
        salt: Another salt gives another order.

    Returns:
        Shape (n,), uint64, distinct for distinct keys.
    """
    # uint64 arithmetic wraps around, which is what the mixing is made of.
    with np.errstate(over="ignore"):
        mixed = np.asarray(customer_key).astype(np.int64).view(np.uint64)
        mixed = mixed + _GOLDEN * np.uint64(salt + 1)
        mixed = (mixed ^ (mixed >> np.uint64(30))) * _MIX_1
        mixed = (mixed ^ (mixed >> np.uint64(27))) * _MIX_2
        return mixed ^ (mixed >> np.uint64(31))
