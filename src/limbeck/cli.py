"""The command line: words to one call. Torch is imported inside the commands that need it."""

from __future__ import annotations

import contextlib
import os
import shlex
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

app = typer.Typer(
    help="Pour a big vision model into a small one, with honest numbers.",
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
Recipe = Annotated[str, typer.Argument(help="A recipe file, or the name of a shipped recipe.")]
EXIT_CODES = (
    "Exit codes: 0 done, or stopped by SIGTERM with all saved; 2: what you can mend, in one line; "
    "3: finished, but a learner failed (it diverged, or its teacher did); 130: stopped by Ctrl-C with all saved."
)
Overrides = Annotated[
    list[str] | None, typer.Argument(metavar="key=value …", help="Values to use instead, as in views.batch_size=64.")
]


def examples(*words: str) -> str:
    """Commands to copy, for the foot of a command's help: a paragraph each."""
    return "".join(f"Example: limbeck {line}\n\n" for line in words)


def commands() -> list[str]:
    """The names of all commands."""
    return [str(command.name or getattr(command.callback, "__name__", "")) for command in app.registered_commands]


@app.callback(invoke_without_command=True)
def top(version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    """Pour a big vision model into a small one, with honest numbers."""
    if version:
        from . import __version__

        print(__version__)
        raise typer.Exit


@app.command(
    epilog=examples("run quickstart", "run my.yaml views.batch_size=64 'seeds=[0, 1, 2]'", "run my.yaml --dry-run")
    + EXIT_CODES
)
def run(
    recipe: Recipe,
    overrides: Overrides = None,
    name: Annotated[str | None, typer.Option(help="Name of the run's directory (default: the recipe's).")] = None,
    folder: Annotated[Path, typer.Option(help="Where run directories lie.")] = Path("runs"),
    fresh: Annotated[bool, typer.Option("--fresh", help="Delete what this run has so far and start anew.")] = False,
    extend: Annotated[
        bool, typer.Option("--extend", help="Keep what is there and add the seeds, arms and epochs that are new.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan and its cost, and train nothing.")] = False,
) -> None:
    """Train teachers, distil students, measure them and report. Run again to continue."""
    from limbeck.recipes.load import load_recipe

    checked = load_recipe(recipe, overrides or ())
    if dry_run:
        from limbeck.experiment.estimate import describe_plan
        from limbeck.experiment.extend import describe_extension
        from limbeck.storage.run_directory import RunDirectory

        if extend:
            print("\n".join(describe_extension(RunDirectory(folder / (name or checked.name)), checked)))
        print("\n".join(describe_plan(checked)))
        return
    from limbeck.commands.progress import RunDisplay
    from limbeck.experiment.run import failures
    from limbeck.experiment.run import run as run_recipe
    from limbeck.experiment.signals import Stopped
    from limbeck.experiment.torchrun import exit_without_teardown, is_main_process
    from limbeck.report.summary import summary_lines

    command = shlex.join(["limbeck", *sys.argv[1:]])
    try:
        with RunDisplay() if is_main_process() else contextlib.nullcontext() as display:
            done = run_recipe(
                checked,
                folder=folder,
                name=name,
                fresh=fresh,
                extend=extend,
                make_watcher=display and display.watch,
                command=command,
            )
    except Stopped as stopped:
        code = _say_how_to_go_on(stopped) if is_main_process() else 0
        exit_without_teardown(code)
        raise typer.Exit(code) from None
    if is_main_process():
        if done.was_finished:
            print(f"{done.folder}: finished before; --fresh runs it anew, --name NAME runs it beside\n")
        print("\n".join(summary_lines(done.result)))
        _say_where_it_is(done.report, done.folder / "models", done.result)
    code = _say_what_failed(failures(done.result)) if is_main_process() else 3 * bool(done.failed)
    exit_without_teardown(code)
    raise typer.Exit(code)


@app.command(epilog=examples("sweep cifar10-grid-small --dry-run", "sweep my.yaml sweep.seeds=[0,1]") + EXIT_CODES)
def sweep(
    recipe: Recipe,
    overrides: Overrides = None,
    name: Annotated[str | None, typer.Option(help="Name of the sweep's directory (default: the recipe's).")] = None,
    folder: Annotated[Path, typer.Option(help="Where run directories lie.")] = Path("runs"),
    fresh: Annotated[bool, typer.Option("--fresh", help="Delete what this sweep has so far and start anew.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the settings and their cohorts only.")] = False,
    ray: Annotated[str | None, typer.Option(help="Address of a Ray cluster that does the work, or `local`.")] = None,
) -> None:
    """Try the settings of a recipe's `sweep:` section, choose on validation, test what was chosen.

    Run again to continue. Start it several times, on one directory, to share the work.
    """
    from limbeck.sweeps.sweep import describe_sweep
    from limbeck.sweeps.sweep import sweep as sweep_recipe

    if dry_run:
        print("\n".join(describe_sweep(recipe, overrides or ())))
        return
    from limbeck.commands.progress import RunDisplay
    from limbeck.experiment.run import failures
    from limbeck.experiment.signals import Stopped
    from limbeck.report.summary import summary_lines, sweep_summary_lines

    command = shlex.join(["limbeck", *sys.argv[1:]])
    try:
        with RunDisplay() as display:
            done = sweep_recipe(
                recipe, overrides or (), folder=folder, name=name, fresh=fresh, make_watcher=display.watch,
                command=command, ray=ray,
            )  # fmt: skip
    except Stopped as stopped:
        raise typer.Exit(_say_how_to_go_on(stopped)) from None
    if done.was_finished:
        print(f"{done.folder}: finished before; --fresh runs it anew, --name NAME runs it beside\n")
    print("\n".join([*sweep_summary_lines(done.result), "", *summary_lines(done.result["chosen"])]))
    _say_where_it_is(done.report, done.folder / "chosen" / "models", done.result["chosen"])
    raise typer.Exit(_say_what_failed(failures(done.result["chosen"])))


def _say_where_it_is(report: Path, models: Path, result: dict[str, Any]) -> None:
    """Say where the report lies, and what can be done with the best model."""
    from limbeck.report.summary import next_steps

    print("\n".join(["", f"report: {report}", *next_steps(models, result)]))


def _say_what_failed(failed: dict[str, str]) -> int:
    """Say last which learners failed; returns the exit code."""
    if failed:
        sys.stdout.flush()
        print(
            f"limbeck: finished, but {'; '.join(f'{who} failed: {how}' for who, how in failed.items())}",
            file=sys.stderr,
        )
    return 3 if failed else 0


def _say_how_to_go_on(stopped: Any) -> int:
    """Print the command that continues; returns the exit code."""
    again = shlex.join(["limbeck", *(word for word in sys.argv[1:] if word != "--fresh")])
    if "TORCHELASTIC_RUN_ID" in os.environ:
        again += ", under torchrun as before"
    with contextlib.suppress(OSError):  # who reads our words may be gone
        print(f"{stopped}; all is saved. To go on: {again}", file=sys.stderr)
    return 130 if stopped.signal_number == 2 else 0


@app.command(
    epilog=examples(
        "evaluate runs/quickstart/models/distilled-seed0",
        "evaluate runs/quickstart/models/distilled-seed0 --against runs/quickstart/models/baseline-seed0",
    )
)
def evaluate(
    checkpoint: Annotated[
        str, typer.Argument(help="A model's folder; with --arm a recipe, with --model a safetensors file.")
    ],
    data: Annotated[
        str | None, typer.Argument(help="A data source (default: the data that the model was trained on).")
    ] = None,
    options: Annotated[list[str] | None, typer.Argument(metavar="key=value …", help="Options of the source.")] = None,
    split: Annotated[str, typer.Option(help="test, validation or train.")] = "test",
    against: Annotated[Path | None, typer.Option(help="Another model's folder, to compare image by image.")] = None,
    arm: Annotated[
        str | None, typer.Option(help="Of a recipe: the arm with `weights:` to measure on its data.")
    ] = None,
    model: Annotated[str | None, typer.Option(help="Whose weights a safetensors file holds, as in resnet20.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:0 or mps.")] = "auto",
) -> None:
    """Measure a saved model, or a weights file, alone or against another saved model.

    \b
    limbeck evaluate runs/quickstart/models/distilled-seed0
    limbeck evaluate runs/quickstart/models/distilled-seed0 --split validation
    limbeck evaluate runs/mine/models/distilled-seed0 folder:photos
    limbeck evaluate runs/mine/models/distilled-seed0 --against runs/mine/models/baseline-seed0
    limbeck evaluate mine.yaml --arm teacher
    limbeck evaluate teacher.safetensors folder:photos --model timm:resnet18 image_size=224

    Images are decoded in the model's own size. Its training data are parted as they were in training, or refused.
    Weights files take model.…, normalise.mean, normalise.sd, classes, resolution and interpolation as key=value.
    """
    from limbeck.commands.evaluate import measure_saved

    found = measure_saved(checkpoint, data, options or (), split, against=against, arm=arm, model=model, device=device)
    print("\n".join(f"{what:<28}{value}" for what, value in found))


@app.command(epilog=examples("check folder:photos", "check folder:photos --out spoilt.txt", "check parquet:pets"))
def check(
    source: Annotated[str, typer.Argument(help="A data source, as in folder:photos.")],
    options: Annotated[list[str] | None, typer.Argument(metavar="key=value …", help="Options of the source.")] = None,
    out: Annotated[Path | None, typer.Option(help="A file for all spoilt images and their reasons.")] = None,
) -> None:
    """Look at every image of a data source: classes, sizes, duplicates, and all that is spoilt.

    Exit code 2 where something is spoilt.
    """
    from limbeck.commands.check_data import check_source
    from limbeck.console.terminal import width_of

    found = check_source(source, options or (), out, width=width_of(sys.stdout) or 100)
    print("\n".join(found.lines))
    if not found.sound:
        raise typer.Exit(2)


@app.command(epilog=examples("predict runs/quickstart/models/distilled-seed0 photo.png"))
def predict(
    checkpoint: Annotated[Path, typer.Argument(help="A model's folder, as in runs/NAME/models/distilled-seed0.")],
    images: Annotated[list[Path], typer.Argument(help="Image files, and folders of them.")],
    top: Annotated[int, typer.Option(min=1, help="How many classes to print for each image.")] = 5,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON list.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print file,rank,class,probability.")] = False,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:0 or mps.")] = "auto",
) -> None:
    """Name the likeliest classes of images, with probabilities.

    \b
    limbeck predict runs/quickstart/models/distilled-seed0 photo.jpg
    limbeck predict runs/mine/models/distilled-seed0 photos/ more/*.png --top 1 --csv

    Of a folder, all images in it and below are taken. A file that cannot be read is told on stderr and passed over.
    Exit code 4: some files could not be read; 2: none could.
    """
    from limbeck.commands.predict import print_predictions

    raise typer.Exit(print_predictions(checkpoint, images, top=top, as_json=as_json, as_csv=as_csv, device=device))


