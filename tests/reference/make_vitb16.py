"""A random CLIP of ViT-B/16's size, in both namings, with golden features. Nothing of it is committed.

    make_vitb16.py OUT_DIR [--dtype f32|f16] [--size b16|l14]

OUT_DIR/openai/model.safetensors + open_clip_config.json     OUT_DIR/hf/model.safetensors + config.json
OUT_DIR/golden.safetensors: images [2,3,224,224] (philox uniforms), tokens [3,77] and what clip_ref makes of them in float64.
l14: of ViT-L/14's size (1.7 GB in F32), OUT_DIR/openai only and no golden: to train on.
Weights: methods.md 1.8 (CLIP's own initialisation); for the ViT's blocks PyTorch's defaults. About 0.6 GB per file in F32.
"""
import argparse
import json
import os

import numpy as np
import torch

import clip_ref
import philox
import st
from make_nano import hf_config, hf_names, open_clip_config, preprocessor_config, save_json

SIZES = {  # text, vision, joint width: methods.md 1.1
    "b16": ({"width": 512, "heads": 8, "layers": 12, "hidden": 2048, "length": 77},
            {"width": 768, "heads": 12, "layers": 12, "hidden": 3072, "patch": 16, "grid": 14}, 512),
    "l14": ({"width": 768, "heads": 12, "layers": 12, "hidden": 3072, "length": 77},
            {"width": 1024, "heads": 16, "layers": 24, "hidden": 4096, "patch": 14, "grid": 16}, 768),
}
VOCAB, SEED = 49408, 1234
TOKENS = [  # methods.md A.3: "a photo of a dog.", "banded texture.", "a photo of apple pie, a type of food."
    [320, 1125, 539, 320, 1929, 269], [37804, 16505, 269], [320, 1125, 539, 3055, 5319, 267, 320, 3877, 539, 1559, 269]]


def weights(text, vision, joint):
    g = torch.Generator().manual_seed(SEED)

    def gauss(*shape, std):
        return torch.randn(*shape, generator=g).mul_(std).numpy()

    def spread(*shape, bound):
        return torch.rand(*shape, generator=g).mul_(2 * bound).sub_(bound).numpy()

    out = {}

    def norms(name, width):
        out[name + ".weight"], out[name + ".bias"] = np.ones(width, np.float32), np.zeros(width, np.float32)

    l, w, q = text["width"], vision["width"], vision["patch"]
    out["token_embedding.weight"] = gauss(VOCAB, l, std=0.02)
    out["positional_embedding"] = gauss(text["length"], l, std=0.01)
    out["text_projection"] = gauss(l, joint, std=l**-0.5)
    out["logit_scale"] = np.array(np.log(1 / 0.07), np.float32)
    out["visual.class_embedding"] = gauss(w, std=w**-0.5)
    out["visual.positional_embedding"] = gauss(vision["grid"] ** 2 + 1, w, std=w**-0.5)
    out["visual.proj"] = gauss(w, joint, std=w**-0.5)
    out["visual.conv1.weight"] = spread(w, 3, q, q, bound=(3 * q * q) ** -0.5)
    for name, width in (("ln_final", l), ("visual.ln_pre", w), ("visual.ln_post", w)):
        norms(name, width)
    for i in range(text["layers"]):
        p, h, deep = f"transformer.resblocks.{i}.", text["hidden"], (2 * text["layers"]) ** -0.5
        norms(p + "ln_1", l), norms(p + "ln_2", l)
        out[p + "attn.in_proj_weight"] = gauss(3 * l, l, std=l**-0.5)
        out[p + "attn.in_proj_bias"] = np.zeros(3 * l, np.float32)
        out[p + "attn.out_proj.weight"] = gauss(l, l, std=l**-0.5 * deep)
        out[p + "attn.out_proj.bias"] = np.zeros(l, np.float32)
        out[p + "mlp.c_fc.weight"] = gauss(h, l, std=(2 * l) ** -0.5)
        out[p + "mlp.c_fc.bias"] = spread(h, bound=l**-0.5)
        out[p + "mlp.c_proj.weight"] = gauss(l, h, std=l**-0.5 * deep)
        out[p + "mlp.c_proj.bias"] = spread(l, bound=h**-0.5)
    for i in range(vision["layers"]):  # PyTorch's defaults: Xavier for in_proj, U(1/sqrt(fan_in)) for Linear
        p, h = f"visual.transformer.resblocks.{i}.", vision["hidden"]
        norms(p + "ln_1", w), norms(p + "ln_2", w)
        out[p + "attn.in_proj_weight"] = spread(3 * w, w, bound=(6 / (4 * w)) ** 0.5)
        out[p + "attn.in_proj_bias"] = np.zeros(3 * w, np.float32)
        out[p + "attn.out_proj.weight"] = spread(w, w, bound=w**-0.5)
        out[p + "attn.out_proj.bias"] = np.zeros(w, np.float32)
        out[p + "mlp.c_fc.weight"] = spread(h, w, bound=w**-0.5)
        out[p + "mlp.c_fc.bias"] = spread(h, bound=w**-0.5)
        out[p + "mlp.c_proj.weight"] = spread(w, h, bound=h**-0.5)
        out[p + "mlp.c_proj.bias"] = spread(w, bound=h**-0.5)
    return out


