"""Fixtures as quantised checkpoints, by the conventions of the libraries that write them: GPTQ (AutoGPTQ, GPTQModel),
AWQ (AutoAWQ), compressed-tensors (LLM Compressor) and Hugging Face's fp8. Every function takes a matrix and gives the
tensors that stand for it, by the part of their name behind the module's, with the float32 matrix they mean. Rounding is
to nearest: what is tested is reading, not quantising."""
import numpy as np
import torch

AWQ_ORDER = [0, 2, 4, 6, 1, 3, 5, 7]
E2M1 = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6], np.float32)


def _pack(codes, bits, axis):
    """Unsigned codes to int32 words along an axis, the first in the low bits."""
    codes = np.moveaxis(codes.astype(np.uint32), axis, -1)
    per_word = 32 // bits
    codes = np.pad(codes, [(0, 0)] * (codes.ndim - 1) + [(0, -codes.shape[-1] % per_word)])
    codes = codes.reshape(*codes.shape[:-1], -1, per_word)
    words = np.bitwise_or.reduce(codes << (np.arange(per_word, dtype=np.uint32) * bits), -1)
    return np.ascontiguousarray(np.moveaxis(words, -1, axis)).view(np.int32)


def _quantise(w, groups, bits, symmetric, scale_dtype):
    """codes [rows, cols], scales and zero points [rows, groups] for columns in the given groups."""
    num_groups, top = groups.max() + 1, 2**bits - 1
    scales = np.empty((w.shape[0], num_groups), np.float32)
    zeros = np.full((w.shape[0], num_groups), 2**(bits - 1))
    for g in range(num_groups):
        part = w[:, groups == g]
        if symmetric:
            scales[:, g] = np.abs(part).max(1) * 2 / top
        else:
            low, high = np.minimum(part.min(1), 0), np.maximum(part.max(1), 0)
            scales[:, g] = (high - low) / top
            zeros[:, g] = np.clip(np.round(-low / scales[:, g]), 1, top)
    scales = torch.from_numpy(scales).to(scale_dtype).float().numpy()
    codes = np.clip(np.round(w / scales[:, groups]) + zeros[:, groups], 0, top)
    return codes, scales, zeros, scales[:, groups] * (codes - zeros[:, groups]).astype(np.float32)


def _group_size(options, cols):
    return cols if options["group_size"] == -1 else options["group_size"]


def _act_order(name, groups):
    """Groups in a different order for the matrices of each input, and in another one for v."""
    part = name.rsplit(".", 1)[-1]
    shared = {"q_proj": "qk", "k_proj": "qk", "gate_proj": "up"}.get(part, part)
    seed = sum((name.removesuffix(part) + shared).encode())
    return np.random.default_rng(seed).permutation(groups)


def gptq(name, w, options):
    bits, size = options["bits"], _group_size(options, w.shape[1])
    groups = np.arange(w.shape[1]) // size
    if options["desc_act"]:
        groups = _act_order(name, groups)
    codes, scales, zeros, meant = _quantise(w, groups, bits, options["sym"], torch.float16)
    stored = zeros - 1 if options["checkpoint_format"] == "gptq" else zeros
    return {"qweight": _pack(codes.T, bits, 0), "qzeros": _pack(stored.T, bits, 1),
            "scales": scales.T.astype(np.float16), "g_idx": groups.astype(np.int32)}, meant


def awq(name, w, options):
    groups = np.arange(w.shape[1]) // _group_size(options, w.shape[1])
    codes, scales, zeros, meant = _quantise(w, groups, 4, False, torch.float16)

    def pack(x):
        return _pack(x.reshape(x.shape[0], -1, 8)[:, :, AWQ_ORDER].reshape(x.shape), 4, 1)

    return {"qweight": pack(codes.T), "qzeros": pack(zeros.T), "scales": scales.T.astype(np.float16)}, meant


