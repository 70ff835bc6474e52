"""How lies are told: each in a quiet scene, with the names of the invariants that it breaks."""

from __future__ import annotations

from collections.abc import Callable

from tests.lab.scenes import Scene

Lie = Callable[[Scene], None]


def quiet() -> Scene:
    return Scene({"north": 5, "south": 1})


class Lies(dict[str, tuple[set[str], Lie]]):
    """By name: the invariants that are broken, and what breaks them."""

    def breaking(self, *broken: str) -> Callable[[Lie], Lie]:
        def keep(function: Lie) -> Lie:
            self[function.__name__] = (set(broken), function)
            return function

        return keep
