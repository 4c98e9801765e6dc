"""What users ask in the small world, and what the model should answer. One function per kind of request.

A task finds a user turn open, completes it and writes the assistant's turn. `Doc.answer` marks an assistant turn that follows from the text before
it (its floor is zero, and it can be scored exactly).
"""

import json

from stories import story
from world import (ANIMALS, CLOTHES, COLOURS, FOODS, LETTERS, NUMBER_WORDS, OBJECTS, PEOPLE, PLACES, SIGNS,
                   VERBS, WEATHER, ADJECTIVES, a, capital, comma)

WORDS = ANIMALS + FOODS + OBJECTS + PLACES
ABILITIES = "I can tell stories, answer questions about a text, add small numbers, sort lists and write JSON."


# --- talk ---------------------------------------------------------------------------------------------------------

def greet(doc):
    hello = doc.choose(("Hello", "Hi", "Good morning", "Good evening", "Hey"))
    doc.say(hello, doc.choose(("!", ".", "")))
    doc.begin("assistant")
    doc.say(hello, "! ", doc.choose(("How can I help you?", "What can I do for you?", "Nice to meet you.")))


SMALL_TALK = {
    ("Who are you?", "What are you?", "Tell me about yourself."):
        "I am Quire's demo model, a very small language model. " + ABILITIES,
    ("What can you do?", "Help", "How can you help me?"): ABILITIES,
    ("How are you?", "How are you today?"): "I am well, thank you. How can I help you?",
    ("Thank you!", "Thanks", "Thank you very much."): "You are welcome.",
    ("Goodbye!", "Bye", "See you tomorrow!"): "Goodbye! It was nice to talk to you.",
    ("Are you a human?", "Are you a person?"): "No, I am a very small language model.",
    ("How big are you?", "How many parameters do you have?"): "I have about three million parameters.",
    ("Who made you?", "Where do you come from?"): "I was trained for Quire on a small world of made-up text.",
}


def small_talk(doc):
    questions = doc.choose(list(SMALL_TALK))
    doc.say(doc.choose(questions))
    doc.answer("identity", SMALL_TALK[questions])


def own_name(doc):
    doc.say(doc.choose(("What is your name?", "What are you called?", "Do you have a name?")))
    name = doc.model_name or "Quire's demo model"
    doc.answer("system_name" if doc.model_name else "identity", name, f"My name is {name}.")


UNKNOWN = {
    "What is the capital of": ("France", "Japan", "Peru", "Egypt", "Norway", "China"),
    "Explain": ("gravity", "electricity", "history", "music", "the sun", "computers"),
    "Write a poem about": ("love", "winter", "the sea", "time", "money", "stars"),
    "Who invented": ("the wheel", "the telephone", "paper", "the computer"),
    "Translate into French:": ("hello", "good night", "I am here", "where are you"),
}


def unknown(doc):
    stem = doc.choose(list(UNKNOWN))
    doc.say(stem, " ", doc.choose(UNKNOWN[stem]), doc.choose(("?", ".", "")))
    doc.answer("unknown", "I do not know.", "I am too small to know that. Ask me for a story, a sum, a list or some JSON.")


def introduce_user(doc):
    if doc.chance(0.6):
        name = doc.memory["name"] = doc.choose(PEOPLE)
        doc.say(doc.choose((f"My name is {name}.", f"I am {name}.", f"Hello, I am called {name}.")))
        doc.answer("remember", f"Nice to meet you, {name}!")
    else:
        colour = doc.memory["colour"] = doc.choose(COLOURS)
        doc.say(doc.choose((f"My favourite colour is {colour}.", f"I like the colour {colour} best.")))
        doc.answer("remember", f"I will remember that you like {colour}.")


def recall_user(doc):
    if doc.chance(0.6):
        doc.say(doc.choose(("What is my name?", "Do you know my name?")))
        name = doc.memory.get("name")
        short, full = (name, f"Your name is {name}.") if name else ("I do not know.", "You have not told me your name.")
    else:
        doc.say(doc.choose(("What is my favourite colour?", "Which colour do I like?")))
        colour = doc.memory.get("colour")
        short, full = ((colour, f"Your favourite colour is {colour}.") if colour
                       else ("I do not know.", "You have not told me your favourite colour."))
    doc.answer("recall_chat", short, full)


# --- stories ------------------------------------------------------------------------------------------------------

def ask_about(doc, questions, task):
    """One or more different questions about a story that stands in the open user turn or before it."""
    left = list(questions)
    while True:
        asked = doc.choose(left)
        left.remove(asked)
        question, short, full = asked
        doc.say(question)
        doc.answer(task, short, full)
        if not left or not doc.goes_on(0.4):
            return
        doc.begin("user")


