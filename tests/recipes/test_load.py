"""Every mistake of a recipe is told at once, with its line, what it got, what it takes and the nearest word."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import BaseModel

from limbeck.commands.catalogue import copy_shipped
from limbeck.errors import LimbeckError, RecipeError
from limbeck.recipes.json_schema import json_schema
from limbeck.recipes.load import find_recipe, load_recipe, shipped
from limbeck.recipes.optimization import Adam, Cosine, Sgd
from limbeck.recipes.recipe import Recipe
from limbeck.recipes.registry import entries
from limbeck.recipes.yaml_file import parse

Refused = Callable[..., list[str]]

SLIPS = [
    # text in the recipe, what stands there instead, the line with which it is refused
    ("name: pair", "nome: pair", "1: nome: unknown key; did you mean 'name'? (got 'pair')"),
    ("name: pair", "name: 12", "1: name: expected a string; got 12; put it in quotes"),
    ("name: pair", "name:", "1: name: expected a string; got nothing"),
    ("seeds: [0, 1]", "seeds: 3", "2: seeds: expected a list, such as [0, 1, 2]; got 3"),
    ("seeds: [0, 1]", "seeds: []", "2: seeds: expected one or more different seeds, such as [0, 1, 2]; got []"),
    ("seeds: [0, 1]", "seeds: [1, 1]", "2: seeds: expected one or more different seeds, such as [0, 1, 2]; got [1, 1]"),
    ("seeds: [0, 1]", "seeds: [0, -1]", "2: seeds.1: expected a number of at least 0; got -1"),
    ("seeds: [0, 1]", "seeds: [0, one]", "2: seeds.1: expected an integer; got 'one'"),
    ("seeds: [0, 1]", "seeds: [0, true]", "2: seeds.1: expected an integer; got true"),
    ("seeds: [0, 1]", "precision: bf61",
     "2: precision: expected auto, bf16, fp16 or fp32; got 'bf61'; did you mean 'bf16'?"),
    ("seeds: [0, 1]", "device: gpu",
     "2: device: expected auto, cpu, cuda, cuda:0 (or another number) or mps; got 'gpu'; did you mean 'cuda'?"),
    ("source: digits", "source: digts", "4: data.source: no data source named 'digts'; did you mean 'digits'?"),
    ("source: digits", "source: digits:x", "4: data.source: 'digits' takes no value after a colon; got 'x'"),
    ("source: digits", "source: folder", "4: data.source: 'folder' needs a path after a colon: folder:PATH"),
    ("source: digits", "source: digits, validation: 0.5",
     "4: data.validation: expected a number less than 0.5; got 0.5"),
    ("source: digits", "source: digits, validaton: 0.2",
     "4: data.validaton: 'digits' has no option 'validaton'; did you mean 'validation'?"),
    ("batch_size: 32", "batch_size: 32.0", "7: views.batch_size: expected an integer; got 32.0"),
    ("batch_size: 32", "flip: yes", "7: views.flip: expected true or false; got 'yes'"),
    ("batch_size: 32", "crop: 4", "7: views.crop: expected a mapping, such as {…}; got 4"),
    ("batch_size: 32", "mixup: 0.2",
     "7: views.mixup: unknown key; `mixup` belongs to `mixing`: views.mixing.mixup (got 0.2)"),
    ("batch_size: 32", "zebra: 0.2",
     "7: views.zebra: unknown key; expected one of batch_size, crop, distinct_epochs, erasing, flip, mixing, policy, "
     "resized_crop, seed (got 0.2)"),
    ("seeds: [0, 1]", "outputs_bank: true", "2: outputs_bank: expected a mapping, such as {limit_gb: 10.0}; got true"),
    ("seeds: [0, 1]", "outputs_bank: {limit_gb: 0}",
     "2: outputs_bank.limit_gb: expected a number greater than 0; got 0"),
    ("seeds: [0, 1]", "outputs_bank: {limit: 9}",
     "2: outputs_bank.limit: unknown key; did you mean 'limit_gb'? (got 9)"),
    ("batch_size: 32", "distinct_epochs: 0", "7: views.distinct_epochs: expected a number of at least 1; got 0"),
    ("resnet20", "resne20", "11: teachers.large.model: no model named 'resne20'; did you mean 'resnet20'?"),
    ("resnet20", "{name: resnet20, depth: 20}",
     "11: teachers.large.model.depth: 'resnet20' has no option 'depth'; expected one of stem, widths"),
    ("epochs: 3", "epochs: 0", "12: teachers.large.epochs: expected a number of at least 1; got 0"),
    ("epochs: 3", "epocs: 3", "12: teachers.large.epocs: unknown key; did you mean 'epochs'? (got 3)"),
    ("name: sgd, lr: 0.1,", "name: sdg, lr: 0.1,",
     "13: teachers.large.optimizer: unknown name 'sdg'; did you mean 'sgd'?"),
    ("name: sgd, lr: 0.1, weight_decay: 5e-4", "lr: 0.1",
     "13: teachers.large.optimizer: expected a mapping with a `name`, such as {name: …}; got {lr: 0.1}"),
    ("lr: 0.1,", "lr: '0.1',", "13: teachers.large.optimizer.lr: expected a number; got '0.1'"),
    ("lr: 0.1,", "lr: 0,", "13: teachers.large.optimizer.lr: expected a number greater than 0; got 0"),
    ("lr: 0.1,", "lr: -.inf,", "13: teachers.large.optimizer.lr: expected a finite number; got -.inf"),
    ("lr: 0.1,", "lr: .inf,", "13: teachers.large.optimizer.lr: expected a finite number; got .inf"),
    ("lr: 0.1,", "lr: 1e400,", "13: teachers.large.optimizer.lr: expected a finite number; got .inf"),
    ("lr: 0.1, weight_decay", "weight_decay", "13: teachers.large.optimizer.lr: is missing; expected a number"),
    ("{name: one_cycle}", "{name: step, every: 5, factor: 0.5}",
     "14: teachers.large.schedule.every: unknown key; did you mean 'every_epochs'? (got 5)"),
    ("{name: one_cycle}", "one_cycle",
     "14: teachers.large.schedule: expected a mapping with a `name`, such as {name: …}; got 'one_cycle'"),
    ("dropout: 0.0", "droput: 0.0",
     "19: students.defaults.model.droput: 'lightweight_cnn' has no option 'droput'; did you mean 'dropout'?"),
    ("dropout: 0.0", "dropout: none",
     "19: students.defaults.model.dropout: expected a number, like its default 0.5; got 'none'"),
    ("dropout: 0.0", "dropout: .nan", "19: students.defaults.model.dropout: expected finite numbers; got nan"),
    ("epochs: 2\n", "epochs: two\n", "20: students.defaults.epochs: expected an integer; got 'two'"),
    ("  distilled:", "  dis tilled:",
     "24: students.dis tilled: 'dis tilled' is not a valid folder name: use at most 80 letters, digits, '.', '_' or "
     "'-', begin with a letter or digit, and do not end with '.'"),
    ("  distilled:", "  Baseline:",
     "24: students.Baseline: differs from 'baseline' only in case, which some file systems ignore"),
    ("  distilled:", "  large:", "24: students.large: a teacher already has this name"),
    ("  distilled:", "  d-seed0:",
     "24: students.d-seed0: 'd-seed0' ends with -seed…, which is reserved for trained models"),
    ("teacher: large", "teacher: lrage",
     "25: students.distilled.teacher.0: no arm named 'lrage'; did you mean 'large'?"),
    ("teacher: large", "teacher: distilled",
     "25: students.distilled.teacher: 'distilled' would become its own teacher"),
    ("teacher: large", "teacher: [large, large]", "25: students.distilled.teacher: lists a teacher twice"),
    ("    teacher: large\n", "",
     "24: students.distilled.teacher: is missing; loss 'soft_targets' needs the name of a teacher"),
    ("teacher: large", "baseline: basline\n    teacher: large",
     "25: students.distilled.baseline: no student named 'basline'; did you mean 'baseline'?"),
    ("temperature: 4.0", "temprature: 4.0",
     "27: students.distilled.loss.0.temprature: 'soft_targets' has no option 'temprature'; "
     "did you mean 'temperature'?"),
    ("temperature: 4.0", "temperature: 0",
     "27: students.distilled.loss.0.temperature: expected a number greater than 0; got 0"),
    ("name: soft_targets", "name: soft_target",
     "27: students.distilled.loss.0.name: no loss named 'soft_target'; did you mean 'soft_targets'?"),
    ("weight: 0.3", "weight: -0.3", "28: students.distilled.loss.1.weight: expected a number of at least 0; got -0.3"),
    ("- {name: cross_entropy, weight: 0.3}", "- cross_entropy",
     "28: students.distilled.loss.1: expected a mapping, such as {name: cross_entropy}; got 'cross_entropy'"),
    ("loss: [{name: cross_entropy}]", "loss: cross_entropy",
     "15: teachers.large.loss: expected a list, such as [{name: cross_entropy}]; got 'cross_entropy'"),
    ("weight: 0.3", "label_smoothing: 5",
     "28: students.distilled.loss.1.label_smoothing: expected a number from 0 to 1; got 5"),
    ("weight: 0.3", "label_smoothing: -0.1",
     "28: students.distilled.loss.1.label_smoothing: expected a number from 0 to 1; got -0.1"),
    ("[{name: cross_entropy}]", "[{name: cross_entropy, weight: 0}]",
     "15: teachers.large.loss: all weights are 0, so nothing would be learned"),
    ("teacher: large", "teacher: 3",
     "25: students.distilled.teacher: expected the name of an arm, or a list of names; got 3"),
    ("teacher: large", "teacher: [3]", "25: students.distilled.teacher.0: expected the name of an arm; got 3"),
    ("model: resnet20", "model:",
     "11: teachers.large.model: expected a name, or a mapping with a `name` and options; got nothing"),
    ("data: {source: digits}", "data: digits", "4: data: expected a mapping, such as {source: digits}; got 'digits'"),
    ("source: digits", "source: 'folder:'", "4: data.source: 'folder' needs a path after a colon: folder:PATH"),
    ("epochs: 3", "ema: {decay: 1}", "12: teachers.large.ema.decay: expected a number less than 1; got 1"),
    ("epochs: 3", "normalise: {mean: [0, 0, 0], sd: [1, 1]}",
     "12: teachers.large.normalise.sd.2: is missing; expected a number"),
    ("epochs: 3", "classes: [cat, dog, cat]", "12: teachers.large.classes.2: 'cat' is listed twice"),
    ("epochs: 3", "choose: Best", "12: teachers.large.choose: expected last or best; got 'Best'; did you mean 'best'?"),
    ("{name: one_cycle}", "{name: multi_step, milestones: [], factor: 0.1}",
     "14: teachers.large.schedule.milestones: expected a list of at least 1; got []"),
    ("batch_size: 32", "policy: {name: autoaugmnet}",
     "7: views.policy: unknown name 'autoaugmnet'; did you mean 'autoaugment'?"),
    ("batch_size: 32", "policy: {name: autoaugment, table: cifar}",
     "7: views.policy.table: expected cifar10, imagenet or svhn; got 'cifar'; did you mean 'cifar10'?"),
    ("batch_size: 32", "mixing: {probability: 0.5}",
     "7: views.mixing: expected `mixup`, `cutmix` or both, each with its α, such as {mixup: 0.8, cutmix: 1.0}"),
    ("batch_size: 32", "erasing: {area: [0.4, 0.02]}",
     "7: views.erasing: area: expected the smaller number first, such as [0.02, 0.4]; got [0.4, 0.02]"),
    ("batch_size: 32", "crop: {padding: 1}\n  resized_crop: {}",
     "6: views: expected `crop` or `resized_crop`, not both"),
    ("weight: 0.3", "warmup_epoch: 3",
     "28: students.distilled.loss.1.warmup_epoch: 'cross_entropy' has no option 'warmup_epoch'; "
     "did you mean 'warmup_epochs'?"),
]  # fmt: skip


@pytest.mark.parametrize(("right", "wrong", "told"), SLIPS, ids=[told.split(";")[0] for *_, told in SLIPS])
def test_a_slip_is_told_with_its_line(pair: str, refused: Refused, right: str, wrong: str, told: str) -> None:
    assert right in pair
    lines = refused(pair.replace(right, wrong, 1))
    assert told in lines
    assert all("is missing" in line for line in lines if line != told), "nothing else is wrong"


def test_all_mistakes_at_once_in_the_order_of_the_file(pair: str, refused: Refused) -> None:
    text = (
        pair.replace("source: digits", "source: digts")
        .replace("batch_size: 32", "batch_size: 0")
        .replace("resnet20", "resnet21")
        .replace("epochs: 2\n", "epocs: 2\n")
        .replace("temperature: 4.0", "temprature: 4.0")
        .replace("teacher: large", "teacher: lage")
    )
    lines = [line.split("; ")[0] for line in refused(text, ["students.baseline.patience=0"])]
    assert lines == [
        "4: data.source: no data source named 'digts'",
        "7: views.batch_size: expected a number of at least 1",
        "11: teachers.large.model: no model named 'resnet21'",
        "20: students.defaults.epocs: unknown key",
        "25: students.distilled.teacher.0: no arm named 'lage'",
        "27: students.distilled.loss.0.temprature: 'soft_targets' has no option 'temprature'",
        "command line: students.baseline.patience: expected a number of at least 1",
    ]


def test_a_ring_of_teachers_is_refused(pair: str, refused: Refused) -> None:
    ring = pair.replace("  baseline:\n", "  baseline:\n    teacher: distilled\n").replace(
        "teacher: large", "teacher: [large, baseline]"
    )
    assert refused(ring) == ["23: students.baseline.teacher: 'baseline' would become its own teacher"]


def test_long_lines_of_teachers_are_no_ring(pair: str, tmp_path: Path, refused: Refused) -> None:
    long = "".join(f"  s{i}: {{teacher: s{i - 1}}}\n" for i in range(1, 1500))
    wide = "".join(f"  w{i}: {{teacher: [{', '.join(f'w{j}' for j in range(i))}]}}\n" for i in range(1, 30))
    start = pair[: pair.index("teachers:")] + (
        "students:\n  defaults: {model: resnet20, epochs: 1, optimizer: {name: sgd, lr: 1},"
        " loss: [{name: cross_entropy}]}\n"
    )
    path = tmp_path / "r.yaml"
    path.write_text(start + "  s0: {}\n" + long + "  w0: {}\n" + wide)
    assert load_recipe(path).students["s1499"].teacher[0].name == "s1498"
    assert refused(start + "  s0: {teacher: s1499}\n" + long) == [
        "11: students.s0.teacher: 's0' would become its own teacher"
    ]


def test_an_assistant_may_teach(pair: str, tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text(
        pair + "  small:\n    teacher: [distilled, {name: large, weight: 2}]\n    loss: [{name: soft_targets}]\n"
    )
    voices = load_recipe(path).students["small"].teacher
    assert [(voice.name, voice.weight) for voice in voices] == [("distilled", 1.0), ("large", 2.0)]


def test_a_teacher_listens_to_teachers_only(pair: str, refused: Refused) -> None:
    text = pair.replace("model: resnet20\n", "model: resnet20\n    teacher: baseline\n")
    assert refused(text) == [
        "12: teachers.large.teacher.0: 'baseline' is a student; a teacher can only learn from other teachers"
    ]


def test_what_a_trained_arm_needs(refused: Refused) -> None:
    text = "name: x\ndata: {source: digits}\nstudents:\n  a: {model: resnet20}\n  b:\n    model: resnet20\n"
    assert refused(text + "    loss: [{name: cross_entropy}]\n") == [
        "4: students.a.loss: is missing; expected a list, such as [{name: cross_entropy}]",
        "5: students.b.epochs: is missing; expected the number of epochs to train",
        "5: students.b.optimizer: is missing; expected a mapping, such as {name: sgd, lr: 0.1}",
    ]


def test_a_ready_teacher_needs_its_file_alone(pair: str, tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text(
        pair[: pair.index("teachers:")]
        + "teachers:\n  large: {model: resnet20, weights: w.safetensors, classes: ['a', b],"
        + " normalise: {mean: [0, 0, 0], sd: [1, 1, 1]}, resolution: 32}\n"
        + pair[pair.index("students:") :]
    )
    arm = load_recipe(path).teachers["large"]
    assert not arm.trained
    assert (arm.classes, arm.resolution) == (("a", "b"), 32)


def test_defaults_lie_under_every_arm(pair: str, tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text(
        pair + "    model: {dropout: 0.2, name: lightweight_cnn}\n    optimizer: {name: adam, lr: 1e-3}\n  bare:\n"
        "    loss: [{name: cross_entropy}]\n    optimizer: {name: sgd, lr: 1, nesterov: false}\n"
    )
    recipe = load_recipe(path)
    baseline, distilled, bare = (recipe.students[name] for name in ("baseline", "distilled", "bare"))
    assert list(recipe.students) == ["baseline", "distilled", "bare"], "`defaults` is no arm"
    assert (baseline.epochs, baseline.model.options, baseline.optimizer) == (
        2,
        {"dropout": 0.0},
        Sgd(name="sgd", lr=0.1),
    )
    assert distilled.model.options == {"dropout": 0.2}
    assert distilled.optimizer == Adam(name="adam", lr=1e-3), "options of sgd do not reach into adam"
    assert bare.optimizer == Sgd(name="sgd", lr=1.0, nesterov=False)
    assert baseline.model is not bare.model


def test_a_mistake_in_defaults_is_told_once(pair: str, refused: Refused) -> None:
    assert refused(pair.replace("lr: 1e-1", "lr: fast")) == [
        "21: students.defaults.optimizer.lr: expected a number; got 'fast'"
    ]
    assert refused(pair.replace("defaults:\n", "defaults: [1]\n  rest:\n"))[0].startswith(
        "18: students.defaults: expected a mapping"
    )


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "expected a mapping, such as `name: …`; got nothing"),
        (b"- a\n", "expected a mapping, such as `name: …`; got ['a']"),
        ("name: ä".encode("latin-1"), "not valid UTF-8 at byte 6"),
        (
            b"name: a\n\tb: c\n",
            "2: invalid YAML: found character '\\t' that cannot start any token; indent with spaces",
        ),
        (b"name: [a\n", "2: invalid YAML: expected ',' or ']', but got '<stream end>'"),
        (b"#" * 200_001, "larger than 200 kB, the limit for a recipe"),
    ],
)
def test_files_that_are_no_recipe(refused: Refused, content: bytes, told: str) -> None:
    assert refused(content) == [told]


def test_files_that_are_not_there(tmp_path: Path) -> None:
    for word, told in {
        "quikstart": "'quikstart': no such file, and no shipped recipe of this name; did you mean 'quickstart'?",
        str(tmp_path): f"{tmp_path}: is a folder",
        "a" * 5000: "no such file",
        "a\0b": "no such file",
        "": "no such file",
    }.items():
        with pytest.raises(RecipeError) as caught:
            find_recipe(word)
        assert told in str(caught.value)
        assert "\n" not in str(caught.value)


def test_a_path_goes_before_a_shipped_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert find_recipe("quickstart") == find_recipe("quickstart.yaml") == shipped()["quickstart"]
    Path("quickstart.yaml").write_text("name: mine")
    assert find_recipe("quickstart.yaml") == Path("quickstart.yaml")


def test_what_a_file_says_cannot_act_on_a_terminal(pair: str, refused: Refused) -> None:
    for line in refused(pair + '"\\e[2J\\nfoo": 1\n' + '"b\\u202e": "\\e[31m"\n'):
        assert line.isprintable()


@pytest.mark.parametrize("name", shipped())
def test_a_shipped_recipe_reads_back_as_it_is(name: str) -> None:
    recipe = load_recipe(name)
    assert recipe.name == name
    stored = json.loads(json.dumps(recipe.to_dict(), allow_nan=False))
    assert load_recipe(stored) == recipe
    assert Recipe.model_validate(stored) == recipe


def test_the_published_system_is_as_published() -> None:
    recipe = load_recipe("cifar10-lightweight-cnn")
    for arm in recipe.arms().values():
        assert (arm.epochs, arm.optimizer) == (15, Adam(name="adam", lr=1e-3, weight_decay=1e-4))
        assert (arm.schedule.name, arm.choose) == ("step", "last")
        assert arm.normalise is not None
        assert arm.normalise.mean == (0.485, 0.456, 0.406)
    terms = recipe.students["distilled"].loss
    assert [(t.name, t.weight, t.options) for t in terms] == [
        ("soft_targets", 0.7, {"temperature": 4.0}),
        ("cross_entropy", 0.3, {}),
    ]
    crop = recipe.views.crop
    assert crop is not None
    assert (recipe.views.batch_size, crop.padding, recipe.views.flip) == (128, 4, True)


def test_without_test_time_augmentation_a_recipe_is_dumped_as_before_there_was_any() -> None:
    plain = load_recipe("quickstart", ["evaluation.test_time=null"])
    assert plain == load_recipe("quickstart")
    before = {"test": True, "batch_size": 250, "latency_batch": 128}
    assert plain.to_dict()["evaluation"] == plain.model_dump()["evaluation"] == before
    given = load_recipe("quickstart", ["evaluation.test_time={shifts: 2, scales: [0.9]}"])
    assert given.to_dict()["evaluation"] == before | {"test_time": {"flip": False, "shifts": 2, "scales": [0.9]}}


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("evaluation.test_time={hflip: true}", "evaluation.test_time.hflip: unknown key; did you mean 'flip'?"),
        ("evaluation.test_time={shift: 2}", "evaluation.test_time.shift: unknown key; did you mean 'shifts'?"),
        ("evaluation.tta={flip: true}", "evaluation.tta: unknown key; did you mean 'test_time'?"),
        ("evaluate={test_time: {flip: true}}", "evaluate: unknown key; did you mean 'evaluation'?"),
        ("test_time={flip: true}", "`test_time` belongs to `evaluation`: evaluation.test_time"),
        ("evaluation.test_time=flip", "expected a mapping, such as {flip: true, shifts: 2}; got 'flip'"),
        ("evaluation.test_time={}", "expected `flip`, `shifts` or `scales`, such as {flip: true, shifts: 2}"),
        ("evaluation.test_time={scales: 0.9}", "evaluation.test_time.scales: expected a list, such as [0.9, 1.1]"),
        ("evaluation.test_time={scales: [0.9, 0.9]}", "expected different scales other than 1"),
        ("evaluation.test_time={scales: [1, 0.9]}", "expected different scales other than 1"),
        ("evaluation.test_time={scales: [0.4]}", "evaluation.test_time.scales.0: expected a number of at least 0.5"),
        ("evaluation.test_time={shifts: -1}", "evaluation.test_time.shifts: expected a number of at least 0; got -1"),
        ("evaluation.test_time={flip: 'yes'}", "evaluation.test_time.flip: expected true or false; got 'yes'"),
    ],
)
def test_test_time_augmentation_says_what_it_takes(override: str, said: str) -> None:
    with pytest.raises(RecipeError) as caught:
        load_recipe("quickstart", [override])
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_recipe_cannot_be_changed() -> None:
    recipe = load_recipe("quickstart")
    with pytest.raises(ValueError, match="frozen"):
        recipe.name = "other"
    with pytest.raises(ValueError, match="frozen"):
        recipe.views.batch_size = 3


def test_a_dict_from_python(pair: str) -> None:
    tree = load_recipe("quickstart").to_dict()
    given = json.dumps(tree)
    load_recipe(tree, ["students.distilled.epochs=1"])
    assert json.dumps(tree) == given, "what was handed in is left alone"
    with pytest.raises(RecipeError, match=r"^recipe: name: expected strings, numbers, lists and mappings; got <object"):
        load_recipe({"name": object()})
    with pytest.raises(RecipeError, match=r"recipe: students: keys must be strings; got 1"):
        load_recipe({"students": {1: {}}})
    ring: dict[str, object] = {}
    ring["data"] = ring
    with pytest.raises(RecipeError, match="too deeply nested"):
        load_recipe(ring)


def test_functions_of_your_own(pair: str, tmp_path: Path) -> None:
    def focal(student: object, teacher: object, targets: object, *, gamma: float = 2.0) -> None:
        """Focal loss."""

    def tiny(num_classes: int, *, width: int) -> None:
        """A tiny model."""

    tree = {
        "name": "mine",
        "data": {"source": "digits"},
        "teachers": {"t": {"model": "resnet20", "weights": "t.safetensors"}},
        "students": {
            "a": {
                "model": {"name": "tiny", "width": 3},
                "epochs": 1,
                "optimizer": {"name": "adam", "lr": 0.1},
                "schedule": {"name": "cosine"},
                "loss": [{"name": "focal", "gamma": 1.0}],
                "teacher": "t",
            }
        },
    }
    arm = load_recipe(tree, losses={"focal": focal}, models={"tiny": tiny}).students["a"]
    assert (arm.model.options, arm.loss[0].options) == ({"width": 3}, {"gamma": 1.0})
    assert arm.schedule == Cosine(name="cosine")
    with pytest.raises(RecipeError) as caught:
        load_recipe(
            tree, ["students.a.loss.0.gama=1", "students.a.model=tiny"], losses={"focal": focal}, models={"tiny": tiny}
        )
    assert str(caught.value).split("\n") == [
        "command line: students.a.model.width: 'tiny' needs a value for 'width'",
        "command line: students.a.loss.0.gama: 'focal' has no option 'gama'; did you mean 'gamma'?",
    ]


def test_a_loss_of_your_own_may_do_without_a_teacher() -> None:
    def plain(student: object, teacher: object, targets: object) -> None:
        """Plain."""

    tree = load_recipe("quickstart", ["students.baseline.loss.0.name=cross_entropy"]).to_dict()
    tree["students"]["baseline"]["loss"] = [{"name": "plain"}]
    with pytest.raises(
        RecipeError, match=r"students.baseline.teacher: is missing; loss 'plain' needs the name of a teacher"
    ):
        load_recipe(tree, losses={"plain": plain})
    plain.NEEDS_TEACHER = False  # pyright: ignore[reportFunctionMemberAccess]
    assert load_recipe(tree, losses={"plain": plain}).students["baseline"].teacher == ()


def test_a_copy_to_edit(tmp_path: Path) -> None:
    target = tmp_path / "mine.yaml"
    assert copy_shipped("quickstart", target) == target
    assert target.read_text() == shipped()["quickstart"].read_text()
    target.write_text("edited")
    with pytest.raises(LimbeckError, match="already exists"):
        copy_shipped("quickstart", target)
    assert target.read_text() == "edited"
    with pytest.raises(LimbeckError, match="did you mean 'quickstart'"):
        copy_shipped("quickstat", tmp_path / "other.yaml")
    with pytest.raises(LimbeckError, match="cannot be written: No such file or directory"):
        copy_shipped("quickstart", tmp_path / "nowhere" / "r.yaml")


def test_the_schema_knows_the_keys() -> None:
    schema = json_schema()
    arm = schema["$defs"]["Arm"]["properties"]
    assert {"type": "string"} in arm["model"]["anyOf"], "a model may be a word"
    assert {"type": "string"} in arm["teacher"]["anyOf"]
    assert set(schema["required"]) == {"name", "data", "students"}
    assert json.loads(json.dumps(schema, allow_nan=False)) == schema


def parts_of(kind: object) -> set[type[BaseModel]]:
    """All models that a recipe is made of."""
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        fields = kind.model_fields.values()
        return {kind}.union(*(parts_of(field.annotation) for field in fields))
    return set().union(*(parts_of(inner) for inner in get_args(kind)))


def test_the_schema_lists_every_key_of_every_part() -> None:
    schema = json_schema()
    parts = parts_of(Recipe)
    assert len(parts) > 15
    for part in parts:
        told = schema if part is Recipe else schema["$defs"][part.__name__]
        assert set(told["properties"]) == set(part.model_fields)
        assert told["additionalProperties"] is (part.model_config.get("extra") == "allow")


def test_what_is_missing_is_told_where_the_rest_of_it_stands(pair: str, refused: Refused) -> None:
    text = pair.replace("{name: sgd, lr: 1e-1}", "{name: sgd}")
    assert refused(text, ["students.distilled.optimizer.momentum=0.5"]) == [
        "21: students.baseline.optimizer.lr: is missing; expected a number",
        "21: students.distilled.optimizer.lr: is missing; expected a number",
    ]
    assert refused(pair, ["students.distilled.ema.x=1"])[0] == (
        "command line: students.distilled.ema.decay: is missing; expected a number"
    )


def described(schema: dict[str, Any]) -> dict[str, str]:
    """Every property of every part of the schema, options of names included, with its description."""
    found: dict[str, str] = {}
    for name, part in {"Recipe": schema, **schema["$defs"]}.items():
        then = [branch["then"]["properties"] for branch in part.get("allOf", ())]
        for properties in (part.get("properties", {}), *then):
            found |= {f"{name}.{key}": about.get("description", "") for key, about in properties.items()}
    return found


def test_the_schema_says_of_every_key_what_it_means() -> None:
    found = described(json_schema())
    assert len(found) > 120
    for key, about in found.items():
        assert len(about) > 10 and about.endswith((".", ")")) and (about[0].isupper() or about[0] == "`"), key
        assert "\n" not in about


def test_the_schema_gives_every_optional_key_its_default_and_every_number_its_range() -> None:
    schema = json_schema()
    for part in parts_of(Recipe):
        properties = (schema if part is Recipe else schema["$defs"][part.__name__])["properties"]
        for name, field in part.model_fields.items():
            assert ("default" in properties[name]) is not field.is_required(), (part, name)
    unlimited = {"mean", "low", "high"}  # any number
    typed = numbers(schema)
    assert len(typed) > 50
    for key, about in typed:
        assert key in unlimited or {"minimum", "exclusiveMinimum"} & set(about), key


def numbers(node: Any, key: str = "") -> list[tuple[str, dict[str, Any]]]:
    """Every typed number of the recipe's own keys, with the key that takes it."""
    if isinstance(node, list):
        return [found for item in node for found in numbers(item, key)]
    if not isinstance(node, dict) or key in ("allOf", "Axis", "axes"):
        return []
    own = [(key, node)] if node.get("type") in ("integer", "number") else []
    inside = ("properties", "items", "prefixItems", "anyOf", "$defs")
    return own + [found for name, item in node.items() for found in numbers(item, key if name in inside else name)]


def test_the_schema_proposes_names_and_their_options() -> None:
    parts = json_schema()["$defs"]
    for part, key, room in (
        ("LossTerm", "name", "losses"),
        ("NameWithOptions", "name", "models"),
        ("Data", "source", "data"),
    ):
        about = parts[part]
        plain = {entry.name for entry in entries(room).values() if entry.argument is None}
        assert set(about["properties"][key]["anyOf"][0]["enum"]) == plain
        options = {option for entry in entries(room).values() for option in entry.options}
        assert {name for branch in about["allOf"] for name in branch["then"]["properties"]} == options


def test_the_schema_accepts_every_shipped_recipe_and_refuses_a_slip() -> None:
    jsonschema = pytest.importorskip("jsonschema")
    checker = jsonschema.Draft202012Validator(json_schema())
    for path in shipped().values():
        tree, _ = parse(path.read_text(encoding="utf-8"), "r")
        assert list(checker.iter_errors(tree)) == []
        assert list(checker.iter_errors(tree | {"epohs": 1}))
        assert list(checker.iter_errors(tree | {"students": {"a": {"epochs": "ten"}}}))
        assert list(checker.iter_errors(tree | {"students": {"a": {"optimizer": {"name": "sdg"}}}}))
