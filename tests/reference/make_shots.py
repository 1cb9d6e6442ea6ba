"""Writes golden/shots.txt: what Python's own random module picks for the published runs (methods.md 6.2, 7.2).

Nothing here comes from the C code; the lists are made by random.seed, random.sample and random.shuffle themselves.  Lines:

    bits SEED: four times getrandbits(32)
    shuffle SEED N: range(N), shuffled
    list NAME: labels of a data set's items, in listed order
    few SEED K TRAIN VAL: picks of list TRAIN | picks of list VAL, as places in the lists
    divide SEED A B NAME: places in the first part | in the second | in the rest, of list NAME with shares A and B
"""
import random
import sys


def grouped(labels):
    groups = {}
    for place, label in enumerate(labels):
        groups.setdefault(label, []).append(place)
    return groups


def few(labels, k):
    picks = []
    for items in grouped(labels).values():
        picks += random.sample(items, k) if len(items) >= k else items
    return picks


def divide(labels, a, b):
    parts = [], [], []
    for items in grouped(labels).values():
        random.shuffle(items)
        first, second = round(a * len(items)), round(b * len(items))
        parts[0].extend(items[:first])
        parts[1].extend(items[first:first + second])
        parts[2].extend(items[first + second:])
    return parts


def lists():
    """Labels in odd orders; classes of 1 to 300 items, some with exactly as many as there are shots."""
    random.seed("labels")
    sizes = {"train": [90, 3, 16, 1, 86, 85, 22, 21, 300, 8, 17], "val": [5, 1, 4, 20, 200, 22, 6, 2, 3, 9, 13],
             "small": [2, 3, 4, 5, 6, 7, 10, 12, 15]}
    for name, counts in sizes.items():
        labels = [label for label, n in enumerate(counts) for _ in range(n)]
        random.shuffle(labels)
        yield name, labels


def line(values):
    return " ".join(map(str, values))


def main():
    out = open(sys.argv[1] if len(sys.argv) > 1 else "../golden/shots.txt", "w", encoding="ascii")
    print("# made by tests/reference/make_shots.py", file=out)
    for seed in (0, 1, 2, 3, 4294967295, 4294967296, 20240611081530):
        random.seed(seed)
        print(f"bits {seed}:", line(random.getrandbits(32) for _ in range(4)), file=out)
        for n in (1, 2, 10, 33):
            random.seed(seed)
            items = list(range(n))
            random.shuffle(items)
            print(f"shuffle {seed} {n}:", line(items), file=out)
    labels = dict(lists())
    for name, values in labels.items():
        print(f"list {name}:", line(values), file=out)
    for seed in (1, 2, 3, 77):
        for k in (1, 2, 4, 5, 6, 8, 16, 40):
            random.seed(seed)
            train = few(labels["train"], k)
            val = few(labels["val"], min(k, 4))
            print(f"few {seed} {k} train val:", line(train), "|", line(val), file=out)
    for a, b in ((0.2, 0), (0.5, 0.2)):
        for name in ("val", "small"):
            random.seed(1)
            print(f"divide 1 {a} {b} {name}:", " | ".join(map(line, divide(labels[name], a, b))), file=out)


main()
