"""The nano fixture: a complete CLIP with odd sizes and random weights -> tests/golden/nano*/.

nano/       F32, OpenAI names      nano-hf/    the same weights, Hugging Face names
nano-f16/   F16, OpenAI names      nano-bf16/  BF16, OpenAI names
nano-wide/  F16, OpenAI names, other sizes: joint width 50
nano-odd/   F32, OpenAI names: no two sizes are equal, 3 text and 5 image layers
Weights as in methods.md 1.8 but larger, all biases and LayerNorm parameters away from 0 and 1, so that features, attention
patterns and gradients are far from degenerate.
"""
import json
import os
import shutil

import numpy as np

import bpe
import st

GOLDEN = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "golden")
SEED = 20240607
TEXT = {"width": 18, "heads": 3, "layers": 3, "hidden": 72, "length": 19}
VISION = {"width": 28, "heads": 2, "layers": 2, "hidden": 112, "patch": 5, "grid": 3}
JOINT = 22
# nano-wide: joint width >= 48, so that f_T and f_I have a bottleneck of more than one row; one layer each
WIDE_TEXT = {"width": 20, "heads": 2, "layers": 1, "hidden": 80, "length": 16}
WIDE_VISION = {"width": 24, "heads": 2, "layers": 1, "hidden": 96, "patch": 4, "grid": 4}
WIDE_JOINT = 50
# nano-odd: widths, layers, heads and grid all differ, between the towers too; deep enough for a depth below the layers
ODD_TEXT = {"width": 14, "heads": 7, "layers": 3, "hidden": 42, "length": 23}
ODD_VISION = {"width": 20, "heads": 4, "layers": 5, "hidden": 50, "patch": 2, "grid": 6}
ODD_JOINT = 17
EPS = 1e-5
MEAN, STD = [0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711]

MERGES = [m.split() for m in """p h
o t
ph ot
phot o</w>
o f</w>
c a
ca t</w>
d o
do g</w>
r e
re d</w>
i n
in g</w>
t h
th e</w>
b i
bi r
bir d</w>
s t
f l
l o
a n
an d</w>
o x</w>
w o
e r</w>""".split("\n")]


def blocks(rng, prefix, width, layers, hidden, out):
    def gauss(*shape, std):
        return rng.standard_normal(shape) * std

    for i in range(layers):
        p = f"{prefix}resblocks.{i}."
        for ln in ("ln_1", "ln_2"):
            out[p + ln + ".weight"] = 1 + gauss(width, std=0.2)
            out[p + ln + ".bias"] = gauss(width, std=0.15)
        # queries and keys larger than values: attention must be far from uniform
        qk, v = gauss(2 * width, width, std=1.6 * width**-0.5), gauss(width, width, std=1.1 * width**-0.5)
        out[p + "attn.in_proj_weight"] = np.concatenate([qk, v])
        out[p + "attn.in_proj_bias"] = gauss(3 * width, std=0.2)
        out[p + "attn.out_proj.weight"] = gauss(width, width, std=0.9 * width**-0.5)
        out[p + "attn.out_proj.bias"] = gauss(width, std=0.1)
        out[p + "mlp.c_fc.weight"] = gauss(hidden, width, std=1.0 * width**-0.5)
        out[p + "mlp.c_fc.bias"] = gauss(hidden, std=0.2)
        out[p + "mlp.c_proj.weight"] = gauss(width, hidden, std=1.2 * hidden**-0.5)
        out[p + "mlp.c_proj.bias"] = gauss(width, std=0.1)


