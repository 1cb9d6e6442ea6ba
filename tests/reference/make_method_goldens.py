"""tests/golden/method_<variant>.safetensors: inputs, initial values, first gradients, 12 training steps, evaluation.

As make_goldens.py does for AMMPL: prints, per variant, how far the run stays from every discontinuity and how much the same
run in float32 differs, and takes the first seed whose run a float32 program can be held to.
"""
import json
import os
import sys

import numpy as np
import torch

import bpe
import clip_ref
import philox
import st
from ammpl_ref import Sgd, learning_rate
from dpt_ref import Dpt
from make_features import images as make_images
from make_goldens import CALM, CLASSES, IMAGE_IDS, LABELS, NUDGE, RUN, spread
from make_nano import GOLDEN
from methods_ref import METHODS, step_rate

PHOTO = "a photo of a"
ONE = ["a photo of a {}."]
TEXT = {"n_ctx": "3", "ctx_init": ""}  # not the default, not equal to a depth
COOP = {"method": "coop", **TEXT, "position": "end", "class_specific": "false"}
COCOOP = {"method": "cocoop", "n_ctx": "4", "ctx_init": PHOTO}
VP = {"method": "vp", "kind": "padding", "prompt_size": "3", "template": ["This is a photo of a {}"], "lr": 4, "weight_decay": 0,
      "schedule": "per-step", "warmup_steps": 3, "classes": ["cat", "red_dog", "zebra", "Sting-Ray", "707 jet"]}
VPT = {"method": "vpt", "n_ctx_vision": "2", "depth_vision": "3", "template": ONE, "variant": "maple"}
DLP = {"method": "dlp", "n_ctx": "4", "ctx_init": PHOTO, "depth_text": "2", "n_ctx_vision": "0", "depth_vision": "0"}
IVLP = {"method": "ivlp", "n_ctx": "2", "ctx_init": PHOTO, "depth_text": "2", "n_ctx_vision": "3", "depth_vision": "4"}
MAPLE = {"method": "maple", "n_ctx": "2", "ctx_init": PHOTO, "depth": "2"}
# two warm-ups, two rates, and the change of phase, all within the 4 epochs
DPT = {"method": "dpt", **TEXT, "n_ctx_vision": "2", "bottom_limit": "5", "top_k": "2", "guidance_epochs": "2",
       "aux_weight": "0.3", "template": ONE, "lr": 0.08, "warmup_epochs": 2, "warmup_lr": 0.004, "lr_text": "0.03",
       "warmup_epochs_text": "1"}

VARIANTS = {
    "zeroshot_single": {"method": "zeroshot", "template": ["a photo of {}, a cat."]},
    "zeroshot_ensemble": {"method": "zeroshot", "template": ["a photo of a {}.", "the red {} in a box", "{}!"]},
    "coop_end": COOP,
    "coop_middle": {**COOP, "position": "middle"},
    "coop_front": {**COOP, "position": "front"},
    "coop_words": {**COOP, "n_ctx": "4", "ctx_init": PHOTO, "model": "nano"},
    "coop_class_end": {**COOP, "class_specific": "true"},
    "coop_class_middle": {**COOP, "class_specific": "true", "position": "middle"},
    "coop_class_front": {**COOP, "class_specific": "true", "position": "front"},
    "cocoop_words": COCOOP,
    "cocoop_wide": {**COCOOP, **TEXT, "model": "nano-wide"},  # bottleneck of 3
    "vpt_shallow": {**VPT, "n_ctx_vision": "4", "depth_vision": "1"},
    "vpt_deep": VPT,
    "vpt_full": {**VPT, "depth_vision": "5"},
    "vpt_dpt": {**VPT, "depth_vision": "5", "variant": "dpt"},
    "vpt_dpt_deep": {**VPT, "n_ctx_vision": "4", "variant": "dpt"},
    "dlp_deep": DLP,
    "dlp_full": {**DLP, "depth_text": "3", "n_ctx": "2", "ctx_init": ""},
    "ivlp_deep": IVLP,
    "ivlp_full": {**IVLP, **TEXT, "depth_text": "3", "n_ctx_vision": "1", "depth_vision": "5"},
    "maple_shallow": {**MAPLE, "depth": "1"},
    "maple_deep": MAPLE,
    "maple_full": {**MAPLE, **TEXT, "n_ctx": "4", "depth": "3"},
    "vp_padding": VP,
    "vp_fixed_patch": {**VP, "kind": "fixed_patch", "prompt_size": "4", "model": "nano"},
    "vp_random_patch": {**VP, "kind": "random_patch", "prompt_size": "5"},
    "dpt_one": DPT,
    "dpt_two": {**DPT, "bottom_limit": "4", "top_k": "3", "n_ctx_vision": "4"},
    "dpt_all": {**DPT, "bottom_limit": "3", "top_k": "5", "n_ctx": "2", "aux_weight": "1", "guidance_epochs": "3"},
}
SETTINGS = {"classes", "model", "warmup_steps", *RUN}  # of a variant, that are no options of its method


