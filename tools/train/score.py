"""What compressed models of the demo family have lost: a table of sizes, losses, divergences, exact answers.

    python score.py ORIGINAL "int4, rtn=FOLDER" "int4, trained=FOLDER" ... --quire build/release/bin/quire

ORIGINAL and the models are folders or GGUF files. Distributions are compared on held-out documents in float32, with the
weights as Quire reads them from the model's files; questions are answered by `quire bench batch` with the model as it is.
--doc and --table name the document and the place in it where the table belongs.
"""

import argparse
import json
import pathlib
import subprocess
import tempfile

import torch

from tables import replace
from target import Target, load_compressed  # noqa: I001 (it makes tools/demo_model known)
from heldout import EXACT, exact_question, held_out_documents, prompt_text

FIRST_SEED = 20_000  # held-out documents and questions that no other measurement uses


def size_of(model):
    """Bytes of its weights."""
    files = [model] if model.is_file() else model.glob("*.safetensors")
    return sum(file.stat().st_size for file in files)


@torch.no_grad()
def log_probabilities(model, documents):
    for ids in documents:
        yield model(ids[None, :-1])[0].log_softmax(-1)


def compare(model, original, documents):
    """Nats a token, KL from the original in nats a token, and the share of tokens with the same likeliest choice."""
    nats, divergence, same, tokens = 0.0, 0.0, 0, 0
    pairs = zip(documents, log_probabilities(original, documents), log_probabilities(model, documents))
    for ids, p, q in pairs:
        nats -= q.gather(1, ids[1:, None]).sum().item()
        divergence += (p.exp() * (p - q)).sum().item()
        same += int((p.argmax(-1) == q.argmax(-1)).sum())
        tokens += len(ids) - 1
    return nats / tokens, divergence / tokens, same / tokens


def share_answered(model, tokenizer, options, folder):
    """The share of questions that get the one right answer and end there."""
    asked = [exact_question(task, FIRST_SEED + i) for task in EXACT for i in range(options.questions)]
    prompts, results = folder / "prompts.jsonl", folder / "answers.jsonl"
    with prompts.open("w") as out:
        for messages, answer in asked:
            ids = tokenizer.encode(prompt_text(messages), add_special_tokens=False).ids
            room = len(tokenizer.encode(answer, add_special_tokens=False).ids) + 4
            out.write(json.dumps({"prompt": ids[-900:], "max_tokens": room, "temperature": 0}) + "\n")
    subprocess.run([options.quire, "bench", "batch", model, "--prompts", prompts, "--output", results,
                    "--threads", str(options.threads)], check=True, stdout=subprocess.DEVNULL)
    right = sum(line["text"] == asked[line["index"]][1] and line["finish_reason"] == "stop"
                for line in map(json.loads, results.open()))
    return right / len(asked)


def row_of(name, path, original, documents, options):
    with tempfile.TemporaryDirectory() as folder:
        model = load_compressed(path, options.quire, pathlib.Path(folder))
        nats, divergence, same = compare(model.model, original.model, documents)
        answered = share_answered(path, model.tokenizer, options, pathlib.Path(folder))
    parameters = sum(p.numel() for p in model.model.parameters())
    row = (f"| {name} | {parameters / 1e6:.2f} M | {size_of(path) / 1e6:.2f} MB | {nats:.4f} | {divergence:.4f} | "
           f"{same:.1%} | {answered:.1%} |")
    print(row, flush=True)
    return row


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("original", type=pathlib.Path)
    parser.add_argument("models", nargs="+", metavar="NAME=MODEL")
    parser.add_argument("--quire", required=True)
    parser.add_argument("--documents", type=int, default=200)
    parser.add_argument("--questions", type=int, default=12, help="of each task")
    parser.add_argument("--doc", type=pathlib.Path)
    parser.add_argument("--table", help="the name of its place in the document")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    original = Target(options.original)
    documents = [torch.tensor(ids) for _, ids in held_out_documents(original.tokenizer, FIRST_SEED, options.documents)]
    rows = ["| model | parameters | weights | nats a token | KL | same choice | exact answers |",
            "|---|---:|---:|---:|---:|---:|---:|"]
    for named in options.models:
        name, _, path = named.rpartition("=")
        rows.append(row_of(name, pathlib.Path(path), original, documents, options))
    print("\n".join(rows))
    if options.doc:
        options.doc.write_text(replace(options.doc.read_text(), options.table, "\n".join(rows)))


if __name__ == "__main__":
    main()
