"""PyTorch checkpoints as .safetensors: CLIPs for --model, prompts of the methods' original repositories for ammpl-train --import.

    to_safetensors.py ViT-B-16.pt --out clip/model.safetensors                # OpenAI's archive; pytorch_model.bin likewise
    to_safetensors.py prompt_learner/model.pth.tar-50 --out coop.safetensors  # a checkpoint of CoOp, CoCoOp, MaPLe, IVLP, VPT, VP

DPT saves three modules, which go into one file; each gets the prefix that tells them apart:

    cd output/DPT/.../seed1
    to_safetensors.py ctx_learner=image_encoder.transformer.ctx_learner/model.pth.tar-100 \\
                      extractor=image_encoder.transformer.extractor/model.pth.tar-100 \\
                      prompt_learner=prompt_learner/model.pth.tar-100 --out dpt.safetensors
    ammpl-train --import dpt.safetensors --method dpt --model clip --data photos --out prompt.safetensors

Of a checkpoint with optimizer and schedule the state_dict is taken.  Numbers keep their types (float16 stays float16), names stay as
they are behind PREFIX and a dot.  Needs NumPy, and neither PyTorch nor the code that wrote the file: tensors are read, and nothing
else in it is imported or run.
"""
import argparse
import collections
import json
import os
import pickle
import struct
import sys
import zipfile

import numpy as np

# torch's storages: safetensors' type, and one of NumPy of that size
STORAGES = {"DoubleStorage": ("F64", "<f8"), "FloatStorage": ("F32", "<f4"), "HalfStorage": ("F16", "<f2"),
            "BFloat16Storage": ("BF16", "<u2"), "LongStorage": ("I64", "<i8"), "IntStorage": ("I32", "<i4"),
            "ShortStorage": ("I16", "<i2"), "CharStorage": ("I8", "i1"), "ByteStorage": ("U8", "u1"), "BoolStorage": ("BOOL", "u1")}
LEGACY_MAGIC, LEGACY_PROTOCOL = 0x1950A86A20F9469CFC6C, 1001

# ---- reading: torch.save's two formats, and TorchScript archives ----

Storage = collections.namedtuple("Storage", "kind key count")
Tensor = collections.namedtuple("Tensor", "storage offset size stride")


class Inert:
    """Stands for every object that is no tensor (schedules, configurations, modules): takes anything, keeps its attributes."""

    def __init__(self, *_args, **_keywords):
        self.state = None

    def __setstate__(self, state):
        self.state = state

    def __call__(self, *_args, **_keywords):
        return Inert()

    def __setitem__(self, _key, _value):
        pass

    def append(self, _item):
        pass

    def extend(self, _items):
        pass

    def add(self, _item):
        pass


def rebuild_tensor(storage, offset, size, stride, *_rest):
    return Tensor(storage, offset, tuple(size), tuple(stride))


REBUILD = {"_rebuild_tensor": rebuild_tensor, "_rebuild_tensor_v2": rebuild_tensor, "_rebuild_parameter": lambda data, *_rest: data,
           "_rebuild_parameter_with_state": lambda data, *_rest: data}


class Unpickler(pickle.Unpickler):
    """Makes tensors and plain containers; a file cannot call anything else."""

    def find_class(self, module, name):
        if module == "torch" and name in STORAGES:
            return name
        if module == "torch._utils" and name.startswith("_rebuild"):
            if name not in REBUILD:
                raise ValueError(f"it has tensors of a kind that is not read here ({name})")
            return REBUILD[name]
        return collections.OrderedDict if (module, name) == ("collections", "OrderedDict") else Inert

    def persistent_load(self, pid):
        if pid[0] != "storage":
            return Inert()
        if len(pid) > 5 and pid[5] is not None:
            raise ValueError("it has views of storages, as only very old PyTorch wrote them")
        if pid[1] not in STORAGES:
            raise ValueError("it has tensors of a type that safetensors do not have")
        return Storage(pid[1], str(pid[2]), pid[4])


def read_zip(path):
    """-> what was saved, {storage's key: its bytes}."""
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        pickled = [n for n in names if n.count("/") == 1 and n.endswith("/data.pkl")]
        if len(pickled) != 1:
            raise ValueError("it is a zip archive, but not PyTorch's")
        root = pickled[0][:-len("data.pkl")]
        if root + "byteorder" in names and archive.read(root + "byteorder") != b"little":
            raise ValueError("its numbers are big-endian")
        with archive.open(pickled[0]) as f:
            saved = Unpickler(f).load()
        return saved, {n[len(root) + 5:]: archive.read(n) for n in names if n.startswith(root + "data/")}


