"""Chance: the same for a seed on every Python, and drawn without detours."""

from collections.abc import Sequence
from random import Random
from typing import TypeVar

T = TypeVar("T")


class Dice(Random):
    """What ``Random`` draws, written out: a world draws some hundred times."""

    def randint(self, a: int, b: int) -> int:
        """From ``a`` to ``b``, both included."""
        count = b - a + 1
        if count < 1:
            raise ValueError(f"nothing lies between {a} and {b}")
        bits, draw = count.bit_length(), self.getrandbits
        number = draw(bits)
        while number >= count:
            number = draw(bits)
        return a + number

    def choice(self, seq: Sequence[T]) -> T:
        """One of them."""
        count = len(seq)
        if not count:
            raise IndexError("nothing to choose from")
        bits, draw = count.bit_length(), self.getrandbits
        number = draw(bits)
        while number >= count:
            number = draw(bits)
        return seq[number]
