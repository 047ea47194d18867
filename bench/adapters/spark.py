"""Spark MLlib's ALS; it needs a Java runtime."""

from __future__ import annotations

import numpy as np

from adapters import Peer

REQUIREMENTS = (("pyspark>=3.5", "numpy", "pandas"),)
PROGRAM = "java"
PEERS = {
    "spark": Peer(
        "Spark ALS",
        "ALS",
        {"regParam": 0.1},
        ("regParam", (0.025, 0.05, 0.1, 0.2, 0.4)),
        note="memory of the JVM is not counted; no biases",
    )
}


class train:
    def __init__(self, data, peer: Peer, n_factors: int, n_threads: int) -> None:
        import os
        import sys

        from pyspark.sql import SparkSession

        os.environ["PYSPARK_PYTHON"] = sys.executable
        self.session = (
            SparkSession.builder.master(f"local[{n_threads}]")
            .config("spark.ui.enabled", "false")
            .config("spark.driver.memory", "6g")
            .config("spark.sql.execution.arrow.pyspark.enabled", "false")
            .getOrCreate()
        )
        self.session.sparkContext.setLogLevel("ERROR")
        self.version = self.session.version
        self.settings = dict(
            peer.settings, rank=n_factors, numUserBlocks=n_threads, numItemBlocks=n_threads, seed=0
        )
        self.shape, self.mean = data.shape, float(data.train_values.mean())
        rows = zip(
            data.train_users.tolist(),
            data.train_items.tolist(),
            data.train_values.tolist(),
            strict=True,
        )
        self.data = (
            self.session.createDataFrame(rows, "user int, item int, rating float")
            .repartition(n_threads)
            .cache()
        )
        self.data.count()

    def fit(self, n_iter: int) -> None:
        from pyspark.ml.recommendation import ALS

        estimator = ALS(
            maxIter=n_iter, userCol="user", itemCol="item", ratingCol="rating", **self.settings
        )
        self.model = estimator.fit(self.data)

    def predict(self, users: np.ndarray, items: np.ndarray) -> np.ndarray:
        factors = []
        for frame, n_rows in (
            (self.model.userFactors, self.shape[0]),
            (self.model.itemFactors, self.shape[1]),
        ):
            rows = frame.collect()
            table = np.full((n_rows, self.model.rank), np.nan)
            table[[row.id for row in rows]] = [row.features for row in rows]
            factors.append(table)
        predictions = np.einsum("if,if->i", factors[0][users], factors[1][items])
        return np.where(np.isnan(predictions), self.mean, predictions)
