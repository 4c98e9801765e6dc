"""llama.cpp and ik_llama.cpp, a fork of it with the same programs."""

import json
import os

from peers.peer import Failed, Peer, output_of

LONG = 1024  # positions from which on it matters how attention is computed


class Llama(Peer):
    name = "llama.cpp"
    # Of two settings the better one counts, where contexts are long.
    attention = [["-fa", "0"], ["-fa", "1"]]
    bench_flags, batched_flags, server_flags = [], [], []

    def __init__(self, args):
        self.folder, self.threads = self.folder_of(args), args.threads

    def folder_of(self, args):
        return args.llama

    def is_wanted(self):
        return self.folder is not None

    def program(self, name):
        return os.path.join(self.folder, name)

    def missing(self):
        lacking = [name for name in ("llama-bench", "llama-batched-bench") if not os.access(self.program(name), os.X_OK)]
        return f"{self.folder} has no {' and no '.join(lacking)}" if lacking else None

    def description(self):
        try:
            lines = output_of([self.program("llama-batched-bench"), "--version"], with_errors=True).splitlines()
        except Failed:  # older ones do not know the flag
            lines = []
        version = next((line.removeprefix("version: ") for line in lines if line.startswith("version:")), "version unknown")
        flags = " ".join(self.bench_flags + self.attention[0])
        others = ", ".join(f"`{' '.join(flags)}`" for flags in self.attention[1:])
        return f"{version}, `{flags}`" + (f" (long contexts: {others} where that is better)" if others else "")

    def bench(self, *flags):
        rows = json.loads(output_of([self.program("llama-bench"), "-m", self.model.path, "-r", 1, "-t", self.threads, "-o",
                                     "json", *self.bench_flags, *flags]))
        return rows[-1]["avg_ts"]

    def settings(self, positions):
        return self.attention if positions >= LONG else self.attention[:1]

    def prefill(self, tokens, depth=0):
        return max(self.bench(*flags, "-p", tokens, "-n", 0, *(["-d", depth] if depth else []))
                   for flags in self.settings(depth + tokens))

    def decode(self, streams, depth, tokens):
        if streams > 1:
            return self.batched(streams, depth, tokens)
        return max(self.bench(*flags, *self.decode_flags(depth, tokens)) for flags in self.settings(depth))

    def decode_flags(self, depth, tokens):
        return ["-p", 0, "-n", tokens, "-d", depth]

    def batched(self, streams, depth, tokens):
        text = output_of([self.program("llama-batched-bench"), "-m", self.model.path, "-c", streams * (depth + tokens + 8),
                          "-b", 2048, "-ub", 512, "-npp", depth, "-ntg", tokens, "-npl", streams, "-t", self.threads,
                          *self.batched_flags], with_errors=True)  # newer versions print the table as a log
        rows = [[cell.strip() for cell in line[line.index("|"):].split("|")[1:-1]] for line in text.splitlines()
                if line.count("|") > 5]
        if not rows or "S_TG t/s" not in rows[0]:
            raise Failed(f"llama-batched-bench printed no table:\n{text[-500:]}")
        return float(rows[-1][rows[0].index("S_TG t/s")])

    def has_server(self):
        return os.access(self.program("llama-server"), os.X_OK)

    def serve(self, port, load):
        command = [self.program("llama-server"), "-m", self.model.path, "--host", "127.0.0.1", "--port", port, "-t",
                   self.threads, "-np", load.clients, "-c", load.clients * load.context, *self.server_flags]
        return command + ([] if load.prefix_caching else ["--no-cache-prompt", "--cache-ram", "0"]), {}


class IkLlama(Llama):
    name = "ik_llama.cpp"
    attention = [["-fa", "1"]]
    bench_flags = ["-rtr", "1"]
    batched_flags = server_flags = ["-rtr", "-fa", "on"]

    def folder_of(self, args):
        return args.ik

    def decode_flags(self, depth, tokens):
        return ["-p", 0, "-n", 0, "-gp", f"{depth},{tokens}"]  # the generation behind a prompt, timed alone