def split(given):
    """-> options of the method, the run's settings."""
    run = {**RUN, "classes": CLASSES, "model": "nano-odd", **{n: v for n, v in given.items() if n in SETTINGS}}
    return {"eval_seed": "3", **{n: v for n, v in given.items() if n not in SETTINGS}}, run


def initial(method, tokenizer, options, seed):
    """Values that exercise everything, far from degenerate. All float32."""
    rng, out = np.random.default_rng(seed), {}
    for name, shape in method.shapes().items():
        noise, last = rng.standard_normal(shape), name.rsplit(".", 1)[-1]
        if name == "ctx" and options["ctx_init"]:
            words = tokenizer.encode(options["ctx_init"])[:shape[0]]
            value = method.clip.embed(torch.tensor(words)).numpy() + 0.05 * noise
        elif ".lns" in name:
            value = 0.2 * noise + (last == "weight")
        elif name.startswith("meta_net."):  # as make_goldens.py
            value = noise * (1.0 if "linear1.w" in name else 0.3 if "linear1.b" in name else 0.4 if last == "weight" else 0.1)
        elif last == "weight":  # a linear map that keeps the size of its input
            value = noise * 1.2 * shape[-1] ** -0.5
        elif last == "bias":
            value = 0.2 * noise
        else:  # prompts
            value = noise * 0.5
        out[name] = value.astype(np.float32)
    return out


def rates(options, run, epoch, step, steps):
    """Learning rate of the first group and of `ctx`, which differ for DPT only."""
    if options["method"] == "vp":
        lr = step_rate(step, run["lr"], run["warmup_steps"], steps)
        return lr, lr
    lr = learning_rate(epoch, run["lr"], run["epochs"], run["warmup_epochs"], run["warmup_lr"])
    if options["method"] != "dpt":
        return lr, lr
    return lr, learning_rate(epoch, float(options["lr_text"]), run["epochs"], int(options["warmup_epochs_text"]), run["warmup_lr"])


def gradients(method, t, *arguments):
    """-> loss, what the loss lets see, {name: gradient}; zero where there is no path (torch < 2 after zero_grad)."""
    leaves = {n: v.detach().clone().requires_grad_() for n, v in t.items()}
    loss, seen = method.loss(leaves, *arguments)
    grads = torch.autograd.grad(loss, list(leaves.values()), allow_unused=True)
    return loss.item(), seen, {n: torch.zeros_like(v) if g is None else g for (n, v), g in zip(leaves.items(), grads)}


