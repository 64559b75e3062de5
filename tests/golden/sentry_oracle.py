"""What transformers says about models/sentry: writes tests/golden/sentry.json.

    python3 -m venv venv && venv/bin/pip install torch transformers
    venv/bin/python tests/golden/sentry_oracle.py

Also loads tokenizer and chat template through transformers: the ids are its own.
"""

import json
from pathlib import Path

import torch
import transformers

HERE = Path(__file__).resolve().parent
MODEL = HERE.parent.parent / "models" / "sentry"
PROMPTS = [
    "pump 17 max 12 tank 9 min 11 fan 8 max 8 alarms ?",
    "valve 3 min 10 motor 15 max 20 alarms ?",
    "oven 14 max 14 boiler 9 min 8 fridge 25 max 18 fan 12 min 13 alarms ?",
    "tank 20 max 13 pump 6 min 12 oven 9 max 10 motor 22 min 21 valve 16 max 9 alarms ?",
]


def main():
    tokenizer = transformers.AutoTokenizer.from_pretrained(MODEL)
    model = transformers.AutoModelForCausalLM.from_pretrained(MODEL, dtype=torch.float32)
    assert type(model).__name__ == "DeepseekV3ForCausalLM"
    prompts = []
    for text in PROMPTS:
        messages = [{"role": "user", "content": text}]
        rendered = tokenizer.apply_chat_template(messages, tokenize=False)
        ids = tokenizer(rendered, add_special_tokens=False)["input_ids"]
        all_ids = list(ids)
        with torch.no_grad():
            last_logits = model(torch.tensor([ids])).logits[0, -1]
            while all_ids[-1] != tokenizer.eos_token_id and len(all_ids) < 96:
                all_ids.append(int(model(torch.tensor([all_ids])).logits[0, -1].argmax()))
        prompts.append(
            {
                "text": text,
                "ids": ids,
                "last_logits": [round(x, 6) for x in last_logits.tolist()],
                "greedy": all_ids[len(ids) :],
                "greedy_text": tokenizer.decode(all_ids[len(ids) :]),
            }
        )
        print(prompts[-1]["greedy_text"])
    golden = {"transformers": transformers.__version__, "prompts": prompts}
    path = HERE / "sentry.json"
    path.write_text(json.dumps(golden, separators=(",", ":")) + "\n")


main()
