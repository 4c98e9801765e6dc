#!/usr/bin/env python3
"""Writes tests/golden/: tiny seeded models and the logits that Hugging Face Transformers gives for them on the CPU in
float32, so that the tests need no Python.

    pip install -r tools/golden/requirements.txt && tools/golden/make_golden.py [--out FOLDER] [NAME ...]

A folder holds config.json and safetensors (one file or several with an index), for most also model.gguf with the same
weights, golden.json (tokens, cases, tolerance) and per case the logits, float32 [positions, vocab]. Before a fixture is
written it is examined: its logits must be well conditioned and every probe must move them far beyond the tolerance.
"""
import argparse
import copy
import dataclasses
import json
import pathlib
import shutil
import tempfile

import numpy as np
import safetensors.torch
import torch
import transformers
from transformers import AutoConfig, AutoModelForCausalLM, DynamicCache

import gguf_form
import quantised_form
import weights
from fixtures import FIXTURES, NUM_TOKENS

DTYPES = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
MUST_MOVE = 50  # times the tolerance


def stored_tensors(fixture):
    """The tensors as files hold them: rounded to the type that is stored."""
    drawn = weights.draw(fixture)
    if not fixture.safetensors:
        drawn = gguf_form.quantised(fixture, drawn)
    return {name: torch.from_numpy(x).to(DTYPES[fixture.dtype] if fixture.safetensors else torch.float32)
            for name, x in drawn.items()}


def write_checkpoint(fixture, tensors, folder):
    dtype = {"F32": "float32", "F16": "float16", "BF16": "bfloat16"}[fixture.dtype]
    config = fixture.config | {"torch_dtype": dtype}
    if "rope_parameters" in config:  # in the form of transformers 5 these replace it
        config["dtype"] = config.pop("torch_dtype")
        config.pop("rope_theta")
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    if fixture.shards == 1:
        safetensors.torch.save_file(tensors, folder / "model.safetensors", {"format": "pt"})
        return
    names, index = list(tensors), {}
    for shard in range(fixture.shards):
        part = names[shard::fixture.shards]
        file = f"model-{shard + 1:05d}-of-{fixture.shards:05d}.safetensors"
        safetensors.torch.save_file({name: tensors[name] for name in part}, folder / file, {"format": "pt"})
        index |= {name: file for name in part}
    total = sum(x.numel() * x.element_size() for x in tensors.values())
    (folder / "model.safetensors.index.json").write_text(
        json.dumps({"metadata": {"total_size": total}, "weight_map": index}, indent=1, sort_keys=True) + "\n")


def load(folder, changes=None, dtype=torch.float32):
    """The folder's model; `changes` are made to a copy of its config.json."""
    values = json.loads((folder / "config.json").read_text()) | copy.deepcopy(changes or {})
    if values.get("rope_scaling", 0) is None and "rope_parameters" not in values:
        values.pop("rope_scaling")
    config = AutoConfig.for_model(**{k: v for k, v in values.items() if k != "torch_dtype"})
    model, info = AutoModelForCausalLM.from_pretrained(folder, config=config, dtype=dtype, attn_implementation="eager",
                                                       experts_implementation="eager", output_loading_info=True)
    wrong = [key for key in info["missing_keys"] | info["unexpected_keys"] if key != "lm_head.weight"]
    if wrong:
        raise SystemExit(f"{folder}: tensors that do not fit the architecture: {wrong}")
    return model.eval()


def logits_of(model, tokens, stepwise=False):
    with torch.no_grad():
        if not stepwise:
            return model(torch.tensor([tokens]), use_cache=False).logits[0].double().numpy()
        cache, rows = DynamicCache(config=model.config), []
        for token in tokens:
            rows.append(model(torch.tensor([[token]]), past_key_values=cache, use_cache=True).logits[0, -1])
        return torch.stack(rows).double().numpy()


def distance(a, reference):
    """Largest difference as a part of the reference's range."""
    return np.abs(a - reference).max() / (reference.max() - reference.min())


def router_gap(model, tokens, config):
    """Smallest distance between the last chosen expert's score and the next one's: rounding would decide a tie."""
    with torch.no_grad():
        scores = model(torch.tensor([tokens]), use_cache=False, output_router_logits=True).router_logits
    chosen = config["num_experts_per_tok"]
    gaps = []
    for layer in scores:
        ordered = layer.sort(descending=True).values
        gaps.append((ordered[:, chosen - 1] - ordered[:, chosen]).min().item())
    return min(gaps)