def train(method, options, run, start, pixels, seed, least=2e-3):
    """-> dict of results; None when a tensor's first gradient is nowhere larger than `least`: too weak to be compared"""
    dtype = method.clip.dtype
    t = {n: torch.from_numpy(v).to(dtype) for n, v in start.items()}
    x, y = torch.from_numpy(pixels).to(dtype), torch.tensor(LABELS)
    sgd = Sgd(run["momentum"], run["weight_decay"], {})
    dpt = options["method"] == "dpt"
    orders = [philox.shuffle(len(LABELS), seed, epoch) for epoch in range(run["epochs"])]
    batches = [(epoch, order[i:i + run["batch"]]) for epoch, order in enumerate(orders) for i in range(0, len(order), run["batch"])]
    result = {n: [] for n in ("losses", "lr", *(("lr_text", "hits") if dpt else ()))}
    for step, (epoch, rows) in enumerate(batches):
        arguments = [x[rows], y[rows], (seed, philox.PLACE, step)]
        if dpt:
            arguments.append(epoch < int(options["guidance_epochs"]))
        loss, seen, grads = gradients(method, t, *arguments)
        if step == 0:
            if any(g.abs().max() < least for g in grads.values()):
                return None
            result.update({n: v.detach().numpy() for n, v in seen.items() if n != "hits"})
            result.update({"grad0." + n: g.numpy() for n, g in grads.items()})
            if dpt:  # the second phase's loss on the same values
                other, _, grads2 = gradients(method, t, *arguments[:3], False)
                result["phase2_loss0"] = np.array([other])
                result.update({"phase2_grad0." + n: g.numpy() for n, g in grads2.items()})
        lr, lr_text = rates(options, run, epoch, step, len(batches))
        sgd.update(t, {n: g for n, g in grads.items() if not (dpt and n == "ctx")}, lr)
        if dpt:
            sgd.update(t, {"ctx": grads["ctx"]}, lr_text)
            result["lr_text"].append(lr_text)
            result["hits"].append(seen["hits"])
        result["losses"].append(loss)
        result["lr"].append(lr)
    result = {n: np.array(v) for n, v in result.items()}
    result["batches"] = np.array([rows + [-1] * (run["batch"] - len(rows)) for _, rows in batches], np.int64)
    result.update({"final." + n: v.numpy() for n, v in t.items()})
    with torch.no_grad():
        result["eval.logits"] = method.logits(t, x, (int(options["eval_seed"]), philox.PLACE_EVAL, 0)).numpy()
        if dpt:
            result["selected"] = method.forward(t, x)[3].numpy()
    return result


def suits(result, method, options):
    """Far from what rounding could flip; for DPT batches with some hits, with all and with none, in both phases."""
    limits = {"relu": 2e-3, "selection": 2e-3}
    if any(method.margins[m] < limits[m] for m in method.margins):
        return False
    on, seen = method.active
    if seen and not 0.3 * seen < on < seen:
        return False
    if options["method"] == "dpt" and int(options["top_k"]) < len(method.classes):
        change = 3 * int(options["guidance_epochs"])
        phases = [set(result["hits"][:change]), set(result["hits"][change:])]
        return result["hits"][0] > 0 and all(0 in p and len(p) > 2 for p in phases)
    return True


def deviation(result, single):
    """What the same run in float32 gives differently, by group."""
    groups = {"logits0": "logits0", "grad0": "grad0.", "phase2": "phase2", "losses": "losses", "final": "final.", "eval": "eval."}
    worst = {g: max((spread(result[n], single[n]) for n in result if n.startswith(p)), default=0) for g, p in groups.items()}
    return {g: v for g, v in worst.items() if v}


def amplification(method, options, run, start, pixels, seed, losses):
    """How much a rounding of the initial values grows in the losses (make_goldens.py)."""
    rng, worst = np.random.default_rng(seed), 0
    for _ in range(3):
        nudged = {n: v * (1 + NUDGE * rng.choice([-1.0, 1.0], v.shape)) for n, v in start.items()}
        result = train(method, options, run, nudged, pixels, seed)
        worst = max(worst, np.abs(result["losses"] / losses - 1).max() / NUDGE)
    return worst


