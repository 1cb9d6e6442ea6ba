"""Training steps in plain PyTorch beside ammpl-bench's, at the same sizes, weights and inputs: speed, operations, memory.

    bench_torch.py AMMPL_BENCH FOLDER [--threads 2] [--repeats 7] [--steps coop,vpt] [--architecture ViT-B/16]

FOLDER (0.6 GB) receives the random model that ammpl-bench writes and each step's initial prompt.  Each side runs in processes of its
own, in turns, and a ratio is the median over the turns.  The machine's peak and clock (examples/bench_yardsticks.c, compiled into FOLDER)
are measured in the process that is timed, before and after each step, when half a second of the same has woken up threads and processors;
a row says so where the clocks differ by more than 5 %.
Without --repeats there are 9 of a step that takes PyTorch less than 4 s, 7 below 10 s, else 3.  Memory is VmHWM, loading
included.  With --threads 1 seconds are processor time, which others on the machine do not lengthen.
--device cuda is the wall's time: a step ends with .item() of its loss behind the optimizer's kernels, which waits for all of them, and so
begins with an idle device.  Memory is the host's there, too, and the yardstick a product of 4096 x 4096 x 4096.  CoCoOp, DPT and AMMPL read a few
numbers back within a step, as the reference does.
The PyTorch side is as the originals are (77 tokens, every class and picture encoded, everything kept for backward) and as fast as
plain PyTorch allows: fused LayerNorm, linear layers and attention, k * B pictures or prompts in one call, nothing
differentiated that nothing learned depends on, features cached where ammpl-bench's step caches them.
PyTorch as it comes gives every tensor above 32 MB back to the system and asks for it again, a page at a time; with 100 classes that takes a third
of its time.  So it runs a second time, in a process that keeps what it has freed, in huge pages (glibc's switches), which a user of
it may do as well.  The ratio that counts, in bold, is the one against the faster of both.
A line counts only where both losses (zero-shot: logits) agree to 1e-3 and PyTorch reaches half of the peak in most turns.  On the CPU a turn in which
it does not, as beside busy neighbours, is measured again, up to as many times as there are repeats, whatever its ratio was; figures are of the
turns that count, and the ratio and PyTorch's share in all turns stand beside them.  A process of zero-shot also starts Python, loads and decodes: there it is the share while it encodes.
"""
import argparse
import contextlib
import ctypes
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
SETTINGS = {"as it comes": {}, "memory kept": KEEP_MEMORY}
HERE = os.path.dirname(os.path.abspath(__file__))

# name -> method, batch, classes, options (as in examples/bench_steps.c)
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
    """examples/bench_steps.c: uniform in [-1, 1)."""
    h = (np.arange(n, dtype=np.uint64) + seed) * 2654435761 & 0xFFFFFFFF
    h ^= h >> 15
    h = h * 2246822519 & 0xFFFFFFFF
    h ^= h >> 13
    return (h >> 8).astype(np.float32) * np.float32(2.0**-23) - np.float32(1)


