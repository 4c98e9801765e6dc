"""The items of the tiny tasks, kept here so that nothing is downloaded."""
import datasets

ITEMS = [
    {"context": "Once upon a time there was a", "choices": [" girl", " fox", " stone bridge"], "best": 0},
    {"context": "The fox ran into the", "choices": [" forest.", " hill.", " and"], "best": 0},
    {"context": "One day she saw Paul at the", "choices": [" hill", " water", " of"], "best": 0},
    {"context": "Paul was sad because he had no", "choices": [" bottle.", " friends.", " xylophone."], "best": 0},
]


def load(**_):
    return {"test": datasets.Dataset.from_list(ITEMS)}
