"""Held-out text: documents of the same small world that were never trained on, and questions with one right answer.

    python heldout.py WORK FILE

writes the file that docs/demo-model.md describes. evaluate.py measures larger sets made by the same functions.
"""

import argparse
import json
import pathlib
import random

from tokenizers import Tokenizer

import tasks
from prepare import HELD_OUT, ROW_LENGTHS, document
from world import ASSISTANT, END, SPECIALS, Doc, PEOPLE

LONGEST = ROW_LENGTHS[-1]


def chatted(task):
    """The user says something of himself, talks of another thing, then asks whether the model remembers."""
    def ask(doc):
        tasks.introduce_user(doc)
        for between in [tasks.sums] * 2:
            doc.begin("user")
            between(doc)
        doc.begin("user")
        task(doc)
    return ask


def renamed(doc):
    doc.turns.pop()
    doc.begin("system")
    name = doc.model_name = doc.choose(PEOPLE)
    doc.say(f"Your name is {name}.")
    doc.begin("user")
    tasks.own_name(doc)


# name of the task -> the function that makes it, how many of them the file holds. Sums and the like use pairs of
# operands that training never showed.
EXACT = {
    "identity": (tasks.small_talk, 9), "system_name": (renamed, 9), "unknown": (tasks.unknown, 8),
    "recall_chat": (chatted(tasks.recall_user), 13),
    "story_read": (tasks.read_story, 13), "fact_near": (tasks.facts_near, 16), "fact_middle": (tasks.facts_middle, 13),
    "fact_far": (tasks.facts_far, 10), "not_said": (tasks.facts_near, 9),
    "moved": (tasks.moves, 13), "carried": (tasks.moves, 13),
    "sum": (lambda doc: tasks.sums(doc, kept=1), 26), "difference": (lambda doc: tasks.differences(doc, kept=1), 19),
    "compare": (lambda doc: tasks.compare(doc, kept=1), 13),
    "sort_numbers": (tasks.sort_numbers, 13), "sort_words": (tasks.sort_words, 13), "reverse": (tasks.reverse, 13),
    "count": (tasks.count, 13), "json_make": (tasks.json_make, 13), "json_list": (tasks.json_list, 9),
    "json_field": (tasks.json_field, 13), "repeat": (tasks.repeat, 13), "spell": (tasks.spell, 13),
    "say_times": (tasks.say_times, 9),
}


def exact_question(task, seed):
    """Messages up to the user's question, and the one right answer."""
    ask = EXACT[task][0]
    for attempt in range(1000):
        doc = Doc(random.Random(f"{task} {seed} {attempt}"))
        doc.begin("user")
        ask(doc)
        end = next((i for i, turn in enumerate(doc.turns) if turn.task == task), None)
        if end is not None:
            messages = [{"role": t.role, "content": t.text} for t in doc.turns[:end]]
            return messages, doc.turns[end].text
    raise ValueError(f"{task} never came up")


def prompt_text(messages):
    return "<|begin_of_text|>" + "".join(f"<|{m['role']}|>{m['content']}{END}" for m in messages) + ASSISTANT


def held_out_documents(tokenizer, first, count):
    """Yields (Doc, token ids) of documents that fit the context."""
    seed, made = HELD_OUT + first, 0
    while made < count:
        doc = document(seed)
        seed += 1
        ids = tokenizer.encode(doc.text(), add_special_tokens=False).ids
        if len(ids) <= LONGEST:
            made += 1
            yield doc, ids


def spoken(ids, tokenizer):
    """For each predicted token (all but the first): did the assistant say it, its <|end|> included?"""
    assistant, says, result = tokenizer.token_to_id(ASSISTANT), False, []
    for i in ids:
        result.append(says)
        if i < len(SPECIALS):
            says = i == assistant
    return result[1:]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("work", type=pathlib.Path)
    parser.add_argument("file", type=pathlib.Path)
    parser.add_argument("--documents", type=int, default=140)
    options = parser.parse_args()
    tokenizer = Tokenizer.from_file(str(options.work / "tokenizer.json"))
    lines = []
    for doc, ids in held_out_documents(tokenizer, 0, options.documents):
        lines.append({"kind": "document", "text": doc.text(), "num_tokens": len(ids) - 1,
                      "num_assistant_tokens": sum(spoken(ids, tokenizer)), "floor_nats": round(doc.nats(), 4),
                      "floor_nats_assistant": round(doc.nats("assistant"), 4)})
    for task, (_, count) in EXACT.items():
        for seed in range(count):
            messages, answer = exact_question(task, seed)
            lines.append({"kind": "exact", "task": task, "messages": messages, "answer": answer})
    text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
    options.file.write_text(text)
    print(f"{len(lines)} lines, {len(text.encode())} bytes")


if __name__ == "__main__":
    main()
