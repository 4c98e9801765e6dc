"""A small Llama in plain PyTorch, with the parameter names of Hugging Face's LlamaForCausalLM.

Written out here rather than imported because training on a CPU gains from two things: short documents are packed into rows
under a block-diagonal mask (no document sees another), and `torch.compile` fuses that plain softmax attention. RoPE is
relative, so a document gives the same logits wherever it stands in its row.
"""

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F


@dataclass
class Config:
    vocab_size: int = 1024
    hidden_size: int = 256
    intermediate_size: int = 512
    num_hidden_layers: int = 5
    num_attention_heads: int = 8
    num_key_value_heads: int = 4
    max_position_embeddings: int = 1024
    rope_theta: float = 10000.0
    rms_norm_eps: float = 1e-5

    @property
    def head_dim(self):
        return self.hidden_size // self.num_attention_heads


DEMO = Config()
SMALL = Config(hidden_size=128, intermediate_size=256, num_hidden_layers=3, num_attention_heads=4,
               num_key_value_heads=2)
CONFIGS = {"demo": DEMO, "small": SMALL}


class RmsNorm(nn.Module):
    def __init__(self, size, eps):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.eps = eps

    def forward(self, x):  # [rows, tokens, size]
        x32 = x.float()
        return self.weight * (x32 * torch.rsqrt(x32.square().mean(-1, keepdim=True) + self.eps))


def linear(inputs, outputs):
    return nn.Linear(inputs, outputs, bias=False)


class Attention(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.c = c
        self.q_proj = linear(c.hidden_size, c.num_attention_heads * c.head_dim)
        self.k_proj = linear(c.hidden_size, c.num_key_value_heads * c.head_dim)
        self.v_proj = linear(c.hidden_size, c.num_key_value_heads * c.head_dim)
        self.o_proj = linear(c.num_attention_heads * c.head_dim, c.hidden_size)

    def forward(self, x, rope, bias):
        c, (rows, tokens, _) = self.c, x.shape
        group = c.num_attention_heads // c.num_key_value_heads

        def heads(y, n):
            return y.view(rows, tokens, n, c.head_dim).transpose(1, 2)

        q = rotate(heads(self.q_proj(x), c.num_attention_heads), rope) * c.head_dim**-0.5
        k = rotate(heads(self.k_proj(x), c.num_key_value_heads), rope).repeat_interleave(group, 1)
        v = heads(self.v_proj(x), c.num_key_value_heads).repeat_interleave(group, 1)
        if bias is None:
            y = F.scaled_dot_product_attention(q, k, v, is_causal=True, scale=1.0)
        else:
            y = torch.softmax((q @ k.transpose(-1, -2)).float() + bias, -1).to(v.dtype) @ v
        return self.o_proj(y.transpose(1, 2).reshape(rows, tokens, -1))


class Mlp(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.gate_proj = linear(c.hidden_size, c.intermediate_size)
        self.up_proj = linear(c.hidden_size, c.intermediate_size)
        self.down_proj = linear(c.intermediate_size, c.hidden_size)

    def forward(self, x):
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class Layer(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.input_layernorm = RmsNorm(c.hidden_size, c.rms_norm_eps)
        self.self_attn = Attention(c)
        self.post_attention_layernorm = RmsNorm(c.hidden_size, c.rms_norm_eps)
        self.mlp = Mlp(c)

    def forward(self, x, rope, bias):
        x = x + self.self_attn(self.input_layernorm(x), rope, bias)
        return x + self.mlp(self.post_attention_layernorm(x))


class Body(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.embed_tokens = nn.Embedding(c.vocab_size, c.hidden_size)
        self.layers = nn.ModuleList(Layer(c) for _ in range(c.num_hidden_layers))
        self.norm = RmsNorm(c.hidden_size, c.rms_norm_eps)


class Llama(nn.Module):
    """Parameter names equal LlamaForCausalLM's; the output matrix is the embedding (tied)."""

    def __init__(self, c):
        super().__init__()
        self.c = c
        self.model = Body(c)
        for p in self.parameters():
            if p.dim() == 2:
                nn.init.normal_(p, std=0.02)
        for layer in self.model.layers:
            for p in (layer.self_attn.o_proj.weight, layer.mlp.down_proj.weight):
                nn.init.normal_(p, std=0.02 / (2 * c.num_hidden_layers) ** 0.5)

    def hidden(self, ids, documents=None):
        """ids, documents: [rows, tokens] -> states after the final norm. No documents: each row is one."""
        tokens = ids.shape[1]
        bias = None
        if documents is not None:
            position = torch.arange(tokens)
            allowed = position[:, None] >= position[None, :]
            allowed = allowed & (documents[:, None, :, None] == documents[:, None, None, :])
            bias = torch.where(allowed, 0.0, -1e9)
        rope = rope_table(self.c, tokens)
        x = self.model.embed_tokens(ids)
        for layer in self.model.layers:
            x = layer(x, rope, bias)
        return self.model.norm(x)

    def logits(self, hidden):
        return F.linear(hidden, self.model.embed_tokens.weight)

    def forward(self, ids, documents=None):
        """Logits [rows, tokens, vocab_size]."""
        return self.logits(self.hidden(ids, documents))


def rope_table(c, tokens):
    frequency = c.rope_theta ** (-torch.arange(0, c.head_dim, 2) / c.head_dim)
    angle = torch.arange(tokens)[:, None] * frequency[None, :]
    return torch.cos(angle), torch.sin(angle)


def rotate(x, rope):  # [rows, heads, tokens, head_dim], the half-split pairing of Hugging Face
    cos, sin = (t.to(x.dtype) for t in rope)
    a, b = x.chunk(2, -1)
    return torch.cat((a * cos - b * sin, b * cos + a * sin), -1)
