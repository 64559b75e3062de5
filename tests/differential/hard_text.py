#!/usr/bin/env python3
"""Hard text through tokenizers and through Briquette: the ids have to be the same.

    hard_text.py TOKENIZER.json … [--seed N] [--lines N] [--briquette PROGRAM]
    hard_text.py --write-samples                               hard_lines.json anew, for the ordinary tests

README.md has the packages that it needs. For each tokenizer a model of one tiny layer is packed around it, and
`briquette tokenize --special` encodes the text; of a piece that differs the first line that does so alone is printed.
"""

import argparse
import json
import random
import tempfile
from pathlib import Path

import numpy as np
import tokenizers
from safetensors.numpy import save_file
from tokenizers import Tokenizer

import program

HERE = Path(__file__).resolve().parent
SAMPLES = HERE / "hard_lines.json"
GOLDEN = HERE.parent / "golden"
SAMPLE_TOKENIZERS = ["tiny-llama", "tiny-qwen3moe", "tiny-v2", "tiny-v3"]
# Characters of text that are encoded at once.
PIECE = 20_000

SCRIPTS = [
    (0x61, 0x7A), (0x41, 0x5A), (0x30, 0x39), (0x21, 0x2F), (0xC0, 0x24F), (0x370, 0x3FF), (0x400, 0x4FF),
    (0x530, 0x58F), (0x590, 0x5FF), (0x600, 0x6FF), (0x900, 0x97F), (0xE00, 0xE7F), (0x1100, 0x11FF),
    (0x1E00, 0x1EFF), (0x1F00, 0x1FFF), (0x2010, 0x206F), (0x20A0, 0x20CF), (0x2100, 0x214F), (0x2150, 0x218F),
    (0x2190, 0x22FF), (0x3000, 0x303F), (0x3040, 0x30FF), (0x4E00, 0x9FFF), (0xAC00, 0xD7A3), (0xFF00, 0xFFEF),
    (0x10400, 0x1044F), (0x1D400, 0x1D7FF), (0x1F300, 0x1FAFF), (0x20000, 0x2A6DF), (0xE000, 0xE0FF),
]
SPACES = [" ", "  ", "\t", "\n", "\r\n", "\r", "\n\n\n", "\u00a0", "\u2003", "\u3000", "\u2028", "\u200b", "\ufeff", "\x0b", "\x85"]
MARKS = ["\u0301", "\u0308", "\u0327", "\u3099", "\u093c", "\u05b0", "\u20dd", "\ufe0f", "\u200d", "\u0345"]
PHRASES = [
    "don't", "I'LL", "we’re", "it'S", "'ſ", "x'd've", "<|im_start|>", "<|im", "</think>", "<answer>", "<|bos|>x",
    "0123456789", "١٢٣٤٥", "１２３", "½²Ⅷ", "3.14159", "1,000,000", "0x1F", "…", "——", "!?!?", "://", "*/", "{{}}",
    "ÅÅÅ", "ﬁﬂ", "ǅǈ", "İı", "ẞß", "Ωω", "e\u0301e\u0301", "한국어", "ᄒ\u1161ᆫ", "日本語の文", "ไทยแลนด์", "עִבְרִית", "नमस्ते",
    "👩‍👩‍👧‍👦", "🏳️‍🌈", "🇩🇪🇫🇷", "𝕳𝖊𝖑𝖑𝖔", "def f(x):\n    return x\n", "SELECT * FROM t;", "C:\\dir\\", "a_b-c.d/e",
]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tokenizers", nargs="*", type=Path, metavar="TOKENIZER.json")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--lines", type=int, default=5000)
    parser.add_argument("--write-samples", action="store_true")
    program.add_option(parser)
    arguments = parser.parse_args()
    if arguments.write_samples:
        write_samples()
        return
    if not arguments.tokenizers:
        parser.error("give one tokenizer.json or more")
    briquette = program.Briquette(arguments.briquette)
    lines = hard_lines(random.Random(arguments.seed), arguments.lines)
    failures = 0
    for path in arguments.tokenizers:
        with tempfile.TemporaryDirectory() as scratch:
            found = compare(briquette, path, lines, Path(scratch))
        failures += found
        print(f"{path}: {len(lines)} lines, " + (f"{found} pieces differ" if found else "the same ids"))
    program.finish(failures)


