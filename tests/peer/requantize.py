"""Requantises a GGUF file to Q4_0 with llama.cpp: python requantize.py IN.gguf OUT.gguf"""

import os
import sys

import llama_cpp

source, target = sys.argv[1:]
settings = llama_cpp.llama_model_quantize_default_params()
settings.ftype = llama_cpp.LLAMA_FTYPE_MOSTLY_Q4_0
settings.allow_requantize = True
partial = target + ".partial"
if llama_cpp.llama_model_quantize(source.encode(), partial.encode(), settings) != 0:
    sys.exit(f"{source} cannot be requantised")
os.rename(partial, target)
