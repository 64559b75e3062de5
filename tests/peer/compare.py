"""Briquette and llama.cpp on the same weights, in turns. See README.md; `run` calls this.

    python compare.py --tool briquette --briq MODEL.briq --gguf MODEL.gguf [--rounds 5] [--threads 1,2] [--json FILE]
"""

import argparse
import ctypes
import json
import platform
import statistics
import subprocess
import sys
import time

# What is measured: prefill or decode, tokens, tokens already in the cache.
TESTS = [
    ("prefill", 128, 0),
    ("prefill", 512, 0),
    ("decode", 128, 0),
    ("decode", 32, 512),
    ("decode", 32, 1024),
    ("decode", 32, 2048),
]


def peak_memory():
    with open("/proc/self/status") as status:
        line = next(line for line in status if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


def run_llama(path, threads, kind, tokens, depth):
    """Seconds and peak memory of one run, in this process."""
    import llama_cpp

    llama_cpp.llama_backend_init()
    silence = llama_cpp.llama_log_callback(lambda *_: None)
    llama_cpp.llama_log_set(silence, ctypes.c_void_p(0))
    model = llama_cpp.llama_model_load_from_file(path.encode(), llama_cpp.llama_model_default_params())
    settings = llama_cpp.llama_context_default_params()
    settings.n_ctx = depth + tokens + 8
    settings.n_batch = 2048
    settings.n_threads = threads
    settings.n_threads_batch = threads
    settings.flash_attn_type = 1
    context = llama_cpp.llama_init_from_model(model, settings)
    vocabulary = llama_cpp.llama_vocab_n_tokens(llama_cpp.llama_model_get_vocab(model))

    def decode(first, count):
        numbers = [(i * 2_654_435_761) % 2**32 % vocabulary for i in range(first, first + count)]
        # The batch points to the ids: they have to live as long as it.
        ids = (llama_cpp.llama_token * count)(*numbers)
        status = llama_cpp.llama_decode(context, llama_cpp.llama_batch_get_one(ids, count))
        if status != 0:
            sys.exit(f"llama.cpp cannot decode {count} tokens: status {status}")

    # Its first call sets things up; the tool's own benchmark warms up as well.
    decode(0, 1)
    llama_cpp.llama_memory_clear(llama_cpp.llama_get_memory(context), True)
    if depth:
        decode(0, depth)
    start = time.perf_counter()
    if kind == "prefill":
        decode(depth, tokens)
    else:
        for i in range(tokens):
            decode(depth + i, 1)
    seconds = time.perf_counter() - start
    return {"speed": tokens / seconds, "memory": peak_memory()}


def llama(options, threads, test):
    command = [sys.executable, __file__, "--peer", options.gguf, str(threads), *map(str, test)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def briquette(options, threads, test):
    kind, tokens, depth = test
    counts = {"--prompt": 0, "--gen": 0, "--prompt" if kind == "prefill" else "--gen": tokens}
    command = [options.tool, "bench", options.briq, "--json", "--repeat", "1", "--pages", "huge"]
    command += ["--threads", str(threads), "--depth", str(depth)]
    for option, count in counts.items():
        command += [option, str(count)]
    report = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    result = report["results"][0]
    return {
        "speed": result["tokens_per_second"],
        "memory": report["peak_memory_bytes"],
        "limit": result["arithmetic_fraction" if kind == "prefill" else "bandwidth_fraction"],
    }


def measure(options):
    tests = [(threads, test) for threads in options.threads for test in TESTS]
    runs = {key: ([], []) for key in tests}
    for turn in range(options.rounds):
        for key in tests:
            # Who goes first changes from round to round.
            order = [(0, briquette), (1, llama)]
            for place, program in order if turn % 2 == 0 else reversed(order):
                runs[key][place].append(program(options, *key))
        print(f"round {turn + 1} of {options.rounds}", file=sys.stderr)
    return [row(key, *both) for key, both in runs.items()]


def row(key, ours, theirs):
    (threads, (kind, tokens, depth)) = key

    def summary(runs):
        speeds = sorted(run["speed"] for run in runs)
        return {
            "median": statistics.median(speeds),
            "slowest": speeds[0],
            "fastest": speeds[-1],
            "memory": max(run["memory"] for run in runs),
        }

    ours_summary, theirs_summary = summary(ours), summary(theirs)
    return {
        "test": kind,
        "tokens": tokens,
        "depth": depth,
        "threads": threads,
        "briquette": ours_summary,
        "llama.cpp": theirs_summary,
        "ratio": ours_summary["median"] / theirs_summary["median"],
        "memory_ratio": ours_summary["memory"] / theirs_summary["memory"],
        # Of the arithmetic ceiling (prefill) or of the read bandwidth (decode).
        "limit": statistics.median(run["limit"] for run in ours),
    }


def bits_per_weight(options):
    """Of the vocabulary's matrices (embedding and head) and of all others, in both files."""
    import gguf

    bits = {"vocabulary": 0, "others": 0}
    weights = dict(bits)
    for tensor in gguf.GGUFReader(options.gguf).tensors:
        # Norms, biases and routers are plain numbers in both files.
        if tensor.tensor_type.name != "F32":
            part = "vocabulary" if tensor.name in ("token_embd.weight", "output.weight") else "others"
            bits[part] += 8 * int(tensor.n_bytes)
            weights[part] += int(tensor.n_elements)
    theirs = {part: bits[part] / weights[part] for part in bits}

    command = [options.tool, "inspect", options.briq, "--json"]
    report = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    parts = report["parts"]
    others = [part for name, part in parts.items() if name not in ("embedding", "exact")]
    ours = {
        "vocabulary": 8 * parts["embedding"]["bytes"] / parts["embedding"]["parameters"],
        "others": 8 * sum(part["bytes"] for part in others) / sum(part["parameters"] for part in others),
    }
    return {"briquette": ours, "llama.cpp": theirs}


def processor():
    with open("/proc/cpuinfo") as lines:
        names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def show(rows):
    print("| test | depth | threads | Briquette tokens/s | llama.cpp tokens/s | ratio | of the limit | peak memory |")
    print("|---|---|---|---|---|---|---|---|")
    for row in rows:
        cells = [f"{row['test']} {row['tokens']}", str(row["depth"]), str(row["threads"])]
        for name in ("briquette", "llama.cpp"):
            one = row[name]
            cells.append(f"{one['median']:.0f} ({one['slowest']:.0f} … {one['fastest']:.0f})")
        cells.append(f"{row['ratio']:.2f}")
        cells.append(f"{100 * row['limit']:.0f} %")
        sizes = [row[name]["memory"] / 2**20 for name in ("briquette", "llama.cpp")]
        cells.append(f"{sizes[0]:.0f} / {sizes[1]:.0f} MiB, {row['memory_ratio']:.2f}")
        print("| " + " | ".join(cells) + " |")


def main():
    if sys.argv[1:2] == ["--peer"]:
        path, threads, kind, tokens, depth = sys.argv[2:]
        print(json.dumps(run_llama(path, int(threads), kind, int(tokens), int(depth))))
        return
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tool", required=True, help="the built briquette")
    parser.add_argument("--briq", required=True)
    parser.add_argument("--gguf", required=True)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=lambda text: [int(part) for part in text.split(",")], default=[1, 2])
    parser.add_argument("--json", help="also write the figures to this file")
    options = parser.parse_args()
    bits = bits_per_weight(options)
    rows = measure(options)
    show(rows)
    print("Bits a weight, embedding and head / all other matrices:")
    for program, parts in bits.items():
        print(f"{program}: {parts['vocabulary']:.2f} / {parts['others']:.2f}")
    if options.json:
        report = {"processor": processor(), "rounds": options.rounds, "bits": bits, "rows": rows}
        with open(options.json, "w") as file:
            json.dump(report, file, indent=1)


if __name__ == "__main__":
    main()
