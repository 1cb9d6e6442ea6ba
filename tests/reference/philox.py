"""Philox4x32-10 (Salmon, Moraes, Dror, Shaw: "Parallel random numbers: as easy as 1, 2, 3", SC'11) and the project's
counter layout (architecture.md, Randomness):

    key     = (seed & 0xffffffff, seed >> 32)
    counter = (purpose << 24 | position & 0xffffff,  c1,  c2,  c3)
"""
import math

import numpy as np

TRAIN_MASK, EVAL_MASK, INIT, SHUFFLE, CROP, FLIP, FEW_SHOT = 1, 2, 3, 4, 5, 6, 7
PLACE, PLACE_EVAL = 8, 9  # row (position 0) and column (position 1) of VP's random patch

M0, M1 = 0xD2511F53, 0xCD9E8D57  # round multipliers
W0, W1 = 0x9E3779B9, 0xBB67AE85  # key increments
LOW = 0xFFFFFFFF


def philox(counter, key):
    """counter: four and key: two 32-bit words -> four 32-bit words."""
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(10):
        p0, p1 = M0 * c0, M1 * c2
        c0, c1, c2, c3 = (p1 >> 32) ^ c1 ^ k0, p1 & LOW, (p0 >> 32) ^ c3 ^ k1, p0 & LOW
        k0, k1 = (k0 + W0) & LOW, (k1 + W1) & LOW
    return c0, c1, c2, c3


def draw(seed, purpose, position, c1=0, c2=0, c3=0):
    return philox(((purpose << 24) | (position & 0xFFFFFF), c1 & LOW, c2 & LOW, c3 & LOW), (seed & LOW, (seed >> 32) & LOW))


def name_hash(name):
    """FNV-1a, 32 bit, of the UTF-8 bytes of the name as given (no '_' or case changes)."""
    h = 0x811C9DC5
    for byte in name.encode():
        h = ((h ^ byte) * 0x01000193) & LOW
    return h


def uniform(out):
    """[0, 1): 24 bits, exact in float32."""
    return (out[0] >> 8) * 2.0**-24


def normal(out):
    """Box-Muller in double; the caller scales and shifts, then rounds to float32."""
    u1 = ((out[0] >> 8) + 1) * 2.0**-24
    u2 = (out[1] >> 8) * 2.0**-24
    return math.sqrt(-2.0 * math.log(u1)) * math.cos(2.0 * math.pi * u2)


# --- what the purposes give -------------------------------------------------------------------------------------------


def train_uniforms(patches, seed, class_name, image_id, step):
    """u of every patch of one training mask; class_name None = draws=image (c1 = 0)."""
    c1 = 0 if class_name is None else name_hash(class_name)
    return np.array([uniform(draw(seed, TRAIN_MASK, j, c1, image_id, step)) for j in range(patches)])


def eval_uniforms(patches, eval_seed, class_name, index):
    """u of every patch of evaluation draw `index`; class_name None = shared scope (c1 = 0)."""
    c1 = 0 if class_name is None else name_hash(class_name)
    return np.array([uniform(draw(eval_seed, EVAL_MASK, j, c1, index, 0)) for j in range(patches)])


def place(room, seed, purpose, step):
    """VP, random_patch: (row, column), each uniform in 0 .. room - 1 (0 where there is no room); step 0 at evaluation."""
    if room == 0:
        return 0, 0
    return tuple((draw(seed, purpose, axis, 0, 0, step)[0] * room) >> 32 for axis in (0, 1))


def _initial(seed, tensor_name, class_name, element):
    c2 = 0 if class_name is None else name_hash(class_name)
    return draw(seed, INIT, element & 0xFFFFFF, name_hash(tensor_name), c2, element >> 24)


def initial_normal(seed, tensor_name, class_name, element, mean, std):
    """Element of the slice (class scope: that class's part; shared scope: class_name None, the whole tensor)."""
    return np.float32(mean + std * normal(_initial(seed, tensor_name, class_name, element)))


def initial_uniform(seed, tensor_name, class_name, element, bound):
    """U(-bound, bound) as (2u - 1) * bound in double, rounded to float32."""
    return np.float32((2.0 * uniform(_initial(seed, tensor_name, class_name, element)) - 1.0) * bound)


def shuffle(n, seed, epoch):
    """Fisher-Yates from the top over 0..n-1, starting from the identity in every epoch."""
    order = list(range(n))
    for i in range(n - 1, 0, -1):
        j = (draw(seed, SHUFFLE, i, 0, 0, epoch)[0] * (i + 1)) >> 32
        order[i], order[j] = order[j], order[i]
    return order


def few_shot(labels, shots, seed):
    """Image id = place in `labels`. The `shots` images of each class with the smallest out[0] (ties by id), listed order."""
    keys = [(draw(seed, FEW_SHOT, 0, 0, i, 0)[0], i) for i in range(len(labels))]
    kept = []
    for label in set(labels):
        kept += [i for _, i in sorted(k for k in keys if labels[k[1]] == label)[:shots]]
    return sorted(kept)
