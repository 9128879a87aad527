"""``python -m tests.support.llama_child MODEL ALIAS CONTEXT_TOKENS``: a real llama.cpp server of two slots.

Prints its address, one line, when it serves; leaves when standard input ends. It stands apart from the embedded
server on purpose, so that the providers are tried against llama.cpp and not against our way of starting it.
"""

from __future__ import annotations

import os
import sys

import xllamacpp


def main(model: str, alias: str, context_tokens: int) -> None:
    words = os.dup(1)
    os.dup2(2, 1)  # llama.cpp logs to standard output
    params = xllamacpp.CommonParams()
    params.model.path = model
    params.model_alias = {alias}
    params.n_parallel = 2
    params.n_ctx = context_tokens * 2
    params.hostnames = ["127.0.0.1"]
    params.port = 0
    params.use_jinja = True
    params.cpuparams.n_threads = 1
    server = xllamacpp.Server(params)
    os.write(words, f"{server.listening_address}\n".encode())
    sys.stdin.read()
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