@app.command(epilog=examples("views quickstart", "views my.yaml views.policy.name=randaugment --epoch 3"))
def views(
    recipe: Recipe,
    overrides: Overrides = None,
    out: Annotated[Path, typer.Option(help="The PNG to write.")] = Path("views.png"),
    arm: Annotated[str | None, typer.Option(help="Whose views, where arms have their own.")] = None,
    count: Annotated[int, typer.Option(min=1, max=32, help="How many images of the batch.")] = 10,
    epoch: Annotated[int, typer.Option(min=1, help="Which epoch.")] = 1,
    step: Annotated[int, typer.Option(min=1, help="Which step of it.")] = 1,
) -> None:
    """Draw a sheet of training images as models will see them: original, augmented, mixed."""
    from limbeck.commands.view_sheet import write_view_sheet
    from limbeck.recipes.load import load_recipe

    checked = load_recipe(recipe, overrides or ())
    said = write_view_sheet(checked, out, arm=arm, count=count, epoch=epoch - 1, step=step - 1)
    print("\n".join(said))


@app.command(name="list", epilog=examples("list models", "list recipes"))
def list_(room: Annotated[str, typer.Argument(help="losses, models, data or recipes.")]) -> None:
    """List losses, models, data sources or recipes, with their options."""
    from limbeck.commands.catalogue import listing
    from limbeck.console.terminal import width_of

    print("\n".join(listing(room, width_of(sys.stdout))))


