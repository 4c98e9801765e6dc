"""Stories of the small world. Each returns questions about itself: (question, short answer, full answer)."""

from world import (ADJECTIVES, ANIMALS, BOYS, COLOURS, FEELINGS, FOODS, GIRLS, OBJECTS, PEOPLE, PETS, PLACES, VERBS,
                   WEATHER, Person, a)


def story(doc, subject=(None, None)):
    """subject: ("animal" | "person" | "object" | None, word): what the story must be about."""
    kind, word = subject
    hero = introduce(doc, kind, word)
    thing = word if kind == "object" else None
    theme = doc.choose((lost, gift, trip, seed, race))
    if thing and theme in (trip, seed, race):
        doc.say(f" {hero.He} always carried {a(thing)}.")
    return theme(doc, hero, thing)


def introduce(doc, kind, word):
    if kind == "person":
        hero = Person(word, None)
    elif kind == "animal":
        hero = Person(doc.choose(PETS), word)
    elif doc.chance(0.5):
        hero = Person(doc.choose(PEOPLE), None)
    else:
        hero = Person(doc.choose(PETS), doc.choose(ANIMALS))
    adjective = doc.choose(ADJECTIVES)
    doc.say(doc.choose((
        f"Once upon a time there was {a(adjective)} {hero.kind} named {hero.name}.",
        f"{hero.name} was {a(adjective)} {hero.kind}.",
        f"There once lived {a(adjective)} {hero.kind}. {hero.He} was called {hero.name}.")))
    return hero


def other_person(doc, hero):
    return Person(doc.choose([n for n in GIRLS + BOYS if n != hero.name]), None)


def friend_of(doc, hero):
    return Person(doc.choose([n for n in PETS if n != hero.name]), doc.choose([k for k in ANIMALS if k != hero.kind]))


def lost(doc, hero, thing):
    thing = thing or doc.choose(OBJECTS)
    doc.say(f" One {doc.choose(WEATHER)} day {hero.name} lost {hero.his} {thing}.")
    places = doc.distinct(PLACES, doc.choose((2, 3)))
    for place in places[:-1]:
        doc.say(doc.choose((f" {hero.He} looked in the {place}, but it was not there.",
                            f" {hero.He} went to the {place}, but found nothing.")))
    friend, place = friend_of(doc, hero), places[-1]
    doc.say(f" Then {hero.he} met {friend.name} the {friend.kind}. \"I saw your {thing} at the {place},\" "
            f"said {friend.name}.")
    doc.say(f" They ran to the {place} and there was the {thing}. {hero.name} was {doc.choose(FEELINGS)}.")
    if doc.chance(0.5):
        food = doc.choose(FOODS)
        doc.say(f" {hero.He} gave {friend.name} some {food} to say thank you.")
    return [(f"What did {hero.name} lose?", thing, f"{hero.name} lost {hero.his} {thing}."),
            (f"Where was the {thing}?", place, f"The {thing} was at the {place}."),
            (f"Who helped {hero.name}?", friend.name, f"{friend.name} the {friend.kind} helped {hero.name}.")]


def gift(doc, hero, thing):
    other, place = other_person(doc, hero), doc.choose(PLACES)
    thing = thing or doc.choose(OBJECTS)
    colour = doc.choose(COLOURS)
    doc.say(f" {hero.name} had {a(colour)} {thing}.")
    doc.say(f" One day {hero.he} saw {other.name} at the {place}. {other.name} was sad because "
            f"{other.he} had no {thing}.")
    doc.say(doc.choose((f" \"You can have mine,\" said {hero.name}.", f" \"Take this one,\" said {hero.name}.")))
    doc.say(f" {other.name} was {doc.choose(FEELINGS)} and {doc.choose(VERBS)} all day.")
    doc.say(" From then on they were best friends.")
    return [("Who was sad?", other.name, f"{other.name} was sad."),
            (f"What colour was the {thing}?", colour, f"The {thing} was {colour}."),
            (f"Where did {hero.name} see {other.name}?", place, f"{hero.name} saw {other.name} at the {place}.")]


def trip(doc, hero, thing):
    weather, place = doc.choose(WEATHER), doc.choose(PLACES)
    doc.say(f" It was a {weather} day and {hero.name} walked to the {place}.")
    seen = doc.distinct([k for k in ANIMALS if k != hero.kind], doc.choose((1, 2, 3)))
    for animal in seen:
        doc.say(f" There {hero.he} saw {a(animal)} that {doc.choose(VERBS)}." if animal is seen[0]
                else f" Then {hero.he} saw {a(animal)} that {doc.choose(VERBS)}.")
    food = doc.choose(FOODS)
    doc.say(f" {hero.He} sat down and ate {hero.his} {food}.")
    doc.say(doc.choose((f" In the evening {hero.name} went home.", f" When it was dark {hero.name} went home.")))
    doc.say(f" {hero.He} was {doc.choose(FEELINGS)}.")
    return [(f"Where did {hero.name} walk to?", place, f"{hero.name} walked to the {place}."),
            (f"What did {hero.name} eat?", food, f"{hero.name} ate {hero.his} {food}."),
            (f"What was the first animal that {hero.name} saw?", seen[0],
             f"The first animal that {hero.name} saw was {a(seen[0])}."),
            ("How was the weather?", weather, f"It was a {weather} day.")]


def seed(doc, hero, thing):
    place, food = doc.choose(PLACES), doc.choose(FOODS)
    doc.say(f" {hero.name} put a seed in the ground near the {place}.")
    days = doc.choose(range(2, 10))
    doc.say(f" {hero.He} gave it water for {days} days.")
    colour = doc.choose(COLOURS)
    doc.say(f" Then {a(colour)} flower came up, and it was the biggest flower {hero.he} had ever seen.")
    friend = friend_of(doc, hero)
    doc.say(f" {friend.name} the {friend.kind} came to look at it and brought some {food}.")
    doc.say(f" They sat by the flower and were {doc.choose(FEELINGS)}.")
    return [("What colour was the flower?", colour, f"The flower was {colour}."),
            (f"For how many days did {hero.name} give water?", str(days),
             f"{hero.name} gave water for {days} days."),
            ("Who came to look at the flower?", friend.name, f"{friend.name} the {friend.kind} came to look at it."),
            (f"What did {friend.name} bring?", food, f"{friend.name} brought some {food}.")]


def race(doc, hero, thing):
    rival, place = friend_of(doc, hero), doc.choose(PLACES)
    doc.say(f" One day {rival.name} the {rival.kind} said, \"I am faster than you!\" So they ran a race to the {place}.")
    won = doc.chance(0.5)
    winner, loser = (hero, rival) if won else (rival, hero)
    doc.say(f" At first {loser.name} was in front, but then {loser.he} stopped to eat some {doc.choose(FOODS)}.")
    prize = doc.choose(OBJECTS)
    doc.say(f" {winner.name} won the race and got {a(prize)}.")
    doc.say(f" \"{doc.choose(('Well done', 'That was fun', 'You are fast'))},\" said {loser.name}.")
    return [("Who won the race?", winner.name, f"{winner.name} won the race."),
            (f"What did {winner.name} get?", prize, f"{winner.name} got {a(prize)}."),
            ("Where did they run to?", place, f"They ran to the {place}.")]
