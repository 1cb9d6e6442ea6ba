"""python_overhead.py CLIP_FOLDER VOCABULARY: how much of a training step of new_method.py is Python's and NumPy's.

Times every call into the library by itself; what is left of a step (gradient, momentum, update) is the overhead.  Prints TAP; a
share of 5 % or more fails.
"""
import os
import sys
import time

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
sys.path.insert(0, os.path.join(ROOT, "examples", "python"))
import numpy as np  # noqa: E402

import ammpl  # noqa: E402
import new_method  # noqa: E402

inside = [0.0]


def timed(function):
    def call(*arguments):
        begin = time.perf_counter()
        try:
            return function(*arguments)
        finally:
            inside[0] += time.perf_counter() - begin
    return call


for name in ammpl.FUNCTIONS:
    setattr(ammpl._lib, name, timed(getattr(ammpl._lib, name)))

model = ammpl.Model(ammpl.Context(), sys.argv[1], vocab=sys.argv[2])
failed = False
for number, classes in enumerate([10, 100], 1):
    method = new_method.KgCoOp(model, [f"thing number {i}" for i in range(classes)])
    rng = np.random.default_rng(1)
    x, labels = rng.normal(size=(32, model.embed_width)).astype(np.float32), rng.integers(0, classes, 32).astype(np.int32)
    shares, seconds = [], []
    for step in range(6):
        inside[0], begin = 0.0, time.perf_counter()
        method.train(x, labels, epochs=1, batch=32)
        seconds.append(time.perf_counter() - begin)
        shares.append(1 - inside[0] / seconds[-1])
    share = sorted(shares[1:])[2]  # the first step takes memory
    verdict = "ok" if share < 0.05 else "not ok"
    failed = failed or share >= 0.05
    print(f"{verdict} {number} - {classes} classes: {100 * share:.2f} % of {sorted(seconds[1:])[2]:.2f} s a step are Python's")
print("1..2")
sys.exit(failed)
