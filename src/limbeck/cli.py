"""The command line. Each command parses its arguments and calls one function; torch is imported only where needed."""

from __future__ import annotations

import contextlib
import os
import shlex
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

app = typer.Typer(
    help="Knowledge distillation of image classifiers, with honest numbers.",
    epilog="Add --debug to any command to see the traceback of an error.",
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
Recipe = Annotated[
    str, typer.Argument(help="Recipe file, or the name of a shipped recipe (see `limbeck list recipes`).")
]
EXIT_CODES = (
    "Exit codes: 0: done, or stopped by SIGTERM with all progress saved; 2: user error, explained in one line; "
    "3: finished, but a learner failed (it or its teacher diverged); 130: stopped by Ctrl-C with all progress saved."
)
Overrides = Annotated[
    list[str] | None,
    typer.Argument(metavar="key=value …", help="Values that replace those of the recipe, such as views.batch_size=64."),
]


TestTime = Annotated[
    list[str] | None,
    typer.Option(
        "--test-time",
        metavar="WORD",
        help="Average probabilities over views of each image: flip, shifts=PIXELS, scales=0.9,1.1; repeat the option "
        "to combine them.",
    ),
]


def examples(*lines: str) -> str:
    """Example commands for the end of a command's help, one paragraph each."""
    return "".join(f"Example: limbeck {line}\n\n" for line in lines)


def commands() -> list[str]:
    """The names of all commands."""
    return [str(command.name or getattr(command.callback, "__name__", "")) for command in app.registered_commands]


@app.callback(invoke_without_command=True)
def top(version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False) -> None:
    """Knowledge distillation of image classifiers, with honest numbers."""
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
    name: Annotated[str | None, typer.Option(help="Name of the run directory (default: the recipe's name).")] = None,
    folder: Annotated[Path, typer.Option(help="Folder that holds the run directories.")] = Path("runs"),
    fresh: Annotated[bool, typer.Option("--fresh", help="Delete this run's results and start over.")] = False,
    extend: Annotated[
        bool,
        typer.Option("--extend", help="Keep what is there; add seeds, arms, epochs, test-time views or logs."),
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the plan and its estimated cost without training.")
    ] = False,
) -> None:
    """Train teachers, distil students, evaluate them and write a report.

    To continue an interrupted run, repeat the command.
    """
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
    from limbeck.experiment.results import failures
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
        code = _print_how_to_continue(stopped) if is_main_process() else 0
        exit_without_teardown(code)
        raise typer.Exit(code) from None
    if is_main_process():
        if done.was_finished:
            print(f"{done.folder}: already finished; use --fresh to rerun or --name NAME for a separate run\n")
        print("\n".join(summary_lines(done.result)))
        _print_report_path(done.report, done.folder / "models", done.result)
    code = _print_failures(failures(done.result)) if is_main_process() else 3 * bool(done.failed)
    exit_without_teardown(code)
    raise typer.Exit(code)


@app.command(epilog=examples("sweep cifar10-grid-small --dry-run", "sweep my.yaml 'sweep.seeds=[0, 1]'") + EXIT_CODES)
def sweep(
    recipe: Recipe,
    overrides: Overrides = None,
    name: Annotated[str | None, typer.Option(help="Name of the sweep directory (default: the recipe's name).")] = None,
    folder: Annotated[Path, typer.Option(help="Folder that holds the run directories.")] = Path("runs"),
    fresh: Annotated[bool, typer.Option("--fresh", help="Delete this sweep's results and start over.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the settings and their cohorts without training.")
    ] = False,
    ray: Annotated[str | None, typer.Option(help="Train on a Ray cluster: its address, or `local`.")] = None,
) -> None:
    """Try the settings of a recipe's `sweep` section, choose one on validation data and test it.

    To continue an interrupted sweep, repeat the command.

    Several processes that are started with the same directory share the work.
    """
    from limbeck.sweeps.sweep import describe_sweep
    from limbeck.sweeps.sweep import sweep as sweep_recipe

    if dry_run:
        print("\n".join(describe_sweep(recipe, overrides or ())))
        return
    from limbeck.commands.progress import RunDisplay
    from limbeck.experiment.results import failures
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
        raise typer.Exit(_print_how_to_continue(stopped)) from None
    if done.was_finished:
        print(f"{done.folder}: already finished; use --fresh to rerun or --name NAME for a separate run\n")
    print("\n".join([*sweep_summary_lines(done.result), "", *summary_lines(done.result["chosen"])]))
    _print_report_path(done.report, done.folder / "chosen" / "models", done.result["chosen"])
    raise typer.Exit(_print_failures(failures(done.result["chosen"])))


