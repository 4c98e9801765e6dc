"""What Quire's codes stand for, in PyTorch: the weights of a matrix after `quire compress --method rtn` or after
`quire convert --type q4_0`, to the bit (check_grids.py compares them), and models that train through them.
"""

import torch
from torch import nn
from torch.nn.utils import parametrize

LARGEST_F16 = 65504.0


def round_within(x, low, high):
    return x.clamp(low, high).round()  # ties to even


def as_f16(scale):
    return scale.clamp(max=LARGEST_F16).half().float()


def inverse_of(scale):
    return torch.where(scale > 0, 1 / scale, 0.0)


class IntegerGrid:
    """Codes of `bits` bits; `group` columns of a row share a scale (0: the whole row), which their range chooses."""

    rounds_embedding = False

    def __init__(self, bits, group, symmetric=True):
        self.bits, self.group, self.symmetric = bits, group, symmetric

    def __call__(self, weight):  # [rows, cols] float32 -> the same of what the codes stand for
        x = weight.unflatten(-1, (-1, self.group or weight.shape[-1]))
        highest = 2**self.bits - 1
        if self.symmetric:
            scale, zero = as_f16(2 * x.abs().amax(-1, keepdim=True) / highest), 2 ** (self.bits - 1)
        else:
            low, high = x.amin(-1, keepdim=True).clamp(max=0.0), x.amax(-1, keepdim=True).clamp(min=0.0)
            scale = as_f16((high - low) / highest)
            zero = torch.where(scale > 0, round_within(-low / scale, 0, highest), 0.0)
        code = round_within(x * inverse_of(scale) + zero, 0, highest)
        return (scale * (code - zero)).flatten(-2)

    def flags(self):
        """Of `quire compress`, which makes these codes."""
        layout = "compressed-tensors" if self.bits in (4, 8) else "gptq"
        return ["--method", "rtn", "--bits", str(self.bits), "--group", str(self.group or "channel"), "--layout", layout,
                *([] if self.symmetric else ["--asymmetric"])]


class Q4_0:  # noqa: N801 (the format's name)
    """GGUF's Q4_0: 32 columns share a scale of either sign, which gives the largest weight the lowest code."""

    rounds_embedding = True

    def __call__(self, weight):
        x = weight.unflatten(-1, (-1, 32))
        scale = x.gather(-1, x.abs().argmax(-1, keepdim=True)) / -8  # the first of equals
        stored = scale.half().float()
        inverse = torch.where(stored != 0, 1 / scale, 0.0)
        code = (x * inverse + 8.5).trunc().clamp(0, 15)
        return (stored * (code - 8)).flatten(-2)


class Through(nn.Module):
    """A weight as what its codes stand for. The gradient passes as if nothing were rounded (straight-through, arXiv
    1308.3432), so weights move until their codes change."""

    def __init__(self, grid):
        super().__init__()
        self.grid = grid

    def forward(self, weight):
        return weight + (self.grid(weight) - weight).detach()


def matrices(model, grid):
    """The modules whose weights Quire rounds with such a grid, by name."""
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear) or (isinstance(module, nn.Embedding) and grid.rounds_embedding):
            yield name, module


def round_matrices(model, grid):
    """From now on the model computes with what the codes stand for."""
    for _, module in list(matrices(model, grid)):
        parametrize.register_parametrization(module, "weight", Through(grid))


def free_matrices(model, grid):
    """Undoes round_matrices: the floats that were trained."""
    for _, module in list(matrices(model, grid)):
        parametrize.remove_parametrizations(module, "weight", leave_parametrized=False)