def examine(fixture, folder, tokens, case, reference):
    """Raises when the fixture is ill conditioned or blind."""
    steps = dict(stepwise=case.stepwise)
    # The rotary tables stay float32 in every dtype: this measures sums and products, not the tables.
    error = distance(logits_of(load(folder, dtype=torch.float64), tokens, **steps), reference)
    report = [f"f64 {error:.1e}"]
    if error > fixture.tolerance / 10:
        raise SystemExit(f"{fixture.name}: float64 differs by {error:.1e} of the range, too near the tolerance")
    swapped = list(tokens)
    swapped[10], swapped[11] = swapped[11], swapped[10]
    probes = {"positions 10 and 11 swapped": logits_of(load(folder), swapped, **steps)[12:]}
    if case.probed:
        probes |= {name: logits_of(load(folder, changes), tokens, **steps) for name, changes in fixture.probes.items()}
    for name, moved in probes.items():
        change = distance(moved, reference[-len(moved):])
        report.append(f"{name} {change:.1e}")
        if change < MUST_MOVE * min(fixture.tolerance, 1e-4):
            raise SystemExit(f"{fixture.name}/{case.name}: '{name}' moves the logits by only {change:.1e} of the range")
    if fixture.config.get("num_experts_per_tok"):
        gap = router_gap(load(folder), tokens, fixture.config)
        report.append(f"router gap {gap:.1e}")
        if gap < 1e-3:
            raise SystemExit(f"{fixture.name}: experts nearly tie ({gap:.1e}); choose another name, it is the seed")
    print(f"{fixture.name}/{case.name}: range {np.ptp(reference):.1f}, moved by: " + ", ".join(report), flush=True)


def write_plain(fixture, tensors, folder):
    """The same model, its matrices float32."""
    config = {key: value for key, value in fixture.config.items() if key != "quantization_config"}
    write_checkpoint(dataclasses.replace(fixture, config=config, dtype="F32"), tensors, folder)


def make(fixture, out):
    folder = out / fixture.name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    with tempfile.TemporaryDirectory() as plain:
        reference_folder = folder
        if "quantization_config" in fixture.config:
            tensors, meant = quantised_form.quantised(fixture, weights.draw(fixture))
            reference_folder = pathlib.Path(plain)
            write_plain(fixture, meant, reference_folder)
        else:
            tensors = stored_tensors(fixture)
        write_checkpoint(fixture, tensors, folder)
        finish(fixture, folder, reference_folder, tensors)


def finish(fixture, folder, reference_folder, tensors):
    if fixture.gguf:
        gguf_form.write(fixture, {name: x.float().numpy() for name, x in tensors.items()}, folder)
    rng = np.random.default_rng(7)
    tokens = [1] + rng.integers(3, fixture.config["vocab_size"], NUM_TOKENS - 1).tolist()
    cases = []
    for case in fixture.cases:
        reference = logits_of(load(reference_folder), tokens[:case.num_tokens], case.stepwise)
        examine(fixture, reference_folder, tokens[:case.num_tokens], case, reference)
        reference.astype("<f4").tofile(folder / f"{case.name}.logits")
        cases.append({"name": case.name, "num_tokens": case.num_tokens})
    if not fixture.safetensors:
        (folder / "model.safetensors").unlink()
        (folder / "config.json").unlink()
    checkpoints = ["."] * fixture.safetensors
    checkpoints += sorted(path.name for path in folder.glob("*.gguf"))[:1]
    golden = {"checkpoints": checkpoints, "vocab_size": fixture.config["vocab_size"], "tolerance": fixture.tolerance,
              "tokens": tokens, "cases": cases,
              "made_with": f"transformers {transformers.__version__}, torch {torch.__version__}, float32, CPU"}
    (folder / "golden.json").write_text(json.dumps(golden) + "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=pathlib.Path,
                        default=pathlib.Path(__file__).resolve().parents[2] / "tests" / "golden")
    parser.add_argument("names", nargs="*")
    args = parser.parse_args()
    transformers.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    torch.set_num_threads(1)
    for fixture in FIXTURES:
        if not args.names or fixture.name in args.names:
            make(fixture, args.out)


if __name__ == "__main__":
    main()
