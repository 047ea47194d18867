"""Time and peak memory of reading files of ratings, and of drawing ratings, against the size of what comes out.

    python bench/files.py --ratings 3e6 --drawn 1e7

Every case is measured in a process of its own: processor time, and the peak of resident memory less what was resident
before. Files hold distinct cells of 40,000 users and 4,000 items in no order, float64 ratings and int64 times; reading
Parquet is compared with taking it as one table. `stream_ratings` is run through, and written to Parquet. Linux only.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from machine import describe, heading
from report import write_json, write_text
from worker import forget_peak, resident_megabytes

import cymf

_USERS, _ITEMS = 40_000, 4_000
_FILES = ("strings.parquet", "integers.parquet", "strings.csv", "strings.jsonl", "strings.csv.gz")


def write_files(folder: Path, n_ratings: int) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    generator = np.random.default_rng(0)
    cells = generator.choice(_USERS * _ITEMS, n_ratings, replace=False)
    numbers = {"user": cells // _ITEMS, "item": cells % _ITEMS}
    names = {
        side: pa.array([f"{side}-{k}" for k in range(size)]).take(pa.array(numbers[side]))
        for side, size in (("user", _USERS), ("item", _ITEMS))
    }
    rest = {"rating": generator.normal(3.5, 1, n_ratings), "timestamp": np.arange(n_ratings)}
    for what, ids in (("strings", names), ("integers", numbers)):
        pq.write_table(pa.table({**ids, **rest}), folder / f"{what}.parquet")
    for name in _FILES[2:]:
        arguments = ["convert", str(folder / "strings.parquet"), str(folder / name)]
        subprocess.run([sys.executable, "-m", "cymf", *arguments], check=True, stdout=sys.stderr)


def read(path: str) -> cymf.Ratings:
    return cymf.Ratings.from_file(path)


def read_table(path: str) -> cymf.Ratings:
    import pyarrow.parquet as pq

    return cymf.Ratings.from_table(pq.read_table(path), timestamp="timestamp")


def draw(n_ratings: float) -> cymf.Ratings:
    n = int(n_ratings)
    return cymf.datasets.make_ratings(n // 100, max(100, n // 1000), n, random_state=0).ratings


def stream(n_ratings: float, path: str | None = None) -> None:
    n = int(n_ratings)
    drawn = cymf.datasets.stream_ratings(n // 100, max(100, n // 1000), n, random_state=0)
    if path is None:
        for _ in drawn.batches():
            pass
    else:
        drawn.to_file(path)


_WORK = {"read": read, "read_table": read_table, "draw": draw, "stream": stream}


def measure(work: str, given: list, small: list) -> dict:
    _WORK[work](*small)  # loads what is imported when used
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)  # what was freed must not be there to be used again
    forget_peak()
    before, _ = resident_megabytes()
    started = time.process_time()
    ratings = _WORK[work](*given)
    seconds = time.process_time() - started
    _, peak = resident_megabytes()
    size = 0.0
    if ratings is not None:
        own = ratings._arrays
        arrays = (own.indptr, own.indices, own.values, own.timestamps, own.input_order)
        size = sum(array.nbytes for array in arrays if array is not None) / 1e6
    return {"seconds": seconds, "above": peak - before, "size": size}


def in_own_process(work: str, given: list, small: list) -> dict:
    command = [sys.executable, __file__, "--one", json.dumps([work, given, small])]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
    return json.loads(done.stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ratings", type=float, default=3e6, help="in a file")
    parser.add_argument("--drawn", nargs="+", type=float, default=[1e6, 1e7])
    parser.add_argument("--to-file", action="store_true", help="write what is drawn to Parquet too")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        print(json.dumps(measure(*json.loads(given.one))))
        return
    description = describe()
    records = []

    def record(label: str, n: float, work: str, arguments: list, small: list) -> None:
        found = in_own_process(work, arguments, small)
        records.append({"case": label, "ratings": int(n), **found})
        print(records[-1], file=sys.stderr)

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if given.ratings >= 1:
            (folder / "small").mkdir()
            write_files(folder / "small", 1000)
            write_files(folder, int(given.ratings))
        for file in _FILES if given.ratings >= 1 else ():
            paths = [str(folder / file)], [str(folder / "small" / file)]
            record(f"{file}", given.ratings, "read", *paths)
            if file.endswith("parquet"):
                record(f"{file}, as one table", given.ratings, "read_table", *paths)
        for n in given.drawn:
            record("make_ratings", n, "draw", [n], [1e4])
            record("stream_ratings", n, "stream", [n], [1e4])
            if given.to_file:
                target = str(folder / "drawn.parquet")
                record("stream_ratings to Parquet", n, "stream", [n, target], [1e4, target])
    lines = [
        "| case | ratings | processor time, s | ns a rating | peak above the start, MB | the ratings, MB | ratio |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for r in records:
        ratio = f"{r['above'] / r['size']:.2f}" if r["size"] else ""
        lines.append(
            f"| {r['case']} | {r['ratings']:,} | {r['seconds']:.2f} | {1e9 * r['seconds'] / r['ratings']:.0f} "
            f"| {r['above']:.0f} | {r['size']:.0f} | {ratio} |"
        )
    text = f"## Files\n\n{heading(description)}\n\n" + "\n".join(lines)
    print(write_text(given.output / "files.md", text + "\n"))
    write_json(given.output / "files.json", {"machine": description, "cases": records})


if __name__ == "__main__":
    main()