def pack_quantized(name, w, options):
    args = options["config_groups"]["group_0"]["weights"]
    bits, size = args["num_bits"], args["group_size"] or w.shape[1]
    groups = np.arange(w.shape[1]) // size
    if args.get("actorder") == "group":
        groups = _act_order(name, groups)
    codes, scales, zeros, meant = _quantise(w, groups, bits, args["symmetric"], torch.bfloat16)
    parts = {"weight_packed": _pack(codes, bits, 1), "weight_scale": torch.from_numpy(scales).bfloat16(),
             "weight_shape": np.array(w.shape, np.int64)}
    if not args["symmetric"]:
        parts["weight_zero_point"] = _pack(zeros, bits, 0)
    if args.get("actorder") == "group":
        parts["weight_g_idx"] = groups.astype(np.int32)
    return parts, meant


def int_quantized(name, w, options):
    codes, scales, zeros, meant = _quantise(w, np.zeros(w.shape[1], int), 8, True, torch.bfloat16)
    return {"weight": (codes - zeros).astype(np.int8), "weight_scale": torch.from_numpy(scales).bfloat16()}, meant


def _to_e4m3(w, scales):
    codes = torch.from_numpy(w / scales).clamp(-448, 448).to(torch.float8_e4m3fn)
    return codes, codes.float().numpy() * scales


def float_quantized(name, w, options):
    scales = np.abs(w).max(1, keepdims=True) / 448
    codes, meant = _to_e4m3(w, scales)
    return {"weight": codes, "weight_scale": scales, "input_scale": np.ones(1, np.float32)}, meant


def fp8(name, w, options):
    rows, cols = options["weight_block_size"]
    padded = np.pad(w, [(0, -w.shape[0] % rows), (0, -w.shape[1] % cols)])
    blocks = np.abs(padded).reshape(padded.shape[0] // rows, rows, -1, cols)
    scales = blocks.max((1, 3)) / 448
    whole = np.repeat(np.repeat(scales, rows, 0), cols, 1)[:w.shape[0], :w.shape[1]]
    codes, meant = _to_e4m3(w, whole)
    return {"weight": codes, "weight_scale_inv": scales}, meant


def mxfp4(name, w, options):
    groups = w.reshape(w.shape[0], -1, 32)
    exponents = np.floor(np.log2(np.abs(groups).max(-1, keepdims=True))) - 2
    scaled = groups / 2**exponents
    codes = np.abs(np.abs(scaled)[..., None] - E2M1).argmin(-1)
    meant = np.sign(scaled) * E2M1[codes] * 2**exponents
    codes = (codes + 8 * (scaled < 0)).astype(np.uint8).reshape(w.shape)
    return {"weight_packed": codes[:, ::2] | (codes[:, 1::2] << 4),
            "weight_scale": (exponents[..., 0] + 127).astype(np.uint8)}, meant.reshape(w.shape).astype(np.float32)


FORMS = {"gptq": gptq, "awq": awq, "fp8": fp8, "pack-quantized": pack_quantized, "int-quantized": int_quantized,
         "float-quantized": float_quantized, "mxfp4-pack-quantized": mxfp4}


def quantised(fixture, drawn):
    """(tensors of the file, float32 matrices they mean); embeddings, norms, biases and routers stay bfloat16."""
    options = fixture.config["quantization_config"]
    form = FORMS[options.get("format", options["quant_method"])]
    stored, meant = {}, {}
    for name, x in drawn.items():
        if x.ndim != 2 or not name.endswith("proj.weight"):
            stored[name] = torch.from_numpy(x).bfloat16()
            meant[name] = stored[name].float()
            continue
        module = name.removesuffix(".weight")
        parts, matrix = form(module, x, options)
        for part, value in parts.items():
            stored[f"{module}.{part}"] = value if isinstance(value, torch.Tensor) else torch.from_numpy(
                np.ascontiguousarray(value))
        meant[name] = torch.from_numpy(np.ascontiguousarray(matrix, np.float32))
    return stored, meant
