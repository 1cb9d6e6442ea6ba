"""Checks of the reference itself; prints one line per check, exits non-zero when one fails.

1. the towers against PyTorch's own modules (conv2d, LayerNorm, multi_head_attention_forward);
2. Hugging Face names hold the same weights;
3. autograd and the straight-through rule against central differences of the loss;
4. a scalar shift has no effect; lr(e) and SGD against the numbers of methods.md; torch.optim.SGD;
5. the class-scope logit of a class does not depend on the other classes;
6. AMMPL without mask is CoCoOp, without interaction too CoOp; IVLP without vision and depth is CoOp.
"""
import json
import os
import sys

import numpy as np
import torch
import torch.nn.functional as F

import bpe
import clip_ref
import st
from ammpl_ref import DEFAULTS, Ammpl, Mask, Sgd, learning_rate
from make_features import images as make_images
import make_method_goldens
from make_goldens import CLASSES, IMAGE_IDS, LABELS, VARIANTS, initial
from make_nano import GOLDEN, TEXT, hf_names
from methods_ref import Cocoop, Coop, Ivlp

failed = []
NANO = os.path.join(GOLDEN, "nano")


def check(what, value, limit):
    print(f"{'ok  ' if value <= limit else 'FAIL'} {what}: {value:.1e} (limit {limit:.0e})")
    if not value <= limit:
        failed.append(what)


def torch_image(clip, x):
    """The vision tower once more, from PyTorch's modules."""
    w = clip.w
    ln = lambda t, n: F.layer_norm(t, t.shape[-1:], w(n + ".weight"), w(n + ".bias"), clip.eps)
    t = F.conv2d(x, w("visual.conv1.weight"), stride=clip.patch).flatten(2).transpose(1, 2)
    t = torch.cat([w("visual.class_embedding").expand(len(x), 1, -1), t], 1) + w("visual.positional_embedding")
    t = torch_blocks(clip, ln(t, "visual.ln_pre"), "visual.transformer.", clip.vision_heads, None, ln)
    return ln(t[:, 0], "visual.ln_post") @ w("visual.proj")


def torch_blocks(clip, t, prefix, heads, mask, ln):
    w = clip.w
    for i in range(clip.layers(prefix)):
        p = f"{prefix}resblocks.{i}."
        h = ln(t, p + "ln_1").transpose(0, 1)
        h, _ = F.multi_head_attention_forward(
            h, h, h, h.shape[-1], heads, w(p + "attn.in_proj_weight"), w(p + "attn.in_proj_bias"), None, None, False, 0.0,
            w(p + "attn.out_proj.weight"), w(p + "attn.out_proj.bias"), need_weights=False, attn_mask=mask)
        t = t + h.transpose(0, 1)
        h = F.linear(ln(t, p + "ln_2"), w(p + "mlp.c_fc.weight"), w(p + "mlp.c_fc.bias"))
        t = t + F.linear(clip.activation(h), w(p + "mlp.c_proj.weight"), w(p + "mlp.c_proj.bias"))
    return t


def torch_text(clip, tokens):
    w = clip.w
    ln = lambda t, n: F.layer_norm(t, t.shape[-1:], w(n + ".weight"), w(n + ".bias"), clip.eps)
    t = F.embedding(tokens, w("token_embedding.weight")) + w("positional_embedding")
    mask = torch.full((clip.length, clip.length), float("-inf"), dtype=clip.dtype).triu(1)
    t = ln(torch_blocks(clip, t, "transformer.", clip.text_heads, mask, ln), "ln_final")
    return t[torch.arange(len(t)), tokens.argmax(-1)] @ w("text_projection")


def towers(clip):
    golden, _ = st.read(os.path.join(GOLDEN, "features.safetensors"))
    x, tokens = torch.from_numpy(golden["images"]).double(), torch.from_numpy(golden["tokens"])
    check("vision tower against torch modules", (clip.encode_image(x) - torch_image(clip, x)).abs().max().item(), 1e-12)
    check("text tower against torch modules", (clip.encode_text(clip.embed(tokens), tokens) - torch_text(clip, tokens)).abs().max().item(), 1e-12)
    cut = clip.encode_text(clip.embed(tokens)[:1, :8], tokens[:1, :8]) - clip.encode_text(clip.embed(tokens[:1]), tokens[:1])
    check("text cut after EOT", cut.abs().max().item(), 1e-12)
    hf, _ = st.read(os.path.join(GOLDEN, "nano-hf", "model.safetensors"))
    again = hf_names(clip.weights)
    check("Hugging Face names", max(np.abs(hf[n] - v).max() for n, v in again.items()), 0)
    for file, cast in (("nano-f16", lambda v: v.astype(np.float16).astype(np.float32)), ("nano-bf16", lambda v: torch.from_numpy(v).bfloat16().float().numpy())):
        stored, _ = st.read(os.path.join(GOLDEN, file, "model.safetensors"))
        check(file + " rounding", max(np.abs(stored[n].astype(np.float32) - cast(v)).max() for n, v in clip.weights.items()), 0)


