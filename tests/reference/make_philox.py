"""tests/golden/philox.txt: test vectors of the random numbers (philox.py)."""
import math
import os

import numpy as np

import philox
from make_nano import GOLDEN

HEADER = """\
# Philox4x32-10 test vectors. One vector per line, fields separated by single spaces; lines starting with # are comments.
# Words are 8 hex digits, seeds 16 hex digits, counts decimal, floats printed with %.9g (float32) and %.17g (float64).
# A name is always the LAST field and runs to the end of the line (it may hold spaces; UTF-8); "-" alone = no name, c = 0.
#   block K0 K1 C0 C1 C2 C3 O0 O1 O2 O3                       the bare function
#   hash H NAME                                               FNV-1a, 32 bit
#   uniform O0 U                                              (O0 >> 8) * 2^-24, exact
#   normal O0 O1 Z                                            Box-Muller in double
#   train_mask SEED STEP IMAGE PATCH O0 U NAME                purpose 1, c1 = hash(NAME), c2 = IMAGE, c3 = STEP; "-" = draws=image
#   eval_mask SEED DRAW PATCH O0 U NAME                       purpose 2, c1 = hash(NAME), c2 = DRAW; "-" = shared scope
#   init_normal SEED ELEMENT MEAN STD VALUE TENSOR CLASS      purpose 3; TENSOR has no spaces; CLASS to the end of the line
#   init_uniform SEED ELEMENT FAN_IN VALUE TENSOR CLASS       purpose 3; (2u - 1) / sqrt(FAN_IN) in double, rounded to float32
#   shuffle SEED EPOCH N ORDER...                             purpose 4: N indices
#   crop SEED IMAGE STEP POSITION O0 U                        purpose 5
#   flip SEED IMAGE STEP O0 U                                 purpose 6
#   few_shot SEED SHOTS N LABELS... KEPT_COUNT KEPT...        purpose 7: N labels, then the kept image ids
"""
SEEDS = [1, 0, 0x123456789ABCDEF0]
NAMES = ["cat", "red_dog", "Sting Ray", "Caf\u00e9 cr\u00e8me", "\u732b"]


def main():
    lines = []

    def put(*fields):
        lines.append(" ".join(str(f) for f in fields))

    def words(values):
        return " ".join(f"{v:08x}" for v in values)

    known = [  # the known answers of Random123's kat_vectors
        ((0,) * 4, (0,) * 2, (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
        ((0xFFFFFFFF,) * 4, (0xFFFFFFFF,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
        ((0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344), (0xA4093822, 0x299F31D0),
         (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1)),
    ]
    for counter, key, answer in known:
        assert philox.philox(counter, key) == answer
    more = [((i, i * i, 7 * i, 0xDEADBEEF ^ i), (i, 1)) for i in range(1, 5)]
    for counter, key in [(c, k) for c, k, _ in known] + more:
        put("block", words(key), words(counter), words(philox.philox(counter, key)))
    for name in ["", *NAMES, "text_to_image.linear1.weight"]:
        put("hash", f"{philox.name_hash(name):08x}", name)
    for o0 in (0, 0xFF, 0x100, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF):
        put("uniform", f"{o0:08x}", "%.9g" % philox.uniform((o0,)))
    for pair in [(0, 0), (0, 0xFFFFFFFF), (0xFFFFFFFF, 0x80000000), (0x12345678, 0x9ABCDEF0), (0x6627E8D5, 0xE169C58D)]:
        put("normal", words(pair), "%.17g" % philox.normal(pair))

    for seed in SEEDS:
        s = f"{seed:016x}"
        for step, image, patch, name in [(0, 0, 0, "cat"), (5, 11, 8, "red_dog"), (5, 11, 195, None), (70000, 50499, 3, NAMES[3])]:
            out = philox.draw(seed, philox.TRAIN_MASK, patch, 0 if name is None else philox.name_hash(name), image, step)
            put("train_mask", s, step, image, patch, f"{out[0]:08x}", "%.9g" % philox.uniform(out), name or "-")
        for index, patch, name in [(0, 0, None), (2, 8, "cat"), (1, 195, NAMES[4])]:
            out = philox.draw(seed, philox.EVAL_MASK, patch, 0 if name is None else philox.name_hash(name), index, 0)
            put("eval_mask", s, index, patch, f"{out[0]:08x}", "%.9g" % philox.uniform(out), name or "-")
        for element, mean, std, tensor, name in [(0, 0.0, 0.02, "ctx", None), (71, 0.0, 0.02, "ctx", "cat"),
                                                 (8, 0.95, 0.05, "mask_prob", "red_dog"), (767, 0.0, 0.02, "padding", None),
                                                 (0x1000003, 0.0, 0.02, "ctx", None)]:
            value = philox.initial_normal(seed, tensor, name, element, mean, std)
            put("init_normal", s, element, "%.9g" % mean, "%.9g" % std, "%.9g" % value, tensor, name or "-")
        for element, fan, tensor, name in [(0, 22, "text_to_image.linear1.weight", None), (0, 22, "text_to_image.linear1.bias", None),
                                           (17, 32, "image_to_text.linear2.weight", "Sting Ray")]:
            value = philox.initial_uniform(seed, tensor, name, element, 1 / math.sqrt(fan))
            put("init_uniform", s, element, fan, "%.9g" % value, tensor, name or "-")
        for epoch, n in [(0, 7), (1, 7), (3, 16), (0, 1)]:
            put("shuffle", s, epoch, n, *philox.shuffle(n, seed, epoch))
        for image, step, position in [(0, 0, 0), (11, 3, 1), (11, 3, 19), (11, 3, 100), (11, 3, 101)]:
            out = philox.draw(seed, philox.CROP, position, 0, image, step)
            put("crop", s, image, step, position, f"{out[0]:08x}", "%.9g" % philox.uniform(out))
        for image, step in [(0, 0), (11, 3)]:
            out = philox.draw(seed, philox.FLIP, 0, 0, image, step)
            put("flip", s, image, step, f"{out[0]:08x}", "%.9g" % philox.uniform(out))
        labels = np.random.default_rng(5).integers(0, 3, 20).tolist()
        for shots in (1, 4):
            kept = philox.few_shot(labels, shots, seed)
            put("few_shot", s, shots, len(labels), *labels, len(kept), *kept)

    with open(os.path.join(GOLDEN, "philox.txt"), "w", encoding="utf-8") as f:
        f.write(HEADER + "\n".join(lines) + "\n")
    print("philox.txt:", len(lines), "vectors")


if __name__ == "__main__":
    main()
