"""Gives a golden folder's multi-token-prediction layer weights that can be compared, and writes what it predicts.

    python3 tests/golden/make_mtp.py FOLDER

make_golden.py draws the extra layer of deviation 1, which saturates its attention: nothing could be told from it. This
draws it anew like the layers before it, and leaves every other tensor alone. `mtp.safetensors` then holds for each prompt
i of the reference `draft_logits_i` F32 [n - 1, vocab], computed in float64 by `Decoder.mtp_logits`; transformers has no
such layer. Needs numpy and safetensors.
"""

import json
import sys
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file

from checkpoint import read_config, read_tensors, reference_path
from decoder import Decoder

SEED = 12
ROUTING_MARGIN = 1e-4


def main():
    folder = Path(sys.argv[1])
    config = read_config(folder)
    prefix = f"model.layers.{config['num_hidden_layers']}."
    draw(folder, prefix, np.random.default_rng(SEED))
    reference = load_file(reference_path(folder))
    decoder = Decoder(config, read_tensors(folder))
    drafts = {}
    for i in range(sum(name.startswith("ids_") for name in reference)):
        drafts[f"draft_logits_{i}"] = decoder.mtp_logits(reference[f"ids_{i}"]).astype(np.float32)
    if decoder.routing_margin < ROUTING_MARGIN:
        sys.exit(f"a routing decision is too close: {decoder.routing_margin:.1e}; try another seed")
    save_file(drafts, folder / "mtp.safetensors")
    deviation = np.mean([logits.std() for logits in drafts.values()])
    print(f"{folder.name}: draft logit std {deviation:.2f}, routing margin {decoder.routing_margin:.1e}")


def draw(folder, prefix, generator):
    """Rewrites the layer's tensors in the folder's shards, but for those that it shares with the model."""
    index = json.loads((folder / "model.safetensors.index.json").read_text())
    for shard in sorted(set(index["weight_map"].values())):
        tensors = load_file(folder / shard)
        for name in sorted(tensors):
            if name.startswith(prefix) and "embed_tokens" not in name and "shared_head.head" not in name:
                tensors[name] = weights(name, tensors[name].shape, generator)
        save_file(tensors, folder / shard, metadata={"format": "pt"})


def weights(name, shape, generator):
    noise = generator.standard_normal(shape)
    if name.endswith("norm.weight"):
        noise = 1 + 0.15 * noise
    elif name.endswith("e_score_correction_bias"):
        noise *= 0.1
    elif name.endswith("bias"):
        noise *= 0.2
    else:
        noise *= shape[-1] ** -0.5
    return noise.astype(np.float32)


if __name__ == "__main__":
    main()
