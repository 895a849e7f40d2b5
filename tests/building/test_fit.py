"""What `limbeck fit` proposes meets the budget, and no larger candidate does."""

from __future__ import annotations

import functools
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import limbeck
from limbeck.building import fit as module
from limbeck.building.fit import Proposal, families, fit
from limbeck.commands.fit import fit_lines
from limbeck.errors import LimbeckError
from limbeck.evaluation.efficiency import Latency, count_parameters, megabytes, multiply_adds
from limbeck.recipes import registry
from limbeck.recipes.load import load_recipe
from limbeck.recipes.yaml_file import parse

QUICK = ["shufflenetv2", "speed_cnn", "vgg"]
"""Families whose candidates are all counted in a second."""
ALL = [*QUICK, *(pytest.param(name, marks=pytest.mark.middle) for name in ("mobilenetv2", "resnet", "wide_resnet"))]


def build(model: Any, classes: int = 10) -> nn.Module:
    options = {name: value for name, value in model.items() if name != "name"}
    return registry.load(registry.find("models", model["name"]))(classes, **options)


@functools.cache
def costs(family: str) -> list[tuple[int, float, int]]:
    """Parameters, megabytes and multiply-adds of every candidate, as the counting functions see a model of its own."""
    candidates = registry.load_candidates(registry.find("models", family))
    assert candidates is not None
    with torch.device("meta"):
        models = [build({"name": family, **options}) for options in candidates()]
    return [(count_parameters(model), megabytes(model), multiply_adds(model, (3, 32, 32))) for model in models]


def largest(family: str, limits: dict[str, float]) -> int:
    """Parameters of the largest proposal; 0 if there is none."""
    try:
        return fit(family, top=1, **limits)[0].parameters  # pyright: ignore[reportArgumentType]
    except LimbeckError as error:
        if "none of" not in str(error):
            raise
        return 0


def test_the_families_are_those_with_depths_or_widths() -> None:
    assert families() == ["mobilenetv2", "resnet", "shufflenetv2", "speed_cnn", "vgg", "wide_resnet"]


@pytest.mark.parametrize("family", ALL)
def test_candidates_differ_and_the_smallest_is_smallest_in_everything(family: str) -> None:
    found = costs(family)
    assert len({parameters for parameters, *_ in found}) == len(found), "none is tried twice"
    smallest = min(found)
    assert all(all(a <= b for a, b in zip(smallest, other, strict=True)) for other in found)


@pytest.mark.parametrize(
    "family", ["vgg", *(pytest.param(name, marks=pytest.mark.middle) for name in ("resnet", "wide_resnet"))]
)
def test_published_sizes_are_candidates(family: str) -> None:
    presets = [e.preset for e in registry.entries("models").values() if e.file == family and e.preset]
    candidates = registry.load_candidates(registry.find("models", family))
    assert presets
    assert candidates is not None
    with torch.device("meta"):
        published = {count_parameters(build({"name": family, **preset})) for preset in presets}
        assert published <= {count_parameters(build({"name": family, **options})) for options in candidates()}


@pytest.mark.parametrize("family", ALL)
def test_proposals_meet_the_budget_and_are_the_largest_that_do(family: str) -> None:
    found = costs(family)
    sizes, macs = sorted(size for _, size, _ in found), sorted(count for *_, count in found)

    def values(of: list[Any]) -> st.SearchStrategy[float]:
        """Values around the costs that there are, the costs themselves among them."""
        return st.sampled_from(of) | st.floats(of[0] / 2, of[-1] * 2)

    @settings(max_examples=60, deadline=None)
    @given(st.none() | values(sizes), st.none() | values(macs), st.integers(1, 8))
    def check(size: float | None, count: float | None, top: int) -> None:
        limits = {name: v for name, v in (("megabytes", size), ("multiply_adds", count)) if v is not None}
        if not limits:
            return
        meeting = sorted(
            ((p, s, m) for p, s, m in found if s <= limits.get("megabytes", s) and m <= limits.get("multiply_adds", m)),
            reverse=True,
        )
        if not meeting:
            with pytest.raises(LimbeckError, match="none of"):
                fit(family, top=top, **limits)  # pyright: ignore[reportArgumentType]
            return
        proposals = fit(family, top=top, **limits)  # pyright: ignore[reportArgumentType]
        assert [(one.parameters, one.megabytes, one.multiply_adds) for one in proposals] == meeting[:top]
        assert all(one.milliseconds is None for one in proposals), "nothing is timed unless time is limited"

    check()


