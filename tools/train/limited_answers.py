"""Are fewer possible tokens easier to guess? Medusa heads on answers from sets of 20, 200, 2,000 tokens and without limit.

    python limited_answers.py --doc docs/speculation.md --plot docs/limited-answers.svg --demo WORK assets/demo/medusa

Everything but the set is equal: for each set a small Llama learns a register of the set, writes answers from it, and
five heads learn from the same number of tokens of its text. The register has one line for each token of the set: the
token, five more of the set that always follow it, and a full stop. An answer is lines in random order, so in every line
one token is free and six follow from it. With --demo the tasks of the demo model are counted too: WORK is that of
texts.py. The table and the plot replace those in the two files.
"""

import argparse
import json
import math
import pathlib
import time

import torch
from safetensors.torch import load_file
from torch.nn import functional as F

import medusa
from acceptance import Tally, accepted_per_step
from corpus import Text, load_texts
from tables import replace
from target import Config, Llama, Target

BEGIN, STOP, FIRST = 0, 1, 2  # token ids; the words of a set are FIRST ... FIRST + size - 1
SETS = {"20": 20, "200": 200, "2,000": 2000, "unlimited": 4094}  # unlimited: the whole vocabulary
FOLLOWING = 5
LINE = FOLLOWING + 2
LINES = 5  # in an answer
LENGTHS = (1, 2, 4, 8, 16, 35)
SHAPE = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 2,
         "num_key_value_heads": 2}
HEADS = 5


def register_answers(register, count, generator):
    """[count, 1 + LINES * LINE] ids: BEGIN and an answer. register: [set size, LINE], a line for each word."""
    lines = register[torch.randint(len(register), (count, LINES), generator=generator)]
    return torch.cat((torch.full((count, 1), BEGIN), lines.flatten(1)), 1)


def train_target(register, steps, generator):
    model = Llama(Config(vocab_size=FIRST + len(register), **SHAPE))
    inner = [p for n, p in model.named_parameters() if p.dim() == 2 and "embed" not in n]
    outer = [p for n, p in model.named_parameters() if p.dim() == 1 or "embed" in n]
    optimisers = (torch.optim.Muon(inner, lr=0.0, momentum=0.95, adjust_lr_fn="match_rms_adamw"),
                  torch.optim.AdamW(outer, lr=0.0, betas=(0.9, 0.98), weight_decay=0.0))
    for step in range(steps):
        ids = register_answers(register, 64, generator)
        with torch.autocast("cpu", torch.bfloat16):
            logits = model(ids[:, :-1])
        F.cross_entropy(logits.float().flatten(0, 1), ids[:, 1:].flatten()).backward()
        for optimiser in optimisers:
            for group in optimiser.param_groups:
                group["lr"] = 5e-3 * min(1, (step + 1) / 20) * (1 - step / steps)
            optimiser.step()
            optimiser.zero_grad()
    return model.eval().requires_grad_(False)


@torch.no_grad()
def written(model, count, generator):
    """Texts that the model writes, drawn at temperature 1, with its hidden states; and its entropy in bits a token."""
    ids, nats = torch.full((count, 1), BEGIN), 0.0
    for _ in range(LINES * LINE):
        p = torch.softmax(model.logits(model.hidden(ids)[:, -1]), -1)
        nats -= (p * p.clamp_min(1e-9).log()).sum(-1).mean().item()
        ids = torch.cat((ids, torch.multinomial(p, 1, generator=generator)), 1)
    texts = [Text("register", [BEGIN], row[1:].tolist()) for row in ids]
    for text, hidden in zip(texts, model.hidden(ids)):
        text.hidden = hidden
    return texts, nats / (LINES * LINE) / 0.693147


def per_step_at(answers_and_tops, length):
    """Tokens a step, the prefill's first token counted, of answers cut to a length."""
    steps = sum(1 + len(accepted_per_step(answer[:length], lambda r, top=top: top[r])) for answer, top in answers_and_tops)
    return length * len(answers_and_tops) / steps