def read_legacy(path):
    """The same of a file without zip: five pickles, then the storages in the order of the last."""
    with open(path, "rb") as f:
        magic, protocol, _machine = (Unpickler(f).load() for _ in range(3))
        if magic != LEGACY_MAGIC or protocol != LEGACY_PROTOCOL:
            raise ValueError("it is no PyTorch file")
        kinds = {}

        class Noting(Unpickler):
            def persistent_load(self, pid):
                storage = super().persistent_load(pid)
                if isinstance(storage, Storage):
                    kinds[storage.key] = storage.kind
                return storage

        saved, data = Noting(f).load(), {}
        for key in map(str, Unpickler(f).load()):
            count, = struct.unpack("<q", f.read(8))
            size = count * np.dtype(STORAGES[kinds[key]][1]).itemsize
            data[key] = f.read(size)
        return saved, data


def flatten(prefix, node, out):
    """Tensors of a state_dict by name; of a TorchScript archive by the names of the modules that hold them."""
    attributes = node.state if isinstance(node, Inert) else node
    for name, value in attributes.items() if isinstance(attributes, dict) else ():
        if isinstance(value, Tensor):
            out[f"{prefix}{name}"] = value
        elif isinstance(node, Inert) and isinstance(value, Inert):
            flatten(f"{prefix}{name}.", value, out)


def read(path):
    """-> {name: (safetensors' type, array)}"""
    try:
        saved, data = (read_zip if zipfile.is_zipfile(path) else read_legacy)(path)
    except (pickle.UnpicklingError, zipfile.BadZipFile, EOFError, ValueError, KeyError, IndexError, TypeError, AttributeError, struct.error) as e:
        raise ValueError(f"{path} cannot be read as a PyTorch file: {e}") from None
    if isinstance(saved, dict) and isinstance(saved.get("state_dict"), dict):
        saved = saved["state_dict"]
    tensors = {}
    flatten("", saved, tensors)
    if not tensors:
        raise ValueError(f"{path} holds no state_dict: neither tensors by name nor a checkpoint with them")
    return {n: array(path, n, t, data) for n, t in tensors.items()}


def array(path, name, t, data):
    kind, dtype = STORAGES[t.storage.kind]
    numbers = np.frombuffer(data.get(t.storage.key, b""), dtype)
    last = t.offset + sum((n - 1) * s for n, s in zip(t.size, t.stride))
    if len(t.size) != len(t.stride) or min(t.size + t.stride + (t.offset,), default=0) < 0 or (0 not in t.size and last >= len(numbers)):
        raise ValueError(f"{path}: tensor {name} is larger than what is stored of it")
    if 0 in t.size:
        return kind, np.empty(t.size, dtype)
    strides = [s * numbers.itemsize for s in t.stride]
    return kind, np.lib.stride_tricks.as_strided(numbers[t.offset:], t.size, strides, writeable=False)


# ---- writing ----


def write(path, tensors):
    """Through a temporary file: what was there stays until all is written."""
    header, at = {"__metadata__": {"format": "pt"}}, 0
    for name in sorted(tensors):
        kind, values = tensors[name]
        header[name] = {"dtype": kind, "shape": list(values.shape), "data_offsets": [at, at + values.nbytes]}
        at += values.nbytes
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    temporary = f"{path}.{os.getpid()}.tmp"
    try:
        with open(temporary, "wb") as f:
            f.write(struct.pack("<Q", len(text)) + text)
            for name in sorted(tensors):
                f.write(tensors[name][1].tobytes())
            f.flush()
            os.fsync(f.fileno())
        os.replace(temporary, path)
    finally:
        if os.path.exists(temporary):
            os.remove(temporary)
    return at


def split(argument):
    """PREFIX=FILE -> ("PREFIX.", FILE); a name that is a file as it stands is one."""
    prefix, equals, path = argument.partition("=")
    return (prefix + ".", path) if equals and not os.path.exists(argument) else ("", argument)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("input", nargs="+", metavar="[PREFIX=]FILE", help="checkpoint; its tensors are named PREFIX.NAME, or as they are")
    parser.add_argument("--out", required=True, metavar="FILE", help="the .safetensors file to write")
    parser.add_argument("--force", action="store_true", help="overwrite it where it exists")
    arguments = parser.parse_args()
    if os.path.exists(arguments.out) and not arguments.force:
        raise ValueError(f"{arguments.out} exists; --force overwrites it")
    tensors = {}
    for prefix, path in map(split, arguments.input):
        for name, value in read(path).items():
            if prefix + name in tensors:
                raise ValueError(f"{path}: there is a tensor {prefix + name} already; give each file a prefix (PREFIX=FILE)")
            tensors[prefix + name] = value
    size = write(arguments.out, tensors)
    print(f"{arguments.out}: {len(tensors)} tensors, {size / 1e6:.1f} MB")


if __name__ == "__main__":
    try:
        main()
    except (OSError, ValueError) as e:
        sys.exit(f"to_safetensors.py: {e}")
