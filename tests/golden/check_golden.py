"""Compares every golden folder with the float64 implementation in decoder.py.

    python3 tests/golden/check_golden.py [FOLDER ...]

Needs numpy only. Prints, for each folder, the largest difference of a logit, the standard deviation of the logits, the
closest routing decision over all prompts and their continuations, and the closest greedy choice. Fails if a logit
differs by more than TOLERANCE or the greedy continuation is another one.
"""

import sys
from pathlib import Path

import numpy as np

from checkpoint import read_config, read_safetensors, read_tensors, reference_path
from decoder import Decoder

HERE = Path(__file__).parent
TOLERANCE = 1e-4


def check(folder, config_name="config.json"):
    """One line of figures about a folder, and whether it passed."""
    reference = read_safetensors(reference_path(folder))
    decoder = Decoder(read_config(folder, config_name), read_tensors(folder))
    difference, greedy_margin, same_greedy, deviations = 0.0, np.inf, True, []
    for i in range(sum(name.startswith("ids_") for name in reference)):
        ids, greedy = reference[f"ids_{i}"], reference[f"greedy_{i}"]
        # The continuation's own logits predict every later token, so one pass checks prompt and continuation.
        logits = decoder.logits(np.concatenate([ids, greedy]))
        expected = reference[f"logits_{i}"]
        difference = max(difference, np.abs(logits[: len(ids)] - expected).max())
        tail = logits[len(ids) - 1 : -1]
        same_greedy &= bool((tail.argmax(axis=-1) == greedy).all())
        best = np.sort(tail, axis=-1)
        margin = best[:, -1] - best[:, -2]
        same_greedy &= bool(np.abs(margin - reference[f"greedy_margin_{i}"]).max() < TOLERANCE)
        greedy_margin = min(greedy_margin, margin.min())
        deviations.append(expected.std())
    line = (
        f"{folder.name:18} {config_name:22} max |dlogit| {difference:.1e}  std {np.mean(deviations):.2f}  "
        f"routing margin {decoder.routing_margin:.1e}  greedy margin {greedy_margin:.1e}"
    )
    return line, same_greedy and difference < TOLERANCE


def main():
    folders = [Path(name) for name in sys.argv[1:]] or sorted(path.parent for path in HERE.glob("*/config.json"))
    failures = 0
    for folder in folders:
        for config_name in ("config.json", "config.published.json"):
            if (folder / config_name).exists():
                line, good = check(folder, config_name)
                print(line, "" if good else " FAILED")
                failures += not good
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
