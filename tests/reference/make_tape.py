"""tests/golden/tape.safetensors: passes of the public tape through the nano-odd towers, in float64 stored as float32.

Text: 4 sequences of unequal length behind a shared prefix, prompts for all sequences before block 1, one's own before block 2,
tokens read before blocks 1 and 2.  Images: 3 pictures, prompts that ln_pre acts on, then other numbers of slots, one's own and
shared, and none at the end; tokens read twice.  Every feature and every token that is read has a random cotangent, and the
gradients of everything that was given are autograd's.  Similarity and cross-entropy likewise.
"""
import os

import numpy as np
import torch

import clip_ref
import st
from make_features import images
from make_nano import GOLDEN

LENGTHS, PREFIX, PLACES, SLOTS = [5, 2, 7, 4], 3, 7, 2  # slots are places 1 and 2, within the prefix
rng = np.random.default_rng(20261126)
out = {}


def given(name, *shape, scale=0.5):
    """A random input: stored, and as a leaf of the graph."""
    out[name] = (scale * rng.standard_normal(shape)).astype(np.float32)
    return torch.from_numpy(out[name]).double().requires_grad_()


def cotangent(name, value):
    """A random cotangent of a result, which is stored, too; its share of the loss."""
    out[name] = value.detach().float().numpy()
    out["d_" + name] = rng.standard_normal(value.shape).astype(np.float32)
    return (value * torch.from_numpy(out["d_" + name])).sum()


def text(clip):
    n, width = len(LENGTHS), clip.text_width
    rows, prefix = given("text_rows", n, PLACES, width), given("text_prefix", PREFIX, width)
    shared, own = given("text_prompt.0", SLOTS, width), given("text_prompt.1", n, SLOTS, width)
    out["text_length"] = np.array(LENGTHS, np.int64)
    features, reads = [], [[], []]
    for i, length in enumerate(LENGTHS):
        x = torch.cat([prefix, rows[i, :length]])[None]
        x = x + clip.w("positional_embedding")[:x.shape[1]]
        for block in range(3):
            if block > 0:
                reads[block - 1].append(torch.nn.functional.pad(x[0], (0, 0, 0, PLACES - length)))
                prompt = shared if block == 1 else own[i]
                x = torch.cat([x[:, :1], prompt[None], x[:, 1 + SLOTS:]], 1)
            x = clip.block(x, f"transformer.resblocks.{block}.", clip.text_heads, clip.causal(x.shape[1]))
        features.append(clip.layer_norm(x[0, -1], "ln_final") @ clip.w("text_projection"))
    loss = cotangent("text_features", torch.stack(features))
    for k, read in enumerate(reads):
        loss = loss + cotangent(f"text_tokens.{k}", torch.stack(read))
    leaves = {"text_rows": rows, "text_prefix": prefix, "text_prompt.0": shared, "text_prompt.1": own}
    for (name, _), grad in zip(leaves.items(), torch.autograd.grad(loss, leaves.values())):
        out["grad_" + name] = grad.float().numpy()


def image(clip):
    n, width = 3, clip.vision_width
    out["pixels"] = images(n, 5, clip.grid * clip.patch)
    pixels = torch.from_numpy(out["pixels"]).double().requires_grad_()
    prompts = [given("image_prompt.0", 2, width), given("image_prompt.1", n, 3, width), given("image_prompt.2", 3, width)]
    count = clip.grid ** 2 + 1
    x = clip.embed_image(pixels)
    x = torch.cat([x, prompts[0].expand(n, -1, -1)], 1)
    x = clip.layer_norm(x, "visual.ln_pre")
    loss = 0
    for block in range(5):
        if block == 1:  # tokens with two slots, then three of each picture's own
            loss = loss + cotangent("image_tokens.0", x)
            x = torch.cat([x[:, :count], prompts[1]], 1)
        if block == 3:  # those carried on over block 2; now three for all
            loss = loss + cotangent("image_tokens.1", x)
            x = torch.cat([x[:, :count], prompts[2].expand(n, -1, -1)], 1)
        if block == 4:  # none
            x = x[:, :count]
        x = clip.block(x, f"visual.transformer.resblocks.{block}.", clip.vision_heads, None)
    loss = loss + cotangent("image_features", clip.project_image(x))
    leaves = {"pixels": pixels, **{f"image_prompt.{k}": p for k, p in enumerate(prompts)}}
    for (name, _), grad in zip(leaves.items(), torch.autograd.grad(loss, leaves.values())):
        out["grad_" + name] = grad.float().numpy()


def similarity(clip):
    x, z = given("x", 4, clip.width, scale=3), given("z", 5, clip.width, scale=0.2)
    labels = torch.tensor([2, 0, 4, 2])
    logits = clip.scale * clip_ref.norm(x) @ clip_ref.norm(z).T
    loss = 0.3 * (torch.logsumexp(logits, 1) - logits[torch.arange(4), labels]).sum()
    grads = torch.autograd.grad(loss, [logits, x, z])
    out.update(labels=labels.numpy(), logits=logits.detach().float().numpy(), loss=np.array([loss.item()]))
    out.update({f"grad_{k}": g.float().numpy() for k, g in zip(["logits", "x", "z"], grads)})


def main():
    clip = clip_ref.load(os.path.join(GOLDEN, "nano-odd"))
    text(clip)
    image(clip)
    similarity(clip)
    ids = np.array([3, 0, 200, 3], np.int64)
    out.update(ids=ids, embedded=clip.embed(torch.from_numpy(ids)).float().numpy())
    st.write(os.path.join(GOLDEN, "tape.safetensors"), out, {"model": "nano-odd", "computed_in": "float64", "weight": "0.3"})
    for name in sorted(out):
        if name.startswith("grad_"):
            print(f"{name:22} {np.abs(out[name]).max():.3g}")


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
