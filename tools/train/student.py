"""Makes the student that distill.py trains: a smaller model from parts of a larger one.

    python student.py MODEL OUT --layers every-second
    python student.py MODEL OUT --layers 3 --channels 256 --text WORK

MODEL and OUT are folders of safetensors. Layers: every second one from the first (DistilBERT's, arXiv 1910.01108), a list
such as 0,2,4, or a number: as many as turn the residual stream most (block influence, arXiv 2403.03853). Channels of the
feed-forward networks: as many as add most to their output on the text. With --random the shape is kept and every weight
is drawn at random: what a model of that size learns alone is compared with it.
"""

import argparse
import pathlib
from dataclasses import replace

import torch
from torch.nn import functional as F

from corpus import read_texts
from target import Llama, Target, save_folder


@torch.no_grad()
def influences(model, texts):
    """For each layer: 1 - the mean cosine of rows before and after it."""
    cosines = [[] for _ in model.model.layers]

    def see(i, before, after):
        cosines[i].append(F.cosine_similarity(before, after, dim=-1)[0])

    hooks = [layer.register_forward_hook(lambda _, given, out, i=i: see(i, given[0], out))
             for i, layer in enumerate(model.model.layers)]
    for text in texts:
        model.hidden(text.ids[None])
    for hook in hooks:
        hook.remove()
    return [1 - torch.cat(c).mean().item() for c in cosines]


@torch.no_grad()
def channel_importance(model, texts):
    """For each layer [channels]: the sum over tokens of |w_c x_c|^2, what a channel adds to its network's output."""
    sums = [0.0] * len(model.model.layers)

    def see(i, layer, x):
        sums[i] = sums[i] + x[0].square().sum(0) * layer.mlp.down_proj.weight.square().sum(0)

    hooks = [layer.mlp.down_proj.register_forward_pre_hook(lambda _, given, i=i, layer=layer: see(i, layer, given[0]))
             for i, layer in enumerate(model.model.layers)]
    for text in texts:
        model.hidden(text.ids[None])
    for hook in hooks:
        hook.remove()
    return sums


def chosen_layers(asked, model, texts):
    count = len(model.model.layers)
    if asked is None:
        return list(range(count))
    if asked == "every-second":
        return list(range(0, count, 2))
    if "," in asked:
        return [int(i) for i in asked.split(",")]
    influence = influences(model, texts)
    return sorted(sorted(range(count), key=lambda i: -influence[i])[:int(asked)])


@torch.no_grad()
def cut(model, layers, channels, importance):
    """The model of these layers; of each, the `channels` most important ones of its feed-forward network."""
    student = Llama(replace(model.c, num_hidden_layers=len(layers), intermediate_size=channels))
    kept = {"model.embed_tokens.weight": model.model.embed_tokens.weight, "model.norm.weight": model.model.norm.weight}
    for new, old in enumerate(layers):
        for name, weight in model.model.layers[old].state_dict().items():
            if channels < model.c.intermediate_size and name.startswith("mlp."):
                best = importance[old].topk(channels).indices.sort().values
                weight = weight[:, best] if "down_proj" in name else weight[best]
            kept[f"model.layers.{new}.{name}"] = weight
    student.load_state_dict(kept)
    return student


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=pathlib.Path)
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--layers", help="every-second, a list (0,2,4) or how many")
    parser.add_argument("--channels", type=int, help="of each feed-forward network")
    parser.add_argument("--text", type=pathlib.Path, metavar="WORK", help="whose train.jsonl shows what is important")
    parser.add_argument("--text-tokens", type=int, default=8192)
    parser.add_argument("--random", action="store_true")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    model = Target(options.model).model
    texts = read_texts(options.text / "train.jsonl", options.text_tokens) if options.text else []
    layers = chosen_layers(options.layers, model, texts)
    channels = options.channels or model.c.intermediate_size
    importance = channel_importance(model, texts) if channels < model.c.intermediate_size else []
    student = cut(model, layers, channels, importance)
    if options.random:
        student = Llama(student.c)
    save_folder(student, options.model, options.out)
    print(f"{options.out}: layers {', '.join(map(str, layers))}; {channels} channels; "
          f"{sum(p.numel() for p in student.parameters())} parameters{', drawn at random' if options.random else ''}")


if __name__ == "__main__":
    main()