def study_set(name, size, options):
    began, generator = time.time(), torch.Generator().manual_seed(options.seed)
    torch.manual_seed(options.seed)
    words = torch.arange(FIRST, FIRST + size)
    following = FIRST + torch.randint(size, (size, FOLLOWING), generator=generator)
    register = torch.cat((words[:, None], following, torch.full((size, 1), STOP)), 1)
    model = train_target(register, options.steps, generator)
    texts, bits = written(model, options.answers + 64, generator)
    held_out, texts = texts[:64], texts[64:]
    heads = medusa.Heads(SHAPE["hidden_size"], HEADS)
    head = model.model.embed_tokens.weight
    medusa.train(heads, head, medusa.Examples(texts, HEADS), options.epochs, 3e-3, batch=64, log=lambda line: None)
    played = [(t.answer.tolist(), medusa.guesses(heads, head, t.answer_hidden())[:, :, 0].tolist()) for t in held_out]
    row = {"name": name, "bits": bits, "by_length": [per_step_at(played, n) for n in LENGTHS]}
    print(f"set of {name}: {bits:.2f} bits a token, tokens a step by length "
          + " ".join(f"{x:.2f}" for x in row["by_length"]) + f", {time.time() - began:.0f} s", flush=True)
    return row


def demo_table(work, parts):
    """The demo model's tasks in groups by how many different tokens their answers have in all the text of WORK."""
    target = Target(pathlib.Path(__file__).parent.parent.parent / "assets/demo/quire-demo.gguf")
    weights = load_file(parts / "model.safetensors")
    heads = medusa.Heads(target.config.hidden_size, len(weights))
    heads.load_state_dict({name.replace(".layers.0", ""): w.float() for name, w in weights.items()})
    kinds = Tally()
    for line in map(json.loads, (work / "train.jsonl").open()):
        kinds.add(line["task"], line["answer"], [])
    groups = {"at most 20": (0, 20), "21 to 60": (21, 60), "61 to 200": (61, 200), "more than 200": (201, 1 << 30)}
    tally, tasks = Tally(), {}
    for text in load_texts(work / "held-out.jsonl", target):
        number = len(kinds.kinds[text.task])
        group = next(name for name, (low, high) in groups.items() if low <= number <= high)
        top = medusa.guesses(heads, target.head, text.answer_hidden())[:, :, 0].tolist()
        answer = text.answer.tolist()
        tally.add(group, answer, accepted_per_step(answer, lambda r, top=top: top[r]))
        tasks.setdefault(group, set()).add(text.task)
    lines = ["| different tokens in a task's answers | tasks | tokens in an answer | tokens a step |", "|---|---|---:|---:|"]
    for group in groups:
        if tally.answers[group]:
            lines.append(f"| {group} | {', '.join(sorted(f'`{t}`' for t in tasks[group]))} | "
                         f"{tally.tokens[group] / tally.answers[group] + 1:.1f} | {tally.per_step(group):.2f} |")
    return "\n".join(lines)


def set_table(rows):
    lines = ["| set | bits a token, register known | bits of the target | " + " | ".join(str(n) for n in LENGTHS) + " |",
             "|---|---:|---:|" + "---:|" * len(LENGTHS)]
    for row in rows:
        known = math.log2(SETS[row["name"]]) / LINE
        lines.append(f"| {row['name']} | {known:.2f} | {row['bits']:.2f} | " + " | ".join(f"{x:.2f}" for x in row["by_length"]) + " |")
    return "\n".join(lines)


