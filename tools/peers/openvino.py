"""OpenVINO GenAI; models are converted by optimum-intel."""

import json
import os
import shutil

from peers.peer import output_of
from peers.worker_peer import WorkerPeer


def group_size(checkpoint):
    """The usual one, or the next that divides the rows."""
    with open(os.path.join(checkpoint, "config.json")) as file:
        config = json.load(file)
    return 128 if all(config[size] % 128 == 0 for size in ("hidden_size", "intermediate_size")) else 64


class OpenVino(WorkerPeer):
    name = "OpenVINO GenAI"
    package, worker = "openvino-genai", "openvino_worker.py"
    conversions = {"Q4_0": "int4", "Q4_1": "int4", "Q4_K_M": "int4", "Q8_0": "int8", "F16": "fp16", "BF16": "fp16"}
    variants = ["batching", "stateful"]
    environment = {"HF_HUB_OFFLINE": "1"}

    def venv_of(self, args):
        return args.openvino

    def description(self):
        return (f"{self.version('openvino-genai')} (optimum-intel {self.version('optimum-intel')}, int4 symmetric in "
                "groups of 128 or 64), default precision of KV and inference; for one sequence the better of continuous batching "
                "and the stateful pipeline")

    def convert(self, model, form, folder):
        checkpoint = folder + ".hf"
        self.write_checkpoint(model, checkpoint)
        flags = ["--weight-format", form]
        if form == "int4":
            flags += ["--sym", "--group-size", group_size(checkpoint), "--ratio", 1.0]
        output_of([os.path.join(self.venv, "bin", "optimum-cli"), "export", "openvino", "--model", checkpoint, "--task",
                   "text-generation-with-past", *flags, folder], environment=self.environment, log=folder + ".log")
        shutil.rmtree(checkpoint)