def differences(clip, tokenizer):
    """Central differences of the loss with a fixed mask; for P, the masks' own real values are moved (blend)."""
    x = torch.from_numpy(make_images(3, 3)).double()
    y, h = torch.tensor(LABELS[:3]), 1e-6
    for name in ("shared_default", "class_simultaneous", "class_mask_interaction", "shared_interaction", "class_candidates"):
        options = {**DEFAULTS, **VARIANTS[name], "mask_gradient": "blend"}
        if options["interaction"] == "true":
            options["shift"] = "vector"
        method = Ammpl(clip, tokenizer, CLASSES, options)
        t = {n: torch.from_numpy(v).double() for n, v in initial(clip, tokenizer, options, 99).items()}
        masks = method.train_masks(t, 5, IMAGE_IDS[:3], 0)
        _, _, grads = method.step(t, x, y, masks)
        rng, worst = np.random.default_rng(0), 0.0
        for tensor, grad in grads.items():
            for index in rng.choice(grad.numel(), min(6, grad.numel()), replace=False):
                losses = []
                for sign in (1, -1):
                    moved, m = dict(t), masks
                    if tensor == "mask_prob":  # d mask / d P = 1: move the mask itself
                        delta = torch.zeros_like(grad).reshape(-1)
                        delta[index] = sign * h
                        m = masks + method.per_class(delta.reshape(grad.shape))
                    else:
                        moved[tensor] = t[tensor].clone()
                        moved[tensor].view(-1)[index] += sign * h
                    losses.append(method.step(moved, x, y, m)[0])
                numeric = (losses[0] - losses[1]) / (2 * h)
                worst = max(worst, abs(numeric - grad.reshape(-1)[index].item()) / max(grad.abs().max().item(), 1e-2))
        check(f"{name} (blend): gradients against differences", worst, 1e-6)
        if "mask_prob" in grads:
            options["mask_gradient"] = "hadamard"
            hadamard = Ammpl(clip, tokenizer, CLASSES, options).step(t, x, y, masks)[2]
            other = max((hadamard[n] - g).abs().max().item() for n, g in grads.items() if n != "mask_prob")
            check(f"{name}: the rule for P touches no other gradient", other, 0)


def straight_through():
    """The written-out rule against autograd of Eq. 11 put into Eq. 4, 5: M = P + detach(M - P)."""
    g = torch.Generator().manual_seed(4)
    rand = lambda *shape: torch.randn(*shape, generator=g, dtype=torch.float64)
    image, pad, prob, cot = rand(2, 1, 3, 6, 6), rand(2, 4, 3, 2, 2), rand(2, 4, 3, 3), rand(2, 4, 3, 6, 6)
    mask = (rand(2, 4, 3, 3) > 0).double()
    for blend in (False, True):
        pad, prob = pad.detach().requires_grad_(), prob.detach().requires_grad_()
        through = prob + (mask - prob).detach()
        big = lambda t: torch.kron(t, torch.ones(2, 2, dtype=t.dtype))[:, :, None]
        literal = big(through) * image + (1 - big(through if blend else mask)) * pad.repeat(1, 1, 1, 3, 3)
        ours = Mask.apply(image, pad, mask, prob, blend)
        check("Eq. 4, 5 forward", (ours - literal).abs().max().item(), 1e-15)
        a = torch.autograd.grad((ours * cot).sum(), (pad, prob))
        b = torch.autograd.grad((literal * cot).sum(), (pad, prob))
        check(f"Eq. 11, 12 {'blend' if blend else 'hadamard'}", max((u - v).abs().max().item() for u, v in zip(a, b)), 1e-13)


def scalar(clip, tokenizer):
    golden, _ = st.read(os.path.join(GOLDEN, "ammpl_class_scalar.safetensors"))
    check("scalar shift: gradient of f_I", max(np.abs(v).max() for n, v in golden.items() if n.startswith("grad0.image_to_text")), 1e-12)
    options = {**DEFAULTS, "scope": "class", "shift": "scalar"}
    t = {n: torch.from_numpy(v).double() for n, v in initial(clip, tokenizer, options, 3).items()}
    method = Ammpl(clip, tokenizer, CLASSES, options)
    x = torch.from_numpy(make_images(2, 3)).double()
    before = method.evaluate(t, x, "expected")
    t["image_to_text.linear2.bias"] += 1.0
    check("scalar shift: logits", (method.evaluate(t, x, "expected") - before).abs().max().item(), 1e-12)


