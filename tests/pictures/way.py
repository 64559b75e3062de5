"""Draws the way from a checkpoint to three kinds of device, with the bytes that the tool reports: python way.py BRIQUETTE"""

import json
import os
import subprocess
import sys
import tempfile

from svg import Picture

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
CHECKPOINT = os.path.join(ROOT, "models", "sentry")
OPTIONS = ["--weights", "q4", "--kv", "q8", "--context", "128", "--batch", "1"]
PARTS = [("embedding", "embedding"), ("attention", "attention"), ("mlp", "dense MLP"), ("experts", "16 experts")]


def kib(count):
    return f"{count / 1024:.1f} KiB"


def measure(tool):
    """What `inspect` says of the model that ships here, packed for a microcontroller."""
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "sentry.briq")
        subprocess.run([tool, "pack", CHECKPOINT, "-o", path, *OPTIONS], check=True, capture_output=True)
        report = subprocess.run([tool, "inspect", path, "--json"], check=True, capture_output=True)
    return json.loads(report.stdout)


def draw(report, checkpoint_bytes):
    memory, touched = report["memory"], report["bytes_touched_per_token"]
    picture = Picture(880, 330, "From a checkpoint to three kinds of device, in bytes")
    picture.text(20, 28, "one checkpoint", "strong")
    picture.text(300, 28, "one file, packed once", "strong")
    picture.text(610, 28, "three kinds of device", "strong")

    picture.box(20, 44, 190, 92)
    picture.text(34, 70, "model.safetensors", "strong")
    picture.text(34, 92, kib(checkpoint_bytes))
    picture.text(34, 114, "f32: 32 bits per weight", "quiet")
    picture.arrow(210, 90, 300, 90)
    picture.text(255, 80, "pack", "middle")

    picture.box(300, 44, 230, 206)
    picture.text(314, 70, "sentry.briq", "strong")
    picture.text(516, 70, kib(report["file_bytes"]), "end")
    y = 86
    for key, name in PARTS:
        part = report["parts"][key]
        picture.bar(314, y, 202 * part["bytes"] / report["parts"]["experts"]["bytes"], 14)
        picture.text(314, y + 26, f"{name}, {'/'.join(part['formats'])}", "quiet")
        picture.text(516, y + 26, kib(part["bytes"]), "quiet end")
        y += 39

    devices = [
        ("Microcontroller", f"{kib(report['file_bytes'])} of flash, read in place", f"{kib(memory['arena_bytes'])} of RAM, no allocator"),
        ("Linux board", f"{kib(report['file_bytes'])} mapped, not loaded", f"{kib(memory['arena_bytes'])} of RAM for all the rest"),
        ("CUDA device", f"{kib(memory['resident_bytes'])} of weights, still packed", f"{kib(memory['kv_bytes'])} of compressed KV cache"),
    ]
    for i, (name, first, second) in enumerate(devices):
        y = 44 + 70 * i
        picture.box(610, y, 250, 62)
        picture.text(624, y + 19, name, "strong")
        picture.text(624, y + 37, first, "quiet")
        picture.text(624, y + 53, second, "quiet")
        picture.arrow(530, 147, 610, y + 31)

    picture.text(20, 284, f"A token reads {kib(touched['weights'])} of weights, of which {kib(touched['experts'])} are its own "
                          f"{report['config']['moe']['top_k']} of {report['config']['moe']['num_experts']} experts in each of two layers,")
    picture.text(20, 306, f"and adds {report['kv']['bytes_per_token']} bytes to a cache that attention reads as it is.")
    return picture.source()


def main():
    tool = sys.argv[1]
    checkpoint = os.path.getsize(os.path.join(CHECKPOINT, "model.safetensors"))
    with open(os.path.join(ROOT, ".github", "pictures", "way.svg"), "w") as file:
        file.write(draw(measure(tool), checkpoint))


main()
