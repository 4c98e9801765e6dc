"""Trains Medusa heads (arXiv 2401.10774) for a frozen target.

    python medusa.py MODEL WORK OUT [--heads 5]

Head k guesses the token k + 1 places after the next one: lm_head(x + silu(W x)) of the last hidden state x, with the
target's own lm_head. OUT gets config.json and model.safetensors in the layout of vLLM's MedusaModel, and training.txt.
WORK holds the text of texts.py.
"""

import argparse
import json
import pathlib
import time

import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional as F

from acceptance import Tally, accepted_per_step
from corpus import load_texts
from target import LARGEST_WHOLE_VOCABULARY, Target

NEGATIVES = 1024  # tokens that are not in the text, drawn for each step where the vocabulary is large


class Heads(nn.Module):
    def __init__(self, hidden_size, num_heads):
        super().__init__()
        self.blocks = nn.ModuleList(nn.Linear(hidden_size, hidden_size, bias=False) for _ in range(num_heads))
        for block in self.blocks:
            nn.init.zeros_(block.weight)  # every head begins as the target's own guess

    def forward(self, hidden):  # [rows, hidden_size] -> a state for each head
        return [hidden + F.silu(block(hidden)) for block in self.blocks]


class Examples:
    """Rows of all answers end to end; from row i head k learns tokens[i + 1 + k], if that is of the same answer."""

    def __init__(self, texts, num_heads):
        self.hidden = torch.cat([t.answer_hidden() for t in texts])
        self.tokens = torch.cat([t.answer for t in texts] + [torch.zeros(num_heads + 1, dtype=torch.long)])
        self.left = torch.cat([torch.arange(len(t.answer) - 1, -1, -1) for t in texts])  # tokens after this row's own

    def labels(self, rows, head):
        """-100 where the answer has ended."""
        return torch.where(self.left[rows] > head, self.tokens[rows + 1 + head], -100)


class Vocabulary:
    """The tokens that a step's softmax runs over: all of them, or those of the text and a sample of the others."""

    def __init__(self, lm_head, tokens):
        self.lm_head, self.size = lm_head, len(lm_head)
        self.whole = self.size <= LARGEST_WHOLE_VOCABULARY
        self.known = torch.unique(tokens)
        is_other = torch.ones(self.size, dtype=torch.bool)
        is_other[self.known] = False
        self.others = is_other.nonzero()[:, 0]
        self.place = torch.full((self.size,), -1)
        self.place[self.known] = torch.arange(len(self.known))

    def draw(self):
        """Returns the rows of the output matrix, what to add to their logits, and the function that maps labels."""
        if self.whole:
            return self.lm_head, 0.0, lambda labels: labels
        sample = self.others[torch.randperm(len(self.others))[:NEGATIVES]]
        matrix = self.lm_head[torch.cat((self.known, sample))]
        bias = torch.zeros(len(matrix))
        bias[len(self.known):] = torch.tensor(len(self.others) / NEGATIVES).log()  # each stands for that many
        return matrix, bias, lambda labels: torch.where(labels < 0, labels, self.place[labels.clamp_min(0)])


