"""What reading a table costs by the types of its columns of ids: processor time and memory of `Ratings.from_table`.

    python bench/tables.py --ratings 1e6

Each type is read in a process of its own, the types one after the other in every round. The table is in memory before;
the peak is that of resident memory above it. Linux with glibc only.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import json
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

import numpy as np
from machine import describe, heading
from report import write_json, write_text
from worker import forget_peak, resident_megabytes

import cymf

_N_USERS, _N_ITEMS = 100_000, 20_000
KINDS = {
    "pandas": ("int64", "category", "object", "str"),
    "polars": ("Int64", "Categorical", "Enum", "String"),
    "pyarrow": ("int64", "dictionary", "string"),
}


def table_of(library: str, kind: str, n_ratings: int) -> object:
    """A table with ids such as "user 0012345", each cell once."""
    generator = np.random.default_rng(0)
    cells = generator.permutation(np.unique(generator.integers(0, _N_USERS * _N_ITEMS, n_ratings)))
    stars = generator.integers(1, 6, len(cells)).astype(np.float32)
    columns = {}
    for name, codes, count in (
        ("user", cells // _N_ITEMS, _N_USERS),
        ("item", cells % _N_ITEMS, _N_ITEMS),
    ):
        columns[name] = _column(library, kind, codes, [f"{name} {k:07d}" for k in range(count)])
    if library == "pandas":
        import pandas as pd

        return pd.DataFrame(columns | {"rating": stars})
    if library == "polars":
        import polars as pl

        return pl.DataFrame(columns | {"rating": stars})
    import pyarrow as pa

    return pa.table(columns | {"rating": stars})


def _column(library: str, kind: str, codes: np.ndarray, labels: list[str]) -> object:
    if kind.lower() == "int64":
        return codes
    if library == "pandas":
        import pandas as pd

        coded = pd.Series(pd.Categorical.from_codes(codes, labels))
        return (
            coded if kind == "category" else pd.Series(np.array(coded.tolist(), object), dtype=kind)
        )
    if library == "polars":
        import polars as pl

        dtype = pl.Enum(labels) if kind == "Enum" else getattr(pl, kind)
        return pl.Series(labels, dtype=dtype).gather(codes)
    import pyarrow as pa

    if kind == "dictionary":
        return pa.DictionaryArray.from_arrays(codes.astype(np.int32), labels)
    return pa.array(labels).take(pa.array(codes))


def measure(library: str, kind: str, n_ratings: int) -> dict[str, object]:
    """Read one table once, in this process."""
    cymf.Ratings.from_table(table_of(library, kind, 1000))  # loads what is imported when used
    table = table_of(library, kind, n_ratings)
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)  # what was freed must not be there to be used again
    forget_peak()
    before, _ = resident_megabytes()
    start = time.process_time()
    ratings = cymf.Ratings.from_table(table)
    seconds = time.process_time() - start
    _, peak = resident_megabytes()
    return {"ratings": ratings.nnz, "seconds": seconds, "megabytes": peak - before}


def markdown(results: dict[str, list[dict[str, float]]]) -> str:
    """One row a type, beside the dearest of its library."""
    lines = [
        "| ids | processor time (s) | share of that of strings | peak above the table (MB) |",
        "| --- | ---: | ---: | ---: |",
    ]
    for library, kinds in KINDS.items():
        texts = results[f"{library} {kinds[-1]}"]
        for kind in kinds:
            rounds = results[f"{library} {kind}"]
            shares = [a["seconds"] / b["seconds"] for a, b in zip(rounds, texts, strict=True)]
            lines.append(
                f"| {library} `{kind}` | {median(r['seconds'] for r in rounds):.2f} | {median(shares):.2f} | "
                f"{median(r['megabytes'] for r in rounds):.0f} |"
            )
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--ratings", type=float, default=1e6)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results")
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(measure(*arguments.one, int(arguments.ratings))))
        return
    results: dict[str, list[dict[str, float]]] = {}
    for _ in range(arguments.rounds):
        for library, kinds in KINDS.items():
            for kind in kinds:
                command = [sys.executable, __file__, "--ratings", str(arguments.ratings), "--one"]
                answer = subprocess.run(
                    [*command, library, kind], check=True, capture_output=True, text=True
                )
                results.setdefault(f"{library} {kind}", []).append(json.loads(answer.stdout))
    description = describe()
    text = f"## Reading tables\n\n{heading(description)}\n\n{markdown(results)}"
    print(write_text(arguments.output / "tables.md", text))
    write_json(arguments.output / "tables.json", {"machine": description, "results": results})


if __name__ == "__main__":
    main()
