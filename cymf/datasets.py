"""Ratings to try things on: generated ones with a known truth, MovieLens and other sets.

`make_ratings` draws from the very model that cymf fits, so that the best possible error is known
before anything is trained; `stream_ratings` draws the same ratings batch by batch, however many. `load_movielens` and
`load_lastfm` read their sets from a folder, or fetch them when they are asked to; `load_netflix` and `load_gowalla`
read folders.
"""

from __future__ import annotations

from cymf._generated import (
    GeneratedRatings,
    RatingStream,
    make_ratings,
    stream_ratings,
)
from cymf._generated_truth import GeneratedTruth
from cymf._gowalla import Gowalla, load_gowalla
from cymf._lastfm import LastFM, load_lastfm
from cymf._movielens import MovieLens, load_movielens
from cymf._netflix_prize import Netflix, load_netflix

__all__ = [
    "GeneratedRatings",
    "GeneratedTruth",
    "Gowalla",
    "LastFM",
    "MovieLens",
    "Netflix",
    "RatingStream",
    "load_gowalla",
    "load_lastfm",
    "load_movielens",
    "load_netflix",
    "make_ratings",
    "stream_ratings",
]
