"""timm and torchvision by name."""

from __future__ import annotations

import importlib
import subprocess
import sys

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from limbeck.errors import LimbeckError
from limbeck.models.torchvision_operators import OPERATORS, declare_missing_operators
from limbeck.weights.load import load_weights

declare_missing_operators()
timm = pytest.importorskip("timm")
torchvision = pytest.importorskip("torchvision")
timm_adapter = importlib.import_module("limbeck.models.timm")
torchvision_adapter = importlib.import_module("limbeck.models.torchvision")


def answers(model: nn.Module, *, pixels: int = 64, seed: int = 0):
    x = torch.randn(2, 3, pixels, pixels, generator=torch.Generator().manual_seed(seed))
    with torch.no_grad():
        return model.eval()(x)


@pytest.mark.parametrize("name", ["resnet18", "mobilenetv3_small_050", "lcnet_050", "convnext_atto", "repvit_m1"])
def test_timm_answers_as_itself(name: str) -> None:
    torch.manual_seed(0)
    theirs = timm.create_model(name, num_classes=7)
    torch.manual_seed(0)
    ours = timm_adapter.build(7, name)
    outputs = answers(ours)
    torch.testing.assert_close(outputs.logits, answers(theirs))
    assert len(outputs.features) >= 4


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v3_small", "shufflenet_v2_x0_5", "regnet_y_400mf"])
def test_torchvision_answers_as_itself(name: str) -> None:
    torch.manual_seed(0)
    theirs = torchvision.models.get_model(name, num_classes=7)
    torch.manual_seed(0)
    ours = torchvision_adapter.build(7, name)
    outputs = answers(ours)
    torch.testing.assert_close(outputs.logits, answers(theirs))
    assert len(outputs.features) >= 4
    assert sum(p.numel() for p in ours.parameters()) == sum(p.numel() for p in theirs.parameters())


def test_torchvision_features_are_the_four_stages_of_a_resnet() -> None:
    shapes = [tuple(f.shape[1:]) for f in answers(torchvision_adapter.build(7, "resnet18")).features]
    assert shapes == [(64, 32, 32), (64, 16, 16), (128, 8, 8), (256, 4, 4), (512, 2, 2)]


def test_a_transformer_of_timm_takes_another_size() -> None:
    model = timm_adapter.build(5, "vit_tiny_patch16_224", img_size=32)
    outputs = answers(model, pixels=32)
    assert outputs.logits.shape == (2, 5)
    assert outputs.features[0].shape == (2, 192, 2, 2)


def test_a_model_without_feature_maps_gives_none() -> None:
    outputs = answers(torchvision_adapter.build(5, "swin_t"))
    assert outputs.logits.shape == (2, 5)
    assert outputs.features == ()


def test_a_model_starts_ready_to_train() -> None:
    for model in (timm_adapter.build(5, "lcnet_050"), torchvision_adapter.build(5, "shufflenet_v2_x0_5")):
        assert all(module.training for module in model.modules())


@pytest.mark.parametrize("zoo", ["timm", "torchvision"])
def test_the_zoo_s_own_files_fit(zoo: str, tmp_path) -> None:
    if zoo == "timm":
        theirs, ours = timm.create_model("lcnet_050", num_classes=5), timm_adapter.build(5, "lcnet_050")
    else:
        theirs = torchvision.models.get_model("shufflenet_v2_x0_5", num_classes=5)
        ours = torchvision_adapter.build(5, "shufflenet_v2_x0_5")
    save_file({k: v.contiguous() for k, v in theirs.state_dict().items()}, tmp_path / "w.safetensors")
    load_weights(ours, tmp_path / "w.safetensors")
    torch.testing.assert_close(answers(ours).logits, answers(theirs))


@pytest.mark.parametrize(
    ("adapter", "name", "said"),
    [
        (timm_adapter, "resnet_18", "did you mean 'resnet18'"),
        (timm_adapter, "hf-hub:someone/something", "no image classifier"),
        (timm_adapter, "zzzzzz", "no image classifier called 'zzzzzz'"),
        (torchvision_adapter, "mobilenet_v3_smal", "did you mean 'mobilenet_v3_small'"),
        (torchvision_adapter, "fasterrcnn_resnet50_fpn", "no image classifier"),
    ],
)
def test_unknown_names(adapter, name: str, said: str) -> None:
    with pytest.raises(LimbeckError, match=said) as raised:
        adapter.build(10, name)
    assert len(str(raised.value)) < 300


def test_an_option_that_timm_refuses() -> None:
    with pytest.raises(LimbeckError, match=r"timm:resnet18: .*img_size"):
        timm_adapter.build(10, "resnet18", img_size=32)
    with pytest.raises(LimbeckError, match=r"drop_rate: .*got 1\.5"):
        timm_adapter.build(10, "resnet18", drop_rate=1.5)


def test_pretrained_weights_that_cannot_be_had(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    for adapter in (timm_adapter, torchvision_adapter):
        with pytest.raises(LimbeckError, match=r"no pretrained weights .*`limbeck import FILE`.*`weights:`") as raised:
            adapter.build(10, "resnet18", pretrained=True)
        assert "\n" not in str(raised.value)


def test_pretrained_weights_of_timm_come_from_the_hub_s_safetensors(tmp_path, monkeypatch) -> None:
    """A cache laid out as the hub's client leaves it, with the published file's shapes: the head is new."""
    source = timm.create_model("lcnet_050", num_classes=1000)
    repository = tmp_path / "models--timm--lcnet_050.ra2_in1k"
    snapshot = repository / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("0" * 40)
    save_file({k: v.contiguous() for k, v in source.state_dict().items()}, snapshot / "model.safetensors")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    model = timm_adapter.build(10, "lcnet_050", pretrained=True)
    assert torch.equal(model.model.conv_stem.weight, source.conv_stem.weight)
    assert model.model.classifier.weight.shape[0] == 10


def test_zoos_are_imported_late_and_operators_declared_only_where_they_lack() -> None:
    """In a process of its own, since a declaration lasts as long as the process."""
    script = (
        "import sys, torch, limbeck.models.timm, limbeck.models.torchvision\n"
        "assert not {'timm', 'torchvision'} & set(sys.modules)\n"
        "from limbeck.models.torchvision_operators import declare_missing_operators as declare\n"
        "declared = declare()\n"
        "declare.cache_clear()\n"
        "assert declare() == (), 'a second declaration would raise'\n"
        "import torchvision\n"
        "assert all(hasattr(torch.ops.torchvision, name) for name in ('nms', 'qnms'))\n"
        "print(*declared)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert set(done.stdout.split()) <= set(OPERATORS)