@app.command()
def doctor() -> None:
    """Say what there is on this machine: versions, device, precision, data, disk."""
    from limbeck.commands.doctor import examine

    print("\n".join(f"{what:<26}{value}" for what, value in examine()))


@app.command(epilog=examples("new quickstart", "new quickstart --to my.yaml"))
def new(
    name: Annotated[str, typer.Argument(help="The name of a shipped recipe (see `limbeck list recipes`).")],
    to: Annotated[Path | None, typer.Option(help="The file to write (default: NAME.yaml here).")] = None,
) -> None:
    """Copy a shipped recipe here, to edit."""
    from limbeck.commands.catalogue import copy_shipped

    print(copy_shipped(name, to))


@app.command(epilog=examples("cache", "cache --clean"))
def cache(
    clean: Annotated[bool, typer.Option("--clean", help="Remove all decoded images and all stored answers.")] = False,
) -> None:
    """Say where decoded images and teachers' stored answers lie and how large they are."""
    from limbeck.data import cache
    from limbeck.training.outputs_bank import bank as outputs_bank

    if clean:
        for room in (cache, outputs_bank):
            print(f"{room.clean() / 2**20:,.1f} MB freed in {room.location()}")
        return
    print(f"{cache.location()}: {cache.size() / 2**20:,.1f} MB")
    for entry in cache.entries():
        print(f"  {entry.size / 2**20:>10,.1f} MB  {entry.images:>9,} images  {entry.source}")
    print(f"{outputs_bank.location()}: {outputs_bank.size() / 2**20:,.1f} MB")
    for bank in outputs_bank.entries():
        print(f"  {bank.size / 2**20:>10,.1f} MB  {bank.epochs:>9,} epochs  {bank.model}, {bank.fingerprint[:12]}")


