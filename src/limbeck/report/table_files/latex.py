"""A table as LaTeX with booktabs. It compiles with pdfLaTeX whatever the names in it are."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

from .table import Column, Table

TEXT_WIDTH = 345.0
"""Points: the width of the text of the class `article`. Columns that do not fit continue in a further block below."""
SIZES = {"footnotesize": (4.3, 4), "scriptsize": (3.7, 3)}
"""By size of the font: points that a character takes, and points on each side of a column."""
MAX_FLOAT_ROWS = 45
"""A table with more rows does not fit on a page: it becomes a `longtable`, which breaks over pages."""
_COMMANDS = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"$<$", ">": r"$>$", "|": r"$|$", '"': "''",
    "[": "{[}", "]": "{]}", "*": "{*}", "`": r"\textasciigrave{}", "'": "{'}",
    "−": "$-$", "±": r"$\pm$", "×": r"$\times$", "→": r"$\rightarrow$", "·": r"$\cdot$", "–": "--", "—": "---",
    "…": r"\dots{}", "²": "$^2$", "³": "$^3$", "µ": r"$\mu$", "‖": r"$\|$", "\u00a0": "~",
    "ß": r"\ss{}", "ø": r"\o{}", "Ø": r"\O{}", "æ": r"\ae{}", "Æ": r"\AE{}", "œ": r"\oe{}", "Œ": r"\OE{}",
    "ł": r"\l{}", "Ł": r"\L{}", "ı": r"\i{}",
    "α": r"$\alpha$", "β": r"$\beta$", "γ": r"$\gamma$", "δ": r"$\delta$", "λ": r"$\lambda$", "μ": r"$\mu$",
    "σ": r"$\sigma$", "τ": r"$\tau$",
}  # fmt: skip
_ACCENTS = {
    "\u0300": "`", "\u0301": "'", "\u0302": "^", "\u0303": "~", "\u0304": "=", "\u0306": "u", "\u0307": ".",
    "\u0308": '"', "\u030a": "r", "\u030b": "H", "\u030c": "v", "\u0327": "c",
}  # fmt: skip


def latex(table: Table) -> str:
    """The table with its caption, as a float (`table`) or, if it is long, a `longtable`; empty without rows."""
    if not table.rows:
        return ""
    columns, lines = table.texts(narrow=True)
    caption = f"{escape(table.title)}." + (f" {escape(table.note)}" if table.note else "")
    size, blocks = _size(columns, lines)
    long = len(lines) * len(blocks) > MAX_FLOAT_ROWS
    font = f"\\{size}\\setlength{{\\tabcolsep}}{{{SIZES[size][1]}pt}}"
    head = [
        f"% {_comment(table.title)}",
        "% Needs \\usepackage{booktabs}" + (" and \\usepackage{longtable}." if long else "."),
    ]
    if long:
        label = f"{caption}\\label{{tab:{table.name}}}"
        body = [_long(columns, lines, block, label if number == 0 else "") for number, block in enumerate(blocks)]
        return "\n".join([*head, f"{{{font}", *body, "}", ""])
    body = "\n\\par\\medskip\n".join(_tabular(columns, lines, block) for block in blocks)
    return "\n".join(
        [
            *head, "\\begin{table}", f"\\centering{font}", f"\\caption{{{caption}}}", f"\\label{{tab:{table.name}}}",
            body, "\\end{table}", "",
        ]
    )  # fmt: skip


def escape(text: str) -> str:
    """Any text as LaTeX on one line. Characters that pdfLaTeX has no glyph for are named: `[U+4E2D]`."""
    out: list[str] = []
    for character in unicodedata.normalize("NFC", " ".join(text.split())):
        letter, *accents = unicodedata.normalize("NFD", character)
        if character in _COMMANDS:
            out.append(_COMMANDS[character])
        elif " " <= character < "\x7f":
            out.append(character)
        elif letter.isascii() and letter.isalpha() and len(accents) == 1 and accents[0] in _ACCENTS:
            out.append(f"\\{_ACCENTS[accents[0]]}{{{letter}}}")
        else:
            out.append(f"{{[}}U+{ord(character):04X}{{]}}")
    return "".join(out)


def _comment(text: str) -> str:
    return "".join(character if " " <= character < "\x7f" else "?" for character in " ".join(text.split()))


def _size(columns: Sequence[Column], lines: Sequence[Sequence[str]]) -> tuple[str, list[list[int]]]:
    """The largest size of the font at which a table is one block, and the blocks; else several of the largest size."""
    blocks = {size: _blocks(columns, lines, size) for size in SIZES}
    size = next((size for size, found in blocks.items() if len(found) == 1), next(iter(SIZES)))
    return size, blocks[size]


def _blocks(columns: Sequence[Column], lines: Sequence[Sequence[str]], size: str) -> list[list[int]]:
    """The numbers of the columns of each block; every block begins with the first column."""
    character, gap = SIZES[size]
    widths = [
        character * max(len(part) for part in (*_stacked(column.heading), *(line[i] for line in lines))) + 2 * gap
        for i, column in enumerate(columns)
    ]
    blocks = [[0]]
    for number in range(1, len(columns)):
        if len(blocks[-1]) > 1 and sum(widths[i] for i in blocks[-1]) + widths[number] > TEXT_WIDTH:
            blocks.append([0])
        blocks[-1].append(number)
    return blocks


def _stacked(heading: str) -> list[str]:
    """A heading as lines: each word of its name, then its unit."""
    name, bracket, unit = heading.partition(" (")
    return [*name.split(" "), f"({unit}"] if bracket else [heading]


def _heading(column: Column, place: str) -> str:
    parts = [escape(part) for part in _stacked(column.heading)]
    if len(parts) == 1:
        return parts[0]
    lines = " \\\\ ".join(parts)
    return f"\\begin{{tabular}}[b]{{@{{}}{place}@{{}}}}{lines}\\end{{tabular}}"


def _places(columns: Sequence[Column], block: Sequence[int]) -> str:
    return "".join("l" if columns[i].kind == "text" else "r" for i in block)


def _header(columns: Sequence[Column], block: Sequence[int]) -> str:
    heads = (_heading(columns[i], place) for i, place in zip(block, _places(columns, block), strict=True))
    return f"\\toprule\n{' & '.join(heads)} \\\\\n\\midrule"


def _body(lines: Sequence[Sequence[str]], block: Sequence[int]) -> str:
    return "\n".join(f"{' & '.join(escape(line[i]) for i in block)} \\\\" for line in lines)


def _tabular(columns: Sequence[Column], lines: Sequence[Sequence[str]], block: Sequence[int]) -> str:
    head, body = _header(columns, block), _body(lines, block)
    return f"\\begin{{tabular}}{{{_places(columns, block)}}}\n{head}\n{body}\n\\bottomrule\n\\end{{tabular}}"


def _long(columns: Sequence[Column], lines: Sequence[Sequence[str]], block: Sequence[int], caption: str) -> str:
    head, body = _header(columns, block), _body(lines, block)
    first = f"\\caption{{{caption}}} \\\\\n" if caption else ""
    return (
        f"\\begin{{longtable}}{{{_places(columns, block)}}}\n{first}{head}\n\\endfirsthead\n{head}\n\\endhead\n"
        f"\\bottomrule\n\\endfoot\n{body}\n\\end{{longtable}}"
    )