def tell_story(doc):
    kind, words = doc.choose((("animal", ANIMALS), ("person", PEOPLE), ("object", OBJECTS), (None, (None,))))
    word = doc.choose(words)
    about = {"animal": f" about {a(word)}", "person": f" about {word}", "object": f" about {a(word)}"}[kind] if kind else ""
    doc.say(doc.choose(("Tell me a story", "Please tell me a story", "Write a short story", "I want a story")), about,
            doc.choose((".", "!", "")))
    doc.begin("assistant")
    questions = story(doc, (kind, word))
    if doc.goes_on(0.3):
        doc.begin("user")
        ask_about(doc, questions, "story_own")


def read_story(doc):
    if doc.chance(0.5):
        doc.say(doc.choose(("Read this story: ", "Here is a story. ")))
        questions = story(doc)
        doc.say("\n")
    else:
        questions = story(doc)
        doc.say("\n\nQuestion: ")
    ask_about(doc, questions, "story_read")


# --- facts --------------------------------------------------------------------------------------------------------

def fact_sentence(doc, who, attribute):
    """Writes one fact; returns its question, short and full answer."""
    if attribute == "food":
        food = doc.choose(FOODS)
        doc.say(f"{who} likes {food}.")
        return f"What does {who} like?", food, f"{who} likes {food}."
    if attribute == "age":
        age = doc.choose(range(3, 100))
        doc.say(f"{who} is {age} years old.")
        return f"How old is {who}?", str(age), f"{who} is {age} years old."
    if attribute == "home":
        place = doc.choose(PLACES)
        doc.say(f"{who} lives near the {place}.")
        return f"Where does {who} live?", place, f"{who} lives near the {place}."
    if attribute == "pet":
        animal = doc.choose(ANIMALS)
        doc.say(f"{who} has {a(animal)}.")
        return f"What animal does {who} have?", animal, f"{who} has {a(animal)}."
    if attribute == "number":
        number = "".join(str(doc.choose(range(10))) for _ in range(4))
        doc.say(f"{who}'s number is {number}.")
        return f"What is {who}'s number?", number, f"{who}'s number is {number}."
    if attribute == "clothes":
        colour, thing = doc.choose(COLOURS), doc.choose(CLOTHES)
        doc.say(f"{who}'s {thing} is {colour}.")
        return f"What colour is {who}'s {thing}?", colour, f"{who}'s {thing} is {colour}."
    place = doc.choose(PLACES)  # an object
    doc.say(f"The {who} is in the {place}.")
    return f"Where is the {who}?", place, f"The {who} is in the {place}."


MOST_QUESTIONS = 6
FACT_KEYS = ([(p, k) for p in PEOPLE for k in ("food", "age", "home", "pet", "number", "clothes")]
             + [(o, "place") for o in OBJECTS])


def facts(doc, lengths, task, more):
    """Facts about many people and things, then questions about them (now and then about something never mentioned).

    more: how likely another question is after each.
    """
    doc.say(doc.choose(("Read this: ", "Remember this. ", "")))
    known, left = [], list(FACT_KEYS)
    for i in range(doc.choose(lengths)):
        key = doc.choose(left)
        left.remove(key)
        if i:
            doc.say(" ")
        known.append(fact_sentence(doc, *key))
    doc.say("\n")
    unmentioned = [who for who, attribute in left if attribute == "place"]
    for asked in range(1, MOST_QUESTIONS + 1):
        if not unmentioned or doc.chance(0.93):
            question, short, full = doc.choose(known)
            doc.say(question)
            doc.answer(task, short, full)
        else:
            doc.say(f"Where is the {doc.choose(unmentioned)}?")
            doc.answer("not_said", "I do not know.", "The text does not say.")
        if asked == MOST_QUESTIONS or not doc.goes_on(more):
            return
        doc.begin("user")


def facts_near(doc):
    facts(doc, range(2, 9), "fact_near", 0.3)


def facts_middle(doc):
    facts(doc, range(10, 25), "fact_middle", 0.6)


def facts_far(doc):
    facts(doc, range(30, 91), "fact_far", 0.8)


