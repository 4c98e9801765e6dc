#!/usr/bin/env python3
"""lm-eval's local-completions on a tiny task: its figures are exactly those of the server's own echo. check_lm_eval.py URL"""
import json
import os
import sys
import urllib.request

os.environ.update(HF_HUB_OFFLINE="1", HF_DATASETS_OFFLINE="1")

import lm_eval  # noqa: E402
from lm_eval.tasks import TaskManager  # noqa: E402

URL = sys.argv[1]
MODEL_ARGS = f"model=demo,base_url={URL}/v1/completions,tokenizer_backend=remote,num_concurrent=4,max_length=1024"


def post(path, body):
    request = urllib.request.Request(URL + path, json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as reply:
        return json.load(reply)


def echoed_log_likelihood(context, continuation):
    """By text and text offsets: another way than lm-eval's, which sends token ids and counts them."""
    choice = post("/v1/completions", {"prompt": context + continuation, "add_special_tokens": False, "max_tokens": 0,
                                      "echo": True, "logprobs": 1})["choices"][0]
    lists = choice["logprobs"]
    return sum(value for value, offset in zip(lists["token_logprobs"], lists["text_offset"]) if offset >= len(context))


def greedy_text(context, arguments):
    body = {"prompt": context, "add_special_tokens": False, "temperature": 0, "max_tokens": arguments["max_gen_toks"],
            "stop": arguments["until"]}
    return post("/v1/completions", body)["choices"][0]["text"]


def main():
    manager = TaskManager(include_path=os.path.dirname(os.path.abspath(__file__)), include_defaults=False)
    results = lm_eval.simple_evaluate(model="local-completions", model_args=MODEL_ARGS, task_manager=manager,
                                      tasks=["quire_tiny_choice", "quire_tiny_generate"], bootstrap_iters=0)
    differences, texts = [], 0
    for sample in results["samples"]["quire_tiny_choice"]:
        for argument, response in zip(sample["arguments"], sample["resps"]):
            differences.append(abs(response[0][0] - echoed_log_likelihood(*argument)))
    for sample in results["samples"]["quire_tiny_generate"]:
        texts += 1
        context, arguments = sample["arguments"][0]
        expected = greedy_text(context, arguments)
        assert sample["resps"][0][0] == expected, (sample["resps"], expected)
    assert differences and max(differences) == 0, differences
    print(f"lm-eval {lm_eval.__version__}: {len(differences)} log likelihoods differ by {max(differences)}, {texts} greedy texts "
          f"are equal")


main()
