"""Files of products, about 100 bytes a row, and the same rows as `\\copy` wants them: with the keys that an import finds."""

import csv
import random
import uuid

HEAD = ["sku", "name", "description", "category", "price", "currency", "stock"]
COPIED = ["id", "sku", "name", "description", "category_id", "price", "currency", "stock"]
SYLLABLES = "ba den fi gro hul ka lim mo nar os pel qui ros sta tor ula ven wes yar zon".split()
KINDS = ["Knife", "Lampe", "Stuhl", "Kettle", "Teekanne", "Übertopf", "Crème", "包丁", "Нож", "Blanket", "Mug", "Shelf"]
TRAITS = ["steel", "oak", "Größe M", "naturel", "red", "matt", "2 Stück", "washable", "folding", "élégant", "light", "sturdy"]
PLACES = ["kitchen", "garden", "bath", "office", "travel", "workshop", "hall", "nursery"]
# Of version 7, in order: what an index takes best, and what an import draws too.
FIRST_ID = 0x01930000000070008000000000000000
CATEGORIES = [f"{root}/{place}" for root in ("home", "work", "outdoors") for place in PLACES]


def write(folder, rows):
    """The paths of `FOLDER/ROWS.csv` and of `ROWS.copy`, after they have been written."""
    ours, theirs = f"{folder}/{rows}.csv", f"{folder}/{rows}.copy"
    dice = random.Random(rows)
    with open(ours, "w", newline="") as mine, open(theirs, "w", newline="") as other:
        mine, other = csv.writer(mine), csv.writer(other)
        mine.writerow(HEAD)
        for number in range(rows):
            sku, name, description, category, *rest = _row(dice, number)
            mine.writerow([sku, name, description, category, *rest])
            other.writerow([uuid.UUID(int=FIRST_ID + number), sku, name, description, category_id(category), *rest])
    return ours, theirs


def _row(dice, number):
    model = "".join(dice.choices(SYLLABLES, k=3)).capitalize()
    kind = dice.choice(KINDS)
    trait, other, place = dice.choice(TRAITS), dice.choice(TRAITS), dice.choice(PLACES)
    name = f"{kind} {model}, {trait}"
    return f"B-{number:08}", name, f"{kind} for the {place}: {trait}, {other}", dice.choice(CATEGORIES), dice.randrange(99, 99999), "EUR", dice.randrange(100)


def category_id(path):
    return uuid.uuid5(uuid.NAMESPACE_URL, path)


def categories():
    """A statement that makes those of the files, as the peer cannot."""
    paths = sorted({path.split("/")[0] for path in CATEGORIES} | set(CATEGORIES))
    parent = lambda path: f"'{category_id(path.rpartition('/')[0])}'" if "/" in path else "null"
    rows = ", ".join(f"('{category_id(path)}', '{path}', {parent(path)})" for path in paths)
    return f"insert into categories (id, path, parent_id) values {rows} on conflict do nothing"
