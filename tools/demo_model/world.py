"""The small world: its words, and a document that knows how improbable it is.

Every random decision of the generator goes through `Doc.choose`, which adds -ln p of the chosen option to the turn
being written. Decisions are made where the text first shows them, and different decisions give different text, so the
sum over a turn is -ln p(turn | everything before it): the loss of a perfect model. See docs/demo-model.md for how exact
that is.
"""

import math

BOS, EOT, USER, ASSISTANT, SYSTEM, END = SPECIALS = (
    "<|begin_of_text|>", "<|end_of_text|>", "<|user|>", "<|assistant|>", "<|system|>", "<|end|>")
ROLE_TOKEN = {"user": USER, "assistant": ASSISTANT, "system": SYSTEM, "text": ""}

GIRLS = "Mia Anna Lily Rosa Emma Nora Ida Vera Zoe Clara Maya Ella".split()
BOYS = "Tom Ben Max Leo Sam Jack Finn Otto Paul Noah Emil Hugo".split()
PEOPLE = GIRLS + BOYS
PET_GIRLS = "Luna Bella Daisy Pearl Ruby Willow".split()
PET_BOYS = "Pip Rusty Bruno Oscar Felix Toby".split()
PETS = PET_GIRLS + PET_BOYS
ANIMALS = "cat dog fox owl bear mouse rabbit frog duck horse goat hen crow wolf deer turtle bee pig sheep swan".split()
PLACES = "kitchen garden forest barn river hill school market library tower cave park harbour bridge mill shop".split()
OBJECTS = ("key ball lamp book cup coin hat drum kite map bell box spoon clock ring rope basket flute candle "
           "mirror bottle pencil button shell").split()
FOODS = "apples bread cheese honey soup nuts plums rice cake carrots berries milk pears beans eggs jam".split()
COLOURS = "red blue green yellow black white brown pink grey orange".split()
CLOTHES = "hat coat scarf shirt bag".split()
ADJECTIVES = "little brave kind clever shy happy quiet old young curious".split()
FEELINGS = "happy proud glad tired calm thankful".split()
WEATHER = "sunny rainy windy cold warm foggy".split()
VERBS = "sang slept danced waited played worked".split()
SIGNS = "é ü ñ ø ß ж я λ π Ω € ° → ★ ☀ ♥ 日 本 月 水 火 山 猫 한 글 😀 🦊 🌳 🚀 🎈".split()
LETTERS = "abcdefghijklmnopqrstuvwxyz"
NUMBER_WORDS = "zero one two three four five six seven eight nine ten".split()


def a(noun):
    return ("an " if noun[0] in "aeiou" else "a ") + noun


def capital(text):
    return text[0].upper() + text[1:]


def comma(items):
    return ", ".join(str(i) for i in items)


class Person:
    """Somebody a story is about: a human, or an animal with a name."""

    def __init__(self, name, kind):
        girl = name in GIRLS or name in PET_GIRLS
        self.name = name
        self.kind = kind or ("girl" if girl else "boy")
        self.he, self.his, self.him = ("she", "her", "her") if girl else ("he", "his", "him")
        self.He = self.he.capitalize()


class Turn:
    def __init__(self, role):
        self.role, self.text, self.nats = role, "", 0.0
        self.task = None  # the exact-answer task whose answer this turn is


class Doc:
    """A document being written: turns of text, each with the information its choices carry, in nats."""

    def __init__(self, rng):
        self.rng = rng
        self.turns = []
        self.ending_nats = 0.0  # going on with another turn, or stopping: shown by the tokens between turns
        self.short = False  # the system message asked for short answers
        self.model_name = None  # the system message gave the model another name
        self.memory = {}  # what the user has said of himself

    def begin(self, role):
        self.turns.append(Turn(role))

    def say(self, *parts):
        self.turns[-1].text += "".join(parts)

    def spend(self, nats):
        self.turns[-1].nats += nats

    def choose(self, options, weights=None):
        if weights is None:
            self.spend(math.log(len(options)))
            return options[int(self.rng.random() * len(options))]
        i = self.rng.choices(range(len(options)), weights)[0]
        self.spend(-math.log(weights[i] / sum(weights)))
        return options[i]

    def chance(self, p):
        return self.choose((True, False), (p, 1 - p))

    def distinct(self, items, count):
        """`count` different items in a random order."""
        left, chosen = list(items), []
        for _ in range(count):
            chosen.append(self.choose(left))
            left.remove(chosen[-1])
        return chosen

    def goes_on(self, p):
        yes = self.rng.random() < p
        self.ending_nats -= math.log(p if yes else 1 - p)
        return yes

    def answer(self, task, short, full=None):
        """An assistant turn that follows from what stands before it."""
        self.begin("assistant")
        self.say(short if self.short or full is None else full)
        self.turns[-1].task = task

    def text(self):
        body = "".join(ROLE_TOKEN[t.role] + t.text + (END if t.role != "text" else "") for t in self.turns)
        return BOS + body + EOT

    def nats(self, role=None):
        turns = sum(t.nats for t in self.turns if role in (None, t.role))
        return turns + (self.ending_nats if role is None else 0.0)