def build(dtype, options, run):
    folder = os.path.join(GOLDEN, run["model"])
    clip = clip_ref.load(folder, dtype=dtype)
    tokenizer = bpe.load(folder, clip.length)
    return {**METHODS, "dpt": Dpt}[options["method"]](clip, tokenizer, run["classes"], options), tokenizer


def search(name, options, run, pixels):
    """The first seed with which a float32 program must be able to follow all 12 steps."""
    single, tokenizer = build(torch.float32, options, run)
    for seed in range(RUN["seed"], RUN["seed"] + 300):
        method, _ = build(torch.float64, options, run)
        start = initial(method, tokenizer, options, seed)
        result = train(method, options, run, start, pixels, seed)
        if result is None or not suits(result, method, options):
            continue
        worst = deviation(result, train(single, options, run, start, pixels, seed))
        growth = amplification(method, options, run, start, pixels, seed, result["losses"])
        if max(worst.values()) < 1e-5 and growth < CALM:
            return seed, start, result, worst, growth, method
        print(f"   seed {seed}: float32 differs by {max(worst.values()):.0e}, a rounding grows {growth:.0f} times", flush=True)
    sys.exit(name + ": no seed keeps its distance")


def make(name, given):
    options, run = split(given)
    method, _ = build(torch.float64, options, run)
    pixels = make_images(len(LABELS), 3, method.clip.grid * method.clip.patch)
    tensors = {"images": pixels, "labels": np.array(LABELS, np.int64), "image_ids": np.array(IMAGE_IDS, np.int64)}
    shown = {n: json.dumps(v) if n == "template" else v for n, v in options.items()}
    metadata = {**shown, **{n: v for n, v in run.items() if n != "classes"}, "classes": json.dumps(run["classes"]),
                "options": json.dumps(sorted(n for n in options if n != "method")),
                "computed_in": "float64", "stored_as": "F32; losses, rates F64; labels, ids, rows, hits, classes I64"}
    if options["method"] == "zeroshot":
        with torch.no_grad():
            logits = method.logits({}, torch.from_numpy(pixels).double(), None)
        tensors["eval.logits"] = logits.float().numpy()
        print(name, np.round(logits.numpy(), 3).tolist())
    else:
        seed, start, result, worst, growth, method = search(name, options, run, pixels)
        exact = ("losses", "lr", "lr_text", "phase2_loss0")
        tensors.update({"init." + n: v for n, v in start.items()})
        tensors.update({n: v.astype(np.float32) if v.dtype == np.float64 and n not in exact else v for n, v in result.items()})
        metadata.update({"seed": seed, "participating": json.dumps(list(start)),
                         "float32_deviation": json.dumps({g: float(f"{v:.1e}") for g, v in worst.items()})})
        report(name, seed, start, result, method, worst, growth)
    st.write(os.path.join(GOLDEN, f"method_{name}.safetensors"), tensors, metadata)


def report(name, seed, start, result, method, worst, growth):
    grads = {n: np.abs(result["grad0." + n]).max() for n in start}
    moved = {n: np.abs(result["final." + n] - v).max() for n, v in start.items()}
    print(f"{name}: seed {seed}  losses {np.round(result['losses'], 3).tolist()}")
    print("   margins", {m: f"{v:.1e}" for m, v in method.margins.items()}, "hits", result.get("hits", np.array([])).tolist())
    print("   a rounding grows", f"{growth:.0f} times;", "float32 differs by", {g: f"{v:.0e}" for g, v in worst.items()})
    print("   grad0, moved at least", f"{min(grads.values()):.1e}", f"{min(moved.values()):.1e}", flush=True)


if __name__ == "__main__":
    torch.set_num_threads(1)
    for variant in sys.argv[1:] or VARIANTS:
        make(variant, VARIANTS[variant])
