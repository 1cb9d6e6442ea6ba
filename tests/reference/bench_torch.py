"""Training steps in plain PyTorch beside ammpl-bench's, at the same sizes, weights and inputs: speed, operations, memory.

    bench_torch.py AMMPL_BENCH FOLDER [--threads 2] [--repeats 3] [--steps coop,vpt] [--architecture ViT-B/16] [--keep-memory]

FOLDER (0.6 GB) receives the random model that ammpl-bench writes and each step's initial prompt.  Each side runs in processes of its
own, in turns, between measurements of the machine's peak, and the ratio is the median over the turns.  Memory is VmHWM, loading
included.  With --threads 1 seconds are processor time, which others on the machine do not lengthen.
--device cuda is the wall's time: a step ends with .item() of its loss behind the optimizer's kernels, which waits for all of them, and so
begins with an idle device.  Memory is the host's there, too.  CoCoOp, DPT and AMMPL read a few numbers back within a step, as the reference does.
The PyTorch side is as the originals are (77 tokens, every class and picture encoded, everything kept for backward) and as fast as
plain PyTorch allows: fused LayerNorm, linear layers and attention, k * B pictures or prompts in one call, nothing
differentiated that nothing learned depends on, features cached where ammpl-bench's step caches them.
PyTorch as it comes gives every tensor above 32 MB back to the system and asks for it again, a page at a time; with 100 classes that takes a third
of its time.  --keep-memory lets its process keep what it has freed, in huge pages (glibc's switches), which a user of it may do as well.
A line counts only where both losses agree to 1e-3 and PyTorch reaches half of the peak.
"""
import argparse
import json
import math
import os
import resource
import statistics
import subprocess
import sys
import time

import numpy as np
import torch
import torch.nn.functional as F
from torch.utils._python_dispatch import TorchDispatchMode

import ammpl_ref
import bpe
import clip_ref
import dpt_ref
import methods_ref
import st

KEEP_MEMORY = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(16 << 30), "MALLOC_TOP_PAD_": str(256 << 20),
               "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}

# name -> method, batch, classes, options (as in examples/bench_work.c)
COMMON = {"template": ["a photo of a {}."], "ctx_init": "a photo of a", "n_ctx": "4"}
STEPS = {
    "coop-cached": ("coop", 32, 100, {"n_ctx": "16", "ctx_init": "", "position": "end", "class_specific": "false"}),
    "coop": ("coop", 32, 100, {"n_ctx": "16", "ctx_init": "", "position": "end", "class_specific": "false"}),
    "cocoop-100": ("cocoop", 1, 100, {}),
    "cocoop-10": ("cocoop", 1, 10, {}),
    "dlp-100": ("dlp", 4, 100, {"depth_text": "12", "depth_vision": "0", "n_ctx_vision": "0"}),
    "dlp-10": ("dlp", 4, 10, {"depth_text": "12", "depth_vision": "0", "n_ctx_vision": "0"}),
    "maple-10": ("maple", 4, 10, {"n_ctx": "2", "depth": "9"}),
    "maple-100": ("maple", 4, 100, {"n_ctx": "2", "depth": "9"}),
    "ivlp-10": ("ivlp", 4, 10, {"n_ctx": "2", "depth_text": "12", "depth_vision": "12", "n_ctx_vision": "2"}),
    "ivlp-100": ("ivlp", 4, 100, {"n_ctx": "2", "depth_text": "12", "depth_vision": "12", "n_ctx_vision": "2"}),
    "dpt": ("dpt", 4, 10, {"n_ctx": "16", "ctx_init": "", "n_ctx_vision": "10", "bottom_limit": "12", "top_k": "10", "aux_weight": "0.3"}),
    "vpt": ("vpt", 4, 10, {"n_ctx_vision": "8", "depth_vision": "12", "variant": "maple"}),
    "ammpl-shared": ("ammpl", 1, 10, {"scope": "shared"}),
    "ammpl-class": ("ammpl", 1, 10, {"scope": "class"}),
    "ammpl-c1c2": ("ammpl", 1, 10, {"scope": "shared", "interaction": "false", "draws": "image"}),
}


