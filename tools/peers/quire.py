"""Quire itself, with its default settings; and once more with activations in bf16."""

import json
import os

from peers.peer import Peer, output_of


class Quire(Peer):
    name = "Quire"
    flags = []

    def __init__(self, args):
        self.program, self.threads = args.quire, args.threads
        self.args = args

    def missing(self):
        return None if os.access(self.program, os.X_OK) else f"{self.program} is no program"

    def description(self):
        return f"{output_of([self.program, '--version']).strip()}, {' '.join(self.flags) or 'default settings'}"

    def offline(self, *flags):
        rows = json.loads(output_of([self.program, "bench", "offline", self.model.path, "-r", 1, "-t", self.threads,
                                     "--json", *self.flags, *flags]))
        return rows[0]["median_tokens_per_second"]

    def prefill(self, tokens, depth=0):
        return self.offline("-p", tokens, "-n", 0, "-d", depth)

    def decode(self, streams, depth, tokens):
        return self.offline("-p", 0, "-n", tokens, "-d", depth, "--batch", streams)

    def has_server(self):
        return True

    def serve(self, port, load):
        command = [self.program, "serve", self.model.path, "--host", "127.0.0.1", "--port", port, "--no-webui",
                   "--threads", self.threads, "--max-num-seqs", max(32, load.clients), "--ctx-size", load.context,
                   *self.flags]
        if not load.prefix_caching:
            command += ["--no-prefix-caching"]
        if load.itl_target_ms:
            command += ["--itl-target-ms", load.itl_target_ms]
        return command, {}


class QuireBf16(Quire):
    name = "Quire, bf16 activations"
    flags = ["--activations", "bf16"]

    def is_wanted(self):
        return self.args.quire_bf16
