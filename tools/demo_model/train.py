"""Trains one of the two models on the rows that prepare.py wrote, for a given number of minutes.

    python train.py WORK demo --minutes 60 --threads 2

Muon for the matrices inside the layers, AdamW for the embedding and the norms, bfloat16 arithmetic on float32 weights.
The learning rate falls linearly with the time used up, so a slow machine sees fewer tokens but a whole schedule. Every
two minutes WORK/<name>.pt is rewritten; when started again, the program continues from there.
"""

import argparse
import os
import pathlib
import time

import numpy as np
import torch
from torch.nn import functional as F

from llama import CONFIGS, Llama
from prepare import ROW_LENGTHS

BATCH_TOKENS = 4096
WARMUP_STEPS = 100
CHECKPOINT_SECONDS = 120
PEAK = {"demo": 3e-3, "small": 4e-3}


def load_rows(work):
    loaded = {}
    for length in ROW_LENGTHS:
        with np.load(work / f"rows-{length}.npz") as file:
            loaded[length] = {name: file[name] for name in file.files}
    return loaded


def batches(rows, epoch):
    """Yields (length, row numbers) over the whole set once, in an order fixed by the epoch."""
    rng = np.random.default_rng(epoch)
    plan = []
    for length, arrays in rows.items():
        order = rng.permutation(len(arrays["ids"]))
        size = BATCH_TOKENS // length
        plan += [(length, order[i:i + size]) for i in range(0, len(order) - size + 1, size)]
    rng.shuffle(plan)
    return plan


def tensors(arrays, chosen):
    return [torch.from_numpy(arrays[name][chosen].astype(np.int64))
            for name in ("ids", "targets", "weights", "documents")]


def loss_of(model, ids, targets, weights, documents):
    with torch.autocast("cpu", torch.bfloat16):
        logits = model(ids, documents)
    each = F.cross_entropy(logits.float().flatten(0, 1), targets.flatten(), reduction="none")
    weights = weights.flatten().float()
    return (each * weights).sum() / weights.sum()


def optimisers(model, peak):
    inner = [p for n, p in model.named_parameters() if p.dim() == 2 and "embed" not in n]
    outer = [p for n, p in model.named_parameters() if p.dim() == 1 or "embed" in n]
    return (torch.optim.Muon(inner, lr=peak, weight_decay=0.05, momentum=0.95, adjust_lr_fn="match_rms_adamw"),
            torch.optim.AdamW(outer, lr=peak, betas=(0.9, 0.98), weight_decay=0.0, fused=True))


class Run:
    """What a checkpoint holds: the model, both optimisers, and how far training has come."""

    def __init__(self, name, path, peak):
        torch.manual_seed(1)
        self.path = path
        self.model = Llama(CONFIGS[name])
        self.optimisers = optimisers(self.model, peak)
        self.progress = {"step": 0, "tokens": 0, "seconds": 0.0, "epoch": 0, "batch": 0}
        if path.exists():
            saved = torch.load(path)
            self.model.load_state_dict(saved["model"])
            for optimiser, state in zip(self.optimisers, saved["optimisers"]):
                optimiser.load_state_dict(state)
            self.progress = saved["progress"]

    def save(self):
        temporary = self.path.with_suffix(".tmp")
        torch.save({"model": self.model.state_dict(), "optimisers": [o.state_dict() for o in self.optimisers],
                    "progress": self.progress}, temporary)
        os.replace(temporary, self.path)

    def step(self, loss, rate):
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        for optimiser in self.optimisers:
            for group in optimiser.param_groups:
                group["lr"] = rate
            optimiser.step()
            optimiser.zero_grad()


def train(name, work, minutes, peak):
    rows = load_rows(work)
    run = Run(name, work / f"{name}.pt", peak)
    compiled = torch.compile(loss_of)
    progress, mean, saved = run.progress, {}, time.time()
    while progress["seconds"] < minutes * 60:
        plan = batches(rows, progress["epoch"])
        while progress["batch"] < len(plan) and progress["seconds"] < minutes * 60:
            began = time.time()
            length, chosen = plan[progress["batch"]]
            ids, targets, weights, documents = tensors(rows[length], chosen)
            loss = compiled(run.model, ids, targets, weights, documents if length == ROW_LENGTHS[0] else None)
            left = 1 - progress["seconds"] / (minutes * 60)
            run.step(loss, peak * left * min(1, (progress["step"] + 1) / WARMUP_STEPS))
            mean[length] = 0.95 * mean.get(length, loss.item()) + 0.05 * loss.item()
            seconds = time.time() - began
            progress["step"] += 1
            progress["batch"] += 1
            progress["tokens"] += int((weights > 0).sum())
            progress["seconds"] += min(seconds, 10)  # compiling is not training
            if progress["step"] % 20 == 0:
                means = "  ".join(f"{k}: {mean[k]:.3f}" for k in sorted(mean))
                print(f"step {progress['step']}  {progress['seconds'] / 60:.1f} min  {progress['tokens'] / 1e6:.2f} M"
                      f" tokens  {ids.numel() / seconds:.0f}/s  loss {means}", flush=True)
            if time.time() - saved > CHECKPOINT_SECONDS:
                run.save()
                saved = time.time()
        if progress["batch"] >= len(plan):
            progress["epoch"] += 1
            progress["batch"] = 0
    run.save()


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("work", type=pathlib.Path)
    parser.add_argument("name", choices=CONFIGS)
    parser.add_argument("--minutes", type=float, required=True)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--peak", type=float, help="peak learning rate")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    train(options.name, options.work, options.minutes, options.peak or PEAK[options.name])


if __name__ == "__main__":
    main()