def openai_weights(text, vision, joint, vocab, seed):
    """{OpenAI name: float32 array}"""
    rng, out = np.random.default_rng(seed), {}
    l, w, q, g = text["width"], vision["width"], vision["patch"], vision["grid"]
    out["token_embedding.weight"] = rng.standard_normal((vocab, l)) * 0.4
    out["positional_embedding"] = rng.standard_normal((text["length"], l)) * 0.15
    blocks(rng, "transformer.", l, text["layers"], text["hidden"], out)
    out["text_projection"] = rng.standard_normal((l, joint)) * l**-0.5
    out["visual.conv1.weight"] = rng.standard_normal((w, 3, q, q)) * 1.5 * (3 * q * q) ** -0.5
    out["visual.class_embedding"] = rng.standard_normal(w) * 0.5
    out["visual.positional_embedding"] = rng.standard_normal((g * g + 1, w)) * 0.3
    blocks(rng, "visual.transformer.", w, vision["layers"], vision["hidden"], out)
    out["visual.proj"] = rng.standard_normal((w, joint)) * w**-0.5
    for name, width in (("ln_final", l), ("visual.ln_pre", w), ("visual.ln_post", w)):
        out[name + ".weight"] = 1 + rng.standard_normal(width) * 0.2
        out[name + ".bias"] = rng.standard_normal(width) * 0.15
    out["logit_scale"] = np.array(np.log(9.0))
    return {k: v.astype(np.float32) for k, v in out.items()}


def hf_names(weights):
    """OpenAI names -> Hugging Face names (methods.md 1.9): q, k, v apart, projections transposed."""
    out = {}
    simple = {
        "token_embedding.weight": "text_model.embeddings.token_embedding.weight",
        "positional_embedding": "text_model.embeddings.position_embedding.weight",
        "visual.class_embedding": "vision_model.embeddings.class_embedding",
        "visual.conv1.weight": "vision_model.embeddings.patch_embedding.weight",
        "visual.positional_embedding": "vision_model.embeddings.position_embedding.weight",
        "logit_scale": "logit_scale",
    }
    for openai, hf in (("ln_final", "text_model.final_layer_norm"), ("visual.ln_pre", "vision_model.pre_layrnorm"),
                       ("visual.ln_post", "vision_model.post_layernorm")):
        simple[openai + ".weight"], simple[openai + ".bias"] = hf + ".weight", hf + ".bias"
    inner = {"ln_1": "layer_norm1", "ln_2": "layer_norm2", "attn.out_proj": "self_attn.out_proj", "mlp.c_fc": "mlp.fc1",
             "mlp.c_proj": "mlp.fc2"}
    for name, value in weights.items():
        if name in simple:
            out[simple[name]] = value
        elif name in ("text_projection", "visual.proj"):
            out["text_projection.weight" if name == "text_projection" else "visual_projection.weight"] = value.T.copy()
        else:
            tower = "vision_model" if name.startswith("visual.") else "text_model"
            layer, rest = name.split("resblocks.")[1].split(".", 1)
            p = f"{tower}.encoder.layers.{layer}."
            if rest.startswith("attn.in_proj_"):
                for part, which in zip(np.split(value, 3), "qkv"):
                    out[p + f"self_attn.{which}_proj." + rest[len("attn.in_proj_"):]] = part
            else:
                stem, kind = rest.rsplit(".", 1)
                out[p + inner[stem] + "." + kind] = value
    return out


def open_clip_config(text, vision, joint, vocab, quick=True):
    size = vision["patch"] * vision["grid"]
    norm = {"norm_kwargs": {"eps": EPS}}
    return {
        "model_cfg": {
            "embed_dim": joint, "quick_gelu": quick,
            "vision_cfg": {"image_size": size, "layers": vision["layers"], "width": vision["width"],
                           "patch_size": vision["patch"], "head_width": vision["width"] // vision["heads"],
                           "mlp_ratio": vision["hidden"] / vision["width"], **norm},
            "text_cfg": {"context_length": text["length"], "vocab_size": vocab, "width": text["width"],
                         "heads": text["heads"], "layers": text["layers"], "mlp_ratio": text["hidden"] / text["width"], **norm},
        },
        "preprocess_cfg": {"size": [size, size], "mode": "RGB", "mean": MEAN, "std": STD, "interpolation": "bicubic",
                           "resize_mode": "shortest"},
    }


