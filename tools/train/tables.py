"""Tables in documents that programs measure."""

import re


def replace(document, name, text):
    """Puts text between the two marks of that name in a document."""
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    changed, count = re.subn(f"{begin}.*?{end}", lambda _: f"{begin}\n{text}\n{end}", document, flags=re.S)
    if count != 1:
        raise SystemExit(f"the document has {count} places marked {begin} ... {end}; expected one")
    return changed