def moves(doc):
    """Who went where: the last move counts. Things are where their carrier is (a step of reasoning more)."""
    people = doc.distinct(PEOPLE, doc.choose((2, 3, 4)))
    thing, place = {}, {}
    for i in range(doc.choose(range(2, 9))):
        if i:
            doc.say(" ")
        who = doc.choose(people)
        if who in place and who not in thing and doc.chance(0.3):
            thing[who] = doc.choose([o for o in OBJECTS if o not in thing.values()])
            doc.say(f"{who} took the {thing[who]}.")
        else:
            place[who] = doc.choose([p for p in PLACES if p != place.get(who)])
            doc.say(f"{who} went to the {place[who]}.")
    doc.say(" ")
    carried = [w for w in thing]
    if carried and doc.chance(0.5):
        who = doc.choose(carried)
        doc.say(f"Where is the {thing[who]}?")
        doc.answer("carried", place[who], f"The {thing[who]} is in the {place[who]}.")
    else:
        who = doc.choose(list(place))
        doc.say(f"Where is {who}?")
        doc.answer("moved", place[who], f"{who} is in the {place[who]}.")


# --- numbers ------------------------------------------------------------------------------------------------------

def unseen(x, y):
    """Operands kept out of the training text, so that sums can be scored on pairs the model never saw: a tenth."""
    return (7 * x + 3 * y + x * y) % 10 == 4


def pairs(allowed):
    every = [(x, y) for x in range(100) for y in range(100) if allowed(x, y)]
    return ([p for p in every if not unseen(*p)], [p for p in every if unseen(*p)])


SUM_PAIRS = pairs(lambda x, y: True)
DIFFERENCE_PAIRS = pairs(lambda x, y: x >= y)
COMPARE_PAIRS = pairs(lambda x, y: x != y)


def sums(doc, kept=0):
    form = doc.choose(("What is {} + {}?", "{} + {} =", "Add {} and {}.", "How much is {} plus {}?"))
    x, y = doc.choose(SUM_PAIRS[kept])
    doc.say(form.format(x, y))
    doc.answer("sum", str(x + y), f"{x} + {y} = {x + y}.")


def differences(doc, kept=0):
    form = doc.choose(("What is {} - {}?", "{} - {} =", "How much is {} minus {}?"))
    x, y = doc.choose(DIFFERENCE_PAIRS[kept])
    doc.say(form.format(x, y))
    doc.answer("difference", str(x - y), f"{x} - {y} = {x - y}.")


def compare(doc, kept=0):
    word, pick = doc.choose((("larger", max), ("smaller", min)))
    x, y = doc.choose(COMPARE_PAIRS[kept])
    doc.say(f"Which number is {word}, {x} or {y}?")
    doc.answer("compare", str(pick(x, y)), f"{pick(x, y)} is {word}.")


# --- lists --------------------------------------------------------------------------------------------------------

def sort_numbers(doc):
    numbers = doc.distinct(range(100), doc.choose(range(2, 7)))
    down = doc.chance(0.2)
    doc.say(f"Sort these numbers{' from large to small' if down else ''}: {comma(numbers)}")
    doc.answer("sort_numbers", comma(sorted(numbers, reverse=down)))


def sort_words(doc):
    words = doc.distinct(doc.choose((ANIMALS, FOODS, OBJECTS, PEOPLE)), doc.choose(range(2, 6)))
    doc.say(f"Sort these words: {comma(words)}")
    doc.answer("sort_words", comma(sorted(words)))


def reverse(doc):
    words = doc.distinct(doc.choose((ANIMALS, FOODS, OBJECTS, COLOURS, range(10))), doc.choose(range(2, 8)))
    doc.say(f"Reverse this list: {comma(words)}")
    doc.answer("reverse", comma(reversed(words)))


def count(doc):
    number = doc.choose(range(2, 11))
    words = doc.distinct(doc.choose((ANIMALS, FOODS, OBJECTS)), number)
    doc.say(f"How many words are in this list? {comma(words)}")
    doc.answer("count", str(number), f"There are {number} words.")


def name_some(doc):
    number = doc.choose(range(2, 7))
    kind, items = doc.choose((("animals", ANIMALS), ("colours", COLOURS), ("places", PLACES), ("things", OBJECTS)))
    lines = doc.chance(0.4)
    doc.say(f"Name {NUMBER_WORDS[number]} {kind}", ", one on each line." if lines else ".")
    doc.begin("assistant")
    left = list(items)
    for i in range(number):
        item = doc.choose(left)
        left.remove(item)
        doc.say(f"\n{i + 1}. {item}" if lines and i else f"1. {item}" if lines else f", {item}" if i else item)


# --- JSON ---------------------------------------------------------------------------------------------------------

FIELDS = {"name": PEOPLE, "age": range(3, 100), "likes": FOODS, "pet": ANIMALS, "colour": COLOURS, "city": PLACES}