def _print_report_path(report: Path, models: Path, result: dict[str, Any]) -> None:
    """Print where the report is, and what to do with the best model."""
    from limbeck.report.summary import next_steps

    print("\n".join(["", f"report: {report}", *next_steps(models, result)]))


def _print_failures(failed: dict[str, str]) -> int:
    """Print which learners failed, after everything else; return the exit code."""
    if not failed:
        return 0
    sys.stdout.flush()
    learners = "; ".join(f"{learner} failed: {reason}" for learner, reason in failed.items())
    print(f"limbeck: finished, but {learners}", file=sys.stderr)
    return 3


def _print_how_to_continue(stopped: Any) -> int:
    """Print the command that continues the run; return the exit code."""
    again = shlex.join(["limbeck", *(word for word in sys.argv[1:] if word != "--fresh")])
    if "TORCHELASTIC_RUN_ID" in os.environ:
        again += " (under torchrun, as before)"
    with contextlib.suppress(OSError):  # stderr may be closed
        print(f"{stopped}; all progress is saved. To continue: {again}", file=sys.stderr)
    return 130 if stopped.signal_number == 2 else 0


@app.command(
    epilog=examples(
        "evaluate runs/quickstart/models/distilled-seed0",
        "evaluate runs/quickstart/models/distilled-seed0 --split validation",
        "evaluate runs/quickstart/models/distilled-seed0 folder:photos",
        "evaluate runs/quickstart/models/distilled-seed0 --against runs/quickstart/models/baseline-seed0",
        "evaluate runs/quickstart/models/distilled-seed0 --test-time shifts=1 --test-time scales=1.1",
        "evaluate my.yaml --arm teacher",
        "evaluate teacher.safetensors folder:photos --model timm:resnet18 image_size=224",
    )
)
def evaluate(
    checkpoint: Annotated[
        str, typer.Argument(help="Folder of a saved model; with --arm a recipe, with --model a safetensors file.")
    ],
    data: Annotated[
        str | None, typer.Argument(help="Data source (default: the data on which the model was trained).")
    ] = None,
    options: Annotated[
        list[str] | None, typer.Argument(metavar="key=value …", help="Options of the data source.")
    ] = None,
    split: Annotated[str, typer.Option(help="Split to evaluate: test, validation or train.")] = "test",
    against: Annotated[Path | None, typer.Option(help="Folder of another model, to compare image by image.")] = None,
    arm: Annotated[str | None, typer.Option(help="Arm of the recipe to evaluate; it must have `weights`.")] = None,
    model: Annotated[str | None, typer.Option(help="Model of the safetensors file, such as resnet20.")] = None,
    device: Annotated[str, typer.Option(help="Device: auto, cpu, cuda, cuda:0 or mps.")] = "auto",
    test_time: TestTime = None,
) -> None:
    """Evaluate a saved model or a weights file, alone or against another saved model.

    Images are decoded at the model's own size, and its training data are split as they were for training.

    For a weights file, these can be given as key=value:

    model.OPTION, normalise.mean, normalise.sd, classes, resolution, interpolation.
    """
    from limbeck.commands.evaluate import measure_saved

    found = measure_saved(
        checkpoint, data, options or (), split, against=against, arm=arm, model=model, device=device,
        test_time=test_time or (),
    )  # fmt: skip
    print("\n".join(f"{what:<28}{value}" for what, value in found))


