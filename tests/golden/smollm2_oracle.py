"""What other implementations say about SmolLM2-135M-Instruct (Q4_1): written to smollm2.json.

    python3 tests/golden/smollm2_oracle.py llama MODEL.gguf      llama.cpp on the CPU   (needs llama-cpp-python)
    python3 tests/golden/smollm2_oracle.py float32 MODEL.gguf    the same weights widened to float32, every activation
                                                                 in float32 (needs transformers and gguf); run it second
    python3 tests/golden/smollm2_oracle.py speed MODEL.gguf      decode speed of llama.cpp, printed only

Perplexity, so that anyone can compute the same: the text is encoded without special tokens and cut into consecutive
windows of 512 tokens (a last one of at least 2 tokens counts as well). Each window is evaluated from an empty cache,
without a bos token. Every token of a window but its first is predicted; perplexity is exp of the mean of
-log softmax(logits)[token] over all of them, natural logarithm, float64.
"""

import ctypes
import hashlib
import json
import sys
import time
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent
RESULT = HERE / "smollm2.json"
TEXT = HERE / "text" / "persuasion.txt"
WINDOW = 512
GREEDY_TOKENS = 32
TOP1_TOKENS = 64

STRINGS = [
    "Hello, world!",
    " leading space",
    "trailing space ",
    "two  spaces,   three,    four",
    "\n\nlines\n\n\nand\ttabs\t\t",
    "don't can't we'll I'VE she'd",
    "1234567890 3.14159 1,000,000 0x1F",
    "def f(x):\n    return x ** 2  # square\n",
    "CamelCase snake_case kebab-case SHOUTING",
    "Ångström café naïve Zürich",
    "Привет, мир",
    "你好，世界。今天天气很好。",
    "こんにちは 世界",
    "مرحبا بالعالم",
    "नमस्ते दुनिया",
    "👍🏽 family: 👨‍👩‍👧‍👦 🇳🇴",
    "e\u0301 is not é; \u00a0no-break\u200bzero-width",
    "https://example.org/a/b?c=d&e=%20#frag",
    "<|im_start|>user\nnot special here<|im_end|>",
    "",
    " ",
    "a",
    "\u0000\u0001\u007f",
    "Pneumonoultramicroscopicsilicovolcanoconiosis",
]
PROMPTS = [
    "The capital of France is",
    "Once upon a time, in a small village by the sea,",
    "Write one sentence about the moon.",
]


# Shared by both implementations


def windows(tokens):
    cut = [tokens[i : i + WINDOW] for i in range(0, len(tokens), WINDOW)]
    return [window for window in cut if len(window) >= 2]


def perplexity(logits_of, tokens):
    """logits_of(ids) -> [len(ids), vocab], from an empty cache."""
    total, count = 0.0, 0
    for window in windows(tokens):
        logits = np.asarray(logits_of(window)[:-1], np.float64)
        peak = logits.max(axis=-1)
        log_sum = peak + np.log(np.exp(logits - peak[:, None]).sum(axis=-1))
        total += (log_sum - logits[np.arange(len(logits)), window[1:]]).sum()
        count += len(logits)
    return {"perplexity": float(np.exp(total / count)), "mean_nll": float(total / count), "predicted_tokens": count}


def greedy(logits_of, ids):
    """A continuation that end-of-text does not stop, and how far ahead each choice was."""
    ids, margins = list(ids), []
    for _ in range(GREEDY_TOKENS):
        last = np.asarray(logits_of(ids)[-1], np.float64)
        second, first = np.argsort(last)[-2:]
        margins.append(round(float(last[first] - last[second]), 4))
        ids.append(int(first))
    return {"ids": ids[-GREEDY_TOKENS:], "margins": margins}


def top1(logits_of, ids):
    logits = np.asarray(logits_of(ids), np.float64)
    ranked = np.sort(logits, axis=-1)
    return {
        "ids": logits.argmax(axis=-1).tolist(),
        "logits": np.round(ranked[:, -1], 4).tolist(),
        "margins": np.round(ranked[:, -1] - ranked[:, -2], 4).tolist(),
    }


def answers(logits_of, cases, tokens):
    return perplexity(logits_of, tokens) | {
        "greedy": [greedy(logits_of, case["prompt_ids"]) for case in cases],
        "top1": top1(logits_of, tokens[:TOP1_TOKENS]),
    }


def sha256(path):
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def write_result(result):
    """JSON with one line for each list of numbers."""
    text = json.dumps(result, indent=1, ensure_ascii=True)
    lines, joined = text.split("\n"), []
    for line in lines:
        bare = line.strip().rstrip(",")
        is_number = bare.lstrip("-").replace(".", "", 1).replace("e-", "", 1).isdigit()
        closes_numbers = bare == "]" and joined and joined[-1][-1].isdigit()
        if joined and (is_number or closes_numbers) and (joined[-1][-1] in "[," or closes_numbers):
            joined[-1] += ("" if joined[-1][-1] == "[" or closes_numbers else " ") + line.strip()
        else:
            joined.append(line)
    RESULT.write_text("\n".join(joined) + "\n")


# llama.cpp