STYLE = """text{font-family:system-ui,"Segoe UI",Helvetica,Arial,"DejaVu Sans",sans-serif;font-size:12px;fill:#1f2328}
.ground{fill:#ffffff}.title{font-size:16px;font-weight:600}
.grid{stroke:#d8dee4;stroke-width:1}.axis{stroke:#6e7781;stroke-width:1;fill:none}
.line{fill:none;stroke-width:2;stroke-linejoin:round}
.s0{stroke:#2f7ed8}.s1{stroke:#e8710a}.s2{stroke:#1a9e6f}.s3{stroke:#d6409f}
.f0{fill:#2f7ed8}.f1{fill:#e8710a}.f2{fill:#1a9e6f}.f3{fill:#d6409f}
@media (prefers-color-scheme:dark){text{fill:#e6edf3}.ground{fill:#0d1117}.grid{stroke:#2a313a}.axis{stroke:#8b949e}}"""


def plot(rows):
    """Tokens a step over the length of the answer, a line for each set."""
    title = "Fewer possible tokens are easier to guess"
    most = int(max(max(row["by_length"]) for row in rows)) + 1
    left, right, top, bottom = 56, 430, 50, 280

    def x(i):
        return left + (right - left) * i / (len(LENGTHS) - 1)

    def y(value):
        return bottom - (bottom - top) * (value - 1) / (most - 1)

    out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 560 330" width="560" height="330" role="img">',
           f"<title>{title}</title>", f"<style>\n{STYLE}\n</style>", '<rect class="ground" width="560" height="330"/>',
           f'<text class="title" x="18" y="28">{title}</text>']
    for value in range(1, most + 1):
        out.append(f'<line class="grid" x1="{left}" x2="{right}" y1="{y(value):.1f}" y2="{y(value):.1f}"/>')
        out.append(f'<text x="{left - 8}" y="{y(value) + 4:.1f}" text-anchor="end">{value}</text>')
    for i, length in enumerate(LENGTHS):
        out.append(f'<text x="{x(i):.1f}" y="{bottom + 18}" text-anchor="middle">{length}</text>')
    out.append(f'<path class="axis" d="M{left} {top}V{bottom}H{right}"/>')
    out.append(f'<text x="{(left + right) / 2}" y="{bottom + 38}" text-anchor="middle">tokens in the answer</text>')
    out.append(f'<text transform="translate(20 {(top + bottom) / 2}) rotate(-90)" text-anchor="middle">tokens a step</text>')
    label = -99.0
    for n, row in sorted(enumerate(rows), key=lambda pair: -pair[1]["by_length"][-1]):
        points = [(x(i), y(value)) for i, value in enumerate(row["by_length"])]
        path = "L".join(f"{px:.1f} {py:.1f}" for px, py in points)
        out.append(f'<path class="line s{n}" d="M{path}"/>')
        out += [f'<circle class="f{n}" cx="{px:.1f}" cy="{py:.1f}" r="3.5"/>' for px, py in points]
        label = max(label + 16, points[-1][1])  # labels keep a line's distance
        out.append(f'<circle class="f{n}" cx="{right + 16}" cy="{label:.1f}" r="4"/>')
        out.append(f'<text x="{right + 26}" y="{label + 4:.1f}">{row["name"]}{" tokens" if n == 0 else ""}</text>')
    return "\n".join(out + ["</svg>"]) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--doc", type=pathlib.Path)
    parser.add_argument("--plot", type=pathlib.Path)
    parser.add_argument("--demo", nargs=2, type=pathlib.Path, metavar=("WORK", "HEADS"))
    parser.add_argument("--steps", type=int, default=300, help="of training a target, 2,240 tokens each")
    parser.add_argument("--answers", type=int, default=400, help="of each set that the heads learn from")
    parser.add_argument("--epochs", type=int, default=8, help="of training heads")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.use_deterministic_algorithms(True)
    tables = {"demo tasks": demo_table(*options.demo)} if options.demo else {}
    rows = [study_set(name, size, options) for name, size in SETS.items()]
    tables["answer sets"] = set_table(rows)
    print(*tables.values(), sep="\n\n")
    if options.plot:
        options.plot.write_text(plot(rows))
    if options.doc:
        document = options.doc.read_text()
        for name, table in tables.items():
            document = replace(document, name, table)
        options.doc.write_text(document)


if __name__ == "__main__":
    main()
