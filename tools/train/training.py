"""Trains a student towards its teacher's distributions: what distill.py and qat.py share.

The divergences are of the distributions of the next token, in nats; p is the teacher's, q the student's.
"""

import pathlib
import time
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F

from target import LARGEST_WHOLE_VOCABULARY, groups_of_like_length, optimisers


def forward_kl(p, q):  # log-probabilities [rows, vocab_size] -> [rows]
    """KL(p || q): the student covers all that the teacher may say."""
    return (p.exp() * (p - q)).sum(-1)


def reverse_kl(p, q):
    """KL(q || p): the student says nothing that the teacher would not (arXiv 2306.08543)."""
    return forward_kl(q, p)


def jsd(p, q, beta=0.5):
    """Generalised Jensen-Shannon divergence (arXiv 2306.13649): bounded, between the two."""
    mean = torch.logaddexp(p + torch.tensor(beta).log(), q + torch.tensor(1 - beta).log())
    return beta * forward_kl(p, mean) + (1 - beta) * forward_kl(q, mean)


DIVERGENCES = {"forward": forward_kl, "reverse": reverse_kl, "jsd": jsd}


@dataclass
class Plan:
    tokens: int  # to learn from, over all texts
    peak: float  # learning rate
    batch: int  # tokens of a step, at most
    divergence: str = "forward"
    labels: float = 0.0  # share of the loss that is the text's own tokens; 1: no teacher
    hidden: float = 0.0  # weight of the layers' outputs beside it

    def describe(self):
        teacher = "no teacher" if self.labels == 1 else f"{self.divergence} divergence"
        return (f"{self.tokens} tokens, {teacher}, labels {self.labels}, hidden states {self.hidden}, "
                f"batches of {self.batch} tokens, peak learning rate {self.peak}")


def batches(texts, most_tokens):
    """Lists of texts without end: each time all of them in a new order, those of like length together."""
    mean = sum(len(t.ids) for t in texts) / len(texts)
    size = max(1, round(16 * most_tokens / mean))
    while True:
        order = torch.randperm(len(texts)).tolist()
        for first in range(0, len(order), size):
            chunk = [texts[i] for i in order[first:first + size]]
            groups = groups_of_like_length([len(t.ids) for t in chunk], most_tokens)
            for g in torch.randperm(len(groups)).tolist():
                yield [chunk[i] for i in groups[g]]


def padded(texts):
    """ids [rows, tokens], and for each whether the token after it is to be learned."""
    ids = nn.utils.rnn.pad_sequence([t.ids for t in texts], batch_first=True)
    places = torch.arange(ids.shape[1] - 1)
    learned = torch.stack([(places >= t.first - 1) & (places < len(t.ids) - 1) for t in texts])
    return ids, learned


def matching_layers(num_student, num_teacher):
    """The teacher's layer after which each of the student's should have come as far."""
    return [round((i + 1) * num_teacher / num_student) - 1 for i in range(num_student)]


class LayerOutputs:
    """What some layers of a model gave out last."""

    def __init__(self, model, layers):
        self.outputs = {}
        for i in layers:
            model.model.layers[i].register_forward_hook(lambda _, __, out, i=i: self.outputs.__setitem__(i, out))


class HiddenStates:
    """The difference of the layers' outputs, relative to the teacher's; a matrix that is trained too bridges widths."""

    def __init__(self, student, teacher):
        of_teacher = matching_layers(len(student.model.layers), len(teacher.model.layers))
        self.pairs = list(enumerate(of_teacher))
        self.students = LayerOutputs(student, range(len(of_teacher)))
        self.teachers = LayerOutputs(teacher, of_teacher)
        widths = (student.c.hidden_size, teacher.c.hidden_size)
        self.bridges = nn.ModuleList(nn.Identity() if widths[0] == widths[1] else nn.Linear(*widths, bias=False)
                                     for _ in of_teacher)

    def loss(self, learned):
        losses = []
        for bridge, (i, j) in zip(self.bridges, self.pairs):
            wanted = self.teachers.outputs[j][:, :learned.shape[1]][learned].float()
            found = bridge(self.students.outputs[i][:, :learned.shape[1]][learned].float())
            losses.append((found - wanted).square().mean() / wanted.square().mean())
        return sum(losses) / len(losses)


