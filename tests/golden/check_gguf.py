"""Runs a GGUF file in llama.cpp on the prompts of a golden folder and prints how far its logits are from the reference.

    python3 tests/golden/check_gguf.py FOLDER FILE.gguf      (needs llama-cpp-python)
"""

import sys
from pathlib import Path

import numpy as np

from checkpoint import read_safetensors, reference_path
from smollm2_oracle import Llama


def main():
    folder, file = map(Path, sys.argv[1:])
    reference = read_safetensors(reference_path(folder))
    model = Llama(file, "f32", flash=False)
    differences, greedy = [], []
    for i in range(sum(name.startswith("ids_") for name in reference)):
        ids, continuation = reference[f"ids_{i}"].tolist(), reference[f"greedy_{i}"].tolist()
        logits = model.logits(ids + continuation)
        differences.append(np.abs(logits[: len(ids)] - reference[f"logits_{i}"]).max())
        greedy.append(int((logits[len(ids) - 1 : -1].argmax(axis=-1) == continuation).sum()))
    print(f"{file}: max |dlogit| {max(differences):.1e}, greedy tokens agreeing {greedy} of 32 each")


if __name__ == "__main__":
    main()
