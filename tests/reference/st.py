"""Safetensors files with nothing but numpy: u64 header length, JSON header, raw little-endian tensors.

BF16 has no numpy type: wrap float32 values in Bf16() to write it (round to nearest even); it is read as float32.
"""
import json
import struct

import numpy as np

TYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8"}


class Bf16:
    """Marks float32 values to be stored as BF16."""

    def __init__(self, values):
        self.values = np.ascontiguousarray(values, dtype="<f4")


def round_bf16(values):
    """float32 values rounded to the nearest BF16 (ties to even), as float32."""
    bits = np.ascontiguousarray(values, dtype="<f4").view("<u4").astype(np.uint64)
    bits = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16 << 16
    return bits.astype("<u4").view("<f4").reshape(np.shape(values))


def _encode(value):
    if isinstance(value, Bf16):
        bits = (round_bf16(value.values).view("<u4") >> 16).astype("<u2")
        return "BF16", value.values.shape, bits.tobytes()
    value = np.asarray(value)
    for name, code in TYPES.items():
        if value.dtype == np.dtype(code):
            return name, value.shape, value.tobytes()  # tobytes: C order
    raise TypeError(f"no safetensors type for {value.dtype}")


def write(path, tensors, metadata=None):
    """tensors: {name: array or Bf16}; metadata: {str: str}. Sorted by name, 8-aligned, the same bytes every time."""
    header, blobs, offset = {}, [], 0
    if metadata:
        header["__metadata__"] = {k: str(metadata[k]) for k in sorted(metadata)}
    # the widest types first keeps every tensor aligned to its own size
    encoded = [(name, _encode(tensors[name])) for name in sorted(tensors)]
    width = {"F64": 0, "I64": 0, "F32": 1, "F16": 2, "BF16": 2}
    for name, (dtype, shape, blob) in sorted(encoded, key=lambda e: (width[e[1][0]], e[0])):
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [offset, offset + len(blob)]}
        blobs.append(blob)
        offset += len(blob)
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(text)))
        f.write(text)
        for blob in blobs:
            f.write(blob)


def read(path):
    """-> ({name: array}, metadata); BF16 comes back as float32."""
    with open(path, "rb") as f:
        (size,) = struct.unpack("<Q", f.read(8))
        header = json.loads(f.read(size))
        data = f.read()
    metadata = header.pop("__metadata__", {})
    tensors = {}
    for name, info in header.items():
        begin, end = info["data_offsets"]
        if info["dtype"] == "BF16":
            array = (np.frombuffer(data[begin:end], "<u2").astype("<u4") << 16).view("<f4")
        else:
            array = np.frombuffer(data[begin:end], TYPES[info["dtype"]])
        tensors[name] = array.reshape(info["shape"]).copy()
    return tensors, metadata