def hard_lines(draw, count):
    """Lines of words from one script or mixed ones, with marks, odd spaces and phrases that have broken tokenizers."""
    return ["".join(part(draw) for _ in range(draw.randrange(1, 12))) for _ in range(count)]


def part(draw):
    kind = draw.random()
    if kind < 0.2:
        return draw.choice(SPACES)
    if kind < 0.45:
        return draw.choice(PHRASES)
    first, last = draw.choice(SCRIPTS)
    word = [chr(draw.randint(first, last)) for _ in range(draw.randrange(1, 8))]
    if draw.random() < 0.25:
        word.insert(draw.randrange(len(word) + 1), draw.choice(MARKS))
    return ("" if draw.random() < 0.4 else " ") + "".join(word)


def compare(briquette, path, lines, scratch):
    """How many pieces of the text have other ids."""
    tokenizer = Tokenizer.from_file(str(path))
    briq = packed(briquette, path, tokenizer, scratch)

    def differ(text):
        ours = json.loads(briquette("tokenize", briq, "--special", "--json", "--", text))["ids"]
        return ours != tokenizer.encode(text, add_special_tokens=False).ids

    differing = 0
    for piece in pieces(lines):
        if differ("\n".join(piece)):
            differing += 1
            alone = next((line for line in piece if line and differ(line)), None)
            print(f"  differs: {alone!r}" if alone else f"  differs, but no line alone: {piece[0]!r} …")
    return differing


def pieces(lines):
    piece, size = [], 0
    for line in lines:
        piece.append(line)
        size += len(line)
        if size >= PIECE:
            yield piece
            piece, size = [], 0
    if piece:
        yield piece


def packed(briquette, path, tokenizer, scratch):
    """A briquette with this tokenizer, and a model that is only as large as it must be."""
    folder = scratch / "model"
    folder.mkdir()
    vocabulary = 1 + max(tokenizer.get_vocab(with_added_tokens=True).values())
    config = dict(
        architectures=["LlamaForCausalLM"], vocab_size=vocabulary, hidden_size=2, intermediate_size=2,
        num_hidden_layers=1, num_attention_heads=1, tie_word_embeddings=True,
    )
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "tokenizer.json").write_bytes(path.read_bytes())
    ones, square = np.ones(2, np.float32), np.ones((2, 2), np.float32)
    layer = "model.layers.0."
    tensors = {layer + f"{norm}_layernorm.weight": ones for norm in ("input", "post_attention")}
    tensors |= {layer + f"self_attn.{name}_proj.weight": square for name in "qkvo"}
    tensors |= {layer + f"mlp.{name}_proj.weight": square for name in ("gate", "up", "down")}
    tensors |= {"model.norm.weight": ones, "model.embed_tokens.weight": np.ones((vocabulary, 2), np.float32)}
    save_file({name: tensor.copy() for name, tensor in tensors.items()}, folder / "model.safetensors")
    briquette("pack", folder, "-o", scratch / "model.briq", "--weights", "f16")
    return scratch / "model.briq"


def write_samples():
    lines = hard_lines(random.Random(20261129), 200)
    ids = {}
    for name in SAMPLE_TOKENIZERS:
        tokenizer = Tokenizer.from_file(str(GOLDEN / name / "tokenizer.json"))
        ids[name] = [tokenizer.encode(line, add_special_tokens=False).ids for line in lines]
    made = f"hard_text.py --write-samples, tokenizers {tokenizers.__version__}"
    entries = [f'  {json.dumps(line)}' for line in lines]
    texts = [f'  "{name}": {json.dumps(of, separators=(",", ":"))}' for name, of in ids.items()]
    SAMPLES.write_text(
        '{"made": %s,\n "lines": [\n%s\n ],\n "ids": {\n%s\n }}\n' % (json.dumps(made), ",\n".join(entries), ",\n".join(texts))
    )
    print(f"{SAMPLES.name}: {len(lines)} lines, {SAMPLES.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
