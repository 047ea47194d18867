"""cymf: matrix factorization of the ratings that exist, and prediction of those that do not."""

import logging

from cymf import datasets, evaluation
from cymf._errors import (
    ConvergenceWarning,
    CymfWarning,
    DataTermsWarning,
    DivergenceError,
    FeatureNamesWarning,
    ModelFileError,
    NotFittedError,
    UnknownIdError,
)
from cymf._model_file import load
from cymf._training import Iteration
from cymf._version import __version__
from cymf.als import ALS
from cymf.baselines import Popularity, Random
from cymf.bayesian_mf import BayesianMF
from cymf.bpr import BPR
from cymf.contrastive_mf import ContrastiveMF
from cymf.design_matrix import DesignMatrix, design_matrix
from cymf.factorization_machine import FactorizationMachine
from cymf.features import Features
from cymf.gradient_descent import GradientDescent
from cymf.implicit_als import ImplicitALS
from cymf.logistic_mf import LogisticMF
from cymf.nmf import NMF
from cymf.presets import presets
from cymf.ratings import Ratings
from cymf.sgd import SGD
from cymf.spectral_mf import SpectralMF
from cymf.svdpp import SVDpp

logging.getLogger(__name__).addHandler(logging.NullHandler())  # who listens decides what is shown

__all__ = [
    "ALS",
    "BPR",
    "NMF",
    "SGD",
    "BayesianMF",
    "ContrastiveMF",
    "DesignMatrix",
    "FactorizationMachine",
    "Features",
    "GradientDescent",
    "LogisticMF",
    "Popularity",
    "Random",
    "ImplicitALS",
    "SpectralMF",
    "SVDpp",
    "Ratings",
    "Iteration",
    "datasets",
    "design_matrix",
    "evaluation",
    "load",
    "presets",
    "CymfWarning",
    "ConvergenceWarning",
    "DataTermsWarning",
    "FeatureNamesWarning",
    "DivergenceError",
    "ModelFileError",
    "NotFittedError",
    "UnknownIdError",
    "__version__",
]
