"""Draw the pictures of `figures.md` from run directories: small PNGs of few colours, in `docs/figures/`.

    python docs/draw_figures.py runs/cifar10-lightweight-cnn=arms,loss runs/my-sweep=trials

Each argument is a run and the names of its figures. A name is that of a file (`per-class-distilled`) or the first
part of one; the picture is named after the figure's kind.
"""

from __future__ import annotations

import io
import sys
from pathlib import Path

from PIL import Image

from limbeck.report.figures.catalogue import FIGURES, draw_figures
from limbeck.report.run_data import read_run

FOLDER = Path(__file__).parent / "figures"
MAX_BYTES = 60_000


def small(content: bytes) -> bytes:
    """A PNG at half the resolution or less, with a palette, of at most 60 kB."""
    whole = Image.open(io.BytesIO(content)).convert("RGB")
    for share in (0.5, 0.45, 0.4, 0.35, 0.3):
        size = round(share * whole.width), round(share * whole.height)
        buffer = io.BytesIO()
        image = whole.resize(size, Image.Resampling.LANCZOS)
        image.quantize(128, dither=Image.Dither.NONE).save(buffer, "png", optimize=True)
        if len(buffer.getvalue()) <= MAX_BYTES:
            break
    return buffer.getvalue()


def main(arguments: list[str]) -> None:
    """Draw what the arguments name, as the module says."""
    FOLDER.mkdir(exist_ok=True)
    for argument in arguments:
        folder, _, names = argument.partition("=")
        record = read_run(Path(folder))
        for name in names.split(","):
            kind = max((one for one in FIGURES if name.startswith(one.name)), key=lambda one: len(one.name))
            drawn = draw_figures(record, kinds=[kind], formats=["png"])
            content = next(
                content for file, content in drawn.files.items() if file.startswith(name) or name == kind.name
            )
            picture = small(content)
            (FOLDER / f"{kind.name}.png").write_bytes(picture)
            print(f"{kind.name}.png: {len(picture):,} bytes, from {folder}")


if __name__ == "__main__":
    main(sys.argv[1:])