def optimizer():
    want = [.002, .0019510565, .001809017, .0015877853, .001309017, .001, .00069098301, .00041221475, .00019098301]
    got = [learning_rate(e, .002, 10, 1, 1e-5) for e in range(1, 10)]
    check("lr(e)", max(abs(a - b) for a, b in zip(want, got)), 1e-9)
    t, sgd = {"p": torch.tensor(1.0).double()}, Sgd(0.9, 5e-4, {})
    values = []
    for g in (1.0, 2.0):
        sgd.update(t, {"p": torch.tensor(g).double()}, 0.1)
        values.append(t["p"].item())
    check("SGD", max(abs(values[0] - 0.89995), abs(values[1] - 0.60986)), 1e-5)
    p = torch.nn.Parameter(torch.tensor(1.0).double())
    theirs = torch.optim.SGD([p], lr=0.1, momentum=0.9, weight_decay=5e-4)
    for g in (1.0, 2.0):
        p.grad = torch.tensor(g).double()
        theirs.step()
    check("torch.optim.SGD", abs(p.item() - values[1]), 1e-15)


def class_scope(clip, tokenizer):
    """Permuting and dropping classes leaves each remaining class's logit as it is (sample and mean keyed by name)."""
    options = {**DEFAULTS, "scope": "class"}
    t = {n: torch.from_numpy(v).double() for n, v in initial(clip, tokenizer, options, 3).items()}
    x = torch.from_numpy(make_images(2, 3)).double()
    order = [3, 0, 4]
    few = {n: v[order] for n, v in t.items()}
    for mode in ("sample", "expected", "threshold"):
        a = Ammpl(clip, tokenizer, CLASSES, options).evaluate(t, x, mode)[:, order]
        b = Ammpl(clip, tokenizer, [CLASSES[i] for i in order], options).evaluate(few, x, mode)
        check(f"class scope, {mode}: other classes do not matter", (a - b).abs().max().item(), 1e-12)


def same_methods(clip, tokenizer):
    x = torch.from_numpy(make_images(3, 3)).double()
    base = {"n_ctx": "4", "ctx_init": "a photo of a"}
    off = {"mask": "false", "padding": "false"}
    for what, given, method, given_too in (
            ("AMMPL without mask = CoCoOp", {}, Cocoop, {}),
            ("AMMPL without mask and interaction = CoOp", {"interaction": "false"}, Coop, {"position": "end", "class_specific": "false"}),
            ("IVLP without vision and depth = CoOp", {"interaction": "false"}, Ivlp, {"depth_text": "1", "depth_vision": "0"})):
        options = {**DEFAULTS, **off, **given}
        t = {n: torch.from_numpy(v).double() for n, v in initial(clip, tokenizer, options, 3).items()}
        a = Ammpl(clip, tokenizer, CLASSES, options).logits(t, x, None)
        renamed = {n.replace("image_to_text", "meta_net"): v for n, v in t.items()}
        b = method(clip, tokenizer, CLASSES, {**base, **given_too}).logits(renamed, x, None)
        check(what, (a - b).abs().max().item(), 1e-12)


def goldens():
    """Equalities that must hold between golden files and inside them."""
    worst = 0.0
    for name in VARIANTS:
        g, m = st.read(os.path.join(GOLDEN, f"ammpl_{name}.safetensors"))
        assert set(json.loads(m["participating"])) == {n[5:] for n in g if n.startswith("init.")}
        for n in g:
            assert np.isfinite(g[n]).all(), (name, n)
        if m["mask"] == "false":
            worst = max(worst, *(np.abs(g["eval.expected.logits"] - g[f"eval.{e}.logits"]).max() for e in ("sample", "threshold")))
    check("without mask all evaluation modes agree", worst, 0)
    for name, given in make_method_goldens.VARIANTS.items():
        g, m = st.read(os.path.join(GOLDEN, f"method_{name}.safetensors"))
        assert all(np.isfinite(v).all() for v in g.values()), name
        if given["method"] != "zeroshot":
            assert set(json.loads(m["participating"])) == {n[5:] for n in g if n.startswith("init.")}, name


if __name__ == "__main__":
    torch.set_num_threads(1)
    nano, words = clip_ref.load(NANO), bpe.load(NANO, TEXT["length"])
    towers(nano)
    straight_through()
    differences(nano, words)
    optimizer()
    class_scope(nano, words)
    same_methods(nano, words)
    goldens()
    scalar(nano, words)
    sys.exit(1 if failed else 0)
