"""The list of tiny models behind tests/golden: what each is, how its files are stored and what must matter in it.

A fixture is a config.json in the form in which real models publish it. `probes` are changes to that configuration that
must move the logits far beyond the tolerance, otherwise the fixture would not notice an engine that gets them wrong.
"""
from dataclasses import dataclass, field

NUM_TOKENS = 70  # crosses the KV block borders at 32 and 64
NO_ROPE_SCALING = {"rope_scaling": None, "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0}}


@dataclass
class Case:
    name: str
    num_tokens: int = NUM_TOKENS
    stepwise: bool = False  # the reference fed one token at a time, through its cache
    probed: bool = True


@dataclass
class Fixture:
    name: str
    config: dict
    dtype: str = "BF16"  # of the safetensors
    gguf: str | None = None  # type of the matrices in model.gguf; None: no GGUF
    shards: int = 1
    gguf_shards: int = 1
    cases: list = field(default_factory=lambda: [Case("whole")])
    probes: dict = field(default_factory=dict)
    tolerance: float = 1e-4  # of the range of the reference logits
    safetensors: bool = True


def _config(architecture, model_type, **values):
    return {"architectures": [architecture], "model_type": model_type, "bos_token_id": 1, "eos_token_id": 2,
            "hidden_size": 48, "num_hidden_layers": 2, "intermediate_size": 80, "num_attention_heads": 4,
            "num_key_value_heads": 2, "vocab_size": 96, "max_position_embeddings": 128, "rms_norm_eps": 1e-5,
            "rope_theta": 10000.0, "tie_word_embeddings": False} | values


def _llama(**values):
    return _config("LlamaForCausalLM", "llama", hidden_act="silu", **values)


def _mistral(**values):
    return _config("MistralForCausalLM", "mistral", hidden_act="silu", **values)


def _qwen2(**values):
    return _config("Qwen2ForCausalLM", "qwen2", hidden_act="silu", rms_norm_eps=1e-6, **values)


def _qwen3(**values):
    return _config("Qwen3ForCausalLM", "qwen3", hidden_act="silu", head_dim=16, attention_bias=False, **values)


def _qwen3_moe(**values):
    return _config("Qwen3MoeForCausalLM", "qwen3_moe", hidden_act="silu", hidden_size=32, head_dim=16,
                   moe_intermediate_size=24, num_experts=8, num_experts_per_tok=2, **values)


def _gptq(**values):
    return {"quant_method": "gptq", "bits": 4, "group_size": 32, "sym": False, "desc_act": False,
            "checkpoint_format": "gptq"} | values


def _compressed(form, **weights):
    return {"quant_method": "compressed-tensors", "format": form, "quantization_status": "compressed",
            "config_groups": {"group_0": {"targets": ["Linear"], "weights": weights}}, "ignore": ["lm_head"]}


def _small(make, quantization, hidden=64, inner=128, **values):
    return make(quantization_config=quantization) | {"hidden_size": hidden, "intermediate_size": inner,
                                                     "num_hidden_layers": 1, "vocab_size": 64} | values


def _gemma2(**values):
    return _config("Gemma2ForCausalLM", "gemma2", hidden_activation="gelu_pytorch_tanh", hidden_size=32,
                   intermediate_size=56, num_hidden_layers=4, head_dim=16, attn_logit_softcapping=3.0,
                   final_logit_softcapping=8.0, tie_word_embeddings=True, **values)


def _gemma3(**values):
    return _config("Gemma3ForCausalLM", "gemma3_text", hidden_activation="gelu_pytorch_tanh", hidden_size=32,
                   intermediate_size=56, head_dim=16, num_key_value_heads=1, rope_local_base_freq=500.0,
                   tie_word_embeddings=True, **values)


def _phi3(**values):
    return _config("Phi3ForCausalLM", "phi3", hidden_act="silu", num_attention_heads=3, num_key_value_heads=1,
                   pad_token_id=0, **values)


FIXTURES = [
    Fixture("llama2-mha", _llama(hidden_size=32, intermediate_size=56, num_attention_heads=2), dtype="F32",
            gguf="F32", probes={"rope base": {"rope_theta": 100.0}}),
    Fixture("llama3-gqa-tied",
            _llama(head_dim=16, tie_word_embeddings=True,
                   rope_scaling={"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                                 "original_max_position_embeddings": 64}),
            gguf="BF16", probes={"no rope scaling": NO_ROPE_SCALING}),
    # "type" is how configurations of that time name the scaling.
    Fixture("llama-linear-sharded", _llama(rope_scaling={"type": "linear", "factor": 4.0}), dtype="F16", gguf="F16",
            shards=3, probes={"no rope scaling": NO_ROPE_SCALING}),
    # Beyond 40 positions the base grows with the length, so that a key keeps the base of the step that wrote it: the
    # stepwise reference is the one answer that no chunking changes. Up to 40 positions both are the same.
    Fixture("llama-dynamic", _llama(max_position_embeddings=40, rope_scaling={"rope_type": "dynamic", "factor": 2.0}),
            cases=[Case("short", num_tokens=40, probed=False), Case("stepwise", stepwise=True)],
            probes={"no rope scaling": NO_ROPE_SCALING}),
    # The same keys as transformers 5 writes them.
    Fixture("llama-yarn",
            _llama(rope_parameters={"rope_type": "yarn", "rope_theta": 10000.0, "factor": 4.0, "beta_fast": 8.0,
                                    "beta_slow": 1.0, "original_max_position_embeddings": 32}),
            gguf="BF16", probes={"no rope scaling": NO_ROPE_SCALING}),
    Fixture("llama-mqa-bias",
            _llama(hidden_size=40, num_attention_heads=5, num_key_value_heads=1, intermediate_size=56, vocab_size=97,
                   attention_bias=True, mlp_bias=True), gguf="F16", probes={"rope base": {"rope_theta": 100.0}}),
    Fixture("mistral-window", _mistral(sliding_window=12, head_dim=16), probes={"no window": {"sliding_window": None}}),
    # Published files name a window that is switched off.
    Fixture("qwen2-bias-tied",
            _qwen2(tie_word_embeddings=True, rope_theta=1000000.0, use_sliding_window=False, sliding_window=16,
                   max_window_layers=1), gguf="F16",
            probes={"rope base": {"rope_theta": 100.0}, "window": {"use_sliding_window": True}}),
    Fixture("qwen2-window", _qwen2(num_hidden_layers=3, use_sliding_window=True, sliding_window=16,
                                   max_window_layers=1),
            probes={"no window": {"use_sliding_window": False, "sliding_window": None},
                    "window everywhere": {"max_window_layers": 0, "layer_types": None}}),
    Fixture("qwen3", _qwen3(), gguf="BF16", probes={"rope base": {"rope_theta": 100.0}}),
    Fixture("gemma2", _gemma2(sliding_window=20, query_pre_attn_scalar=16), gguf="BF16",
            probes={"no attention softcap": {"attn_logit_softcapping": None},
                    "no final softcap": {"final_logit_softcapping": None}, "other window": {"sliding_window": 24}}),
    # A scale of attention that is not the head's: GGUF has no key for it.
    Fixture("gemma2-scalar", _gemma2(sliding_window=9, query_pre_attn_scalar=8) | {"num_hidden_layers": 3},
            probes={"head's own scale": {"query_pre_attn_scalar": 16}}),
    Fixture("gemma3", _gemma3(num_hidden_layers=7, sliding_window=20, sliding_window_pattern=6,
                              query_pre_attn_scalar=16, rope_theta=10000.0,
                              rope_scaling={"rope_type": "linear", "factor": 8.0}),
            gguf="BF16", probes={"other window": {"sliding_window": 24}, "all local": {"layer_types": 7 * [
                "sliding_attention"]}, "other local base": {"rope_local_base_freq": 10000.0}}),
    Fixture("gemma3-layer-types",
            _gemma3(num_hidden_layers=3, sliding_window=10, query_pre_attn_scalar=24, final_logit_softcapping=6.0,
                    attention_bias=True,
                    layer_types=["full_attention", "sliding_attention", "full_attention"]),
            probes={"other window": {"sliding_window": 24}, "no final softcap": {"final_logit_softcapping": None}}),
    Fixture("phi3-window", _phi3(sliding_window=24, original_max_position_embeddings=128), gguf="BF16",
            probes={"no window": {"sliding_window": None}}),
    # All positions of a sequence use the short factors, or, when it is longer than 48 positions, the long ones.
    Fixture("phi3-longrope",
            _phi3(max_position_embeddings=192, original_max_position_embeddings=48, partial_rotary_factor=0.75,
                  rope_scaling={"type": "longrope", "short_factor": [1.0, 1.05, 1.1, 1.2, 1.3, 1.5],
                                "long_factor": [1.1, 1.4, 2.0, 3.0, 4.0, 4.5]}),
            gguf="BF16", cases=[Case("short", num_tokens=48), Case("just_long", num_tokens=49), Case("long")],
            probes={"no rope scaling": {"rope_scaling": None,
                                        "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0,
                                                            "partial_rotary_factor": 0.75}},
                    "whole rotary": {"partial_rotary_factor": 1.0, "rope_scaling": {
                        "type": "longrope", "short_factor": 8 * [1.0], "long_factor": 8 * [2.0]}}}),
    Fixture("mixtral",
            _config("MixtralForCausalLM", "mixtral", hidden_act="silu", hidden_size=32, intermediate_size=40,
                    num_local_experts=4, num_experts_per_tok=2, sliding_window=None),
            gguf="F16", dtype="F16", gguf_shards=2, probes={"one expert": {"num_experts_per_tok": 1}}),
    Fixture("qwen3moe", _qwen3_moe(norm_topk_prob=True), gguf="BF16",
            probes={"weights of experts not normalised": {"norm_topk_prob": False}}),
    Fixture("qwen3moe-sparse",
            _qwen3_moe(num_hidden_layers=4, norm_topk_prob=False, decoder_sparse_step=2, mlp_only_layers=[3],
                       attention_bias=True),
            probes={"weights of experts normalised": {"norm_topk_prob": True}}),
    # Block formats: the reference runs on the values that the blocks stand for.
    Fixture("llama-blocks", _llama(hidden_size=64, intermediate_size=96), gguf="Q4_0", safetensors=False,
            tolerance=2e-2),
    # Quantised checkpoints: the reference runs on the values that they stand for.
    Fixture("gptq", _small(_llama, _gptq(group_size=128, sym=True), hidden=128, inner=64), tolerance=2e-2),
    Fixture("gptq-act-order", _small(_qwen2, _gptq(desc_act=True), inner=96), tolerance=2e-2),
    Fixture("gptq-v2-moe",
            _small(_qwen3_moe, _gptq(desc_act=True, checkpoint_format="gptq_v2"), norm_topk_prob=True,
                   moe_intermediate_size=64, num_experts=4), tolerance=2e-2),
    Fixture("gptq-8bit", _small(_llama, _gptq(bits=8, group_size=-1, sym=True)), tolerance=2e-2),
    Fixture("awq-phi3", _small(_phi3, {"quant_method": "awq", "bits": 4, "group_size": 64, "version": "gemm",
                                       "zero_point": True}, num_attention_heads=2), tolerance=2e-2),
    Fixture("w4a16-act-order", _small(_llama, _compressed("pack-quantized", num_bits=4, group_size=64, symmetric=False,
                                                          strategy="group", type="int", actorder="group"), hidden=128,
                                      inner=64),
            tolerance=2e-2),
    Fixture("w8a16", _small(_llama, _compressed("pack-quantized", num_bits=8, group_size=None, symmetric=True,
                                                strategy="channel", type="int"), inner=64), tolerance=2e-2),
    Fixture("w8a8", _small(_llama, _compressed("int-quantized", num_bits=8, group_size=None, symmetric=True,
                                               strategy="channel", type="int")), tolerance=2e-2),
    Fixture("w8a8-fp8", _small(_llama, _compressed("float-quantized", num_bits=8, group_size=None, symmetric=True,
                                                   strategy="channel", type="float"), hidden=128, inner=64,
                                tie_word_embeddings=True)),
    # The width of the last matrix is no multiple of a block's.
    Fixture("fp8-blocks", _small(_qwen3, {"quant_method": "fp8", "fmt": "e4m3", "activation_scheme": "dynamic",
                                          "weight_block_size": [128, 128]}, hidden=128, inner=192, tie_word_embeddings=True)),
    Fixture("mxfp4", _small(_llama, _compressed("mxfp4-pack-quantized", num_bits=4, group_size=32, symmetric=True,
                                                strategy="group", type="float")), tolerance=2e-2),
]