def class_name(i):
    rest = i // 676
    letters = [i % 26, i // 26 % 26, *([rest % 26, rest // 26] if rest else [])]
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


def use_device(args):
    """What is made from now on lies there (PyTorch 2), in float32 as ammpl-bench's, or with products in TF32."""
    if args.device == "cpu":
        return
    torch.set_default_device(args.device)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = args.tf32
    from_numpy = torch.from_numpy
    torch.from_numpy = lambda array: from_numpy(array).to(args.device)


def compile_yardsticks(folder):
    root = os.path.join(HERE, "..", "..")
    subprocess.run([os.environ.get("CC", "cc"), "-O3", "-D_GNU_SOURCE", "-shared", "-fPIC", "-pthread", "-I", os.path.join(root, "include"),
                    os.path.join(root, "examples", "bench_yardsticks.c"), "-o", os.path.join(folder, "yardsticks.so")], check=True)


def open_yardsticks(args):
    """A function: the peak and the clock of this moment, for work of so many seconds, as in examples/bench_measure.c, and operations a
    cycle of the peak loop on one thread (None: there is no such loop)."""
    if args.device != "cpu":
        side = 4096
        a, b = torch.randn(side, side), torch.randn(side, side)

        def product(seconds):
            for timed in (False, True):
                torch.cuda.synchronize()
                start = time.perf_counter()
                torch.mm(a, b)
                torch.cuda.synchronize()
            return {"peak": 2e-9 * side**3 / (time.perf_counter() - start), "clock": None, "filled": None}
        return product
    library = ctypes.CDLL(os.path.join(args.folder, "yardsticks.so"))
    library.bench_best_peak.restype = library.bench_clock.restype = library.bench_filled.restype = ctypes.c_double

    def moment(seconds):
        time.sleep(0.05)  # until the threads of the step sleep, too
        awake = time.perf_counter() + 0.5
        while time.perf_counter() < awake:  # after a rest threads first have to find processors of their own: a third of a second, seen here
            library.bench_best_peak(args.threads)
        rounds = 1 + min(9, int(seconds / 0.2))
        return {"peak": rounds / sum(1 / library.bench_best_peak(args.threads) for _ in range(rounds)), "clock": library.bench_clock(),
                "filled": library.bench_filled() or None}
    return moment


def mean(a, b):
    """Of two readings of the yardsticks."""
    return {key: a[key] and (a[key] + b[key]) / 2 for key in a}


def peak_memory():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def run_one(args):
    """In a process of its own: a step for every line of the input, its figures as a line of the output; then the rest."""
    torch.set_num_threads(args.threads)
    use_device(args)
    yardsticks = open_yardsticks(args)
    step = make_step(args.folder, args.one, args.classes, args.batch)
    start = now(args.threads)
    with Counting() as counter:
        loss = step()  # also a warm-up
    seconds = now(args.threads) - start
    print(json.dumps({"loss": loss, "gflop": counter.flop * 1e-9}), flush=True)
    for _ in sys.stdin:
        before = yardsticks(seconds)
        start = now(args.threads)
        step()
        seconds = now(args.threads) - start
        print(json.dumps({"seconds": seconds, **mean(before, yardsticks(seconds))}), flush=True)
    print(json.dumps({"MiB": peak_memory()}))


def ours(args, name, sizes):
    done = subprocess.run([args.bench, "--model", args.folder, "--threads", str(args.threads), "--activation", "quick_gelu", "--only", "steps",
                          "--steps", name, "--repeats", "1", "--json", "--quiet", "--backend", args.device, *args.ammpl.split(), *sizes],
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    sys.stderr.write(done.stderr)
    done.check_returncode()
    figures = {"clock": None, "disturbed": "no yardstick" in done.stderr}
    for line in map(json.loads, done.stdout.splitlines()):
        if line["group"] == "memory" or line["name"].split(",")[0] == name:
            figures.update(line)
    if args.device != "cpu":  # a device's yardstick is a large product
        figures["of_peak"] = figures["of_gemm"]
        figures["peak"] = figures["gflop"] / figures["seconds"] / figures["of_peak"]
    return figures


class Theirs:
    """A process of PyTorch's that does one step at a time."""

    def __init__(self, args, name, setting, sizes):
        flags = ["--threads", str(args.threads), "--device", args.device, *(["--tf32"] if args.tf32 else []), *sizes]
        self.child = subprocess.Popen([sys.executable, __file__, args.bench, args.folder, "--one", name, *flags],
                                      env={**os.environ, **SETTINGS[setting]}, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.steps = []

    def wait(self):
        self.__dict__.update(json.loads(self.child.stdout.readline()))

    def step(self):
        self.child.stdin.write("\n")
        self.child.stdin.flush()
        figures = json.loads(self.child.stdout.readline())
        self.steps.append({**figures, "share": self.gflop / figures["seconds"] / figures["peak"]})

    def close(self):
        self.child.stdin.close()
        self.__dict__.update(json.loads(self.child.stdout.read()))
        assert self.child.wait() == 0


def median_of(key, rows):
    return statistics.median(row[key] for row in rows) if rows[0][key] is not None else math.nan


def clocks_note(theirs, own):
    """What is said where one side's processor ran faster."""
    a, b = median_of("clock", theirs), median_of("clock", own)
    return f"the clock was {a:.2f} GHz beside PyTorch, {b:.2f} GHz beside ammpl" if abs(a / b - 1) > 0.05 else ""


def peak_note(theirs):
    """What is said where the peak loop did not do 32 operations a cycle within 5 %, as ammpl-bench says of its own."""
    disturbed = sum(row["filled"] is not None and abs(row["filled"] / 32 - 1) > 0.05 for row in theirs)
    return f"the peak loop was no yardstick in {disturbed} of {len(theirs)} turns of PyTorch" if disturbed else ""


def counting_turns(theirs):
    """The faster setting of PyTorch's, and the turns in which it reached half of the peak."""
    best = min((0, 1), key=lambda i: median_of("seconds", theirs[i]))
    return best, [turn for turn, step in enumerate(theirs[best]) if step["share"] >= 0.5]


def take_turns(args, turn, theirs):
    """Calls turn(), which adds figures to both lists, until enough turns count, or twice as many have been had.  Returns the faster setting,
    the turns that figures are of, how many of how many count with PyTorch's share in all of them, and what is said where too few do."""
    turn()
    wanted = args.repeats or default_repeats(min(side[0]["seconds"] for side in theirs))
    most = 2 * wanted if args.device == "cpu" else wanted  # a device has no neighbours
    while len(counting_turns(theirs)[1]) < wanted and len(theirs[0]) < most:
        turn()
    best, turns = counting_turns(theirs)
    had = len(theirs[0])
    counts = f"{len(turns)} of {had} (PyTorch in all: {median_of('share', theirs[best]):.2f})"
    if 2 * len(turns) > had:
        return best, turns, counts, ""
    return best, list(range(had)), counts, "PyTorch below half of the peak"


def times_of(theirs, own):
    """A ratio is the median over the turns."""
    return f"{statistics.median(a['seconds'] / b['seconds'] for a, b in zip(theirs, own)):.2f}"


def compare(args, name):
    sizes = ["--classes", str(args.classes), "--batch", str(args.batch)]
    first = ours(args, name, ["--export", args.folder, *sizes])  # also a warm-up
    theirs, own = [Theirs(args, name, setting, sizes) for setting in SETTINGS], []
    for side in theirs:
        side.wait()
    steps = [side.steps for side in theirs]

    def turn():
        theirs[0].step()
        own.append(ours(args, name, sizes))
        theirs[1].step()
    best, turns, counts, void = take_turns(args, turn, steps)
    for side in theirs:
        side.close()
    memory = max(o["MiB"] for o in [first, *own])
    all_turns = times_of(steps[best], own)
    *steps, own = ([side[i] for i in turns] for side in (*steps, own))
    times = [times_of(side, own) for side in steps]
    times[best] = f"**{times[best]}**"
    losses = "" if all(abs(first["nats"] - side.loss) <= 1e-3 * abs(side.loss) for side in theirs) else "losses differ"
    disturbed = sum(o["disturbed"] for o in own)
    notes = [losses, void, clocks_note(steps[best], own), peak_note(steps[best]),
             f"the peak loop was no yardstick in {disturbed} of {len(own)} turns here" if disturbed else ""]
    print(f"| {name} | {median_of('seconds', steps[0]):.3f} | {median_of('seconds', steps[1]):.3f} | {median_of('seconds', own):.3f} "
          f"| {times[0]} | {times[1]} | {all_turns} "
          f"| {theirs[0].gflop:.0f} | {first['gflop']:.0f} | {theirs[0].gflop / first['gflop']:.2f} "
          f"| {median_of('share', steps[0]):.2f} | {median_of('share', steps[1]):.2f} | {median_of('of_peak', own):.2f} "
          f"| {median_of('peak', steps[best]):.0f} | {median_of('peak', own):.0f} "
          f"| {theirs[0].MiB:.0f} | {theirs[1].MiB:.0f} | {memory:.0f} | {memory / min(side.MiB for side in theirs):.2f} "
          f"| {theirs[best].loss:.5f}, {first['nats']:.5f} | {counts} | {'; '.join(filter(None, notes))} |", flush=True)


def default_repeats(seconds):
    return 9 if seconds < 4 else 7 if seconds < 10 else 3


# --- zero-shot: whole processes, from start to the last answer -------------------------------------------------------------

PICTURES, CLASSES, WIDTH, HEIGHT = 64, 100, 500, 375


def make_pictures(folder):
    """JPEG files of a camera's proportions: coarse noise, enlarged, so that they are no harder to decode than photographs."""
    from PIL import Image
    os.makedirs(folder, exist_ok=True)
    paths = [os.path.join(folder, f"{i:02}.jpg") for i in range(PICTURES)]
    for i, path in enumerate(paths):
        if not os.path.exists(path):
            noise = np.random.default_rng(i).integers(0, 256, (38, 50, 3), dtype=np.uint8)
            Image.fromarray(noise).resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC).save(path, quality=90)
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

    encoding = [0.0]

    @contextlib.contextmanager
    def encoded():
        start = now(args.threads)
        yield
        encoding[0] += now(args.threads) - start
    counted = args.one == "zeroshot-counted"  # without inference_mode, which hides of what a linear layer is made
    with torch.no_grad() if counted else torch.inference_mode(), Counting() if counted else contextlib.nullcontext() as counter:
        tokens = torch.from_numpy(tokenizer.tokenize([f"a photo of a {class_name(i)}." for i in range(CLASSES)]))
        with encoded():
            z = clip_ref.norm(clip.encode_text(clip.embed(tokens), tokens))
        paths = make_pictures(os.path.join(args.folder, "pictures"))
        for first in range(0, PICTURES, 32):
            images = torch.stack([pixels(path) for path in paths[first:first + 32]])
            with encoded():
                x = clip_ref.norm(clip.encode_image(images))
            for row in (clip.scale * x @ z.T).tolist():
                print(json.dumps(row))
    print(json.dumps({"encoding": encoding[0], "gflop": counter.flop * 1e-9 if counter else None}))


def whole(args, yardsticks, command, setting="as it comes"):
    """Figures of a process, and its output: this one waits for it between yardsticks."""
    before = yardsticks(2)
    start = time.perf_counter()
    child = subprocess.Popen(command, env={**os.environ, **SETTINGS[setting]}, stdout=subprocess.PIPE, text=True)
    out = child.stdout.read()
    _, status, usage = os.wait4(child.pid, 0)
    seconds = usage.ru_utime + usage.ru_stime if args.threads == 1 else time.perf_counter() - start
    assert status == 0
    return {"seconds": seconds, "MiB": usage.ru_maxrss / 1024, "out": [json.loads(line) for line in out.splitlines()],
            **mean(before, yardsticks(2))}


def compare_zeroshot(args):
    paths = make_pictures(os.path.join(args.folder, "pictures"))
    classify = [os.path.join(os.path.dirname(args.bench), "ammpl-classify"), "--model", args.folder, "--activation", "quick_gelu", "--threads",
                str(args.threads), "--classes", ",".join(map(class_name, range(CLASSES))), "--json", "--quiet", *paths]
    yardsticks = open_yardsticks(args)

    def script(one):
        return [sys.executable, __file__, args.bench, args.folder, "--one", one, "--threads", str(args.threads)]
    work = whole(args, yardsticks, script("zeroshot-counted"))["out"].pop()["gflop"]
    own_work = ours(args, "zeroshot", ["--classes", str(CLASSES), "--batch", str(PICTURES)])["GFLOP"]
    theirs, own = [[], []], []

    def run_theirs(setting):
        run = whole(args, yardsticks, script("zeroshot"), setting)
        return {**run, "share": work / run["out"].pop()["encoding"] / run["peak"]}

    def turn():
        theirs[0].append(run_theirs("as it comes"))
        own.append(whole(args, yardsticks, classify))
        theirs[1].append(run_theirs("memory kept"))
    best, turns, counts, void = take_turns(args, turn, theirs)
    logits = [answer["logits"] for answer in own[0]["out"]]
    difference = max(np.abs(np.array(runs[0]["out"]) - logits).max() for runs in theirs)
    differ = "" if difference <= 1e-3 * np.abs(logits).max() else "logits differ"
    all_turns = times_of(theirs[best], own)
    *theirs, own = ([side[i] for i in turns] for side in (*theirs, own))
    print(f"\nZero-shot, {PICTURES} JPEG files of {WIDTH} x {HEIGHT}, {CLASSES} classes, whole processes, turns that count: {counts}; logits differ by "
          f"{difference:.1e} at most.\n\n| | s | times | all turns | GFLOP | of peak while encoding | of peak, whole | peak GFLOP/s | MiB | |\n|---|---|---|---|---|---|---|---|---|---|")
    for i, (side, runs) in enumerate(zip([*(f"PyTorch, {setting}" for setting in SETTINGS), "ammpl-classify"], (*theirs, own))):
        gflop = own_work if runs is own else work
        share = statistics.median(gflop / run["seconds"] / run["peak"] for run in runs)
        times = "" if runs is own else times_of(runs, own)
        notes = [differ, void, clocks_note(runs, own), peak_note(runs)] if i == best else []
        print(f"| {side} | {median_of('seconds', runs):.2f} | {f'**{times}**' if i == best else times} | {all_turns if i == best else ''} | {gflop:.0f} "
              f"| {'' if runs is own else format(median_of('share', runs), '.2f')} | {share:.2f} "
              f"| {median_of('peak', runs):.0f} | {max(run['MiB'] for run in runs):.0f} | {'; '.join(filter(None, notes))} |", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("bench", help="build/examples/ammpl-bench")
    parser.add_argument("folder", help="for the random weights, their prompts and pictures; kept")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=0, help="0: 9, 7 or 3, as long as a step takes")
    parser.add_argument("--steps", default=",".join([*STEPS, "zeroshot"]))
    parser.add_argument("--classes", type=int, default=0)
    parser.add_argument("--batch", type=int, default=0)
    parser.add_argument("--architecture", default="ViT-B/16")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="steps only; ammpl's plug-in by --ammpl '--backend-dir build/cuda'")
    parser.add_argument("--ammpl", default="", help="further flags of ammpl-bench")
    parser.add_argument("--tf32", action="store_true", help="with --device cuda: PyTorch's products in TF32")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        return run_zeroshot(args) if args.one.startswith("zeroshot") else run_one(args)
    steps = args.steps.split(",")
    if any(name not in [*STEPS, "zeroshot"] for name in steps):
        parser.error(f"--steps {args.steps}: some of {', '.join([*STEPS, 'zeroshot'])}")
    if args.device != "cpu" and args.threads == 1:
        parser.error("--threads 1 counts the processor's time, and a device's is the wall's")
    if args.device == "cpu" and args.tf32:
        parser.error("--tf32 is for --device cuda")
    if args.device != "cpu" and "zeroshot" in steps and args.steps != parser.get_default("steps"):
        parser.error("--device cuda: steps only, no zeroshot")
    if not os.path.exists(os.path.join(args.folder, "model.safetensors")):
        os.makedirs(args.folder, exist_ok=True)
        subprocess.run([args.bench, "--write-model", args.folder, "--architecture", args.architecture], check=True)
    compile_yardsticks(args.folder)
    start = time.perf_counter()
    print(f"PyTorch {torch.__version__} on {args.device}{' in TF32' if args.tf32 else ''}, {args.threads} thread{'s' if args.threads > 1 else ' (processor time)'}, "
          f"{args.architecture}, interleaved repeats; PyTorch imported alone: {peak_memory():.0f} MiB.  Memory as it comes, and kept.\n")
    print("| step | PyTorch s, as it comes | memory kept | ammpl s | times, as it comes | memory kept | all turns | PyTorch GFLOP | ammpl GFLOP | ratio "
          "| PyTorch of peak, as it comes | memory kept | ammpl of peak | peak beside PyTorch, GFLOP/s | beside ammpl "
          "| PyTorch MiB, as it comes | memory kept | ammpl MiB | ratio | losses | turns that count | |")
    print("|---" * 22 + "|", flush=True)
    for name in steps:
        if name != "zeroshot":
            compare(args, name)
    if "zeroshot" in steps and args.device == "cpu":
        compare_zeroshot(args)
    print(f"\n{(time.perf_counter() - start) / 60:.1f} minutes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
