"""One file for each library: how it is installed, given its data, trained and asked for predictions.

An adapter module has

    PEERS           {key: Peer}, the ways of using the library that are measured
    REQUIREMENTS    what `pip install` gets, one call after the other; empty for cymf itself
    train           class; train(data, peer, n_factors, n_threads) converts the data to what the library wants, then
        .fit(n_iter)                trains from the start; only this is timed
        .predict(users, items)      predicts pairs of row numbers by the last fit; or, for implicit feedback,
        .factors()                  returns the last fit's user and item factors, biases as further factors

and may have `build(environment)`, called once after installation, and VARIABLES, environment variables of its process.
The libraries themselves are imported inside `train`, because the runner reads these modules too.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass, field
from typing import Any

__all__ = ["MODULES", "Peer", "all_peers"]

MODULES = (
    "cymf_itself",
    "lenskit",
    "cmfrec",
    "libmf",
    "surprise",
    "cornac",
    "spark",
    "implicit",
    "irspack",
    "buffalo",
)


@dataclass(frozen=True)
class Peer:
    """One way of using one library.

    Attributes
    ----------
    label : str
        What tables say.
    family : str
        Which of cymf's solvers it is compared with: "ALS", "ALS, CG", "SGD"; or on implicit feedback "iALS",
        "iALS, CG", "iALS++", "BPR".
    settings : dict
        What its adapter hands to the library, beside sizes.
    sweep : (str, tuple of float)
        The setting, its penalty, of which `--sweep` tries these values.
    quick : bool
        Whether the quick look has it.
    note : str
        What readers of the table must know.
    """

    label: str
    family: str
    settings: dict[str, Any] = field(default_factory=dict)
    sweep: tuple[str, tuple[float, ...]] = ("", ())
    quick: bool = False
    note: str = ""

    @property
    def implicit(self) -> bool:
        """Whether it trains on implicit feedback."""
        return self.family.startswith("iALS") or self.family == "BPR"


def all_peers() -> dict[str, tuple[str, Peer]]:
    """Return {key: (module name, peer)} of all adapters."""
    found = {}
    for module in MODULES:
        for key, peer in importlib.import_module(f"adapters.{module}").PEERS.items():
            found[key] = (module, peer)
    return found