def hf_config(text, vision, joint, vocab, quick=True):
    act = "quick_gelu" if quick else "gelu"

    def tower(t, kind):
        return {"model_type": kind, "hidden_size": t["width"], "intermediate_size": t["hidden"], "num_hidden_layers": t["layers"],
                "num_attention_heads": t["heads"], "hidden_act": act, "layer_norm_eps": EPS, "projection_dim": joint,
                "attention_dropout": 0.0}

    return {
        "architectures": ["CLIPModel"], "model_type": "clip", "projection_dim": joint, "logit_scale_init_value": 2.6592,
        "text_config": {**tower(text, "clip_text_model"), "max_position_embeddings": text["length"], "vocab_size": vocab,
                        "bos_token_id": vocab - 2, "eos_token_id": vocab - 1, "pad_token_id": 1},
        "vision_config": {**tower(vision, "clip_vision_model"), "image_size": vision["patch"] * vision["grid"],
                          "patch_size": vision["patch"], "num_channels": 3},
    }


def preprocessor_config(size):
    return {"image_processor_type": "CLIPImageProcessor", "do_resize": True, "size": {"shortest_edge": size}, "resample": 3,
            "do_center_crop": True, "crop_size": {"height": size, "width": size}, "do_rescale": True,
            "rescale_factor": 1 / 255, "do_normalize": True, "image_mean": MEAN, "image_std": STD, "do_convert_rgb": True}


def save_json(path, value):
    with open(path, "w", encoding="utf-8") as f:
        json.dump(value, f, indent=1, ensure_ascii=False)
        f.write("\n")


def save_vocabulary(folder, merges):
    with open(os.path.join(folder, "merges.txt"), "w", encoding="utf-8") as f:
        f.write("#version: 0.2\n" + "".join(" ".join(m) + "\n" for m in merges))
    with open(os.path.join(folder, "vocab.json"), "w", encoding="utf-8") as f:
        json.dump(bpe.vocabulary(merges), f, ensure_ascii=False, separators=(",", ":"))
        f.write("\n")


def folder(name):
    path = os.path.join(GOLDEN, name)
    shutil.rmtree(path, ignore_errors=True)
    os.makedirs(path)
    return path


def save_openai(name, weights, dtype, text, vision, joint, vocab):
    path = folder(name)
    cast = {"F32": lambda v: v, "F16": lambda v: v.astype(np.float16), "BF16": st.Bf16}[dtype]
    st.write(os.path.join(path, "model.safetensors"), {k: cast(v) for k, v in weights.items()}, {"format": "pt"})
    save_json(os.path.join(path, "open_clip_config.json"), open_clip_config(text, vision, joint, vocab))
    return path


def main():
    vocab = len(bpe.vocabulary(MERGES))
    sizes = (TEXT, VISION, JOINT, vocab)
    weights = openai_weights(*sizes, SEED)
    for name, dtype in (("nano", "F32"), ("nano-f16", "F16"), ("nano-bf16", "BF16")):
        path = save_openai(name, weights, dtype, *sizes)
        if name == "nano":
            save_vocabulary(path, MERGES)

    wide = (WIDE_TEXT, WIDE_VISION, WIDE_JOINT, vocab)
    save_vocabulary(save_openai("nano-wide", openai_weights(*wide, SEED + 1), "F16", *wide), MERGES)

    odd = (ODD_TEXT, ODD_VISION, ODD_JOINT, vocab)
    save_vocabulary(save_openai("nano-odd", openai_weights(*odd, SEED + 2), "F32", *odd), MERGES)

    path = folder("nano-hf")
    tensors = hf_names(weights)
    # buffers that older transformers versions stored: readers must ignore them
    tensors["text_model.embeddings.position_ids"] = np.arange(TEXT["length"], dtype=np.int64)[None]
    tensors["vision_model.embeddings.position_ids"] = np.arange(VISION["grid"] ** 2 + 1, dtype=np.int64)[None]
    st.write(os.path.join(path, "model.safetensors"), tensors, {"format": "pt"})
    save_json(os.path.join(path, "config.json"), hf_config(*sizes))
    save_json(os.path.join(path, "preprocessor_config.json"), preprocessor_config(VISION["patch"] * VISION["grid"]))
    save_vocabulary(path, MERGES)
    print("nano: vocabulary", vocab, "parameters", sum(v.size for v in weights.values()))


if __name__ == "__main__":
    main()