@app.command(
    name="export",
    epilog=examples(
        "export runs/quickstart/models/distilled-seed0 --to onnx",
        "export runs/quickstart/models/distilled-seed0 --to onnx --to onnx-int8 --out device",
        "export runs/NAME/models/distilled-seed0 --to onnx-int8 --calibration percentile",
    ),
)
def export_(
    checkpoint: Annotated[Path, typer.Argument(help="Folder of a saved model, such as runs/NAME/models/ARM-seed0.")],
    data: Annotated[
        str | None, typer.Argument(help="Data source of the proof (default: the data on which the model was trained).")
    ] = None,
    options: Annotated[
        list[str] | None, typer.Argument(metavar="key=value …", help="Options of the data source.")
    ] = None,
    to: Annotated[
        list[str] | None,
        typer.Option(help="Format: onnx, onnx-int8, openvino, executorch, litert; repeat for several."),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the files (default: export/ in the model's).")] = None,
    layout: Annotated[str, typer.Option(help="Layout of the images: nhwc or nchw.")] = "nhwc",
    calibration: Annotated[
        str, typer.Option(help="Range of int8 activations: minmax, entropy, percentile.")
    ] = "minmax",
    calibration_images: Annotated[int, typer.Option(help="Training images that int8 is calibrated on.")] = 512,
    largest_drop: Annotated[float, typer.Option(help="Largest loss of top-1 by int8, a fraction.")] = 0.01,
    threads: Annotated[int, typer.Option(help="Threads of the timings.")] = 1,
    force: Annotated[bool, typer.Option("--force", help="Write a file even if it fails its proof.")] = False,
) -> None:
    """Write a model as files for devices, and prove that each answers as the model does.

    A file takes uint8 RGB images and returns probabilities and logits: resizing and normalisation are part of it.

    It is run by its own runtime on the whole test split, compared with the model and timed; FILE.json holds the proof.
    """
    from limbeck.commands.export_model import export_model

    for line in export_model(
        checkpoint, to or ["onnx"], data, options or (), out, layout=layout, calibration=calibration,
        calibration_images=calibration_images, largest_drop=largest_drop, threads=threads, force=force,
    ):  # fmt: skip
        print(line)


@app.command(
    epilog=examples(
        "bench runs/quickstart/models/distilled-seed0 runs/quickstart/models/distilled-seed0/export/student.onnx",
        "bench runs/quickstart/models/resnet-seed0 runs/quickstart/models/distilled-seed0 --batch 1 --batch 32",
    )
)
def bench(
    paths: Annotated[
        list[Path], typer.Argument(help="Folders of saved models and exported files; the first is the reference.")
    ],
    batch: Annotated[
        list[int] | None, typer.Option(help="Images at a time: 1 and 128 by default; repeat for more.")
    ] = None,
    threads: Annotated[int, typer.Option(help="Threads, and cores, of each.")] = 1,
    with_: Annotated[
        list[str] | None,
        typer.Option("--with", help="compiled: models compiled by torch too; openvino: ONNX files too."),
    ] = None,
    seconds: Annotated[float, typer.Option(min=0.1, help="Seconds for each batch size.")] = 5.0,
) -> None:
    """Compare the speed of models and exported files, in turns, in one process with a fixed number of threads."""
    from limbeck.deployment.bench import BATCHES, table
    from limbeck.deployment.bench import bench as measure_all

    rows = measure_all(paths, batches=batch or BATCHES, threads=threads, extras=with_ or (), seconds=seconds)
    print("\n".join(table(rows)))


@app.command(
    epilog=examples(
        "demo runs/quickstart/models/distilled-seed0",
        "demo runs/quickstart/models/distilled-seed0/export/student.onnx --out page --serve",
    )
)
def demo(
    exported: Annotated[
        Path, typer.Argument(help="ONNX file of `limbeck export`, or the folder of the exported model.")
    ],
    out: Annotated[Path | None, typer.Option(help="Folder to write (default: demo/ beside the file).")] = None,
    serve: Annotated[bool, typer.Option("--serve", help="Serve the folder on this machine until Ctrl-C.")] = False,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port of --serve; 0: any free one.")] = 8000,
) -> None:
    """Write a page in which the exported student runs in the browser, and nothing is sent anywhere.

    index.html needs a web server (--serve, or any host of static files); standalone.html is one file and needs none.
    """
    from limbeck.deployment.demo import demo as write_demo

    written = write_demo(exported, out)
    print(f"open in a browser: {written.standalone} ({written.standalone.stat().st_size / 1e6:.1f} MB, one file)")
    if serve:
        from limbeck.commands.serve import serve as serve_folder

        serve_folder(written.folder, port)


@app.command(epilog=examples("watch runs/quickstart", "watch runs/cifar10-grid-small --port 8080"))
def watch(
    runs: Annotated[list[Path], typer.Argument(help="Run or sweep directory; several are compared.")],
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port on 127.0.0.1; 0: any free one.")] = 8001,
) -> None:
    """Serve the page of a run on this machine, live while the run goes on: progress, time left, curves, failures.

    It only reads the directory. Ctrl-C ends it; the run goes on.
    """
    from limbeck.commands.watch import watch as watch_runs

    watch_runs(runs, port)


@app.command(
    epilog=examples(
        "report runs/quickstart",
        "report runs/quickstart --out thesis",
        "report runs/monday runs/tuesday --out compared",
    )
)
def report(
    runs: Annotated[list[Path], typer.Argument(help="Run or sweep directory; several make one comparison.")],
    out: Annotated[
        Path | None, typer.Option(help="Folder to write (default: the run's own; several runs need one).")
    ] = None,
) -> None:
    """Write every table and figure of a run, and its pages, from its directory alone.

    report.md and index.html; tables/ as Markdown, CSV and LaTeX; figures/ as PNG, SVG and PDF.

    Runs that are still going on give what there is so far. A directory that cannot be read is named and skipped.
    """
    from limbeck.commands.report import report as write_report

    done = write_report(runs, out)
    for line in [*(f"skipped: {line}" for line in done.skipped), *(f"left out: {line}" for line in done.problems)]:
        print(f"limbeck: {line}", file=sys.stderr)
    print(f"report: {done.page}")


@app.command(epilog=examples("card runs/quickstart/models/distilled-seed0 --out my-student --license mit"))
def card(
    checkpoint: Annotated[Path, typer.Argument(help="Folder of a saved model, such as runs/NAME/models/ARM-seed0.")],
    out: Annotated[Path | None, typer.Option(help="Folder to write (default: card/ in the model's folder).")] = None,
    license: Annotated[str | None, typer.Option(help="License identifier, such as mit.")] = None,
) -> None:
    """Write a model as the folder of a Hugging Face model repository, which `limbeck` commands read too."""
    from limbeck.deployment.card import card as write_card

    print(write_card(checkpoint, out, license=license))


@app.command(epilog=examples("check folder:photos", "check folder:photos --out damaged.txt", "check parquet:pets"))
def check(
    source: Annotated[str, typer.Argument(help="Data source, such as folder:photos.")],
    options: Annotated[
        list[str] | None, typer.Argument(metavar="key=value …", help="Options of the data source.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="File to write, listing every damaged image and the reason.")] = None,
) -> None:
    """Inspect every image of a data source: classes, sizes, duplicates and damaged images.

    Exit code 2: something is wrong with the data.
    """
    from limbeck.commands.check_data import check_source
    from limbeck.console.terminal import width_of

    found = check_source(source, options or (), out, width=width_of(sys.stdout) or 100)
    print("\n".join(found.lines))
    if not found.sound:
        raise typer.Exit(2)


@app.command(
    epilog=examples(
        "predict runs/quickstart/models/distilled-seed0 photo.png",
        "predict runs/quickstart/models/distilled-seed0 photos/ more/*.png --top 1 --csv",
    )
)
def predict(
    checkpoint: Annotated[
        Path, typer.Argument(help="Folder of a saved model, such as runs/NAME/models/distilled-seed0.")
    ],
    images: Annotated[list[Path], typer.Argument(help="Image files, and folders of image files.")],
    top: Annotated[int, typer.Option(min=1, help="Number of classes to print for each image.")] = 5,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON list.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV: file, rank, class, probability.")] = False,
    device: Annotated[str, typer.Option(help="Device: auto, cpu, cuda, cuda:0 or mps.")] = "auto",
    test_time: TestTime = None,
) -> None:
    """Print the most likely classes of images, with probabilities.

    Folders are searched for images recursively. A file that cannot be read is reported on stderr and skipped.

    Exit codes: 4: some files could not be read; 2: none could be read.
    """
    from limbeck.commands.predict import print_predictions

    code = print_predictions(
        checkpoint, images, top=top, as_json=as_json, as_csv=as_csv, device=device, test_time=test_time or ()
    )
    raise typer.Exit(code)


@app.command(
    epilog=examples(
        "fit resnet --megabytes 0.5",
        "fit wide_resnet --multiply-adds 40e6 --milliseconds 2 --image-size 64 --classes 100",
    )
)
def fit(
    family: Annotated[str, typer.Argument(help="Model family, such as resnet (see `limbeck list models`).")],
    megabytes: Annotated[float | None, typer.Option(help="Maximum size of parameters and buffers in MB.")] = None,
    milliseconds: Annotated[
        float | None, typer.Option(help="Maximum latency of one image on this machine (median).")
    ] = None,
    multiply_adds: Annotated[
        float | None, typer.Option(help="Maximum multiply-adds of one image, such as 40e6.")
    ] = None,
    image_size: Annotated[int, typer.Option(help="Side length of the images in pixels.")] = 32,
    classes: Annotated[int, typer.Option(help="Number of classes.")] = 10,
    channels: Annotated[int, typer.Option(help="Number of channels of the images.")] = 3,
    top: Annotated[int, typer.Option(help="Number of models to propose.")] = 5,
    device: Annotated[str, typer.Option(help="Device on which to measure: auto, cpu, cuda, cuda:0 or mps.")] = "auto",
) -> None:
    """Propose the largest models of a family that meet a budget; nothing is trained.

    Sizes and multiply-adds are counted. Latency is measured, from the largest model down, only if it is limited.
    """
    from limbeck.building.fit import fit as fit_family
    from limbeck.commands.fit import fit_lines
    from limbeck.console.terminal import width_of

    found = fit_family(
        family,
        megabytes=megabytes,
        milliseconds=milliseconds,
        multiply_adds=multiply_adds,
        image_size=image_size,
        classes=classes,
        channels=channels,
        top=top,
        device=device,
        say=lambda line: print(line, file=sys.stderr),
    )
    print("\n".join(fit_lines(found, device, width_of(sys.stdout))))


@app.command(epilog=examples("views quickstart", "views my.yaml views.policy.name=randaugment --epoch 3"))
def views(
    recipe: Recipe,
    overrides: Overrides = None,
    out: Annotated[Path, typer.Option(help="PNG file to write.")] = Path("views.png"),
    arm: Annotated[str | None, typer.Option(help="Arm whose views to draw, if arms have their own views.")] = None,
    count: Annotated[int, typer.Option(min=1, max=32, help="Number of images of the batch.")] = 10,
    epoch: Annotated[int, typer.Option(min=1, help="Epoch, from 1.")] = 1,
    step: Annotated[int, typer.Option(min=1, help="Step of the epoch, from 1.")] = 1,
) -> None:
    """Draw training images as models see them: original, augmented and mixed."""
    from limbeck.commands.view_sheet import write_view_sheet
    from limbeck.recipes.load import load_recipe

    checked = load_recipe(recipe, overrides or ())
    print("\n".join(write_view_sheet(checked, out, arm=arm, count=count, epoch=epoch - 1, step=step - 1)))


@app.command(name="list", epilog=examples("list models", "list recipes"))
def list_(category: Annotated[str, typer.Argument(help="One of losses, models, data, recipes.")]) -> None:
    """List the available losses, models, data sources or recipes, with their options."""
    from limbeck.commands.catalogue import listing
    from limbeck.console.terminal import width_of

    print("\n".join(listing(category, width_of(sys.stdout))))


@app.command(epilog=examples("doctor"))
def doctor() -> None:
    """Print what this machine offers: versions, device, precision, data and disk space."""
    from limbeck.commands.doctor import examine

    print("\n".join(f"{what:<26}{value}" for what, value in examine()))


@app.command(epilog=examples("new quickstart", "new quickstart --to my.yaml"))
def new(
    name: Annotated[str, typer.Argument(help="Name of a shipped recipe (see `limbeck list recipes`).")],
    to: Annotated[Path | None, typer.Option(help="File to write (default: NAME.yaml in the current folder).")] = None,
) -> None:
    """Copy a shipped recipe, to edit it."""
    from limbeck.commands.catalogue import copy_shipped

    print(copy_shipped(name, to))


@app.command(epilog=examples("cache", "cache --clean"))
def cache(
    clean: Annotated[
        bool, typer.Option("--clean", help="Delete all decoded images and all cached teacher logits.")
    ] = False,
) -> None:
    """Print the location and size of the caches of decoded images and of teacher logits."""
    from limbeck.data import cache
    from limbeck.training.outputs_bank import bank as outputs_bank

    if clean:
        for store in (cache, outputs_bank):
            print(f"{store.clean() / 2**20:,.1f} MB freed in {store.location()}")
        return
    print(f"{cache.location()}: {cache.size() / 2**20:,.1f} MB")
    for entry in cache.entries():
        print(f"  {entry.size / 2**20:>10,.1f} MB  {entry.images:>9,} images  {entry.source}")
    print(f"{outputs_bank.location()}: {outputs_bank.size() / 2**20:,.1f} MB")
    for bank in outputs_bank.entries():
        print(f"  {bank.size / 2**20:>10,.1f} MB  {bank.epochs:>9,} epochs  {bank.model}, {bank.fingerprint[:12]}")


@app.command(
    name="import",
    epilog=examples(
        "import resnet20.pth",
        "import resnet20.pth --dry-run --model resnet20 --classes 100",
        "import dino.pth --key teacher --out teacher.safetensors",
    ),
)
def import_(
    file: Annotated[Path, typer.Argument(help="Weights file: .safetensors, .pth, .pt or .bin.")],
    options: Annotated[list[str] | None, typer.Argument(metavar="key=value …", help="Options of the model.")] = None,
    out: Annotated[
        Path | None, typer.Option(help="File to write (default: FILE.safetensors in the current folder).")
    ] = None,
    key: Annotated[str | None, typer.Option(help="Key of the weights within the file, such as state_dict.")] = None,
    model: Annotated[str | None, typer.Option(help="Model that the weights must fit, such as resnet20.")] = None,
    classes: Annotated[
        int | None, typer.Option(min=1, help="Number of classes of that model (default: that of the file).")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print what the file contains and whether it fits, without writing.")
    ] = False,
) -> None:
    """Convert a weights file to safetensors, the only format that recipes read (`weights`)."""
    from limbeck.commands.import_weights import import_file

    lines = import_file(file, out, key=key, model=model, options=options or (), classes=classes, dry_run=dry_run)
    print("\n".join(lines))


@app.command(epilog=examples("schema > limbeck.schema.json"))
def schema() -> None:
    """Print the JSON Schema of recipes, for editors."""
    import json

    from limbeck.recipes.json_schema import json_schema

    print(json.dumps(json_schema(), indent=2))
