"""Random numbers that are functions of a key and a time, so that nothing has to be remembered."""

from __future__ import annotations

import math
from zlib import crc32

_MASK = (1 << 64) - 1
_UNIT = 2.0**-64


def key_of(seed: int, *names: str) -> int:
    """A key for `draw` and `wave` from a seed and some names; the same in every process."""
    return (seed * 0x9E3779B97F4A7C15 + crc32("/".join(names).encode())) & _MASK


def draw(key: int, index: int) -> float:
    """A number in [0, 1) that belongs to an index (splitmix64)."""
    mixed = (key ^ (index * 0x9E3779B97F4A7C15)) & _MASK
    mixed = ((mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) & _MASK
    return (mixed ^ (mixed >> 31)) * _UNIT


def smoothstep(part: float) -> float:
    """0 to 1 with flat ends, for a part in [0, 1]."""
    part = min(1.0, max(0.0, part))
    return part * part * (3 - 2 * part)


def wave(key: int, time: int, period: int) -> float:
    """Smooth noise in [-1, 1] that forgets itself after about a period; both in milliseconds."""
    at, rest = divmod(time, period)
    left, right = draw(key, at), draw(key, at + 1)
    return 2 * (left + (right - left) * smoothstep(rest / period)) - 1


def waves(key: int, time: int, octaves: tuple[tuple[int, float], ...]) -> float:
    """Sum of `wave`s; an octave is a period in milliseconds and an amplitude."""
    return sum(height * wave(key + place, time, period) for place, (period, height) in enumerate(octaves))


def poisson(mean: float, chance: float) -> int:
    """The count that a uniform number stands for, at the most 64."""
    probability = total = math.exp(-mean)
    count = 0
    while chance > total and count < 64:
        count += 1
        probability *= mean / count
        total += probability
    return count


def heavy(chance: float, other: float) -> float:
    """A log-normal number of mean 1 and a long tail, from two uniform ones."""
    normal = math.sqrt(-2 * math.log(1 - chance)) * math.cos(2 * math.pi * other)
    return math.exp(1.1 * normal - 0.605)