class Llama:
    """llama.cpp's C interface, as thin as it gets: one sequence, logits of every token."""

    def __init__(self, path, kv_type="f16", flash=True, threads=1):
        import llama_cpp

        self.lib = lib = llama_cpp
        self.log = lib.llama_log_callback(lambda level, text, data: None)
        lib.llama_log_set(self.log, ctypes.c_void_p(0))
        lib.llama_backend_init()
        model_parameters = lib.llama_model_default_params()
        model_parameters.n_gpu_layers = 0
        self.model = lib.llama_model_load_from_file(str(path).encode(), model_parameters)
        assert self.model, f"llama.cpp cannot load {path}"
        self.vocab = lib.llama_model_get_vocab(self.model)
        self.vocab_size = lib.llama_vocab_n_tokens(self.vocab)
        parameters = lib.llama_context_default_params()
        parameters.n_ctx = parameters.n_batch = parameters.n_ubatch = WINDOW
        parameters.n_threads = parameters.n_threads_batch = threads
        parameters.type_k = parameters.type_v = {"f16": lib.GGML_TYPE_F16, "f32": lib.GGML_TYPE_F32}[kv_type]
        parameters.flash_attn_type = int(flash)
        self.context = lib.llama_init_from_model(self.model, parameters)
        assert self.context, "llama.cpp refused the context"
        self.batch = lib.llama_batch_init(WINDOW, 0, 1)

    def clear(self):
        self.lib.llama_memory_clear(self.lib.llama_get_memory(self.context), True)

    def decode(self, ids, start=0):
        batch = self.batch
        batch.n_tokens = len(ids)
        for i, token in enumerate(ids):
            batch.token[i], batch.pos[i] = token, start + i
            batch.n_seq_id[i], batch.seq_id[i][0], batch.logits[i] = 1, 0, 1
        assert self.lib.llama_decode(self.context, batch) == 0

    def logits(self, ids):
        self.clear()
        self.decode(ids)
        rows = np.ctypeslib.as_array(self.lib.llama_get_logits(self.context), (len(ids), self.vocab_size))
        return rows.copy()

    def encode(self, text, special):
        data = text.encode()
        room = (self.lib.llama_token * (len(data) + 8))()
        count = self.lib.llama_tokenize(self.vocab, data, len(data), room, len(room), False, special)
        return list(room[:count])

    def metadata(self, key):
        room = ctypes.create_string_buffer(1 << 16)
        size = self.lib.llama_model_meta_val_str(self.model, key.encode(), room, len(room))
        return room.raw[:size].decode() if size >= 0 else None


def render(template, prompt):
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
    messages = [{"role": "user", "content": prompt}]
    return environment.from_string(template).render(messages=messages, add_generation_prompt=True)


def run_llama(path):
    model = Llama(path)
    template = model.metadata("tokenizer.chat_template")
    tokens = model.encode(TEXT.read_text(), special=False)
    cases = [{"text": prompt, "chat": False, "prompt_ids": model.encode(prompt, special=False)} for prompt in PROMPTS]
    for prompt in PROMPTS:
        rendered = render(template, prompt)
        ids = model.encode(rendered, special=True)
        cases.append({"text": prompt, "chat": True, "rendered": rendered, "prompt_ids": ids})
    result = {
        "model": {"name": "SmolLM2-135M-Instruct.Q4_1.gguf", "sha256": sha256(path)},
        "text": {"file": "text/" + TEXT.name, "sha256": sha256(TEXT), "tokens": len(tokens), "window": WINDOW},
        "text_ids": tokens,
        "strings": [{"text": text, "ids": model.encode(text, special=False)} for text in STRINGS],
        "chat_template": template,
        "prompts": cases,
        "top1_tokens": TOP1_TOKENS,
    }
    # With flash attention a cache in f32 gives the very bits of one in f16, so the second way is without it.
    for kv_type, flash in (("f16", True), ("f32", False)):
        model = Llama(path, kv_type, flash)
        attention = "flash attention" if flash else "plain attention"
        result[f"llama_cpp_kv_{kv_type}"] = {
            "implementation": f"llama-cpp-python {model.lib.__version__}, CPU, 1 thread, {kv_type} cache, {attention}",
            "system": model.lib.llama_print_system_info().decode().strip(" |"),
            "command": "smollm2_oracle.py llama SmolLM2-135M-Instruct.Q4_1.gguf",
        } | answers(model.logits, cases, tokens)
    write_result(result)


# Float32


def run_float32(path):
    import gguf
    import torch
    import transformers

    result = json.loads(RESULT.read_text())
    assert result["model"]["sha256"] == sha256(path), "not the model of smollm2.json"
    torch.set_grad_enabled(False)
    path = Path(path)
    model = transformers.AutoModelForCausalLM.from_pretrained(
        path.parent, gguf_file=path.name, dtype=torch.float32, attn_implementation="eager"
    ).eval()

    def logits_of(ids):
        return model(torch.tensor([ids]), use_cache=False).logits[0].numpy()

    tokens = result["text_ids"]
    versions = f"transformers {transformers.__version__}, torch {torch.__version__}"
    result["float32"] = {
        "implementation": f"{versions}, weights widened to float32, eager attention, CPU",
        "command": "smollm2_oracle.py float32 SmolLM2-135M-Instruct.Q4_1.gguf",
    } | answers(logits_of, result["prompts"], tokens)
    write_result(result)


# Speed


def run_speed(path, prompt=8, generate=128, repeats=3):
    for threads in (1, 2):
        model = Llama(path, threads=threads)
        speeds = []
        for _ in range(repeats):
            model.clear()
            model.decode(list(range(100, 100 + prompt)))
            model.lib.llama_synchronize(model.context)
            start = time.perf_counter()
            for position in range(prompt, prompt + generate):
                model.decode([1000 + position], position)
                model.lib.llama_synchronize(model.context)
            speeds.append(generate / (time.perf_counter() - start))
        print(f"{threads} threads: {np.median(speeds):.1f} tokens/s  (runs: {', '.join(f'{s:.1f}' for s in speeds)})")


if __name__ == "__main__":
    action, model_path = sys.argv[1:]
    {"llama": run_llama, "float32": run_float32, "speed": run_speed}[action](model_path)