def train(heads, lm_head, examples, epochs, peak, batch=256, log=print):
    optimiser = torch.optim.AdamW(heads.parameters(), lr=peak, betas=(0.9, 0.98), weight_decay=0.01)
    count, began = len(examples.hidden), time.time()
    steps = epochs * (count // batch)
    vocabulary = Vocabulary(lm_head, examples.tokens)
    for step in range(steps):
        if step % (count // batch) == 0:
            order, mean = torch.randperm(count), [0.0] * len(heads.blocks)
        rows = order[step % (count // batch) * batch:][:batch]
        matrix, bias, place = vocabulary.draw()
        losses = []
        for k, state in enumerate(heads(examples.hidden[rows])):
            logits = F.linear(state, matrix) + bias
            losses.append(F.cross_entropy(logits, place(examples.labels(rows, k))))
        for group in optimiser.param_groups:
            group["lr"] = peak * min(1, (step + 1) / 50) * (1 - step / steps)
        sum(0.9**k * loss for k, loss in enumerate(losses)).backward()
        torch.nn.utils.clip_grad_norm_(heads.parameters(), 1.0)
        optimiser.step()
        optimiser.zero_grad()
        mean = [m + loss.item() / (count // batch) for m, loss in zip(mean, losses)]
        if (step + 1) % (count // batch) == 0:
            log(f"epoch {(step + 1) // (count // batch)}  {(time.time() - began) / 60:.1f} min  loss by head "
                + " ".join(f"{m:.3f}" for m in mean))


@torch.no_grad()
def guesses(heads, lm_head, hidden, count=1):
    """[rows, heads, count] token ids, the likeliest first, over the whole vocabulary."""
    return torch.stack([F.linear(state, lm_head).topk(count).indices for state in heads(hidden)], 1)


def measure(heads, lm_head, texts, log=print):
    """Top-1 and top-5 accuracy of each head, and tokens a step of a chain of drafts."""
    num_heads = len(heads.blocks)
    right, total, tally = torch.zeros(num_heads, 2), torch.zeros(num_heads), Tally()
    for text in texts:
        top = guesses(heads, lm_head, text.answer_hidden(), 5)
        answer = text.answer.tolist()
        for k in range(num_heads):
            labels = text.answer[1 + k:]
            hit = top[:len(labels), k] == labels[:, None]
            right[k] += torch.tensor([hit[:, 0].sum(), hit.sum()])
            total[k] += len(labels)
        tally.add(text.task, answer, accepted_per_step(answer, lambda r: top[r, :, 0].tolist()))
    for k in range(num_heads):
        log(f"head {k}  top-1 {right[k, 0] / total[k]:.1%}  top-5 {right[k, 1] / total[k]:.1%}")
    log(f"tokens a step, chain of {num_heads}: {tally.per_step():.2f}")
    return tally


def save(heads, target, out):
    c = target.config
    config = {"architectures": ["MedusaModel"], "model_type": "medusa", "hidden_size": c.hidden_size,
              "num_heads": len(heads.blocks), "num_hidden_layers": 1, "vocab_size": c.vocab_size,
              "truncated_vocab_size": c.vocab_size, "original_lm_head": True, "medusa_fc_bias": False,
              "torch_dtype": "bfloat16"}
    (out / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    save_file({f"blocks.{k}.layers.0.weight": block.weight.detach().bfloat16() for k, block in enumerate(heads.blocks)},
              out / "model.safetensors", metadata={"format": "pt"})


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("work", type=pathlib.Path)
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--heads", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--batch", type=int, default=256, help="rows of a step")
    parser.add_argument("--peak", type=float, default=2e-3, help="learning rate")
    parser.add_argument("--most-tokens", type=int, help="of training text")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    torch.use_deterministic_algorithms(True)
    options.out.mkdir(parents=True, exist_ok=True)
    lines = []

    def log(text):
        print(text, flush=True)
        lines.append(text)

    target, began = Target(options.model), time.time()
    texts = load_texts(options.work / "train.jsonl", target, options.most_tokens)
    held_out = load_texts(options.work / "held-out.jsonl", target)
    log(f"Medusa heads for {target.path.name}: {options.heads} heads, seed {options.seed}, {options.epochs} epochs, batches of "
        f"{options.batch}, peak learning rate {options.peak}, {options.threads} thread(s)")
    examples = Examples(texts, options.heads)
    log(f"text of the target's own: {len(texts)} answers, {len(examples.hidden)} tokens; held out: {len(held_out)} "
        f"answers, {sum(len(t.answer) for t in held_out)} tokens")
    heads = Heads(target.config.hidden_size, options.heads)
    train(heads, target.head, examples, options.epochs, options.peak, options.batch, log)
    for block in heads.blocks:
        block.weight.data = block.weight.data.bfloat16().float()  # as they are saved
    log("on held-out text:")
    tally = measure(heads, target.head, held_out, log)
    log(tally.table())
    log(f"{(time.time() - began) / 60:.1f} minutes")
    save(heads, target, options.out)
    (options.out / "training.txt").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
