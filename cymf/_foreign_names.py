"""What parameters are called in other libraries, so that an error can say what they are called here."""

from __future__ import annotations

from collections.abc import Collection

__all__ = ["unknown_parameter"]

# Of implicit, Surprise, Spark, scikit-learn, LightFM, LensKit, cmfrec and cornac.
_ELSEWHERE = {
    "n_factors": "factors rank n_components no_components embedding_size k",
    "reg": "regularization regParam reg_all lambda_ lambda_reg reg_pu reg_qi",
    "reg_bias": "reg_bu reg_bi",
    "max_iter": "iterations maxIter n_epochs epochs niter n_iter",
    "learning_rate": "lr lr_all",
    "use_bias": "biased bias",
    "random_state": "seed random_seed rng",
    "n_threads": "num_threads nthreads n_jobs",
    "init_std": "init_std_dev",
    "verbose": "show_progress",
    "n_components": "n_factors",
}
_OWN_NAMES = {name: own for own, names in _ELSEWHERE.items() for name in names.split()}
_NO_PARAMETERS = {
    "implicitPrefs": "implicit feedback has a model of its own, cymf.ImplicitALS",
    "coldStartStrategy": "predict(…, unknown=…) says what becomes of unknown users and items",
    "userCol": "columns are named by Ratings.from_table(table, user=…)",
    "itemCol": "columns are named by Ratings.from_table(table, item=…)",
    "ratingCol": "columns are named by Ratings.from_table(table, rating=…)",
    "beta_loss": "errors are squared, other losses are not offered",
    "use_cg": "how rows are solved is said by solver=",
    "use_gpu": "cymf computes on processors only",
}


def unknown_parameter(model: str, name: str, known: Collection[str]) -> str:
    """Return the message for a parameter that a model does not have."""
    own = _OWN_NAMES.get(name)
    hint = f"cymf calls it {own}" if own in known else _NO_PARAMETERS.get(name)
    listed = f"it has {', '.join(known)}"
    return f"{model} has no parameter {name!r}; {listed if hint is None else f'{hint} ({listed})'}"
