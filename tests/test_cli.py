"""The command line as a person types it: real processes, wrong words included."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from PIL import Image

from limbeck.cli import app, commands
from limbeck.recipes.load import load_recipe

QUICK = ["seeds=[0]", "teachers.resnet.epochs=1", "students.defaults.epochs=1", "evaluation.latency_batch=0"]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one finished run in it."""
    folder = tmp_path_factory.mktemp("home")
    done = limbeck(folder, "run", "quickstart", *QUICK)
    assert done.returncode == 0, done.stderr
    return folder


def limbeck(folder: Path, *words: object) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "LIMBECK_CACHE": str(folder / "cache"), "LIMBECK_DATA": str(folder / "data")}
    return subprocess.run(
        [sys.executable, "-m", "limbeck", *map(str, words)],
        cwd=folder,
        env={**env, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def test_a_run_leaves_what_it_promises(home: Path) -> None:
    run = home / "runs" / "quickstart"
    for name in ("recipe.json", "result.json", "report.md", "models/distilled-seed0/model.safetensors"):
        assert (run / name).is_file(), name
    figures = {path.suffix for path in (run / "figures").iterdir()}
    assert figures == {".png"}
    assert "limbeck run quickstart" in (run / "report.md").read_text(encoding="utf-8")
    assert sorted(path.name for path in home.iterdir()) == ["cache", "runs"], "nothing is written elsewhere"


def test_the_plan_is_printed_and_nothing_trained(home: Path) -> None:
    done = limbeck(home, "run", "quickstart", "--dry-run", "--name", "planned")
    assert done.returncode == 0, done.stderr
    for words in ("20,906", "272,474", "distilled", "180", "in all about", "MB"):
        assert words in done.stdout
    assert not (home / "runs" / "planned").exists()


@pytest.mark.middle
def test_a_sheet_of_views_can_be_looked_at(home: Path) -> None:
    wanted = ["views.policy={name: trivialaugment}", "views.mixing={mixup: 0.8, cutmix: 1.0}", "--out", "sheet.png"]
    done = limbeck(home, "views", "quickstart", *wanted, "--count", 4)
    assert done.returncode == 0, done.stderr
    assert "sheet.png: 4 of 64 images" in done.stdout
    sheet = Image.open(home / "sheet.png")
    plain = limbeck(home, "views", "quickstart", "--out", "plain.png", "--count", 4)
    assert plain.returncode == 0, plain.stderr
    assert sheet.height > Image.open(home / "plain.png").height * 1.3, "a row more: the mixed images"
    first, again = (home / "sheet.png").read_bytes(), limbeck(home, "views", "quickstart", *wanted, "--count", 4)
    assert again.returncode == 0
    assert (home / "sheet.png").read_bytes() == first, "the same view is the same picture"
    for name in ("sheet.png", "plain.png"):
        (home / name).unlink()


def test_predict_names_the_likeliest(home: Path) -> None:
    Image.new("L", (20, 30), 128).save(home / "grey.png")
    done = limbeck(home, "predict", "runs/quickstart/models/distilled-seed0", "grey.png")
    assert done.returncode == 0, done.stderr
    shares = [float(share) for share in re.findall(r"(\d+\.\d+)%", done.stdout)]
    assert len(shares) == 5
    assert shares == sorted(shares, reverse=True)
    assert sum(shares) <= 100.1


@pytest.mark.middle
def test_evaluate_agrees_with_the_run(home: Path) -> None:
    import json

    result = json.loads((home / "runs/quickstart/result.json").read_text(encoding="utf-8"))
    arm = next(arm for arm in result["arms"] if arm["arm"] == "baseline")
    for words in (["digits"], []):  # named, and by default the data that it was trained on
        done = limbeck(home, "evaluate", "runs/quickstart/models/baseline-seed0", *words)
        assert done.returncode == 0, done.stderr
        shown = re.search(r"top-1 +(\d+\.\d+%)", done.stdout)[1]  # pyright: ignore
        assert shown == f"{arm['test']['top1']:.2%}"


def test_evaluate_compares_two_models_image_by_image(home: Path) -> None:
    models = "runs/quickstart/models"
    done = limbeck(home, "evaluate", f"{models}/distilled-seed0", "digits", "--against", f"{models}/baseline-seed0")
    assert done.returncode == 0, done.stderr
    own, other = (float(re.search(rf"{what} +(\d+\.\d+)%", done.stdout)[1]) for what in ("\ntop-1", "its top-1"))  # pyright: ignore
    signs = str.maketrans("−", "-")
    line = next(line for line in done.stdout.splitlines() if line.startswith("difference"))
    shown = [float(number.translate(signs)) for number in re.findall(r"[+−]?\d+\.\d+", line)]
    assert shown[0] == pytest.approx(own - other, abs=0.011)
    assert shown[1] < shown[0] < shown[2]


@pytest.mark.middle
def test_evaluate_shows_test_time_augmentation_beside_the_model(home: Path) -> None:
    model = "runs/quickstart/models/baseline-seed0"
    alone, done = (
        limbeck(home, "evaluate", model, *words) for words in ([], ["--test-time", "shifts=1", "--test-time", "flip"])
    )
    assert done.returncode == 0, done.stderr
    above, beside = done.stdout.split("test-time augmentation")
    shown = [re.search(r"\ntop-1 +(\d+\.\d+)%", text)[1] for text in (alone.stdout, above)]  # pyright: ignore
    assert shown[0] == shown[1], "the model's accuracy is its own"
    assert "flip, shifts of 1 px: 10 views" in beside
    augmented = re.search(r"top-1 with it +(\d+\.\d+)%", beside)[1]  # pyright: ignore
    gain = re.search(r"gain +([+−]?\d+\.\d+) points \(95 % confidence", beside)[1]  # pyright: ignore
    assert float(gain.replace("−", "-")) == pytest.approx(float(augmented) - float(shown[0]), abs=0.011)
    one, ten = re.search(r"multiply-adds +(\S+) M -> (\S+) M", beside).groups()  # pyright: ignore
    assert float(ten) == pytest.approx(10 * float(one), abs=0.6)
    assert "ms ->" in beside


@pytest.mark.parametrize("room", ["losses", "models", "data", "recipes"])
def test_lists(home: Path, room: str) -> None:
    done = limbeck(home, "list", room)
    assert done.returncode == 0
    expected = {"losses": "temperature=4.0", "models": "wrn_40_2", "data": "folder:PATH", "recipes": "quickstart"}
    assert expected[room] in done.stdout


@pytest.mark.parametrize("command", commands())
def test_every_help_gives_examples(command: str) -> None:
    from typer.testing import CliRunner

    done = CliRunner().invoke(app, [command, "--help"], prog_name="limbeck", env={"COLUMNS": "100"})
    assert done.exit_code == 0
    assert f"Example: limbeck {command}" in done.output


def examples() -> list[list[str]]:
    """The words of every example in the help of every command."""
    found = [line for command in app.registered_commands for line in (command.epilog or "").splitlines()]
    return [shlex.split(line.removeprefix("Example: limbeck ")) for line in found if line.startswith("Example")]


def test_every_command_has_an_example() -> None:
    assert {words[0] for words in examples()} == set(commands())


@pytest.mark.parametrize("words", examples(), ids=" ".join)
def test_every_example_is_a_valid_command_line(words: list[str]) -> None:
    if ">" in words:
        words = words[: words.index(">")]  # the shell's part
    group = typer.main.get_command(app)
    command = group.commands[words[0]]  # pyright: ignore[reportAttributeAccessIssue]
    context = command.make_context(words[0], words[1:])
    assert context.args == []
    if words[0] in ("run", "sweep", "views") and words[1] != "my.yaml":
        load_recipe(words[1], context.params["overrides"] or ())


def test_fit_prints_lines_for_a_recipe(home: Path) -> None:
    done = limbeck(home, "fit", "speed_cnn", "--megabytes", "1", "--multiply-adds", "40e6", "--top", "2")
    assert done.returncode == 0, done.stderr
    *_, first, second = done.stdout.splitlines()
    assert first.startswith("  model: {name: speed_cnn, widths: [")
    assert second.startswith("  model: {name: speed_cnn, widths: [")
    assert done.stderr == "", "nothing is timed"


def test_doctor(home: Path) -> None:
    done = limbeck(home, "doctor")
    assert done.returncode == 0, done.stderr
    for words in ("torch", "device", "bfloat16", "threads", "optuna", "ray", "GB free", "cifar-10-binary.tar.gz"):
        assert words in done.stdout


def test_new_copies_and_never_overwrites(home: Path) -> None:
    assert limbeck(home, "new", "quickstart", "--to", "mine.yaml").returncode == 0
    text = (home / "mine.yaml").read_text(encoding="utf-8")
    again = limbeck(home, "new", "quickstart", "--to", "mine.yaml")
    assert again.returncode == 2
    assert "already exists" in again.stderr
    assert (home / "mine.yaml").read_text(encoding="utf-8") == text
    assert limbeck(home, "run", "mine.yaml", "--dry-run").returncode == 0


@pytest.mark.middle
def test_cache(home: Path) -> None:
    assert "1,797 images" in limbeck(home, "cache").stdout
    other = home / "other"
    other.mkdir()
    (other / "cache" / "mine").mkdir(parents=True)
    limbeck(other, "run", "quickstart", "--dry-run")
    assert "freed" in limbeck(other, "cache", "--clean").stdout
    assert "images" not in limbeck(other, "cache").stdout.partition("\n")[2]
    assert (other / "cache" / "mine").exists(), "what is not ours is left alone"


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        (["run", "quikstart"], "did you mean 'quickstart'?"),
        (["run", "quickstart", "students.distilled.epoch=3"], "did you mean 'epochs'?"),
        (["run", "quickstart", "students.distiled.epochs=3"], "did you mean 'distilled'?"),
        (["run", "quickstart", "device=cuda:9"], "is not here; there is cpu"),
        (["run", "quickstart", "data.source=folder:nowhere"], "nowhere"),
        (["run", "quickstart", "teachers.resnet.model=timm:resnet_18"], "resnet18"),
        (["predict", "runs/quickstart", "x.png"], "below it there is runs/quickstart/models/"),
        (["predict", "runs/quickstart/models/distilled-seed0", "x.png"], "x.png"),
        (["predict", "runs/quickstart/models/distilled-seed0", "runs/quickstart/report.md"], "report.md"),
        (["evaluate", "runs/quickstart/models/distilled-seed0", "--test-time", "flp"], "did you mean 'flip'?"),
        (["evaluate", "runs/quickstart/models/distilled-seed0", "digit"], "did you mean 'digits'?"),
        (["run", "quickstart", "--name", "../elsewhere", "--fresh"], "--name: '../elsewhere' is not a valid folder"),
        (["new", "quick"], "did you mean 'quickstart'?"),
        (["swep"], "unknown command 'swep'; did you mean 'sweep'?"),
        (["frob", "--fresh"], "expected one of bench, cache, card, check, demo, doctor, evaluate"),
        (["list", "model"], "expected losses, models, data or recipes; got 'model'; did you mean 'models'?"),
        (["list"], "Missing argument 'category'; see `limbeck list --help`"),
        (["evaluate", "--splt", "test"], "No such option: --splt (Possible options: --split)"),
        (["views", "quickstart", "--count", "many"], "--count"),
        (["--nope"], "No such option: --nope; see `limbeck --help`"),
        (["views", "quickstart", "--arm", "resnt"], "did you mean 'resnet'?"),
        (["views", "quickstart", "--out", "nowhere/sheet.png"], "nowhere/sheet.png"),
        (["import", "nothing.pth"], "nothing.pth"),
        (["report", "nowhere"], "nowhere: does not exist; expected a run"),
        (["report", "runs/quickstart", "runs/quickstart"], "give it a folder with --out DIR"),
        (["fit", "resnett", "--megabytes", "1"], "did you mean 'resnet'?"),
        (["fit", "speed_cnn", "--megabytes", "-1"], "fit: megabytes: expected a number greater than 0; got -1"),
        (["fit", "speed_cnn"], "fit: no limit given"),
        (["fit", "vgg", "--megabytes", "1"], "none of 5 sizes of vgg costs at most 1 MB; the smallest (depth 8"),
    ],
)
def test_wrong_words_get_one_line(home: Path, words: list[str], answer: str) -> None:
    done = limbeck(home, *words, *(["--name", "wrong"] if words[0] == "run" and "--name" not in words else []))
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert answer in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    assert not (home / "runs" / "wrong" / "models").exists()


def test_help_needs_no_torch() -> None:
    code = "import sys, limbeck.__main__, limbeck; assert 'torch' not in sys.modules; assert 'numpy' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_a_defect_of_its_own_is_one_line_too(home: Path) -> None:
    broken = (
        "import sys, limbeck.recipes.load as file, limbeck.__main__ as process\n"
        "def broken(*a, **k): raise RuntimeError('lost\\nits way')\n"
        "file.load_recipe = broken\n"
        "sys.argv = ['limbeck', 'run', 'quickstart', *sys.argv[1:]]\n"
        "process.main()\n"
    )
    for words, code in (((), 1), (("--debug",), 1)):
        done = subprocess.run([sys.executable, "-c", broken, *words], capture_output=True, text=True, check=False)
        assert done.returncode == code
        assert ("Traceback" in done.stderr) is bool(words)
        if not words:
            assert done.stderr.count("\n") == 1
            assert "RuntimeError: lost its way" in done.stderr and "--debug" in done.stderr
