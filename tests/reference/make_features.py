"""tests/golden/features.safetensors: what the nano towers give, forward and backward, in float64 stored as float32."""
import json
import os

import numpy as np
import torch

import bpe
import clip_ref
import st
from make_nano import GOLDEN, TEXT

TEXTS = ["a photo of a cat.", "a photo of a red dog.", "a photo of a zebra.", "a photo of a Sting Ray.", "707 jet's", ""]
VARIANTS = {  # suffix of the tensor names: folder, activation
    "": ("nano", None),
    ".f16": ("nano-f16", None),
    ".bf16": ("nano-bf16", None),
    ".gelu": ("nano", "gelu"),
}


def images(count, seed, size=15):
    """Normalised pixels: a smooth pattern plus noise, so that images differ in more than their noise."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:size, 0:size] / size
    out = rng.standard_normal((count, 3, size, size)) * 0.6
    for b in range(count):
        for c in range(3):
            a, f, g, p = rng.uniform(0.6, 1.4), *rng.uniform(-2, 2, 2), rng.uniform(0, 6)
            out[b, c] += a * np.cos(2 * np.pi * (f * x + g * y) + p) + rng.normal(0, 0.4)
    return out.astype(np.float32)


def main():
    tokenizer = bpe.load(os.path.join(GOLDEN, "nano"), TEXT["length"])
    tokens = tokenizer.tokenize(TEXTS)
    pixels = images(5, 1)
    rng = np.random.default_rng(2)
    width = clip_ref.load(os.path.join(GOLDEN, "nano")).width
    # cotangents: dL/d(un-normalised feature), for the towers' backward passes
    cot_image = rng.standard_normal((len(pixels), width)).astype(np.float32)
    cot_text = rng.standard_normal((len(tokens), width)).astype(np.float32)
    out = {"images": pixels, "tokens": tokens, "image_cotangent": cot_image, "text_cotangent": cot_text}

    for suffix, (folder, activation) in VARIANTS.items():
        clip = clip_ref.load(os.path.join(GOLDEN, folder), activation)
        ids = torch.from_numpy(tokens)
        x = torch.from_numpy(pixels).double().requires_grad_()
        e = clip.embed(ids).requires_grad_()
        image, text = clip.encode_image(x), clip.encode_text(e, ids)
        (image_grad,) = torch.autograd.grad((image * torch.from_numpy(cot_image)).sum(), x)
        (text_grad,) = torch.autograd.grad((text * torch.from_numpy(cot_text)).sum(), e)
        result = {
            "image_features": image, "image_features_norm": clip_ref.norm(image),
            "text_features": text, "text_features_norm": clip_ref.norm(text),
            "logits": clip.scale * clip_ref.norm(image) @ clip_ref.norm(text).T,
            "image_grad": image_grad, "text_grad": text_grad,
            "probe": clip.probe(tokenizer.sot, tokenizer.eot),
        }
        out.update({k + suffix: v.detach().float().numpy() for k, v in result.items()})

    st.write(os.path.join(GOLDEN, "features.safetensors"), out, {
        "texts": json.dumps(TEXTS), "computed_in": "float64", "stored_as": "F32, tokens I64",
        "suffixes": "none = nano and nano-hf, .f16 = nano-f16, .bf16 = nano-bf16, .gelu = nano with activation gelu"})
    for suffix in VARIANTS:
        print("logits" + suffix, np.round(out["logits" + suffix][0], 4))


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
