"""compare.py A.safetensors B.safetensors: prints the largest difference of two files' float32 tensors, for each tensor relative to
its own largest number.  Exit status 1 and a sentence where they do not hold the same tensors."""
import array
import json
import struct
import sys


def read(path):
    with open(path, "rb") as file:
        data = file.read()
    (size,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8:8 + size])
    header.pop("__metadata__", None)
    tensors = {}
    for name, t in header.items():
        begin, end = t["data_offsets"]
        values = array.array("f")
        values.frombytes(data[8 + size + begin:8 + size + end])
        tensors[name, tuple(t["shape"]), t["dtype"]] = values
    return tensors


a, b = read(sys.argv[1]), read(sys.argv[2])
if a.keys() != b.keys() or not a:
    sys.exit(f"different tensors: {sorted(a)} and {sorted(b)}")
worst = 0.0
for key, x in a.items():
    top = max(map(abs, x)) or 1.0
    worst = max(worst, max(abs(u - v) for u, v in zip(x, b[key])) / top)
print(f"{worst:.3g}")