def images(count, size=224):
    """Pixels 4u - 2 with u = (out[0] >> 8) 2^-24, counter (element, 0, image, 0), key (SEED, 0): vectorised philox."""
    n = 3 * size * size
    out = np.empty((count, 3, size, size), np.float32)
    for b in range(count):
        c = [np.arange(n, dtype=np.uint64), np.zeros(n, np.uint64), np.full(n, b, np.uint64), np.zeros(n, np.uint64)]
        k0, k1, low = SEED, 0, np.uint64(0xFFFFFFFF)
        for _ in range(10):
            p0, p1 = np.uint64(philox.M0) * c[0], np.uint64(philox.M1) * c[2]
            c = [(p1 >> np.uint64(32)) ^ c[1] ^ np.uint64(k0), p1 & low, (p0 >> np.uint64(32)) ^ c[3] ^ np.uint64(k1), p0 & low]
            k0, k1 = (k0 + philox.W0) & 0xFFFFFFFF, (k1 + philox.W1) & 0xFFFFFFFF
        assert int(c[0][5]) == philox.philox((5, 0, b, 0), (SEED, 0))[0]
        u = (c[0] >> np.uint64(8)).astype(np.float64) * 2.0**-24
        out[b] = (4 * u - 2).reshape(3, size, size)
    return out


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("out")
    parser.add_argument("--dtype", choices=["f32", "f16"], default="f32")
    parser.add_argument("--size", choices=list(SIZES), default="b16")
    args = parser.parse_args()
    torch.set_num_threads(1)
    text, vision, joint = SIZES[args.size]
    tensors = weights(text, vision, joint)
    if args.dtype == "f16":
        tensors = {n: v.astype(np.float16) for n, v in tensors.items()}
    sizes = (text, vision, joint, VOCAB)
    namings = [("openai", tensors, ("open_clip_config.json", open_clip_config(*sizes)))]
    if args.size == "b16":
        namings.append(("hf", hf_names(tensors), ("config.json", hf_config(*sizes))))
    for name, named, config in namings:
        folder = os.path.join(args.out, name)
        os.makedirs(folder, exist_ok=True)
        st.write(os.path.join(folder, "model.safetensors"), named, {"format": "pt"})
        save_json(os.path.join(folder, config[0]), config[1])
    if args.size != "b16":
        return
    save_json(os.path.join(args.out, "hf", "preprocessor_config.json"), preprocessor_config(224))

    clip = clip_ref.Clip(tensors, vision["heads"], text["heads"])
    pixels = images(2)
    tokens = np.zeros((len(TOKENS), text["length"]), np.int64)
    for row, ids in zip(tokens, TOKENS):
        row[:len(ids) + 2] = [VOCAB - 2, *ids, VOCAB - 1]
    with torch.no_grad():
        image = clip.encode_image(torch.from_numpy(pixels).double())
        ids = torch.from_numpy(tokens)
        words = clip.encode_text(clip.embed(ids), ids)
        result = {
            "image_features": image, "image_features_norm": clip_ref.norm(image),
            "text_features": words, "text_features_norm": clip_ref.norm(words),
            "logits": clip.scale * clip_ref.norm(image) @ clip_ref.norm(words).T, "probe": clip.probe(VOCAB - 2, VOCAB - 1)}
    golden = {n: v.float().numpy() for n, v in result.items()}
    st.write(os.path.join(args.out, "golden.safetensors"), {**golden, "images": pixels, "tokens": tokens},
             {"computed_in": "float64", "dtype": args.dtype, "token_ids": json.dumps(TOKENS)})
    print("logits", golden["logits"])


if __name__ == "__main__":
    main()
