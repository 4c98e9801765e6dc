"""A program that is a Python library: a process of its environment keeps the model loaded and times what it is asked.

The process is the script WORKER with the model's folder as its argument; it reads lines {"streams", "prompt", "answer"}
and answers each with {"seconds"}: prompts of that many random tokens, that many tokens generated behind each of them.
"variant" says in which of several ways that the program has.
"""

import contextlib
import json
import os
import shutil
import subprocess

from peers.peer import Failed, Peer, output_of

# In a folder of their own: beside openvino.py they would import that instead of the package of this name.
WORKERS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "workers")


def more_than(before, seconds):
    if seconds <= before:
        raise Failed(f"{seconds:.2f} s for more work than {before:.2f} s were needed for: the machine is too busy to measure")
    return seconds - before


class WorkerPeer(Peer):
    package = ""  # whose presence and version count
    worker = ""
    variants = [""]  # for one sequence the best counts; several sequences take the first
    environment = {}

    def __init__(self, args):
        self.venv, self.threads = self.venv_of(args), args.threads
        self.process = None

    def is_wanted(self):
        return self.venv is not None

    def python(self):
        return os.path.join(self.venv, "bin", "python")

    def version(self, package):
        """Of a package in the environment; None if it has none."""
        script = f"import importlib.metadata as m; print(m.version('{package}'))"
        try:
            return output_of([self.python(), "-c", script]).strip()
        except Failed:
            return None

    def missing(self):
        if not os.access(self.python(), os.X_OK):
            return f"{self.venv} is no Python environment"
        return None if self.version(self.package) else f"{self.venv} has no {self.package}"

    def convert(self, model, form, folder):
        """Writes the model into the empty folder, in the form that the worker loads."""
        raise NotImplementedError

    def prepare(self, model):
        self.close()
        super().prepare(model)
        form = self.form(model.weights)
        self.folder = os.path.join(model.folder, f"{model.name}-{model.weights}.{self.package}-{form}")
        if os.path.isdir(self.folder):
            return
        unfinished = self.folder + ".unfinished"
        shutil.rmtree(unfinished, ignore_errors=True)
        os.makedirs(unfinished)
        self.convert(model, form, unfinished)
        os.rename(unfinished, self.folder)

    def write_checkpoint(self, model, folder, form="bf16"):
        output_of([self.python(), os.path.join(WORKERS, "checkpoint.py"), model.path, folder, "--weights", form])

    def start(self):
        self.log = self.folder + ".log"
        with open(self.log, "w") as log:
            self.process = subprocess.Popen(
                [self.python(), os.path.join(WORKERS, self.worker), self.folder, "--threads", str(self.threads)],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True,
                env={**os.environ, **self.environment})

    def seconds(self, variant, streams, prompt, answer):
        if self.process is None:
            self.start()
        question = json.dumps({"variant": variant, "streams": streams, "prompt": prompt, "answer": answer})
        try:
            self.process.stdin.write(question + "\n")
            self.process.stdin.flush()
            line = self.process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            self.close()
            with open(self.log) as log:
                raise Failed(f"{self.name} ended at {question}; {self.log} ends with\n{log.read()[-1500:]}")
        return json.loads(line)["seconds"]

    # A run that generates one token is a prefill; what further tokens take beside it is decoding.

    def prefill(self, tokens, depth=0):
        def rate(variant):
            before = self.seconds(variant, 1, depth, 1) if depth else 0
            return tokens / more_than(before, self.seconds(variant, 1, depth + tokens, 1))

        return max(map(rate, self.variants))

    def decode(self, streams, depth, tokens):
        def rate(variant):
            before = self.seconds(variant, streams, depth, 1)
            return streams * tokens / more_than(before, self.seconds(variant, streams, depth, 1 + tokens))

        return max(map(rate, self.variants if streams == 1 else self.variants[:1]))

    def close(self):
        if self.process is None:
            return
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process = None