@pytest.mark.parametrize("family", ALL)
def test_a_larger_budget_never_gives_a_smaller_model(family: str) -> None:
    found = costs(family)
    most_size, most_macs = max(size for _, size, _ in found), max(macs for *_, macs in found)
    shares = st.floats(1e-3, 1.5)

    @settings(max_examples=60, deadline=None)
    @given(shares, shares, shares, shares)
    def check(a: float, b: float, c: float, d: float) -> None:
        def parameters(size: float, macs: float) -> int:
            return largest(family, {"megabytes": size * most_size, "multiply_adds": macs * most_macs})

        assert parameters(min(a, b), min(c, d)) <= parameters(max(a, b), max(c, d))

    check()


@pytest.mark.parametrize("family", ALL)
def test_a_proposal_costs_in_memory_what_was_counted_without(family: str) -> None:
    for proposal in fit(family, megabytes=16, image_size=48, classes=7, top=2):
        model = build(proposal.model, classes=7)
        assert count_parameters(model) == proposal.parameters
        assert megabytes(model) == proposal.megabytes <= 16
        assert multiply_adds(model, (3, 48, 48)) == proposal.multiply_adds


def test_the_printed_line_is_that_model_in_a_recipe() -> None:
    proposals = fit("vgg", megabytes=1e3)
    assert {"head": "linear"}.items() <= proposals[-1].model.items(), "words among the options too"
    for proposal in [*proposals, *fit("speed_cnn", megabytes=0.1, top=2), *fit("shufflenetv2", megabytes=10, top=2)]:
        *_, line = fit_lines([proposal], "cpu")
        arm = parse(line, "line")[0] | {"epochs": 1, "optimizer": {"name": "sgd", "lr": 0.1}}
        arm["loss"] = [{"name": "cross_entropy"}]
        tree = {"name": "x", "data": {"source": "digits"}, "students": {"a": arm}}
        model = load_recipe(tree).students["a"].model
        assert {"name": model.name, **model.options} == proposal.model
        with torch.device("meta"):
            assert count_parameters(build({"name": model.name, **model.options})) == proposal.parameters


def test_random_numbers_of_the_caller_are_left_alone() -> None:
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    fit("speed_cnn", megabytes=2, milliseconds=1e4, top=1)
    assert torch.equal(torch.rand(2), expected)


def slowed(monkeypatch: pytest.MonkeyPatch, share: float = 1.0) -> list[int]:
    """Latency becomes parameters / 1,000,000 ms; returns the parameters of the models that are timed."""
    timed: list[int] = []

    def of(model: nn.Module, image_shape: object, *, repeats: int = 50, seconds: float = 3.0) -> Latency:
        timed.append(count_parameters(model))
        ms = count_parameters(model) / 1e6
        return Latency(ms, ms, repeats, ms, share)

    monkeypatch.setattr(module, "image_latency", of)
    return timed


def test_latency_is_measured_from_the_largest_down_and_no_further(monkeypatch: pytest.MonkeyPatch) -> None:
    timed = slowed(monkeypatch)
    said: list[str] = []
    found = fit("speed_cnn", megabytes=40, milliseconds=1.0, top=2, say=said.append)
    sizes = sorted({parameters for parameters, size, _ in costs("speed_cnn") if size <= 40}, reverse=True)
    assert [one.parameters for one in found] == [size for size in sizes if size <= 1e6][:2]
    assert [one.milliseconds for one in found] == [one.parameters / 1e6 for one in found]
    assert list(dict.fromkeys(timed)) == [size for size in sizes if size >= found[-1].parameters]
    assert len(said) == len(set(timed))
    assert said[0].startswith("widths [")
    assert "over by" in said[0]
    assert said[-1].endswith("met")


def test_a_busy_machine_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    slowed(monkeypatch, share=0.4)
    found = fit("speed_cnn", milliseconds=1.0, top=1)
    assert found[0].disturbed
    assert any("the machine was busy" in line for line in fit_lines(found, "cpu"))
    slowed(monkeypatch)
    assert not any("busy" in line for line in fit_lines(fit("speed_cnn", milliseconds=1.0, top=1), "cpu"))


