"""What a measured program is to the scripts: a Peer, given models one after the other."""

import dataclasses
import os
import re
import subprocess


class Failed(Exception):
    """A program did not do what was asked of it; the message says what it wrote last. Others can go on."""


@dataclasses.dataclass(frozen=True)
class Model:
    name: str  # "tinyllama-1.1b"
    weights: str  # the format of most of its matrices: "Q4_0"
    path: str  # a GGUF file
    folder: str  # for what programs convert it to


def model_of(path, folder):
    """The model of a file called NAME.FORMAT.gguf or NAME-FORMAT.gguf."""
    parts = re.match(r"(.*)[.-](.*)\.gguf$", os.path.basename(path))
    if not parts:
        raise SystemExit(f"{path} is not named NAME.FORMAT.gguf, as the format is needed")
    return Model(*parts.groups(), path, folder)


class Peer:
    """Tokens/s are those of all sequences together. Figures are of one run; who wants a median asks again."""

    name = ""
    # What the program runs instead of a GGUF file's format: {"Q4_0": "int4"}. None: it reads GGUF files.
    conversions = None

    def is_wanted(self):
        """False if the flags do not name it."""
        return True

    def missing(self):
        """Why it cannot run here, or None."""
        return None

    def description(self):
        """Version and settings, for the page."""
        raise NotImplementedError

    def form(self, weights):
        """The weights that it computes with where others take `weights`, or None if it has nothing that compares."""
        return weights if self.conversions is None else self.conversions.get(weights)

    def prepare(self, model):
        """The next model: converts it unless its folder has that already. Figures are of this one from now on."""
        self.model = model

    def prefill(self, tokens, depth=0):
        """Tokens/s of a prompt of that many tokens behind `depth` others."""
        raise NotImplementedError

    def decode(self, streams, depth, tokens):
        """Generated tokens/s of that many sequences, `tokens` each, behind prompts of `depth` tokens."""
        raise NotImplementedError

    def has_server(self):
        return False

    def serve(self, port, load):
        """The command of an OpenAI-compatible server of the prepared model on 127.0.0.1:port, and its environment."""
        raise NotImplementedError

    def close(self):
        """Ends what still runs."""


@dataclasses.dataclass(frozen=True)
class Load:
    """What a server must be ready for."""
    clients: int  # requests at once
    context: int  # longest sequence in tokens
    prefix_caching: bool = True
    itl_target_ms: float = 0  # the longest gap that prompts may add to a stream; 0: no limit


def output_of(command, with_errors=False, environment=None, log=None):
    """Standard output of a command that must succeed; all of it also goes to the file `log`."""
    command = [str(part) for part in command]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, errors="replace",
                          env={**os.environ, **(environment or {})})
    everything = done.stdout + done.stderr
    if log:
        with open(log, "a") as file:
            file.write(everything)
    if done.returncode != 0:
        last = "\n".join(everything.strip().splitlines()[-8:])
        raise Failed(f"this failed with {done.returncode}:\n  {' '.join(command)}\n{last}")
    return everything if with_errors else done.stdout