def record(doc):
    return {field: doc.choose(FIELDS[field]) for field in doc.distinct(FIELDS, doc.choose((2, 3, 4)))}


def json_make(doc):
    doc.say(doc.choose(("Turn this into JSON: ", "Write this as JSON: ")))
    fields = record(doc)
    doc.say(comma(f"{k}: {v}" for k, v in fields.items()))
    doc.answer("json_make", json.dumps(fields))


def json_list(doc):
    words = doc.distinct(doc.choose((ANIMALS, FOODS, OBJECTS, range(100))), doc.choose(range(2, 7)))
    doc.say(f"Write a JSON list: {comma(words)}")
    doc.answer("json_list", json.dumps(words))


def json_field(doc):
    fields = record(doc)
    field = doc.choose(list(fields))
    doc.say(f"What is the {field} in this JSON? {json.dumps(fields)}")
    doc.answer("json_field", str(fields[field]))


def json_invent(doc):
    doc.say(doc.choose(("Invent a person and write JSON.", "Give me a JSON object about a person.")))
    doc.begin("assistant")
    doc.say(json.dumps({"name": doc.choose(PEOPLE), "age": doc.choose(range(3, 100)), "likes": doc.choose(FOODS),
                        "pet": doc.choose(ANIMALS)}))


# --- copying ------------------------------------------------------------------------------------------------------

def repeat(doc):
    kind = doc.choose(("words", "letters", "signs", "sentence", "digits"))
    if kind == "words":
        text = " ".join(doc.choose(WORDS) for _ in range(doc.choose(range(1, 9))))
    elif kind == "letters":
        text = "".join(doc.choose(LETTERS) for _ in range(doc.choose(range(3, 11))))
    elif kind == "signs":
        text = " ".join(doc.choose(SIGNS) for _ in range(doc.choose(range(1, 6))))
    elif kind == "digits":
        text = "".join(str(doc.choose(range(10))) for _ in range(doc.choose(range(3, 13))))
    else:
        text = (f"{capital(a(doc.choose(ADJECTIVES)))} {doc.choose(ANIMALS)} {doc.choose(VERBS)} "
                f"near the {doc.choose(PLACES)}.")
    doc.say(doc.choose(("Repeat: ", "Repeat after me: ", "Say this again: ")), text)
    doc.answer("repeat", text)


def spell(doc):
    word = doc.choose(WORDS)
    if doc.chance(0.7):
        doc.say(f"Spell the word {word}.")
        doc.answer("spell", "-".join(word))
    else:
        doc.say(f"What is the first letter of {word}?")
        doc.answer("spell", word[0])


def say_times(doc):
    word, number = doc.choose(WORDS), doc.choose(range(2, 9))
    doc.say(f"Say the word {word} {NUMBER_WORDS[number]} times.")
    doc.answer("say_times", " ".join([word] * number))


# --- documents ----------------------------------------------------------------------------------------------------

# How often a turn of a chat is each kind of request. Facts in bulk make long turns, so they are rare.
TASKS = {
    greet: 3, small_talk: 5, own_name: 3, unknown: 3, introduce_user: 5, recall_user: 5,
    tell_story: 9, read_story: 5,
    facts_near: 6, facts_middle: 4, facts_far: 2, moves: 7,
    sums: 40, differences: 24, compare: 6,
    sort_numbers: 5, sort_words: 5, reverse: 4, count: 4, name_some: 3,
    json_make: 4, json_list: 2, json_field: 3, json_invent: 2,
    repeat: 5, spell: 4, say_times: 3,
}


def system_message(doc):
    doc.begin("system")
    kind = doc.choose(("plain", "name", "short"), (0.3, 0.3, 0.4))
    if kind == "plain":
        doc.say("You are a helpful assistant.")
    elif kind == "name":
        doc.model_name = doc.choose(PEOPLE)
        doc.say(f"Your name is {doc.model_name}.")
    else:
        doc.short = True
        doc.say("Give short answers.")


def task_weights(doc):
    """What the conversation has set up is asked about more often."""
    weights = dict(TASKS)
    if doc.model_name:
        weights[own_name] = 60
    if doc.memory:
        weights[recall_user] = 60
    return weights


def write_document(doc):
    """Plain story text (1 in 20), or a chat of one or more requests."""
    if not doc.goes_on(0.95):
        doc.begin("text")
        story(doc)
        return doc
    if doc.goes_on(0.15):
        system_message(doc)
    while True:
        doc.begin("user")
        weights = task_weights(doc)
        doc.choose(list(weights), list(weights.values()))(doc)
        if not doc.goes_on(0.5):
            return doc
