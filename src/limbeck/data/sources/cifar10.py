"""CIFAR-10, from the official binary archive."""

from __future__ import annotations

from limbeck.types import Dataset, Normalisation

from .cifar_archive import Archive, dataset

ARCHIVE = Archive(
    name="cifar10",
    url="https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
    sha256="c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
    folder="cifar-10-batches-bin",
    train=tuple(f"data_batch_{i}.bin" for i in range(1, 6)),
    test=("test_batch.bin",),
    names="batches.meta.txt",
    classes=10,
    label_bytes=1,
    records={"train": 10_000, "test": 10_000},
    normalisation=Normalisation((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)),
)


def build(*, path: str | None = None) -> Dataset:
    """CIFAR-10: 60,000 photos, 32 x 32, 10 classes; downloaded once, or read from `path`.

    path: `cifar-10-binary.tar.gz` or its extracted folder; by default the archive in `$LIMBECK_DATA`, which is
    downloaded if it is missing.
    50,000 training and 10,000 test images, in the archive's order. Mean and standard deviation are the usual ones.
    Source: A. Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009.
    Raises LimbeckError if the archive cannot be obtained or is not the official one.
    """
    return dataset(ARCHIVE, path)
