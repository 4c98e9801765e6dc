"""Generates with vLLM (worker_peer.py); runs in its own Python environment."""

import functools

from timed_worker import answer_questions, arguments
from vllm import LLM, SamplingParams


@functools.cache
def load():
    model = LLM(arguments().folder, dtype="bfloat16", skip_tokenizer_init=True, enable_prefix_caching=False,
                max_num_seqs=64, max_num_batched_tokens=4096, disable_log_stats=True)

    def generate(prompts, answer):
        how = SamplingParams(temperature=0, max_tokens=answer, ignore_eos=True, detokenize=False)
        results = model.generate([{"prompt_token_ids": p} for p in prompts], how, use_tqdm=False)
        for result in results:
            made = len(result.outputs[0].token_ids)
            if made != answer:
                raise RuntimeError(f"{made} tokens were generated, not {answer}")

    return generate


if __name__ == "__main__":
    answer_questions({"": load})
