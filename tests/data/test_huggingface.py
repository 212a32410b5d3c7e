"""Hugging Face data sets: from its cache on this machine, never from the network."""

import shutil
import socket
from pathlib import Path

import pytest
import torch
from image_sources import pixels
from PIL import Image

from microglia.data import load_images
from microglia.errors import DataError

datasets = pytest.importorskip("datasets", reason="needs the package `datasets`")


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


@pytest.fixture
def hub_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "huggingface"
    folder.mkdir()
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", folder)
    return folder


def prepare(hub_cache: Path, name: str, written: list[Image.Image], tmp_path: Path) -> None:
    """What `load_dataset` leaves in the cache for a repository of Parquet files."""
    features = datasets.Features(
        {"image": datasets.Image(), "label": datasets.ClassLabel(names=["ant", "bee"])}
    )
    rows = {"image": written, "label": [i % 2 for i in range(len(written))]}
    files = {}
    for split in ("train", "test"):
        files[split] = str(tmp_path / f"{split}.parquet")
        datasets.Dataset.from_dict(rows, features=features).to_parquet(files[split])
    elsewhere = tmp_path / "elsewhere"
    datasets.load_dataset("parquet", data_files=files, cache_dir=str(elsewhere))
    (made,) = (p for p in elsewhere.iterdir() if p.is_dir())
    (configuration,) = made.iterdir()
    target = hub_cache / name.replace("/", "___") / "default"
    shutil.copytree(configuration, target)
    for file in target.rglob("parquet-*.arrow"):
        file.rename(file.with_name(file.name.replace("parquet", name.split("/")[-1])))
    for info in target.rglob("dataset_info.json"):
        text = info.read_text()
        configuration_name = f'"config_name": "{configuration.name}"'
        info.write_text(text.replace(configuration_name, '"config_name": "default"'))


def test_reads_what_is_in_the_cache(hub_cache: Path, tmp_path: Path) -> None:
    written = pixels(10)
    prepare(hub_cache, "me/insects", [Image.fromarray(p) for p in written], tmp_path)
    expected = torch.from_numpy(written.transpose(0, 3, 1, 2).copy())
    for _ in range(2):
        images = load_images("hf:me/insects", split="test")
        assert torch.equal(images.images, expected)
        assert images.labels.tolist() == [i % 2 for i in range(10)]
        assert images.classes == ("ant", "bee")
    part = load_images("hf:me/insects", split="train", rows=range(3, 9, 2))
    assert torch.equal(part.images, expected[3:9:2])
    with pytest.raises(DataError, match="no 'validation' split; it has test, train"):
        load_images("hf:me/insects", split="validation")


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("hf:cifar10", ["144 MB", "load_dataset('uoft-cs/cifar10')", "train.parquet"]),
        ("hf:svhn:cropped_digits", ["load_dataset('svhn', 'cropped_digits')"]),
        ("hf:nobody/nothing", ["huggingface.co/datasets/nobody/nothing"]),
        ("hf:", ["'hf:owner/name'"]),
        ("hf:../../etc", ["'hf:owner/name'"]),
    ],
)
def test_says_what_to_download_and_where_to_put_it(
    hub_cache: Path, source: str, expected: list[str]
) -> None:
    with pytest.raises(DataError) as refusal:
        load_images(source, split="train")
    for part in expected:
        assert part in str(refusal.value)
