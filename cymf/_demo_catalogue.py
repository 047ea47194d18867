"""A catalogue of films that do not exist, rated by users who do not exist, by a known truth."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cymf.datasets import GeneratedRatings, make_ratings

__all__ = ["Catalogue", "make_catalogue"]

# One genre for each end of each factor: a genre, words before, words after.
_GENRES = (
    ("Comedy", "Laughing Clumsy Borrowed Accidental Cheerful Upstairs", "Uncle Wedding Neighbour"),
    ("Thriller", "Silent Missing Third Cold Sealed Final", "Witness Stairwell Alibi"),
    ("Romance", "Tender Autumn Paper Faraway Second Velvet", "Letter Promise Waltz"),
    ("War", "Burning Forgotten Iron Last Broken Winter", "Regiment Bridge Trench"),
    ("Children", "Tiny Brave Purple Sleepy Magic Runaway", "Hedgehog Balloon Puppet"),
    ("Horror", "Crawling Hollow Bleeding Nameless Rotten Midnight", "Cellar Lullaby Orchard"),
    ("Sci-Fi", "Orbital Quantum Distant Synthetic Parallel Lunar", "Colony Signal Mirror"),
    ("Western", "Dusty Lonesome Crooked Rusty Scarlet Seven", "Canyon Sheriff Saddle"),
    ("Documentary", "Inside Counting Ordinary Vanishing Among Naming", "Glaciers Beekeepers Maps"),
    ("Fantasy", "Emerald Sleeping Thirteenth Enchanted Moonlit Elder", "Dragon Kingdom Oracle"),
    ("Musical", "Dancing Electric Golden Swinging Singing Blue", "Rooftop Parade Trumpet"),
    ("Crime", "Counterfeit Honest Double Marked Smoking Forty", "Heist Inspector Ledger"),
)
_SEQUELS = ("", " Returns", " II", " III", ": The Beginning", " Forever", " IV", " V")


@dataclass(frozen=True, eq=False)
class Catalogue:
    """Generated ratings, and a title and a genre for every item.

    An item's genre is the factor in which it is strongest, and the sign it has there: the truth
    that training should find again.
    """

    data: GeneratedRatings
    titles: dict[int, str]
    genres: dict[int, tuple[str, ...]]


def make_catalogue(random_state: int = 0) -> Catalogue:
    """Generate 100,000 ratings from 1 to 5 of 400 invented films by 1,000 users."""
    data = make_ratings(
        n_users=1000,
        n_items=400,
        n_ratings=100_000,
        n_factors=len(_GENRES) // 2,
        noise=0.6,
        bias_scale=0.35,
        factor_scale=1.0,
        rating_scale=(1, 5),
        random_state=random_state,
    )
    rng = np.random.default_rng(random_state)
    strongest = np.abs(data.item_factors).argmax(axis=1)
    signs = np.take_along_axis(data.item_factors, strongest[:, None], axis=1)[:, 0] < 0
    titles: dict[int, str] = {}
    genres: dict[int, tuple[str, ...]] = {}
    made = dict.fromkeys(range(len(_GENRES)), 0)
    orders = [rng.permutation(18) for _ in _GENRES]
    years = rng.integers(1950, 1990, (len(_GENRES), 18))
    for item, genre in enumerate((2 * strongest + signs).tolist()):
        name, firsts, seconds = _GENRES[genre]
        sequel, place = divmod(made[genre], 18)
        made[genre] += 1
        first, second = divmod(int(orders[genre][place]), 3)
        suffix = _SEQUELS[sequel] if sequel < len(_SEQUELS) else f" {sequel}"
        year = years[genre, place] + 3 * sequel
        titles[item] = f"{firsts.split()[first]} {seconds.split()[second]}{suffix} ({year})"
        genres[item] = (name,)
    return Catalogue(data, titles, genres)
