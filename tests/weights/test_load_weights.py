from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from limbeck.errors import LimbeckError
from limbeck.models import lightweight_cnn, resnet
from limbeck.weights.load import load_weights, mismatch


def saved(tensors: dict[str, torch.Tensor], folder: Path) -> Path:
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, folder / "w.safetensors")
    return folder / "w.safetensors"


def equal(one: nn.Module, two: nn.Module) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), two.state_dict().values(), strict=True))


class Wrapped(nn.Module):
    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model


PREFIXES = ["", "module.", "_orig_mod.", "module._orig_mod.", "model.", "net.", "backbone.", "student.", "a.b."]


@pytest.mark.parametrize("prefix", PREFIXES)
def test_names_with_wrappers_fit(prefix: str, tmp_path: Path) -> None:
    source, target = resnet.build(5, depth=8), resnet.build(5, depth=8)
    path = saved({prefix + name: tensor for name, tensor in source.state_dict().items()}, tmp_path)
    assert load_weights(target, path) == ()
    assert equal(source, target)


def test_a_zoo_s_own_names_fit_its_adapter(tmp_path: Path) -> None:
    source, target = lightweight_cnn.build(5), Wrapped(lightweight_cnn.build(5))
    load_weights(target, saved(source.state_dict(), tmp_path))
    assert equal(source, target.model)


@pytest.mark.parametrize("prefix", ["", "model.", "module.model."])
def test_an_adapter_s_file_with_and_without_wrappers_fits_it(prefix: str, tmp_path: Path) -> None:
    source, target = lightweight_cnn.build(5), Wrapped(lightweight_cnn.build(5))
    tensors = {prefix + name: tensor for name, tensor in source.state_dict().items()}
    assert mismatch(target, saved(tensors, tmp_path)) is None
    load_weights(target, saved(tensors, tmp_path))
    assert equal(source, target.model)


def test_the_count_of_an_average_of_weights_is_passed_over(tmp_path: Path) -> None:
    source, target = lightweight_cnn.build(5), lightweight_cnn.build(5)
    averaged = torch.optim.swa_utils.AveragedModel(source)
    load_weights(target, saved(averaged.state_dict(), tmp_path))
    assert equal(source, target)


def test_two_tensors_never_come_under_one_name(tmp_path: Path) -> None:
    tensors = dict(lightweight_cnn.build(5).state_dict())
    tensors |= {f"backbone.{name}": tensor + 1 for name, tensor in tensors.items()}
    with pytest.raises(LimbeckError, match="unexpected"):
        load_weights(lightweight_cnn.build(5), saved(tensors, tmp_path))


def test_whole_numbers_are_no_weights(tmp_path: Path) -> None:
    tensors = dict(lightweight_cnn.build(5).state_dict())
    tensors["stages.0.0.weight"] = (tensors["stages.0.0.weight"] * 100).to(torch.int8)
    with pytest.raises(LimbeckError, match=r"1 not floating-point \(stages.0.0.weight\)"):
        load_weights(lightweight_cnn.build(5), saved(tensors, tmp_path))


def test_a_mismatch_is_told_from_the_header_alone(tmp_path: Path) -> None:
    path = saved(lightweight_cnn.build(100).state_dict(), tmp_path)
    model = lightweight_cnn.build(10)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    assert mismatch(lightweight_cnn.build(100), path) is None
    assert mismatch(model, path, new_head=True) is None
    assert "has 100 classes, but the model needs 10" in str(mismatch(model, path))
    assert "does not match the model" in str(mismatch(resnet.build(10), path))
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    with pytest.raises(LimbeckError, match="no such file"):
        mismatch(model, tmp_path / "absent")


def test_half_precision_is_converted(tmp_path: Path) -> None:
    source, target = lightweight_cnn.build(5), lightweight_cnn.build(5)
    load_weights(target, saved(source.half().state_dict(), tmp_path))
    assert target.head[1].weight.dtype == torch.float32
    assert torch.equal(target.head[1].weight, source.head[1].weight.float())


def test_counts_of_batches_may_be_missing(tmp_path: Path) -> None:
    source, target = lightweight_cnn.build(5), lightweight_cnn.build(5)
    tensors = {k: v for k, v in source.state_dict().items() if not k.endswith("num_batches_tracked")}
    assert load_weights(target, saved(tensors, tmp_path)) == ()
    assert equal(source, target)


def test_another_number_of_classes_is_named(tmp_path: Path) -> None:
    source, target = lightweight_cnn.build(100), lightweight_cnn.build(10)
    before = {name: tensor.clone() for name, tensor in target.state_dict().items()}
    path = saved(source.state_dict(), tmp_path)
    with pytest.raises(LimbeckError, match="has 100 classes, but the model needs 10") as raised:
        load_weights(target, path)
    assert str(path) in str(raised.value)
    assert all(torch.equal(tensor, before[name]) for name, tensor in target.state_dict().items())
    assert set(load_weights(target, path, new_head=True)) == {"head.4.weight", "head.4.bias"}
    assert torch.equal(target.head[4].weight, before["head.4.weight"])
    assert torch.equal(target.stages[0][0].weight, source.stages[0][0].weight)


@pytest.mark.parametrize("new_head", [False, True])
def test_misfits_are_counted_and_named(new_head: bool, tmp_path: Path) -> None:
    tensors = dict(lightweight_cnn.build(10).state_dict())
    tensors["stages.0.0.weight"] = torch.zeros(16, 1, 3, 3)
    del tensors["head.1.bias"]
    tensors |= {f"extra{i}": torch.zeros(1) for i in range(4)}
    target = lightweight_cnn.build(10)
    before = {name: tensor.clone() for name, tensor in target.state_dict().items()}
    with pytest.raises(LimbeckError) as raised:
        load_weights(target, saved(tensors, tmp_path), new_head=new_head)
    said = str(raised.value)
    assert "1 missing (head.1.bias)" in said
    assert "4 unexpected (extra0, extra1, extra2, …)" in said
    assert "stages.0.0.weight 16×1×3×3 instead of 16×3×3×3" in said
    assert "\n" not in said
    assert all(torch.equal(tensor, before[name]) for name, tensor in target.state_dict().items())


def test_a_hidden_layer_of_another_width_is_no_head(tmp_path: Path) -> None:
    tensors = dict(lightweight_cnn.build(10).state_dict())
    tensors["head.1.weight"], tensors["head.1.bias"] = torch.zeros(32, 128), torch.zeros(32)
    with pytest.raises(LimbeckError, match="2 with another shape"):
        load_weights(lightweight_cnn.build(10), saved(tensors, tmp_path), new_head=True)


def test_files_that_are_none(tmp_path: Path) -> None:
    model = lightweight_cnn.build(10)
    whole = saved(model.state_dict(), tmp_path).read_bytes()
    for content in (b"", b"\x80\x02}q\x00.", whole[:100], whole[:-1], whole + b"more"):
        (tmp_path / "bad").write_bytes(content)
        with pytest.raises(LimbeckError, match="not a readable safetensors file"):
            load_weights(model, tmp_path / "bad")
    with pytest.raises(LimbeckError, match="no such file"):
        load_weights(model, tmp_path / "absent")
    with pytest.raises(LimbeckError, match="folder"):
        load_weights(model, tmp_path)
