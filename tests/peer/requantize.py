"""Requantises a GGUF file to Q4_0 with llama.cpp: python requantize.py IN.gguf OUT.gguf [--pure]

With --pure every matrix becomes Q4_0; without it llama.cpp leaves the head wider.
"""

import os
import sys

import llama_cpp

source, target, *options = sys.argv[1:]
settings = llama_cpp.llama_model_quantize_default_params()
settings.ftype = llama_cpp.LLAMA_FTYPE_MOSTLY_Q4_0
settings.allow_requantize = True
settings.pure = options == ["--pure"]
partial = target + ".partial"
if llama_cpp.llama_model_quantize(source.encode(), partial.encode(), settings) != 0:
    sys.exit(f"{source} cannot be requantised")
os.rename(partial, target)
