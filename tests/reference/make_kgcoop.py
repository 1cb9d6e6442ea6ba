"""tests/golden/kgcoop.safetensors: KgCoOp's loss and gradient on the nano model, for examples/python/new_method.py.

KgCoOp (CVPR 2023), from its equations: CoOp's loss plus weight * mean over classes of |w - w_clip|^2, w and w_clip of length 1.
"""
import json
import os

import numpy as np
import torch

import bpe
import clip_ref
import st
from make_nano import GOLDEN, TEXT
from methods_ref import Context, cross_entropy, fixed_texts

CLASSES, WEIGHT = ["cat", "red_dog", "zebra", "Sting Ray", "jet"], 8.0


def main():
    clip = clip_ref.load(os.path.join(GOLDEN, "nano"))
    tokenizer = bpe.load(os.path.join(GOLDEN, "nano"), TEXT["length"])
    rng = np.random.default_rng(41)
    context = Context(clip, tokenizer, CLASSES, 4, "a photo of a")
    written = fixed_texts(clip, tokenizer, CLASSES, ["a photo of a {}."])
    start = context.embedded[0, 1:5].numpy()
    out = {"ctx": (start + 0.1 * rng.standard_normal(start.shape)).astype(np.float32),
           "x": rng.standard_normal((6, clip.width)).astype(np.float32), "labels": np.array([2, 0, 4, 1, 1, 3], np.int64)}
    ctx = torch.from_numpy(out["ctx"]).double().requires_grad_()
    w = clip_ref.norm(context.encode(ctx))
    logits = clip.scale * clip_ref.norm(torch.from_numpy(out["x"]).double()) @ w.T
    loss = cross_entropy(logits, torch.from_numpy(out["labels"])) + WEIGHT * (w - written).pow(2).sum(1).mean()
    (gradient,) = torch.autograd.grad(loss, ctx)
    out.update(logits=logits.detach().float().numpy(), gradient=gradient.float().numpy(), loss=np.array([loss.item()]))
    st.write(os.path.join(GOLDEN, "kgcoop.safetensors"), out,
             {"model": "nano", "classes": json.dumps(CLASSES), "weight": WEIGHT, "computed_in": "float64"})
    print(f"loss {loss.item():.4f}, gradient up to {gradient.abs().max():.3g}")


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
