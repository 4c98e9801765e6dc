#include "apps/peer_flags.h"

namespace quire {
namespace {

constexpr auto kSame = PeerMeaning::kSame;
constexpr auto kNoEffect = PeerMeaning::kNoEffect;
constexpr auto kRefused = PeerMeaning::kRefused;

constexpr std::string_view kLlama = "llama.cpp";
constexpr std::string_view kVllm = "vLLM";
constexpr std::string_view kBoth = "both";

constexpr std::string_view kDownload =
    "Quire downloads nothing; get the files with 'hf download ORG/NAME --local-dir DIR' and give DIR, or a .gguf file, "
    "as MODEL";
constexpr std::string_view kMemory =
    "memory is planned to the byte before anything is loaded; --memory SIZE limits it, 'quire plan MODEL' shows it";
constexpr std::string_view kNoLora = "LoRA adapters are not built; merge the adapter into the model first";
constexpr std::string_view kNoImages = "models that read images are not built; leave it out to use the text alone";
constexpr std::string_view kRope =
    "RoPE follows the model's own configuration; write other values into config.json (rope_scaling) and --ctx-size";
constexpr std::string_view kOffload =
    "a model runs on one kind of device as a whole; --device cpu or --device cuda chooses it";
constexpr std::string_view kFast = "the kernels always do this";
constexpr std::string_view kAlways = "always on";

// What would change an answer, or a promise that somebody relies on, is refused; what only hints at how to be fast or
// concerns hardware is accepted without effect. By theme; a row's names are one flag.
constexpr PeerFlag kPeers[] = {
    // The model.
    {"-m,--model", kBoth, kSame, "MODEL", "MODEL"},
    {"-hf,-hfr,--hf-repo", kLlama, kRefused, "ORG/NAME", kDownload},
    {"-hff,--hf-file", kLlama, kRefused, "FILE", kDownload},
    {"-hft,--hf-token", kBoth, kRefused, "TOKEN", kDownload},
    {"-mu,--model-url", kLlama, kRefused, "URL", kDownload},
    {"--download-dir", kVllm, kRefused, "DIR", kDownload},
    {"--revision,--code-revision,--tokenizer-revision", kVllm, kRefused, "NAME", kDownload},
    {"--tokenizer", kVllm, kRefused, "NAME", "the tokenizer is the model's own; put its files into the model's folder"},
    {"--tokenizer-mode", kVllm, kNoEffect, "MODE", "there is one tokenizer, written in C++"},
    {"--trust-remote-code", kVllm, kNoEffect, "", "Quire never runs code that comes with a model"},
    {"--load-format", kVllm, kNoEffect, "FORMAT", "the files themselves say what they are"},
    {"--dtype", kVllm, kNoEffect, "TYPE", "weights stay as the file has them, activations are float32"},
    {"-q,--quantization", kVllm, kNoEffect, "METHOD", "the files themselves say how they are quantised"},
    {"--override-kv", kLlama, kRefused, "KEY=TYPE:VALUE", "metadata are read as they are; write them into the file"},
    {"--hf-overrides", kVllm, kRefused, "JSON", "the configuration is read as it is; write it into config.json"},
    {"--check-tensors", kLlama, kNoEffect, "", "files are checked before use, and logits that are NaN end a request"},
    {"--mlock", kLlama, kNoEffect, "",
     "weights are copied into memory of the process; to keep it from swapping, limit it by its cgroup "
     "(memory.swap.max)"},
    {"--mmap,--no-mmap", kLlama, kNoEffect, "", "files are always mapped, and their weights packed into memory"},
    {"--numa", kLlama, kNoEffect, "TYPE", "threads and memory stay where the system puts them; use numactl"},
    {"--repack,-nr,--no-repack", kLlama, kNoEffect, "", kFast},
    {"--warmup,--no-warmup", kLlama, kNoEffect, "", "there is nothing to warm up"},
    // Speculation.
    {"--speculative-config", kVllm, kSame, "JSON", "--speculative-config: vLLM's keys and some of Quire's own"},
    {"-md,--model-draft", kLlama, kSame, "FILE", "--model-draft"},
    {"--draft,--draft-n,--draft-max", kLlama, kSame, "N", "--draft-max; fewer where they do not pay"},
    {"--draft-min,--draft-n-min", kLlama, kSame, "N", "--draft-min"},
    {"--draft-p-min", kLlama, kSame, "X", "--draft-p-min"},
    {"-cd,--ctx-size-draft", kLlama, kNoEffect, "N", "the drafter's context is the model's"},
    {"-ngld,--gpu-layers-draft,--n-gpu-layers-draft", kLlama, kNoEffect, "N", kOffload},
    {"-devd,--device-draft", kLlama, kNoEffect, "NAME", "the drafter runs where the model runs"},
    {"-lcs,--lookup-cache-static,-lcd,--lookup-cache-dynamic", kLlama, kRefused, "FILE",
     "use --speculative-config suffix, which remembers earlier answers in memory"},
    // Adapters and pictures.
    {"--lora,--lora-scaled", kLlama, kRefused, "FILE", kNoLora},
    {"--enable-lora", kVllm, kRefused, "", kNoLora},
    {"--lora-modules", kVllm, kRefused, "NAME=PATH", kNoLora},
    {"-mm,--mmproj", kLlama, kRefused, "FILE", kNoImages},
    {"--limit-mm-per-prompt", kVllm, kNoEffect, "JSON", "prompts hold no images"},
    // Memory and the KV cache.
    {"-c,--ctx-size", kLlama, kSame, "N",
     "--ctx-size; 0 is the model's own. It counts for each sequence: llama.cpp divides it among its slots"},
    {"--max-model-len", kVllm, kSame, "N", "--ctx-size"},
    {"-np,--parallel", kLlama, kSame, "N", "--sequences"},
    {"--max-num-seqs", kVllm, kSame, "N", "--sequences"},
    {"--gpu-memory-utilization", kVllm, kNoEffect, "X", kMemory},
    {"--kv-cache-memory-bytes", kVllm, kSame, "SIZE",
     "--kv-size; a number without a unit is GiB here and bytes in vLLM"},
    {"-fit,--fit", kLlama, kNoEffect, "[on|off]", kMemory},
    {"--cpu-offload-gb", kVllm, kRefused, "GIB", kOffload},
    {"--swap-space", kVllm, kSame, "GIB", "--swap-space; a number without a unit is GiB, and by default there is none"},
    {"--kv-cache-dtype", kVllm, kSame, "TYPE", "--kv-type"},
    {"-ctk,--cache-type-k", kLlama, kSame, "TYPE", "--cache-type-k"},
    {"-ctv,--cache-type-v", kLlama, kSame, "TYPE", "--cache-type-v"},
    {"--block-size", kVllm, kNoEffect, "N", "blocks have 32 positions"},
    {"--enable-prefix-caching,--no-enable-prefix-caching", kVllm, kSame, "", "--enable-prefix-caching"},
    {"--cache-prompt,--no-cache-prompt", kLlama, kRefused, "",
     "use --enable-prefix-caching (the default) or --no-enable-prefix-caching"},
    {"--cache-reuse", kLlama, kNoEffect, "N", "blocks of a prompt's beginning are found again by themselves"},
    {"-cram,--cache-ram", kLlama, kNoEffect, "MIB", "the prefix cache is what the KV pool has free"},
    {"-kvu,--kv-unified,--no-kv-unified", kLlama, kNoEffect, "", "all sequences share one pool of KV blocks"},
    {"--swa-full", kLlama, kNoEffect, "", "windows are kept exactly, with the same answers"},
    {"-dt,--defrag-thold", kLlama, kNoEffect, "X", "a cache of blocks does not fragment"},
    {"--context-shift,--no-context-shift", kLlama, kNoEffect, "", "an answer ends where the context ends"},
    {"--keep", kLlama, kNoEffect, "N", "the context is never shifted"},
    {"--disable-sliding-window", kVllm, kRefused, "", "windows are part of the model; leave it out"},
    {"--rope-scaling,--rope-theta", kBoth, kRefused, "VALUE", kRope},
    {"--rope-scale,--rope-freq-base,--rope-freq-scale", kLlama, kRefused, "X", kRope},
    {"--yarn-orig-ctx,--yarn-ext-factor,--yarn-attn-factor,--yarn-beta-slow,--yarn-beta-fast", kLlama, kRefused, "X",
     kRope},
    // Computing.
    {"-t,--threads", kLlama, kSame, "N", "--threads"},
    {"-tb,--threads-batch", kLlama, kNoEffect, "N", "both phases use the threads of --threads"},
    {"-b,--batch-size", kLlama, kSame, "N", "--batch-size"},
    {"-ub,--ubatch-size", kLlama, kNoEffect, "N", "a step is computed whole; --batch-size bounds it"},
    {"--max-num-batched-tokens", kVllm, kSame, "N", "--batch-size"},
    {"-fa,--flash-attn", kLlama, kNoEffect, "[on|off|auto|0|1]", kFast},
    {"-ngl,--gpu-layers,--n-gpu-layers", kLlama, kNoEffect, "N", kOffload},
    {"-kvo,--kv-offload,-nkvo,--no-kv-offload", kLlama, kNoEffect, "", kOffload},
    {"-ot,--override-tensor", kLlama, kRefused, "PATTERN=TYPE", kOffload},
    {"-cmoe,--cpu-moe", kLlama, kRefused, "", kOffload},
    {"-ncmoe,--n-cpu-moe", kLlama, kRefused, "N", kOffload},
    {"-dev", kLlama, kRefused, "NAME", "use --device cpu or --device cuda"},
    {"--device", kVllm, kSame, "NAME", "--device: cpu or cuda"},
    {"-mg,--main-gpu", kLlama, kRefused, "N", "choose the GPU with CUDA_VISIBLE_DEVICES"},
    {"-sm,--split-mode", kLlama, kRefused, "MODE", "use --tensor-parallel N to divide every layer among N GPUs"},
    {"-ts,--tensor-split", kLlama, kRefused, "N,...", "use --tensor-parallel N, which divides evenly"},
    {"-tp,--tensor-parallel-size", kVllm, kSame, "N", "--tensor-parallel"},
    {"-pp,--pipeline-parallel-size", kVllm, kRefused, "N", "use --tensor-parallel N; pipelines are not built"},
    {"-dp,--data-parallel-size", kVllm, kRefused, "N", "start several servers behind a load balancer"},
    {"--enable-expert-parallel", kVllm, kRefused, "", "use --tensor-parallel N, which divides experts too"},
    {"--distributed-executor-backend", kVllm, kNoEffect, "NAME", "ranks are threads of one process"},
    {"--disable-custom-all-reduce", kVllm, kNoEffect, "", "there is one, which keeps the order of every sum"},
    {"--enforce-eager", kVllm, kNoEffect, "", "recorded steps give the same bits"},
    {"-O,--compilation-config", kVllm, kNoEffect, "LEVEL", "nothing is compiled at run time"},
    {"--prio,--poll", kLlama, kNoEffect, "N", "the system schedules the threads; use nice"},
    {"-C,--cpu-mask", kLlama, kRefused, "MASK", "use taskset"},
    // Scheduling.
    {"--enable-chunked-prefill,--no-enable-chunked-prefill", kVllm, kSame, "", "--enable-chunked-prefill"},
    {"--scheduling-policy", kVllm, kSame, "NAME", "--scheduling-policy: fcfs, priority, and fair and deadline besides"},
    {"-cb,--cont-batching", kLlama, kNoEffect, "", kAlways},
    {"-nocb,--no-cont-batching", kLlama, kRefused, "", "use --static-batching refilled"},
    {"--async-scheduling", kVllm, kRefused, "", "use --run-ahead (the default)"},
    // Chat and sampling.
    {"--jinja", kLlama, kNoEffect, "", "chat templates always run in the Jinja engine"},
    {"--no-jinja", kLlama, kRefused, "",
     "chat templates always run in the Jinja engine; use --chat-template FILE for another one"},
    {"--chat-template", kBoth, kSame, "FILE",
     "--chat-template: a file, or the template itself; llama.cpp's names of templates are not known"},
    {"--chat-template-file", kLlama, kSame, "FILE", "--chat-template"},
    {"--chat-template-content-format", kVllm, kNoEffect, "FORMAT", "the template is asked which form it takes"},
    {"-n,--predict,--n-predict", kLlama, kSame, "N",
     "--max-tokens of 'quire run'; a server's requests bring their max_tokens"},
    {"-s,--seed", kBoth, kSame, "N", "--seed; answers are the same for one seed in any batch"},
    {"--temp,--temperature", kLlama, kSame, "X", "--temperature"},
    {"--top-k", kLlama, kSame, "N", "--top-k"},
    {"--top-p", kLlama, kSame, "X", "--top-p"},
    {"--min-p", kLlama, kSame, "X", "--min-p, which is 0 by default"},
    {"--typical,--typical-p", kLlama, kSame, "X", "--typical-p"},
    {"--repeat-penalty", kLlama, kSame, "X", "--repetition-penalty; it looks at the whole prompt and answer"},
    {"--repeat-last-n", kLlama, kRefused, "N", "penalties look at the whole prompt and answer"},
    {"--presence-penalty", kLlama, kSame, "X", "--presence-penalty"},
    {"--frequency-penalty", kLlama, kSame, "X", "--frequency-penalty"},
    {"--top-nsigma", kLlama, kSame, "X", "--top-n-sigma"},
    {"--dynatemp-range", kLlama, kSame, "X", "--dynatemp-range; the entropy is that of all tokens, before top-k"},
    {"--dynatemp-exp", kLlama, kSame, "X", "--dynatemp-exponent"},
    {"--mirostat", kLlama, kSame, "N", "--mirostat; penalties and DRY apply as well"},
    {"--mirostat-ent", kLlama, kSame, "X", "--mirostat-tau"},
    {"--mirostat-lr", kLlama, kSame, "X", "--mirostat-eta"},
    {"--dry-multiplier", kLlama, kSame, "X", "--dry-multiplier"},
    {"--dry-base", kLlama, kSame, "X", "--dry-base"},
    {"--dry-allowed-length", kLlama, kSame, "N", "--dry-allowed-length"},
    {"--dry-penalty-last-n", kLlama, kSame, "N", "--dry-penalty-last-n"},
    {"--dry-sequence-breaker", kLlama, kSame, "TEXT", "--dry-sequence-breaker"},
    {"--xtc-probability", kLlama, kSame, "X", "--xtc-probability"},
    {"--xtc-threshold", kLlama, kSame, "X", "--xtc-threshold; probabilities are those after the temperature"},
    {"--samplers,--sampler-seq", kLlama, kRefused, "ORDER", "the order of sampling steps is fixed (docs/sampling.md)"},
    {"--generation-config", kVllm, kRefused, "NAME",
     "sampling defaults are the model's own; --temperature and the like override them"},
    {"--override-generation-config", kVllm, kRefused, "JSON", "use --temperature, --top-k, --top-p and the like"},
    {"-l,--logit-bias", kLlama, kSame, "ID+BIAS", "--logit-bias of 'quire run'"},
    {"-r,--reverse-prompt", kLlama, kSame, "TEXT", "--stop of 'quire run'"},
    {"-e,--escape", kLlama, kRefused, "", "texts are taken as they are; let the shell write the escapes: $'a\\nb'"},
    {"--no-escape", kLlama, kNoEffect, "", "texts are taken as they are"},
    {"--special,-sp", kLlama, kRefused, "", "use the request's skip_special_tokens"},
    {"--ignore-eos", kLlama, kSame, "", "--ignore-eos of 'quire run'; requests have a field ignore_eos"},
    {"-p,--prompt", kLlama, kSame, "TEXT", "--prompt of 'quire run'"},
    {"-f,--file", kLlama, kSame, "FILE", "--file of 'quire run'"},
    {"-sys,--system-prompt", kLlama, kSame, "TEXT", "--system of 'quire run'"},
    {"-cnv,--conversation", kLlama, kNoEffect, "", "'quire run' without a prompt is a conversation"},
    {"-no-cnv,--no-conversation", kLlama, kSame, "", "--raw of 'quire run'"},
    {"-i,--interactive", kLlama, kNoEffect, "", "'quire run' without a prompt is a conversation"},
    // The server.
    {"--host", kBoth, kSame, "ADDRESS",
     "--host, repeatable; 127.0.0.1 by default, where vLLM listens on every address"},
    {"--port", kBoth, kSame, "N", "--port; 8080 by default, 8000 in vLLM"},
    {"--uds", kVllm, kSame, "PATH", "--uds"},
    {"--root-path", kVllm, kSame, "PATH", "--root-path"},
    {"--api-prefix", kLlama, kRefused, "PATH", "use --root-path PATH"},
    {"-a,--alias", kLlama, kSame, "NAME", "--served-model-name"},
    {"--served-model-name", kVllm, kSame, "NAME", "--served-model-name"},
    {"--api-key", kBoth, kSame, "KEY", "--api-key, repeatable"},
    {"--api-key-file", kLlama, kSame, "FILE", "--api-key-file"},
    {"--ssl-key-file", kLlama, kSame, "FILE", "--ssl-keyfile"},
    {"--ssl-cert-file", kLlama, kSame, "FILE", "--ssl-certfile"},
    {"--ssl-keyfile", kVllm, kSame, "FILE", "--ssl-keyfile"},
    {"--ssl-certfile", kVllm, kSame, "FILE", "--ssl-certfile"},
    {"--threads-http", kLlama, kSame, "N", "--http-threads"},
    {"--no-webui,--no-ui", kLlama, kSame, "", "--no-webui"},
    {"--webui,--ui", kLlama, kNoEffect, "", "the page is served unless --no-webui is given"},
    {"--path", kLlama, kRefused, "DIR", "the page is part of the program; serve other files by a web server"},
    {"--metrics", kLlama, kNoEffect, "", "GET /metrics is always there"},
    {"--disable-log-stats", kVllm, kNoEffect, "", "numbers are in /metrics, not in the log"},
    {"--slots,--no-slots", kLlama, kNoEffect, "", "GET /status has the numbers of the live view"},
    {"--props", kLlama, kRefused, "", "properties of a running server cannot be changed; give flags at its start"},
    {"--slot-save-path", kLlama, kRefused, "DIR", "the KV cache is kept in memory only; leave it out"},
    {"--embedding,--embeddings", kLlama, kNoEffect, "", "/v1/embeddings is always there"},
    {"--rerank,--reranking", kLlama, kRefused, "", "reranking is not built; compare embeddings (/v1/embeddings)"},
    {"--task,--runner", kVllm, kNoEffect, "NAME", "one model generates and embeds"},
    {"--allowed-origins", kVllm, kRefused, "JSON", "use --cors-origin ORIGIN, once for each"},
    {"--cors-origins", kLlama, kRefused, "ORIGINS", "use --cors-origin ORIGIN, once for each"},
    {"--enable-log-requests", kVllm, kRefused, "", "use --log-requests text; it never logs prompts"},
    {"--disable-log-requests", kVllm, kNoEffect, "", "requests are logged only with --log-requests"},
    {"--uvicorn-log-level", kVllm, kRefused, "LEVEL", "use --log-level"},
    {"-v,--verbose", kLlama, kRefused, "", "use --log-level debug"},
    {"-lv,--verbosity", kLlama, kRefused, "N", "use --log-level debug, info, warning, error or off"},
    {"--log-disable", kLlama, kRefused, "", "use --log-level off"},
    {"--log-file", kLlama, kRefused, "FILE", "the log is standard error; redirect it: 2> FILE"},
    {"--max-logprobs", kVllm, kNoEffect, "N", "the table of limits in docs/serving.md says how many a request may ask"},
    {"-to,--timeout", kLlama, kNoEffect, "SECONDS", "connections have limits of their own (docs/serving.md)"},
    {"--stream-interval", kVllm, kSame, "N", "--stream-interval"},
    {"--config", kVllm, kSame, "FILE", "--config, of every command"},
};

}  // namespace

std::span<const PeerFlag> peer_flags() { return kPeers; }

}  // namespace quire
