"""Recipes of any shape: what is valid reads back as itself, what is not is told in clear lines."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from limbeck.errors import RecipeError
from limbeck.recipes.differences import differences
from limbeck.recipes.load import load_recipe, shipped

names = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,10}[A-Za-z0-9]", fullmatch=True).filter(
    lambda name: "-seed" not in name.lower() and name != "defaults"
)
positive = st.floats(1e-6, 1e6) | st.integers(1, 1000)
share = st.floats(0, 1, exclude_max=True)
counts = st.integers(1, 10_000)


def tagged(name: str, /, **keys: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({"name": st.just(name)}, optional=keys)


optimizers = st.fixed_dictionaries(
    {"name": st.just("sgd"), "lr": positive},
    optional={"momentum": share, "nesterov": st.booleans(), "weight_decay": share},
) | st.fixed_dictionaries(
    {"name": st.sampled_from(["adam", "adamw"]), "lr": positive},
    optional={"betas": st.lists(share, min_size=2, max_size=2)},
)
schedules = (
    tagged("constant")
    | tagged("cosine", warmup_epochs=share, final_fraction=share, per_epoch=st.booleans())
    | tagged("one_cycle", start_fraction=share, final_fraction=share)
    | st.fixed_dictionaries({"name": st.just("step"), "every_epochs": counts, "factor": positive})
    | st.fixed_dictionaries(
        {"name": st.just("multi_step"), "milestones": st.lists(counts, min_size=1), "factor": positive}
    )
)
models = st.sampled_from(
    ["resnet20", "lightweight_cnn", {"name": "lightweight_cnn", "dropout": 0.25}, {"name": "wrn_16_2"}]
)
plain_loss = tagged("cross_entropy", label_smoothing=share, weight=positive)
told_loss = tagged("soft_targets", temperature=positive, weight=positive)
common = {
    "schedule": schedules,
    "clip_norm": positive,
    "ema": st.none() | st.fixed_dictionaries({"decay": st.floats(0.01, 0.99)}),
    "patience": st.none() | counts,
    "choose": st.sampled_from(["last", "best"]),
    "precision": st.none() | st.sampled_from(["auto", "bf16", "fp16", "fp32"]),
    "resolution": st.integers(1, 4096),
    "normalise": st.fixed_dictionaries({"mean": st.just([0.1, 0.2, 0.3]), "sd": st.just([1, 0.5, 0.25])}),
}
needed = {"model": models, "epochs": counts, "optimizer": optimizers}


averaged_views = st.fixed_dictionaries(
    {},
    optional={
        "flip": st.booleans(),
        "shifts": st.integers(0, 8),
        "scales": st.lists(st.floats(0.5, 0.99) | st.floats(1.01, 2), max_size=4, unique=True),
    },
).filter(lambda views: any(views.values()))


@st.composite
def recipes(draw: st.DrawFn) -> dict[str, Any]:
    arms = draw(st.lists(names, min_size=2, max_size=5, unique_by=str.casefold))
    teachers, students = arms[:1], arms[1:]
    tree: dict[str, Any] = draw(
        st.fixed_dictionaries(
            {
                "name": names,
                "data": st.fixed_dictionaries(
                    {"source": st.just("digits")}, optional={"validation": st.floats(0.01, 0.49)}
                ),
            },
            optional={
                "seeds": st.lists(st.integers(0, 2**63 - 1), min_size=1, max_size=4, unique=True),
                "device": st.sampled_from(["auto", "cpu", "cuda", "cuda:1", "mps"]),
                "threads": st.none() | counts,
                "save_every_seconds": share,
                "log": st.lists(st.sampled_from(["tensorboard", "wandb", "mlflow"]), unique=True),
                "views": st.fixed_dictionaries(
                    {},
                    optional={
                        "batch_size": counts,
                        "flip": st.booleans(),
                        "distinct_epochs": st.none() | counts,
                        "seed": st.none() | st.integers(0, 9),
                    },
                ),
                "budget": st.none()
                | st.fixed_dictionaries(
                    {"megabytes": positive}, optional={"milliseconds": positive, "multiply_adds": positive}
                ),
                "teacher_seed": st.none() | st.integers(0, 9),
                "evaluation": st.fixed_dictionaries(
                    {}, optional={"test": st.booleans(), "batch_size": counts, "test_time": st.none() | averaged_views}
                ),
                "outputs_bank": st.none() | st.fixed_dictionaries({}, optional={"limit_gb": st.floats(1e-3, 1e3)}),
            },
        )
    )
    loss = st.fixed_dictionaries({"loss": st.tuples(plain_loss).map(list)})
    arm = st.fixed_dictionaries(needed, optional=common)
    tree["teachers"] = {name: draw(arm) | draw(loss) for name in teachers}
    tree["students"] = {name: draw(arm) | draw(loss) for name in students}
    for place, name in enumerate(students):
        if draw(st.booleans()):
            voices = draw(st.sampled_from([teachers[0], teachers, [{"name": teachers[0], "weight": 2}]]))
            if place and draw(st.booleans()):
                voices = [teachers[0], students[place - 1]]
            tree["students"][name] |= {"teacher": voices, "loss": [draw(told_loss), draw(plain_loss)]}
    return tree


@given(recipes())
@settings(max_examples=80, deadline=None)
def test_a_valid_recipe_reads_back_as_itself(tree: dict[str, Any]) -> None:
    recipe = load_recipe(tree)
    stored = json.loads(json.dumps(recipe.to_dict(), allow_nan=False))
    again = load_recipe(stored)
    assert again == recipe
    assert differences(stored, again.to_dict()) == []


def places(tree: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    pairs = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    return [found for key, value in pairs for found in [(*path, key), *places(value, (*path, key))]]


odd = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["defaults", "auto", "1e-3", "..", "a/b"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=6) | st.sampled_from(["name", "lr", "loss"]), inner, max_size=3)
    ),
    max_leaves=5,
)


@given(recipes(), st.data())
@settings(max_examples=150, deadline=None)
def test_a_spoilt_recipe_is_told_in_clear_lines(tree: dict[str, Any], data: st.DataObject) -> None:
    spoilt = copy.deepcopy(tree)
    for _ in range(data.draw(st.integers(1, 3))):
        path = data.draw(st.sampled_from(places(spoilt)))
        holder = spoilt
        for key in path[:-1]:
            holder = holder[key]
        what = data.draw(st.sampled_from(["replace", "remove", "add", "rename"]))
        if what == "replace":
            holder[path[-1]] = data.draw(odd)
        elif what == "add" and isinstance(holder, dict):
            holder[data.draw(st.text(max_size=8))] = data.draw(odd)
        elif what == "rename" and isinstance(holder, dict):
            holder[str(path[-1])[::-1]] = holder.pop(path[-1])
        else:
            del holder[path[-1]]
    try:
        recipe = load_recipe(spoilt)
    except RecipeError as error:
        lines = str(error).split("\n")
        assert all(line.startswith("recipe") and line.isprintable() and len(line) < 600 for line in lines)
        assert len(set(lines)) == len(lines)
    else:
        json.dumps(recipe.to_dict(), allow_nan=False)
        assert load_recipe(recipe.to_dict()) == recipe


keys = st.lists(
    st.sampled_from(
        [
            "students",
            "teachers",
            "a",
            "t",
            "defaults",
            "loss",
            "0",
            "1",
            "model",
            "optimizer",
            "lr",
            "name",
            "views",
            "seeds",
            "",
            "é",
            "-1",
        ]
    ),
    min_size=1,
    max_size=5,
).map(".".join)
SMALL = {
    "name": "small",
    "data": {"source": "digits"},
    "teachers": {"t": {"model": "resnet20", "weights": "t.safetensors"}},
    "students": {
        "a": {
            "model": "resnet20",
            "epochs": 1,
            "optimizer": {"name": "sgd", "lr": 1},
            "loss": [{"name": "cross_entropy"}],
        }
    },
}


@given(
    st.lists(st.builds("{}={}".format, keys, st.text(max_size=8) | odd.map(repr)) | st.text(max_size=10), max_size=3)
)
@settings(max_examples=200, deadline=None)
def test_any_override_sets_a_value_or_is_told(overrides: list[str]) -> None:
    try:
        recipe, told = load_recipe(SMALL, overrides), "recipe: "
    except RecipeError as error:
        recipe, told = None, str(error)
    assert all(line.startswith(("command line: ", "recipe: ")) for line in told.split("\n"))
    assert recipe is None or load_recipe(recipe.to_dict()) == recipe


def lines_of(text: str) -> list[str]:
    return text.splitlines(keepends=True)


@st.composite
def spoilt_texts(draw: st.DrawFn) -> bytes:
    """A real recipe with a few cuts, doublings, swaps and insertions, down to single bytes."""
    lines = lines_of(draw(st.sampled_from(SHIPPED_TEXTS)))
    for _ in range(draw(st.integers(0, 3))):
        at, other = (draw(st.integers(0, len(lines) - 1)) for _ in range(2))
        what = draw(st.sampled_from(["drop", "double", "swap", "indent", "insert", "replace"]))
        if what == "drop" and len(lines) > 1:
            del lines[at]
        elif what == "double":
            lines.insert(at, lines[other])
        elif what == "swap":
            lines[at], lines[other] = lines[other], lines[at]
        elif what == "indent":
            lines[at] = draw(st.sampled_from(["", " ", "  ", "    ", "\t"])) + lines[at].lstrip()
        elif what == "insert":
            place = draw(st.integers(0, len(lines[at])))
            piece = draw(st.sampled_from(list("{}[]:,&*!|>'\"%#?- \n\t0.e~")) | st.text(max_size=3))
            lines[at] = lines[at][:place] + piece + lines[at][place:]
        elif what == "replace":
            head, colon, _ = lines[at].partition(":")
            lines[at] = f"{head}{colon} {draw(odd)!r}\n"
    content = bytearray("".join(lines).encode("utf-8", "surrogatepass"))
    for _ in range(draw(st.integers(0, 2))):
        content[draw(st.integers(0, len(content) - 1))] = draw(st.integers(0, 255))
    return bytes(content)


SHIPPED_TEXTS = [path.read_text(encoding="utf-8") for path in shipped().values()]


@given(spoilt_texts() | st.binary(max_size=200))
@settings(max_examples=250, deadline=None)
def test_any_file_is_a_recipe_or_is_told(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "spoilt.yaml"
    path.write_bytes(content)
    try:
        recipe = load_recipe(path)
    except RecipeError as error:
        told = str(error).split("\n")
        assert all(line.startswith(f"{path}:") and line.isprintable() and len(line) < 1000 for line in told)
        assert len(set(told)) == len(told)
    else:
        assert load_recipe(recipe.to_dict()) == recipe
