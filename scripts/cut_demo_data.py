#!/usr/bin/env python3
"""Cuts demo/data/*.parquet from the full changelog embeddings.

    scripts/cut_demo_data.py FOLDER

FOLDER holds changelog_v1.parquet, changelog_v2.parquet and changelog_v3.parquet with the columns package, uploaded_at,
version, text_sha256 and embedding (list<float32>, 384); row i is the same text in all three. Kept are the rows of the
packages below, all releases of each; added are constant columns that say what made the vectors.

The three files store their vectors in three ways, since they also serve the tests of ingest_parquet: list<float32>
(v1, bit for bit), fixed_size_list<float16> (v2) and list<float16> (v3; half a vector's bytes, rounded to 11 bits).
Needs pyarrow. The same input and pyarrow version give the same bytes.
"""

import hashlib
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

DIMS = 384

# Packages with a clear change of what their entries are about, then some long ones of many releases, then quiet ones.
PACKAGES = """
    gcc-10 gcc-11 gcc-12 systemd linux attr acl libsemanage nspr libgc rhash git giflib gmp
    glibc mesa bzip2 curl openssl six
    jansson libgcrypt20 libxext man-db sqlite3
""".split()

MODELS = {
    "v1": ("minilm-v1", "all-MiniLM-L6-v2, mean pooling after its 6 layers, unit norm", pa.list_(pa.float32())),
    "v2": (
        "minilm-v2",
        "all-MiniLM-L6-v2 with Gaussian noise of a tenth of their spread on its weight matrices, "
        "mean pooling after 6 layers, a fixed random rotation, unit norm",
        pa.list_(pa.float16(), DIMS),
    ),
    "v3": (
        "minilm-v3",
        "all-MiniLM-L6-v2 stopped after 5 layers, mean pooling, another fixed random rotation, unit norm",
        pa.list_(pa.float16()),
    ),
}


def vectors_as(vectors: np.ndarray, kind: pa.DataType) -> pa.Array:
    """An (n, DIMS) float32 matrix as an Arrow column of the given list type."""
    flat = pa.array(vectors.astype(kind.value_type.to_pandas_dtype()).ravel())
    if isinstance(kind, pa.FixedSizeListType):
        return pa.FixedSizeListArray.from_arrays(flat, DIMS)
    return pa.ListArray.from_arrays(pa.array(np.arange(len(vectors) + 1, dtype=np.int32) * DIMS), flat)


def cut(source: Path, target: Path, model: str, pipeline: str, kind: pa.DataType) -> int:
    """Writes the chosen packages of `source` to `target`; returns the number of rows."""
    table = pq.read_table(source)
    table = table.filter(pc.is_in(table["package"], pa.array(PACKAGES)))
    table = table.sort_by([("package", "ascending"), ("uploaded_at", "ascending")])
    missing = set(PACKAGES) - set(table["package"].to_pylist())
    if missing:
        sys.exit(f"{source} lacks {sorted(missing)}")
    rows = len(table)
    vectors = table["embedding"].combine_chunks().flatten().to_numpy().reshape(rows, DIMS)
    pipeline_hash = hashlib.sha256(pipeline.encode()).hexdigest()
    table = table.set_column(table.schema.get_field_index("embedding"), "embedding", vectors_as(vectors, kind))
    table = table.append_column("model_version", pa.array([model] * rows))
    table = table.append_column("pipeline_hash", pa.array([pipeline_hash] * rows))
    table = table.replace_schema_metadata({"pipeline": pipeline})
    pq.write_table(
        table,
        target,
        compression="zstd",
        compression_level=19,
        use_dictionary=["package", "model_version", "pipeline_hash"],
        row_group_size=512,
    )
    return rows


def main() -> None:
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    folder = Path(__file__).resolve().parent.parent / "demo" / "data"
    folder.mkdir(parents=True, exist_ok=True)
    for name, (model, pipeline, kind) in MODELS.items():
        target = folder / f"changelog_{name}.parquet"
        rows = cut(Path(sys.argv[1]) / target.name, target, model, pipeline, kind)
        print(f"{target.name}: {rows} rows, {target.stat().st_size / 1e6:.2f} MB, {kind}")


if __name__ == "__main__":
    main()
