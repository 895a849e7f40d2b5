"""Slips that people make, with the hint that a person would give."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path

import pytest

from limbeck.errors import nearest
from limbeck.recipes import registry
from limbeck.recipes.checks.key_hints import key_places
from limbeck.recipes.registry import entries, zoo_models
from limbeck.synonyms import _SYNONYMS, meanings, simplified

Refused = Callable[..., list[str]]
WITH_ZOOS = pytest.mark.skipif(
    not (importlib.util.find_spec("timm") and importlib.util.find_spec("torchvision")), reason="needs both packages"
)

HINTS = [
    # what stands in the recipe, what is written instead, how the line ends
    ("seeds: [0, 1]", "epochs: 3",
     "epochs: unknown key; `epochs` belongs to an arm: students.defaults.epochs for all, students.NAME.epochs for one "
     "(got 3)"),
    ("seeds: [0, 1]", "lr: 0.1", "`lr` belongs to `optimizer`: students.defaults.optimizer.lr (got 0.1)"),
    ("seeds: [0, 1]", "batch_size: 64", "`batch_size` belongs to `views`: views.batch_size (got 64)"),
    ("seeds: [0, 1]", "validation: 0.2", "`validation` belongs to `data`: data.validation (got 0.2)"),
    ("seeds: [0, 1]", "seed: 0", "did you mean 'seeds'? (got 0)"),
    ("seeds: [0, 1]", "teacher: large", "did you mean 'teachers'? (got 'large')"),
    ("seeds: [0, 1]", "gpu: 0", "did you mean 'device'? (got 0)"),
    ("seeds: [0, 1]", "workers: 4", "did you mean 'threads'? (got 4)"),
    ("seeds: [0, 1]", "fp16: true", "did you mean 'precision'? (got true)"),
    ("seeds: [0, 1]", "precision: float32", "got 'float32'; did you mean 'fp32'?"),
    ("seeds: [0, 1]", "precision: half", "got 'half'; did you mean 'fp16'?"),
    ("seeds: [0, 1]", "device: gpu", "got 'gpu'; did you mean 'cuda'?"),
    ("data: {source: digits}", "dataset: {source: digits}", "did you mean 'data'? (got {source: 'digits'})"),
    ("data: {source: digits}", "data: cifar10", "data: expected a mapping, such as {source: cifar10}; got 'cifar10'"),
    ("data: {source: digits}", "data: folder:x",
     "data: expected a mapping, such as {source: folder:x}; got 'folder:x'"),
    ("source: digits", "source: cifar-10", "no data source named 'cifar-10'; did you mean 'cifar10'?"),
    ("source: digits", "source: mnist",
     "no data source named 'mnist', which Limbeck does not include; to use your own images, give folder:PATH "
     "or parquet:PATH"),
    ("source: digits", "source: ImageNet-1k",
     "no data source named 'ImageNet-1k', which Limbeck does not include; to use your own images, give folder:PATH "
     "or parquet:PATH"),
    ("source: digits", "source: digits, batch_size: 64",
     "'digits' has no option 'batch_size'; `batch_size` belongs to `views`: views.batch_size"),
    ("batch_size: 32", "mixup: 0.2", "`mixup` belongs to `mixing`: views.mixing.mixup (got 0.2)"),
    ("batch_size: 32", "cutmix: 1", "`cutmix` belongs to `mixing`: views.mixing.cutmix (got 1)"),
    ("batch_size: 32", "horizontal_flip: true", "did you mean 'flip'? (got true)"),
    ("batch_size: 32", "augment: randaugment", "did you mean 'policy'? (got 'randaugment')"),
    ("batch_size: 32", "cutout: {}", "did you mean 'erasing'? (got {})"),
    ("batch_size: 32", "policy: {name: rand_augment}", "did you mean 'randaugment'?"),
    ("resnet20", "resnet-20", "no model named 'resnet-20'; did you mean 'resnet20'?"),
    ("resnet20", "wrn-16-2", "no model named 'wrn-16-2'; did you mean 'wrn_16_2'?"),
    ("resnet20", "{name: resnet20, lr: 0.1}",
     "'resnet20' has no option 'lr'; `lr` belongs to `optimizer`: teachers.large.optimizer.lr"),
    ("epochs: 3", "epochs: 3\n    lr: 0.1", "`lr` belongs to `optimizer`: teachers.large.optimizer.lr (got 0.1)"),
    ("epochs: 3", "epochs: 3\n    wd: 0.1",
     "`weight_decay` belongs to `optimizer`: teachers.large.optimizer.weight_decay (got 0.1)"),
    ("epochs: 3", "epochs: 3\n    temperature: 4",
     "`temperature` belongs to `loss`: teachers.large.loss.N.temperature (got 4)"),
    ("epochs: 3", "epochs: 3\n    T: 4", "`temperature` belongs to `loss`: teachers.large.loss.N.temperature (got 4)"),
    ("epochs: 3", "epochs: 3\n    alpha: 0.9", "`weight` belongs to `loss`: teachers.large.loss.N.weight (got 0.9)"),
    ("epochs: 3", "epochs: 3\n    scheduler: {}", "did you mean 'schedule'? (got {})"),
    ("epochs: 3", "epochs: 3\n    dropout: 0.1",
     "`dropout` belongs to `model`: teachers.large.model.dropout (got 0.1)"),
    ("epochs: 3", "epochs: 3\n    batch_size: 3",
     "`batch_size` belongs to `views`: teachers.large.views.batch_size (got 3)"),
    ("epochs: 3", "epochs: 3\n    name: x",
     "13: teachers.large.name: unknown key; expected one of"),
    ("name: sgd, lr: 0.1,", "name: adam_w, lr: 0.1,", "unknown name 'adam_w'; did you mean 'adamw'?"),
    ("name: sgd, lr: 0.1,", "name: SGD, lr: 0.1,", "unknown name 'SGD'; did you mean 'sgd'?"),
    ("lr: 0.1,", "lr: 0.1, epochs: 3,", "`epochs` belongs to the arm itself: teachers.large.epochs (got 3)"),
    ("lr: 0.1,", "learning_rate: 0.1,", "did you mean 'lr'? (got 0.1)"),
    ("lr: 0.1,", "lr: 0.1, llrd: 0.75,", "did you mean 'layer_decay'? (got 0.75)"),
    ("lr: 0.1,", "lr: 0.1, weight_decay_exclude: [head],", "did you mean 'no_weight_decay'? (got ['head'])"),
    ("{name: one_cycle}", "{name: cosine_annealing}",
     "unknown name 'cosine_annealing'; did you mean 'cosine'?"),
    ("{name: one_cycle}", "{name: onecycle}", "unknown name 'onecycle'; did you mean 'one_cycle'?"),
    ("{name: one_cycle}", "{name: cosine, eta_min: 0}", "did you mean 'final_fraction'? (got 0)"),
    ("[{name: cross_entropy}]", "ce", "expected a list, such as [{name: cross_entropy}]; got 'ce'"),
    ("[{name: cross_entropy}]", "[{name: ce}]", "no loss named 'ce'; did you mean 'cross_entropy'?"),
    ("name: soft_targets", "name: kd", "no loss named 'kd'; did you mean 'soft_targets'?"),
    ("name: soft_targets", "name: kl", "no loss named 'kl'; did you mean 'soft_targets'?"),
    ("temperature: 4.0", "T: 4.0", "'soft_targets' has no option 'T'; did you mean 'temperature'?"),
    ("weight: 0.7", "alpha: 0.7", "'soft_targets' has no option 'alpha'; did you mean 'weight'?"),
    ("  defaults:\n", "  defaults:\n    student: 1\n", "unknown key"),
]  # fmt: skip


@pytest.mark.parametrize(("right", "wrong", "told"), HINTS, ids=[wrong for _, wrong, _ in HINTS])
def test_a_slip_gets_the_hint_that_a_person_would_give(
    pair: str, refused: Refused, right: str, wrong: str, told: str
) -> None:
    assert right in pair
    lines = refused(pair.replace(right, wrong, 1))
    assert any(told in line for line in lines), lines


@WITH_ZOOS
@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("resnet18", "did you mean 'timm:resnet18' or 'torchvision:resnet18'?"),
        ("ResNet-50", "did you mean 'timm:resnet50' or 'torchvision:resnet50'?"),
        ("efficientnet-b0", "did you mean 'timm:efficientnet_b0' or 'torchvision:efficientnet_b0'?"),
        ("mobilenet_v2", "did you mean 'mobilenetv2' or 'torchvision:mobilenet_v2'?"),
        ("vit_tiny_patch16_224", "did you mean 'timm:vit_tiny_patch16_224'?"),
    ],
)
def test_models_of_other_libraries_are_named_with_their_library(
    pair: str, refused: Refused, name: str, told: str
) -> None:
    assert any(told in line for line in refused(pair.replace("resnet20", name)))


def test_the_best_known_names_are_hinted_at_without_the_packages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    registry._names_in.cache_clear()
    try:
        assert zoo_models("resnet18") == ["timm:resnet18", "torchvision:resnet18"]
        assert zoo_models("resnet19") == []
    finally:
        registry._names_in.cache_clear()


def test_every_synonym_means_something_that_there_is() -> None:
    names = {name for room in ("losses", "models", "data") for name in entries(room)}
    words = "sgd adam adamw muon constant step multi_step cosine one_cycle randaugment autoaugment trivialaugment"
    values = "fp32 fp16 bf16 last best"
    known = {*key_places(), *names, *words.split(), *values.split()}
    assert set(_SYNONYMS) <= known
    for meaning, synonyms in _SYNONYMS.items():
        for word in synonyms.split():
            assert simplified(word) == word
            assert meaning in meanings(word)


def test_a_valid_word_spelt_otherwise_goes_before_all_else() -> None:
    assert nearest("Cross-Entropy", ["cross_entropy", "dkd"]) == ["cross_entropy"]
    assert nearest("", ["a"]) == []
    assert nearest("___", ["a"]) == []
