"""Writes the table of README.md and its chart from what compare.py measured.

    python readme.py README.md DS2.json SMOLLM2.json
    python readme.py README.md                          # only draws the chart anew, from the table that is there
"""

import json
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "pictures"))
import ratios

START = "<!-- written by tests/peer/run --write-readme -->"
END = "<!-- end of what it writes -->"
MODELS = ("ds2-edge", "SmolLM2-135M")
# Prefill or decode, tokens, depth: what the README shows of all that was measured.
SHOWN = [("prefill", 512, 0), ("decode", 128, 0), ("decode", 32, 2048)]


def speed(program):
    return f"{program['median']:.0f} ({program['slowest']:.0f} … {program['fastest']:.0f})"


def table_rows(model, report):
    for test, tokens, depth in SHOWN:
        rows = [row for row in report["rows"] if (row["test"], row["tokens"], row["depth"]) == (test, tokens, depth)]
        for i, row in enumerate(rows):
            name = f"{model}, {test} " + (f"at depth {depth}" if depth else str(tokens))
            cells = [name if i == 0 else "", str(row["threads"]), speed(row["briquette"]), speed(row["llama.cpp"])]
            cells += [f"{row['ratio']:.2f}", f"{100 * row['limit']:.0f} %", f"{row['memory_ratio']:.2f}"]
            yield "| " + " | ".join(cells) + " |"


def bits(model, report):
    parts = [report["bits"][program] for program in ("briquette", "llama.cpp")]
    numbers = [f"{part['vocabulary']:.1f} in embedding and head, {part['others']:.1f} in all else" for part in parts]
    same = numbers[0] == numbers[1]
    return f"{model}: {numbers[0]} (both)" if same else f"{model}: {numbers[0]} (llama.cpp: {numbers[1]})"


def block(reports):
    pairs = list(zip(MODELS, reports))
    yield "| model, test | threads | Briquette tokens/s | llama.cpp tokens/s | ratio | of the limit | peak memory |"
    yield "|---|---|---|---|---|---|---|"
    for model, report in pairs:
        yield from table_rows(model, report)
    yield ""
    rounds = min(report["rounds"] for report in reports)
    yield f"Medians of {rounds} rounds (slowest … fastest) on {reports[0]['processor']}; ratios of medians. The limit is"
    yield "arithmetic for prefill, read bandwidth for decode, as `briquette bench` measures them. Bits per weight:"
    yield "; ".join(bits(model, report) for model, report in pairs) + "."


def main():
    path, *reports = sys.argv[1:]
    reports = [json.load(open(report)) for report in reports]
    with open(path) as file:
        text = file.read()
    if text.count(START) != 1 or text.count(END) != 1:
        sys.exit(f"{path} has to have one line {START} and one line {END}: the table goes between them")
    before, rest = text.split(START)
    table, after = rest.split(END)
    if reports:
        table = "\n".join(["", "", *block(reports), "", ""])
        replace(path, before + START + table + END + after)
    replace(os.path.join(os.path.dirname(path), ratios.PICTURE), ratios.chart(table))


def replace(path, text):
    with open(path + ".partial", "w") as file:
        file.write(text)
    os.rename(path + ".partial", path)


main()
