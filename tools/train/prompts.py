"""Prompts for which a model writes the text that its small parts learn from and are measured on.

Every prompt has a task, which tables group by. A prompt depends on its task and its number alone; numbers from HELD_OUT
on are for measuring.
"""

import pathlib
import random
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent / "demo_model"))
import tasks  # noqa: E402
from heldout import prompt_text  # noqa: E402
from prepare import HELD_OUT  # noqa: E402
from world import Doc  # noqa: E402

DEMO_TASKS = {task.__name__: task for task in tasks.TASKS}


def demo_prompt(task, number):
    """A chat of the demo world up to where the model answers: now and then with a system message or an earlier turn."""
    rng = random.Random(f"{task} {number}")
    doc = Doc(rng)
    if rng.random() < 0.2:
        tasks.system_message(doc)
    if task == "recall_user":
        doc.begin("user")
        tasks.introduce_user(doc)
    elif rng.random() < 0.3:
        doc.begin("user")
        DEMO_TASKS[rng.choice(list(DEMO_TASKS))](doc)
    doc.begin("user")
    DEMO_TASKS[task](doc)
    return prompt_text([{"role": t.role, "content": t.text} for t in doc.turns[:-1]])


# Requests in our own words for a model of general text. {a} and {b} come from the lists beside them.
THINGS = ("a river", "a lighthouse", "an old bridge", "a small bakery", "a railway station", "a garden", "a winter storm",
          "a school library", "a fishing boat", "a lost letter", "a mountain village", "a clock tower", "a market square",
          "a night train", "an apple orchard", "a desert road", "a harbour", "a sailing race", "a snowy field", "a robot")
TOPICS = ("photosynthesis", "gravity", "the water cycle", "electricity", "democracy", "inflation", "vaccines", "volcanoes",
          "the solar system", "recycling", "magnets", "the heart", "evolution", "the internet", "climate", "earthquakes",
          "fractions", "probability", "sleep", "bread making", "friction", "sound", "the moon", "soil", "glaciers")
SKILLS = ("learning a language", "saving money", "sleeping better", "growing tomatoes", "cooking rice", "running a race",
          "giving a talk", "studying for an exam", "planning a trip", "keeping a diary", "cleaning a kitchen",
          "taking photographs", "writing clearly", "making friends", "caring for a dog", "reading more books")
KINDS = ("fruits", "vegetables", "European countries", "musical instruments", "sports", "animals", "tools", "colours",
         "careers", "planets", "kinds of weather", "pieces of furniture", "means of transport", "school subjects")
CODE = ("adds two numbers", "reverses a string", "checks whether a number is prime", "finds the largest item of a list",
        "counts the vowels in a word", "sorts a list of names", "computes a factorial", "removes duplicates from a list",
        "converts Celsius to Fahrenheit", "reads a file line by line", "merges two dictionaries", "sums the even numbers")
PEOPLE = ("a neighbour", "a colleague", "a teacher", "a customer", "a landlord", "a friend", "a doctor", "a librarian")
GENERAL_TASKS = {
    "story": ("Write a short story about {a}.", THINGS, THINGS),
    "story of two": ("Write a short story about {a} and {b}.", THINGS, THINGS),
    "describe": ("Describe {a} in five sentences.", THINGS, THINGS),
    "explain": ("Explain {a} in simple words.", TOPICS, TOPICS),
    "compare": ("What do {a} and {b} have in common?", TOPICS, TOPICS),
    "questions": ("Write three questions about {a} with their answers.", TOPICS, TOPICS),
    "tips": ("Give me five tips for {a}.", SKILLS, SKILLS),
    "steps": ("Write the steps of {a} as a numbered list.", SKILLS, SKILLS),
    "list": ("List ten {a}.", KINDS, KINDS),
    "table": ("Name three {a} and say one sentence about each.", KINDS, KINDS),
    "code": ("Write a Python function that {a}.", CODE, CODE),
    "email": ("Write a short email to {a} about {b}.", PEOPLE, SKILLS),
}


def general_prompt(task, number):
    """A chat in ChatML. Held-out prompts use a fifth of the word pairs, which training never shows."""
    text, first, second = GENERAL_TASKS[task]
    rng = random.Random(f"{task} {number}")
    while True:
        i, j = rng.randrange(len(first)), rng.randrange(len(second))
        if ((i if "{b}" not in text else 3 * i + j) % 5 == 0) == (number >= HELD_OUT) and first[i] != second[j]:
            break
    request = text.format(a=first[i], b=second[j])
    return ("<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n"
            f"<|im_start|>user\n{request}<|im_end|>\n<|im_start|>assistant\n")


KINDS_OF_PROMPTS = {"demo": (DEMO_TASKS, demo_prompt), "general": (GENERAL_TASKS, general_prompt)}
