#!/usr/bin/env python3
"""A short run of the load tool aiperf: all its requests must be answered, none with an error. check_load.py URL"""
import json
import pathlib
import subprocess
import sys
import tempfile

from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

NUM_REQUESTS = 60


def save_stand_in_tokenizer(folder):
    """The tool wants a tokenizer although the server's own counts are used; its builtin one would be downloaded."""
    words = Tokenizer(models.WordLevel({"[UNK]": 0}, unk_token="[UNK]"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=words, unk_token="[UNK]").save_pretrained(folder)


def run(folder, endpoint):
    results = folder / endpoint
    command = [pathlib.Path(sys.executable).with_name("aiperf"), "profile", "-m", "demo", "--url", sys.argv[1],
               "--endpoint-type", endpoint, "--streaming", "--concurrency", "8", "--request-count", str(NUM_REQUESTS),
               "--tokenizer", folder / "tokenizer", "--use-server-token-count", "--input-file", folder / "prompts.jsonl",
               "--custom-dataset-type", "single-turn", "--output-artifact-dir", results, "--ui", "none"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=180, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    figures = json.loads((results / "profile_export_aiperf.json").read_text())
    assert figures["request_count"]["avg"] == NUM_REQUESTS, figures["request_count"]
    assert not figures.get("error_summary") and not figures.get("error_request_count"), figures["error_summary"]
    print(f"aiperf {endpoint}: {NUM_REQUESTS} requests, no error, {figures['output_token_throughput']['avg']:.0f} tokens/s")


def main():
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        save_stand_in_tokenizer(folder / "tokenizer")
        lines = (json.dumps({"text": f"Once upon a time fox number {index} ran"}) for index in range(NUM_REQUESTS))
        (folder / "prompts.jsonl").write_text("\n".join(lines) + "\n")
        for endpoint in ("chat", "completions"):
            run(folder, endpoint)


main()