def test_a_busy_machine_gives_no_model_up_after_a_few_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    def of(model: nn.Module, image_shape: object, *, repeats: int = 50, seconds: float = 3.0) -> Latency:
        if repeats < 50:
            return Latency(3.0, 9.0, repeats, 2.5, 0.3)
        return Latency(1.0, 1.1, repeats, 0.9, 1.0)

    monkeypatch.setattr(module, "image_latency", of)
    (first,) = fit("speed_cnn", milliseconds=2.0, top=1)
    assert first.parameters == max(costs("speed_cnn"))[0]
    assert not first.disturbed


def test_real_latencies_are_within_the_limit() -> None:
    found = fit("shufflenetv2", milliseconds=1e4, top=2)
    assert [one.model["width"] for one in found] == [2.0, 1.5]
    assert all(one.milliseconds is not None and 0 < one.milliseconds <= 1e4 for one in found)
    (lines, threads) = fit_lines(found, "cpu"), torch.get_num_threads()
    assert f"latency: median on cpu with {threads} thread{'' if threads == 1 else 's'}" in lines


def test_the_table_shows_every_proposal() -> None:
    found = fit("speed_cnn", megabytes=1, top=3)
    lines = fit_lines(found, "cpu")
    assert lines[0].split() == ["speed_cnn", "parameters", "Size", "(MB)", "Multiply-adds", "(M)"]
    for line, proposal in zip(lines[2:5], found, strict=True):
        assert f"{proposal.parameters:,}" in line
        assert line.startswith(f"widths {proposal.model['widths']} ")
    assert max(map(len, fit_lines(found, "cpu", width=60)[:5])) <= 60


def test_python_gives_proposals() -> None:
    (found,) = limbeck.fit("shufflenetv2", multiply_adds=50e6, classes=100, top=1)
    assert isinstance(found, limbeck.Proposal)
    assert found == Proposal({"name": "shufflenetv2", "width": 1.0}, 1_356_104, found.megabytes, found.multiply_adds)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({}, "fit: no limit given; expected at least one of megabytes, milliseconds, multiply_adds"),
        ({"megabytes": -1}, "fit: megabytes: expected a number greater than 0; got -1"),
        ({"milliseconds": 0}, "fit: milliseconds: expected a number greater than 0; got 0"),
        ({"multiply_adds": float("nan")}, "fit: multiply_adds: expected a finite number; got .nan"),
        ({"megabytes": "1"}, "fit: megabytes: expected a number; got '1'"),
        ({"megabytes": 1, "family": "resnett"}, "no model family named 'resnett'; did you mean 'resnet'?"),
        ({"megabytes": 1, "family": "nothing"}, "no model family named 'nothing'; expected one of mobilenetv2, resnet"),
        ({"megabytes": 1, "family": "resnet20"}, "'resnet20' is one size of a family; expected the family, 'resnet'"),
        (
            {"megabytes": 1, "family": "strided_resnet"},
            "'strided_resnet' has no widths or depths to choose; expected one of mobilenetv2",
        ),
        ({"megabytes": 1, "family": "timm:resnet18"}, "'timm:resnet18' has no widths or depths to choose"),
        ({"megabytes": 1, "family": None}, "expected the name of a model family, such as resnet; got None"),
        ({"megabytes": 1, "channels": 1}, "the model takes 3 channels, the images have 1"),
        ({"megabytes": 1, "image_size": 8}, "does not take images of 8 px"),
        ({"megabytes": 1, "image_size": 0}, "fit: image_size: expected an integer from 1 to 4,096; got 0"),
        ({"megabytes": 1, "classes": True}, "fit: classes: expected an integer from 1 to 1,000,000; got True"),
        ({"megabytes": 1, "top": 0}, "fit: top: expected an integer from 1"),
        ({"megabytes": 1, "device": "cuda:9"}, "is not here; there is cpu"),
        (
            {"megabytes": 0.001, "multiply_adds": 1e9},
            "none of 17 sizes of speed_cnn costs at most 0.001 MB and 1,000 M multiply-adds; the smallest (widths [4, ",
        ),
    ],
)
def test_a_wrong_call_is_one_line(words: dict[str, Any], message: str) -> None:
    with pytest.raises(LimbeckError) as caught:
        fit(**({"family": "speed_cnn"} | words))
    assert message in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_the_smallest_is_timed_if_time_is_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    slowed(monkeypatch)
    with pytest.raises(LimbeckError, match=r"the smallest \(widths \[4, 16, 16\]\): 0\.009112 ms, over by"):
        fit("speed_cnn", milliseconds=0.001)