@app.command(name="import", epilog=examples("import resnet20.pth --model resnet20 --dry-run", "import resnet20.pth"))
def import_(
    file: Annotated[Path, typer.Argument(help="A safetensors file, or a .pth/.pt/.bin of weights.")],
    options: Annotated[list[str] | None, typer.Argument(metavar="key=value …", help="Options of the model.")] = None,
    out: Annotated[Path | None, typer.Option(help="The file to write (default: FILE with .safetensors, here).")] = None,
    key: Annotated[str | None, typer.Option(help="Where in the file the weights are, as in state_dict.")] = None,
    model: Annotated[str | None, typer.Option(help="A model that the weights must fit, as in resnet20.")] = None,
    classes: Annotated[int | None, typer.Option(min=1, help="Its number of classes (default: the file's).")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what is in it and fits, and write nothing.")] = False,
) -> None:
    """Turn others' weights into safetensors, the one form that recipes read (`weights:`).

    \b
    limbeck import checkpoint.pth
    limbeck import checkpoint.pth --dry-run --model resnet20 --classes 100
    limbeck import dino.pth --key teacher --out teacher.safetensors
    """
    from limbeck.commands.import_weights import import_file

    said = import_file(file, out, key=key, model=model, options=options or (), classes=classes, dry_run=dry_run)
    print("\n".join(said))


@app.command(epilog=examples("schema > limbeck.schema.json"))
def schema() -> None:
    """Print the JSON Schema of recipes, for editors."""
    import json

    from limbeck.recipes.json_schema import json_schema

    print(json.dumps(json_schema(), indent=2))
