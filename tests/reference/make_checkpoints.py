"""tests/golden/checkpoints/: files as torch.save and torch.jit.save write them, and the same as PyTorch itself reads them, in
safetensors: for examples/python/to_safetensors.py, which does without PyTorch.

checkpoint.pth.tar-5 is one as Dassl writes them, with optimizer, schedule, and an object that would run a command when unpickled.
"""
import collections
import os
import sys

import torch

from make_nano import GOLDEN

FOLDER = os.path.join(GOLDEN, "checkpoints")
sys.path.insert(0, os.path.join(GOLDEN, "..", "..", "examples", "python"))
import to_safetensors  # noqa: E402  its writer, not its reader

TYPES = {torch.float64: "F64", torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16", torch.int64: "I64",
         torch.int32: "I32", torch.int16: "I16", torch.int8: "I8", torch.uint8: "U8", torch.bool: "BOOL"}


class Command:
    def __reduce__(self):
        return os.system, ("touch /tmp/ammpl-to-safetensors-ran",)


def expected(name, tensors):
    plain = {n: t.detach().contiguous() for n, t in tensors.items()}
    to_safetensors.write(os.path.join(FOLDER, name + ".safetensors"), {
        n: (TYPES[t.dtype], (t.view(torch.int16) if t.dtype == torch.bfloat16 else t).numpy()) for n, t in plain.items()})


def main():
    os.makedirs(FOLDER, exist_ok=True)
    torch.manual_seed(3)
    base = torch.randn(3, 4)
    types = {str(t).replace("torch.", ""): (3 * base).to(t) for t in TYPES}
    types.update(scalar=torch.tensor(4.5), empty=torch.zeros(0, 3), turned=base.t(), part=base[1:, 2], step=base.reshape(-1)[::5],
                 parameter=torch.nn.Parameter(base[0].clone()), shared=base)
    torch.save(types, os.path.join(FOLDER, "types.bin"))
    expected("types", types)

    ctx = torch.nn.Parameter(torch.randn(2, 5).half())
    ctx.grad = torch.ones_like(ctx)
    optimizer = torch.optim.SGD([ctx], lr=0.1, momentum=0.9)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 5)
    module = collections.OrderedDict([("ctx", ctx.data), ("token_prefix", torch.randn(3, 1, 5)), ("compound.0", torch.randn(2).bfloat16())])
    module._metadata = collections.OrderedDict([("", {"version": 1})])  # as state_dict() has it
    whole = {"state_dict": module, "epoch": 5, "optimizer": optimizer.state_dict(), "scheduler": {"successor": schedule}, "val_result": None}
    torch.save(whole, os.path.join(FOLDER, "legacy.pth.tar"), _use_new_zipfile_serialization=False)
    torch.save({**whole, "notes": Command()}, os.path.join(FOLDER, "checkpoint.pth.tar-5"))
    expected("checkpoint", module)
    expected("together", {**{"one." + n: t for n, t in module.items()}, **{"two.three." + n: t for n, t in types.items()}})

    script = torch.jit.script(torch.nn.Sequential(collections.OrderedDict(ln=torch.nn.LayerNorm(4), inner=torch.nn.Sequential(torch.nn.Linear(4, 2)))).half())
    script.save(os.path.join(FOLDER, "script.pt"))
    expected("script", script.state_dict())
    torch.save([1, 2, "three"], os.path.join(FOLDER, "list.pt"))


if __name__ == "__main__":
    main()
