"""What drafts are worth: decoding with them is played through on text that the target wrote.

A step verifies the drafts after the token that the target chose last, keeps those equal to what it chooses itself, and
adds one token of its own. The text is given, so the result is what an engine reaches with a chain of drafts.
"""

from collections import defaultdict


def accepted_per_step(answer, drafts):
    """answer: token ids. drafts(r): guesses at answer[r + 1], answer[r + 2] ... The first token is the prefill's.

    Returns for each step how many tokens it brought."""
    steps, r = [], 0
    while r + 1 < len(answer):
        accepted = 0
        left = len(answer) - r - 1
        for guess in drafts(r):
            if accepted == left or guess != answer[r + 1 + accepted]:
                break
            accepted += 1
        steps.append(min(accepted + 1, left))
        r += steps[-1]
    return steps


class Tally:
    """Tokens per step, in all and by task."""

    def __init__(self):
        self.tokens, self.steps, self.answers, self.kinds = (defaultdict(int), defaultdict(int), defaultdict(int),
                                                             defaultdict(set))

    def add(self, task, answer, steps):
        for key in ("all", task):
            self.tokens[key] += sum(steps)
            self.steps[key] += len(steps)
            self.answers[key] += 1
            self.kinds[key].update(answer)

    def per_step(self, key="all"):
        return self.tokens[key] / max(1, self.steps[key])

    def table(self):
        lines = ["| task | tokens in an answer | different tokens | tokens a step |", "|---|---:|---:|---:|"]
        for key in sorted(self.tokens, key=lambda k: (k == "all", -self.per_step(k))):
            length = self.tokens[key] / self.answers[key] + 1
            lines.append(f"| {key} | {length:.1f} | {len(self.kinds[key])} | {self.per_step(key):.2f} |")
        return "\n".join(lines)
