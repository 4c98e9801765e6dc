"""Trains an EAGLE layer (arXiv 2401.15077) for a frozen target.

    python eagle.py MODEL WORK OUT

One decoder layer of the target's shape guesses the target's next hidden state from its last one and the token chosen
since: f(t + 1) = layer(fc([embedding(token t + 1), f(t)])). The target's embedding and lm_head turn tokens into inputs
and states into guesses. OUT gets config.json and model.safetensors in the layout of EAGLE-1 (fc, layers.0 without an
input norm), and training.txt. WORK holds the text of texts.py.
"""

import argparse
import json
import pathlib
import time

import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn import functional as F

from acceptance import Tally, accepted_per_step
from corpus import load_texts
from target import Layer, Target, groups_of_like_length, rope_table

PASSES = 4  # over each text; from the second on most inputs are the layer's own states, as when it drafts a chain
OWN_SHARE = 0.75
STATE_WEIGHT = 0.1  # of the distance to the target's state, beside the cross entropy


class Eagle(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.config = config
        self.fc = nn.Linear(2 * config.hidden_size, config.hidden_size, bias=False)
        self.layers = nn.ModuleList([Layer(config)])
        self.layers[0].input_layernorm = nn.Identity()
        for name, p in self.named_parameters():
            if p.dim() == 2:
                nn.init.normal_(p, std=0.02)
            if name.endswith(("o_proj.weight", "down_proj.weight")):
                nn.init.zeros_(p)  # begins as the fc alone
        with torch.no_grad():
            self.fc.weight[:, config.hidden_size:] += torch.eye(config.hidden_size)

    def forward(self, embedded, states):
        """embedded [rows, tokens, hidden_size]: of the token after each state. Returns the next states."""
        return self.layers[0](self.fc(torch.cat((embedded, states), -1)), rope_table(self.config, states.shape[1]), None)


def batches(texts, most_tokens, generator):
    """Lists of texts of like length, padded together to at most that many tokens, in random order."""
    groups = groups_of_like_length([len(t.ids) for t in texts], most_tokens)
    return [[texts[i] for i in groups[g]] for g in torch.randperm(len(groups), generator=generator).tolist()]


def padded(texts, embedding):
    """embedded, states, next states [rows, tokens, hidden_size]; which positions guess a token of the answer; it."""
    longest = max(len(t.ids) for t in texts) - 2
    size = embedding.shape[1]
    ids = torch.zeros(len(texts), longest, dtype=torch.long)
    states, next_states = torch.zeros(2, len(texts), longest, size)
    learns, labels = torch.zeros(len(texts), longest, dtype=torch.bool), torch.zeros_like(ids)
    for n, text in enumerate(texts):
        count = len(text.ids) - 2
        ids[n, :count], labels[n, :count] = text.ids[1:-1], text.ids[2:]
        states[n, :count], next_states[n, :count] = text.hidden[:-2].float(), text.hidden[1:-1].float()
        learns[n, text.first - 1:count] = True  # drafting begins when the answer's first token is known
    return F.embedding(ids, embedding), states, next_states, learns, labels


def loss_of(eagle, head, batch):
    embedded, states, next_states, learns, labels = batch
    wanted = torch.softmax(F.linear(next_states[learns], head), -1)
    losses, inputs = [], states
    for n in range(PASSES):
        out = eagle(embedded, inputs)
        guess = F.linear(out[learns], head)
        losses.append((0.5 * F.cross_entropy(guess, wanted) + 0.5 * F.cross_entropy(guess, labels[learns])
                       + STATE_WEIGHT * F.smooth_l1_loss(out[learns], next_states[learns])))
        own = torch.cat((states[:, :1], out.detach()[:, :-1]), 1)
        is_own = torch.rand(states.shape[:2]) < OWN_SHARE
        is_own[:, 1:] &= learns[:, :-1]
        is_own[:, 0] = False
        inputs = torch.where(is_own[..., None], own, states)
    return losses


def train(eagle, target, texts, epochs, peak, log):
    optimiser = torch.optim.AdamW(eagle.parameters(), lr=peak, betas=(0.9, 0.95), weight_decay=0.01)
    generator, began = torch.Generator().manual_seed(torch.initial_seed()), time.time()
    plans = [batches(texts, 4096, generator) for _ in range(epochs)]
    steps, step = sum(map(len, plans)), 0
    for epoch, plan in enumerate(plans):
        mean = [0.0] * PASSES
        for group in plan:
            losses = loss_of(eagle, target.head, padded(group, target.head))
            for settings in optimiser.param_groups:
                settings["lr"] = peak * min(1, (step + 1) / 50) * (1 - step / steps)
            sum(losses).backward()
            torch.nn.utils.clip_grad_norm_(eagle.parameters(), 1.0)
            optimiser.step()
            optimiser.zero_grad()
            mean = [m + loss.item() / len(plan) for m, loss in zip(mean, losses)]
            step += 1
        log(f"epoch {epoch + 1}  {(time.time() - began) / 60:.1f} min  loss by pass " + " ".join(f"{m:.3f}" for m in mean))


@torch.no_grad()
def draft(eagle, target, text, r, count):
    """A chain of guesses at answer[r + 1 ...], drafted when answer[r] is known."""
    known = text.first + r
    ids, states, guesses = text.ids[1:known + 1].tolist(), text.hidden[:known].float(), []
    for _ in range(count):
        out = eagle(F.embedding(torch.tensor([ids]), target.head), states[None])[0, -1:]
        guesses.append(F.linear(out[0], target.head).argmax().item())
        ids.append(guesses[-1])
        states = torch.cat((states, out))
    return guesses


def measure(eagle, target, texts, count, log):
    tally, reached, held = Tally(), [0] * count, [0] * count
    for text in texts:
        answer = text.answer.tolist()

        def drafts(r):
            guesses = draft(eagle, target, text, r, count)
            for k, (guess, token) in enumerate(zip(guesses, answer[r + 1:])):
                reached[k] += 1
                if guess != token:
                    break
                held[k] += 1
            return guesses
        tally.add(text.task, answer, accepted_per_step(answer, drafts))
    for k in range(count):
        log(f"draft {k + 1}  holds {held[k] / max(1, reached[k]):.1%} of the times that all before it held")
    log(f"tokens a step, chain of {count}: {tally.per_step():.2f}")
    return tally


def save(eagle, target, out):
    c = target.config
    config = {"architectures": ["LlamaForCausalLMEagle"], "model_type": "llama", "vocab_size": c.vocab_size,
              "hidden_size": c.hidden_size, "intermediate_size": c.intermediate_size, "num_hidden_layers": 1,
              "num_attention_heads": c.num_attention_heads, "num_key_value_heads": c.num_key_value_heads,
              "head_dim": c.head_dim, "max_position_embeddings": c.max_position_embeddings,
              "rope_theta": c.rope_theta, "rope_scaling": None, "rms_norm_eps": c.rms_norm_eps, "hidden_act": "silu",
              "attention_bias": False, "mlp_bias": False, "bias": False, "tie_word_embeddings": True,
              "torch_dtype": "bfloat16"}
    (out / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    save_file({name: w.bfloat16().contiguous() for name, w in eagle.state_dict().items()}, out / "model.safetensors",
              metadata={"format": "pt"})


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("work", type=pathlib.Path)
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--start", type=pathlib.Path, help="folder of a layer to continue from")
    parser.add_argument("--longest", type=int, default=128, help="tokens of a text to learn from, its prompt included")
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--peak", type=float, default=2e-3, help="learning rate")
    parser.add_argument("--drafts", type=int, default=5, help="length of the chains that are measured")
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
    texts = [t for t in load_texts(options.work / "train.jsonl", target, options.most_tokens)
             if len(t.answer) > 1 and len(t.ids) <= options.longest]
    held_out = load_texts(options.work / "held-out.jsonl", target)
    log(f"EAGLE layer for {target.path.name}: seed {options.seed}, {options.epochs} epochs of {PASSES} passes, peak "
        f"learning rate {options.peak}, {options.threads} thread(s)")
    log(f"text of the target's own: {len(texts)} answers, {sum(len(t.answer) for t in texts)} tokens; held out: "
        f"{len(held_out)} answers, {sum(len(t.answer) for t in held_out)} tokens")
    eagle = Eagle(target.config)
    if options.start:
        eagle.load_state_dict({name: w.float() for name, w in load_file(options.start / "model.safetensors").items()})
        log("continues from:\n" + (options.start / "training.txt").read_text())
    train(eagle, target, texts, options.epochs, options.peak, log)
    for p in eagle.parameters():
        p.data = p.data.bfloat16().float()  # as they are saved
    log("on held-out text:")
    log(measure(eagle, target, held_out, options.drafts, log).table())
    log(f"{(time.time() - began) / 60:.1f} minutes")
    save(eagle, target, options.out)
    (options.out / "training.txt").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