class FastClip(clip_ref.Clip):
    """The same towers by PyTorch's own fused functions, in float32."""

    def __init__(self, weights, heads, text_heads):
        super().__init__(weights, heads, text_heads, dtype=torch.float32)
        self.converted = {name: torch.from_numpy(value) for name, value in weights.items()}
        self.weights = {name: value.cpu().numpy() for name, value in self.converted.items()}  # one copy of them
        self.masks = {}

    def layer_norm(self, x, name):
        return F.layer_norm(x, x.shape[-1:], self.w(name + ".weight"), self.w(name + ".bias"), self.eps)

    def linear(self, x, name):
        return F.linear(x, self.w(name + ".weight"), self.w(name + ".bias"))

    def attention(self, x, name, heads, mask):
        rows, length, width = x.shape
        qkv = F.linear(x, self.w(name + ".in_proj_weight"), self.w(name + ".in_proj_bias"))
        q, k, v = qkv.view(rows, length, 3, heads, width // heads).permute(2, 0, 3, 1, 4)
        if hasattr(F, "scaled_dot_product_attention"):
            out = F.scaled_dot_product_attention(q, k, v, is_causal=mask is not None)
        else:  # before PyTorch 2
            q, k, v = (t.reshape(rows * heads, length, -1) for t in (q * (width // heads) ** -0.5, k, v))
            scores = torch.bmm(q, k.transpose(1, 2)) if mask is None else torch.baddbmm(mask.expand(len(q), -1, -1), q, k.transpose(1, 2))
            out = torch.bmm(torch.softmax(scores, -1), v).view(rows, heads, length, -1)
        return self.linear(out.transpose(1, 2).reshape(rows, length, width), name + ".out_proj")

    def causal(self, length):
        if length not in self.masks:
            self.masks[length] = super().causal(length)
        return self.masks[length]


def assemble(self, ctx):
    """methods_ref.Context.assemble for contexts in front of the name, all classes at once."""
    e = self.embedded
    return torch.cat([e[:, :1], ctx.expand(len(e), -1, -1) if ctx.dim() == 2 else ctx, e[:, 1 + self.m:]], 1)


methods_ref.Context.assemble = assemble


def numbers(n, seed):
    """examples/bench_work.c: uniform in [-1, 1)."""
    h = (np.arange(n, dtype=np.uint64) + seed) * 2654435761 & 0xFFFFFFFF
    h ^= h >> 15
    h = h * 2246822519 & 0xFFFFFFFF
    h ^= h >> 13
    return (h >> 8).astype(np.float32) * np.float32(2.0**-23) - np.float32(1)


def class_name(i):
    letters, rest = [i % 26, i // 26 % 26], i // 676
    while rest > 0 and len(letters) < 4:
        letters.append(rest % 26 if len(letters) == 2 else rest // 26)
        rest = 0 if len(letters) == 4 else rest // 26
    return "".join(chr(97 + n) for n in letters)


class Counting(TorchDispatchMode):
    """Operations of the products that run, forward and backward."""

    def __init__(self):
        super().__init__()
        self.flop = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.__name__.split(".")[0]
        if name in ("mm", "bmm", "addmm", "baddbmm"):
            a, b = args[-2:] if name in ("mm", "bmm") else args[1:3]
            self.flop += 2 * math.prod(a.shape) * b.shape[-1]
        elif name.startswith("_scaled_dot_product"):
            q, k = (args[1], args[2]) if "backward" in name else (args[0], args[1])
            self.flop += (10 if "backward" in name else 4) * math.prod(q.shape[:-1]) * k.shape[-2] * q.shape[-1]
        return func(*args, **(kwargs or {}))


def read_weights(path):
    """Tensor by tensor, so that the file is never in memory a second time."""
    with open(path, "rb") as f:
        header = json.loads(f.read(int.from_bytes(f.read(8), "little")))
        header.pop("__metadata__", None)
        tensors, start = {}, f.tell()
        for name, info in header.items():
            f.seek(start + info["data_offsets"][0])
            tensors[name] = np.fromfile(f, "<f4", math.prod(info["shape"])).reshape(info["shape"])
    return tensors


def load(folder):
    weights = read_weights(os.path.join(folder, "model.safetensors"))
    with open(os.path.join(folder, "merges.txt"), encoding="utf-8") as f:
        merges = [tuple(line.split()) for line in f.read().split("\n")[1:] if line.strip()]
    width, text = weights["visual.conv1.weight"].shape[0], weights["token_embedding.weight"].shape[1]
    return FastClip(weights, width // 64, text // 64), bpe.Bpe(merges, weights["positional_embedding"].shape[0])


def make_step(folder, name, classes, batch):
    """A function that does one step and returns its loss."""
    method, own_batch, own_classes, options = STEPS[name]
    batch, classes = batch or own_batch, classes or own_classes
    clip, tokenizer = load(folder)
    names, options = [class_name(i) for i in range(classes)], {**COMMON, **options}
    initial, _ = st.read(os.path.join(folder, name + ".safetensors"))
    t = {n: torch.from_numpy(v).requires_grad_() for n, v in initial.items()}
    labels = torch.arange(batch) % classes
    size = clip.grid * clip.patch
    optimizer = torch.optim.SGD(t.values(), lr=1e-4, momentum=0.9, weight_decay=5e-4)
    if name == "coop-cached":
        features = torch.from_numpy(numbers(batch * clip.width, 1) / np.float32(clip.width / 24)).view(batch, -1)
    else:
        images = torch.from_numpy(numbers(batch * 3 * size * size, 1)).view(batch, 3, size, size)
    if method == "ammpl":
        model = ammpl_ref.Ammpl(clip, tokenizer, names, options)
        steps = [0]

        def loss():
            masks = model.train_masks(t, 1, range(batch), steps[0])
            steps[0] += 1
            return methods_ref.cross_entropy(model.logits(t, images, masks, labels), labels)
    elif method == "dpt":
        model = dpt_ref.Dpt(clip, tokenizer, names, options)

        def loss():
            return model.loss(t, images, labels, None, True)[0]
    else:
        model = methods_ref.METHODS[method](clip, tokenizer, names, options)
        if name == "coop-cached":  # they are not quite of length 1, and taken as they are
            def logits():
                return clip.scale * features @ clip_ref.norm(model.text.encode(t["ctx"])).T
        else:
            def logits():
                return model.logits(t, images, None)

        def loss():
            return methods_ref.cross_entropy(logits(), labels)

    def step():
        optimizer.zero_grad(set_to_none=True)
        value = loss()
        value.backward()
        optimizer.step()
        return value.item()
    return step


def now(threads):
    """As ammpl-bench counts: processor time of one thread, which others on the machine do not lengthen; else the wall's."""
    return time.process_time() if threads == 1 else time.perf_counter()


def use_device(name):
    """What is made from now on lies there (PyTorch 2), in float32 as ammpl-bench's."""
    if name == "cpu":
        return
    torch.set_default_device(name)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    from_numpy = torch.from_numpy
    torch.from_numpy = lambda array: from_numpy(array).to(name)


def peak_memory():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def run_one(args):
    """In a process of its own: a step for every line of the input, its seconds as a line of the output; then the rest."""
    torch.set_num_threads(args.threads)
    use_device(args.device)
    step = make_step(args.folder, args.one, args.classes, args.batch)
    with Counting() as counter:
        loss = step()  # also a warm-up
    print("ready", flush=True)
    for _ in sys.stdin:
        start = now(args.threads)
        step()
        print(now(args.threads) - start, flush=True)
    print(json.dumps({"loss": loss, "gflop": counter.flop * 1e-9, "MiB": peak_memory()}))


def ours(args, name, sizes):
    out = subprocess.run([args.bench, "--model", args.folder, "--threads", str(args.threads), "--activation", "quick_gelu", "--only", "steps",
                          "--steps", name, "--repeats", "1", "--json", "--quiet", "--backend", args.device, *args.ammpl.split(), *sizes], check=True,
                         stdout=subprocess.PIPE, text=True).stdout
    figures = {}
    for line in map(json.loads, out.splitlines()):
        if line["group"] == "memory" or line["name"].split(",")[0] == name:
            figures.update(line)
    if args.device != "cpu":  # a device's yardstick is a large product
        figures["of_peak"] = figures["of_gemm"]
    figures["peak"] = figures["gflop"] / figures["seconds"] / figures["of_peak"]  # GFLOP/s of the multiply-add units, just then
    return figures


def environment(args):
    return {**os.environ, **(KEEP_MEMORY if args.keep_memory else {})}


def compare(args, name):
    sizes = ["--classes", str(args.classes), "--batch", str(args.batch)]
    own = [ours(args, name, ["--export", args.folder, *sizes])]  # also a warm-up
    child = subprocess.Popen([sys.executable, __file__, args.bench, args.folder, "--one", name, "--threads", str(args.threads), "--device", args.device, *sizes],
                             env=environment(args), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert child.stdout.readline() == "ready\n"
    seconds = []
    for _ in range(args.repeats):
        child.stdin.write("\n")
        child.stdin.flush()
        seconds.append(float(child.stdout.readline()))
        own.append(ours(args, name, sizes))
    child.stdin.close()
    theirs = json.loads(child.stdout.read())
    assert child.wait() == 0
    times = statistics.median(s / o["seconds"] for s, o in zip(seconds, own[1:]))
    share = statistics.median(theirs["gflop"] / s / ((a["peak"] + b["peak"]) / 2) for s, a, b in zip(seconds, own, own[1:]))
    own_share = statistics.median(o["of_peak"] for o in own[1:])
    one, memory = own[0], max(o["MiB"] for o in own)
    same = abs(one["nats"] - theirs["loss"]) <= 1e-3 * abs(theirs["loss"])
    note = "losses differ" if not same else "" if share >= 0.5 else "PyTorch below half of the peak"
    print(f"| {name} | {statistics.median(seconds):.3f} | {statistics.median(o['seconds'] for o in own[1:]):.3f} | **{times:.2f}** "
          f"| {theirs['gflop']:.0f} | {one['gflop']:.0f} | {theirs['gflop'] / one['gflop']:.2f} | {share:.2f} | {own_share:.2f} "
          f"| {theirs['MiB']:.0f} | {memory:.0f} | {memory / theirs['MiB']:.2f} | {theirs['loss']:.5f} | {one['nats']:.5f} | {note} |",
          flush=True)


# --- zero-shot: whole processes, from start to the last answer -------------------------------------------------------------

PICTURES, CLASSES = 64, 100


def make_pictures(folder):
    """JPEG files of a camera's proportions: coarse noise, enlarged, so that they are no harder to decode than photographs."""
    from PIL import Image
    os.makedirs(folder, exist_ok=True)
    paths = [os.path.join(folder, f"{i:02}.jpg") for i in range(PICTURES)]
    for i, path in enumerate(paths):
        if not os.path.exists(path):
            noise = np.random.default_rng(i).integers(0, 256, (38, 50, 3), dtype=np.uint8)
            Image.fromarray(noise).resize((500, 375), Image.Resampling.BICUBIC).save(path, quality=90)
    return paths


def run_zeroshot(args):
    from PIL import Image
    torch.set_num_threads(args.threads)
    clip, tokenizer = load(args.folder)
    size = clip.grid * clip.patch
    mean = np.array([0.48145466, 0.4578275, 0.40821073], np.float32)
    std = np.array([0.26862954, 0.26130258, 0.27577711], np.float32)

    def pixels(path):
        image = Image.open(path).convert("RGB")
        width, height = image.size
        short = min(width, height)
        image = image.resize((int(size * width / short), int(size * height / short)), Image.Resampling.BICUBIC)
        left, top = (round((side - size) / 2) for side in image.size)
        image = np.asarray(image.crop((left, top, left + size, top + size)), np.float32) / 255
        return torch.from_numpy((image - mean) / std).permute(2, 0, 1)

    with torch.inference_mode():
        tokens = torch.from_numpy(tokenizer.tokenize([f"a photo of a {class_name(i)}." for i in range(CLASSES)]))
        z = clip_ref.norm(clip.encode_text(clip.embed(tokens), tokens))
        paths = make_pictures(os.path.join(args.folder, "pictures"))
        for first in range(0, PICTURES, 32):
            x = clip_ref.norm(clip.encode_image(torch.stack([pixels(path) for path in paths[first:first + 32]])))
            for row in (clip.scale * x @ z.T).tolist():
                print(json.dumps(row))


def whole(args, command, env=None):
    """Seconds, MiB and output of a process."""
    start = time.perf_counter()
    child = subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True)
    out = child.stdout.read()
    _, status, usage = os.wait4(child.pid, 0)
    assert status == 0
    seconds = usage.ru_utime + usage.ru_stime if args.threads == 1 else time.perf_counter() - start
    return seconds, usage.ru_maxrss / 1024, [json.loads(line) for line in out.splitlines()]


def compare_zeroshot(args):
    paths = make_pictures(os.path.join(args.folder, "pictures"))
    classify = [os.path.join(os.path.dirname(args.bench), "ammpl-classify"), "--model", args.folder, "--activation", "quick_gelu", "--threads",
                str(args.threads), "--classes", ",".join(map(class_name, range(CLASSES))), "--json", "--quiet", *paths]
    script = [sys.executable, __file__, args.bench, args.folder, "--one", "zeroshot", "--threads", str(args.threads)]
    runs = [(whole(args, script, environment(args)), whole(args, classify)) for _ in range(args.repeats)]
    (_, their_memory, their_logits), (_, memory, answers) = runs[0]
    difference = np.abs(np.array(their_logits) - [answer["logits"] for answer in answers]).max()
    times = statistics.median(a[0] / b[0] for a, b in runs)
    print(f"\nZero-shot, {PICTURES} JPEG files of 500 x 375, {CLASSES} classes, whole processes: PyTorch {statistics.median(a[0] for a, _ in runs):.2f} s, "
          f"ammpl-classify {statistics.median(b[0] for _, b in runs):.2f} s, **{times:.2f}** times; {their_memory:.0f} and {memory:.0f} MiB "
          f"({memory / their_memory:.2f}); logits differ by {difference:.1e} at most", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("bench", help="build/examples/ammpl-bench")
    parser.add_argument("folder", help="for the random weights, their prompts and pictures; kept")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--steps", default=",".join([*STEPS, "zeroshot"]))
    parser.add_argument("--classes", type=int, default=0)
    parser.add_argument("--batch", type=int, default=0)
    parser.add_argument("--architecture", default="ViT-B/16")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="steps only; ammpl's plug-in by --ammpl '--backend-dir build/cuda'")
    parser.add_argument("--ammpl", default="", help="further flags of ammpl-bench")
    parser.add_argument("--keep-memory", action="store_true", help="PyTorch's process keeps the memory it has freed, in huge pages")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        return run_zeroshot(args) if args.one == "zeroshot" else run_one(args)
    if not os.path.exists(os.path.join(args.folder, "model.safetensors")):
        os.makedirs(args.folder, exist_ok=True)
        subprocess.run([args.bench, "--write-model", args.folder, "--architecture", args.architecture], check=True)
    if args.device != "cpu" and args.threads == 1:
        parser.error("--threads 1 counts the processor's time, and a device's is the wall's")
    print(f"PyTorch {torch.__version__} on {args.device}, {args.threads} thread{'s' if args.threads > 1 else ' (processor time)'}, {args.architecture}, "
          f"{args.repeats} interleaved repeats{', memory kept' if args.keep_memory else ''}; PyTorch imported alone: {peak_memory():.0f} MiB\n")
    print("| step | PyTorch s | ammpl s | times | PyTorch GFLOP | ammpl GFLOP | ratio | PyTorch of peak | ammpl of peak | PyTorch MiB "
          "| ammpl MiB | ratio | PyTorch loss | ammpl loss | |")
    print("|---" * 15 + "|", flush=True)
    for name in args.steps.split(","):
        if name != "zeroshot":
            compare(args, name)
    if "zeroshot" in args.steps.split(",") and args.device == "cpu":
        compare_zeroshot(args)
    return 0


if __name__ == "__main__":
    sys.exit(main())
