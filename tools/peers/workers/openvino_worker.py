"""Generates with OpenVINO GenAI (worker_peer.py): continuous batching, or the pipeline for one sequence that keeps its KV
in the model. Runs in its own Python environment."""

import functools

import numpy
import openvino
import openvino_genai

from timed_worker import answer_questions, arguments

args = arguments()
PROPERTIES = {"INFERENCE_NUM_THREADS": args.threads}


def generation(answer):
    config = openvino_genai.GenerationConfig()
    config.max_new_tokens = config.min_new_tokens = answer
    config.ignore_eos = True
    config.do_sample = False
    return config


def check(made, answer):
    if made != answer:
        raise RuntimeError(f"{made} tokens were generated, not {answer}")


def tensor(prompt):
    return openvino.Tensor(numpy.array([prompt], numpy.int64))


@functools.cache
def batching():
    scheduler = openvino_genai.SchedulerConfig()
    scheduler.cache_size = 4  # GiB
    scheduler.max_num_batched_tokens = 2048
    scheduler.max_num_seqs = 64
    scheduler.enable_prefix_caching = False
    pipeline = openvino_genai.ContinuousBatchingPipeline(args.folder, scheduler, "CPU", PROPERTIES)

    def generate(prompts, answer):
        for result in pipeline.generate([tensor(prompt) for prompt in prompts], [generation(answer)] * len(prompts)):
            check(len(result.m_generation_ids[0]), answer)

    return generate


@functools.cache
def stateful():
    pipeline = openvino_genai.LLMPipeline(args.folder, "CPU", **PROPERTIES, ATTENTION_BACKEND="SDPA")

    def generate(prompts, answer):
        check(len(pipeline.generate(tensor(prompts[0]), generation(answer)).tokens[0]), answer)

    return generate


answer_questions({"batching": batching, "stateful": stateful})