class Training:
    def __init__(self, student, teacher, plan, log):
        self.student, self.teacher, self.plan, self.log = student, teacher, plan, log
        self.divergence = DIVERGENCES[plan.divergence]
        self.hidden = HiddenStates(student, teacher) if plan.hidden else None
        self.optimisers = optimisers(student, plan.peak)
        if self.hidden and (bridges := list(self.hidden.bridges.parameters())):
            self.optimisers[1].add_param_group({"params": bridges})
        self.seen, self.sums, self.began = 0, [0.0, 0], time.time()

    def log_probabilities(self, model, ids, learned):
        """[learned rows, vocab_size]. Logits, which a divergence is made of, are float32."""
        # A large vocabulary means a large model: half the bits, twice the speed.
        with torch.autocast("cpu", torch.bfloat16, enabled=model.c.vocab_size > LARGEST_WHOLE_VOCABULARY):
            hidden = model.hidden(ids)
        return model.logits(hidden[:, :-1][learned].float()).log_softmax(-1)

    def loss(self, texts):
        ids, learned = padded(texts)
        q, loss = self.log_probabilities(self.student, ids, learned), 0.0
        if self.plan.labels < 1 or self.hidden:
            with torch.no_grad():
                p = self.log_probabilities(self.teacher, ids, learned)
            loss = (1 - self.plan.labels) * self.divergence(p, q).mean()
        if self.plan.labels:
            loss = loss + self.plan.labels * F.nll_loss(q, ids[:, 1:][learned])
        if self.hidden:
            loss = loss + self.plan.hidden * self.hidden.loss(learned)
        return loss, int(learned.sum())

    def step(self, texts):
        loss, tokens = self.loss(texts)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.student.parameters(), 1.0)
        share = self.seen / self.plan.tokens
        for optimiser in self.optimisers:
            for group in optimiser.param_groups:
                group["lr"] = self.plan.peak * min(1.0, (share + 0.005) / 0.05) * (1 - share)
            optimiser.step()
            optimiser.zero_grad()
        self.add_up(loss.item(), tokens)

    def add_up(self, loss, tokens):
        tenth = 10 * self.seen // self.plan.tokens
        self.seen += tokens
        self.sums = [self.sums[0] + loss * tokens, self.sums[1] + tokens]
        if 10 * self.seen // self.plan.tokens > tenth:
            mean = self.sums[0] / self.sums[1]
            self.log(f"{self.seen} tokens  {(time.time() - self.began) / 60:.1f} min  loss {mean:.4f}")
            self.sums = [0.0, 0]

    def run(self, texts, until=1.0):
        """Learns until that share of the plan's tokens has been seen."""
        for batch in batches(texts, self.plan.batch):
            if self.seen >= until * self.plan.tokens:
                return
            self.step(batch)


class Log:
    """Prints lines, and keeps them for the file beside what was trained."""

    def __init__(self):
        self.lines, self.began = [], time.process_time()

    def __call__(self, text):
        print(text, flush=True)
        self.lines.append(text)

    def save(self, folder):
        self(f"{(time.process_time() - self.began) / 60:.1f} minutes of processor time")
        (pathlib.Path(folder) / "training.txt").write_text("\n".join(self.lines) + "\n")


def add_options(parser, tokens, peak, batch):
    """The flags that all training of students has."""
    parser.add_argument("--tokens", type=int, default=tokens, help="to learn from; a shorter text is read again")
    parser.add_argument("--peak", type=float, default=peak, help="learning rate")
    parser.add_argument("--batch", type=int, default=batch, help="tokens of a step")
    parser.add_argument("--divergence", choices=DIVERGENCES, default="forward")
    parser.add_argument("--labels", type=float, default=0.0, help="share of the text's own tokens in the loss; 1: alone")
    parser.add_argument("--hidden", type=float, default=0.0, help="weight of the layers' outputs in the loss")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)


def plan_of(options):
    return Plan(options.tokens, options.peak, options.batch, options.divergence, options.labels, options.hidden)


def make_deterministic(options):
    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    torch.use_deterministic_algorithms(True)
