"""The speeds beside llama.cpp as a chart, drawn from the table in README.md: what the one says, the other shows."""

import os

from svg import Picture

PICTURE = os.path.join(".github", "pictures", "ratios.svg")
HEIGHT = 26


def rows(table):
    """Name, threads and ratio of each row of the table's Markdown."""
    name = ""
    for line in table.splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if len(cells) < 5 or not cells[1].isdigit():
            continue
        name = cells[0] or name
        yield name, int(cells[1]), float(cells[4])


def chart(table):
    found = list(rows(table))
    scale = 410 / max(ratio for _, _, ratio in found)
    picture = Picture(880, 74 + HEIGHT * len(found), "Tokens per second, as multiples of llama.cpp's")
    picture.text(20, 28, "Tokens per second, as multiples of llama.cpp's", "strong")
    last, y = "", 48
    for name, threads, ratio in found:
        if name != last:
            picture.text(20, y + 14, name)
        picture.text(364, y + 14, f"{threads} thread" + "s" * (threads > 1), "quiet end")
        picture.bar(378, y, scale * ratio, 18)
        picture.text(386 + scale * ratio, y + 14, f"{ratio:.2f}")
        last, y = name, y + HEIGHT
    picture.line(378 + scale, 42, 378 + scale, y)
    picture.text(378 + scale, y + 14, "llama.cpp = 1", "quiet middle")
    return picture.source()
