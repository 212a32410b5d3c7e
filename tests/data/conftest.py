"""Small sources that the tests write themselves, and a cache of their own."""

import json
import os
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from image_sources import WriteParquet


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path_factory.mktemp("cache") / "images"
    monkeypatch.setenv("MICROGLIA_CACHE", str(folder))
    return folder


@pytest.fixture
def real_data() -> Path:
    folder = os.environ.get("MICROGLIA_DATA")
    if not folder or not (Path(folder) / "cifar10").is_dir():
        pytest.skip("MICROGLIA_DATA names no folder with cifar10/")
    return Path(folder)


@pytest.fixture
def write_parquet(tmp_path: Path) -> WriteParquet:
    def write(
        name: str,
        files: Sequence[bytes | None],
        labels: Sequence[int | None],
        *,
        names: Sequence[str] | None = None,
        image: str = "img",
        label: str = "label",
        struct: bool = True,
        rows_per_group: int = 7,
        extra: dict[str, list[object]] | None = None,
    ) -> Path:
        cells = [{"bytes": f, "path": None} for f in files] if struct else list(files)
        kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())]) if struct else pa.binary()
        columns = {image: pa.array(cells, kind), label: pa.array(labels, pa.int64())}
        table = pa.table({**columns, **(extra or {})})
        if names is not None:
            features = {image: {"_type": "Image"}, label: {"names": names, "_type": "ClassLabel"}}
            info = json.dumps({"info": {"features": features}})
            table = table.replace_schema_metadata({"huggingface": info})
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(table, path, row_group_size=rows_per_group)
        return path

    return write
