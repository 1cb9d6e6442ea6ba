"""Runs the trainers of the original repositories as they are, but in float32 or float64, on the CPU, on a given CLIP.

Nothing of them is copied: their sources are imported from a folder, and what has to change for them to run (casts to half,
`.cuda()`, two literal widths, imports that nothing needs) is replaced in the text while it is loaded. ORACLES.md lists it.
"""
import contextlib
import copy
import importlib.machinery
import io
import os
import re
import sys
import types
import warnings

import torch

CASTS = {
    torch.float32: [(".half()", ".float()"), ("torch.float16", "torch.float32")],
    torch.float64: [(".half()", ".double()"), (".float()", ".double()"), ("torch.float32", "torch.float64"),
                    ("torch.float16", "torch.float64")],
}


def replacements(repository, dtype, text_width, vision_width):
    """[(file name, old, new)]; every one must be found in its file when that file is loaded."""
    return CASTS[dtype], {
        "DPT": [("trainers/DPT.py", "from os import TMP_MAX\n", "")],
        "multimodal-prompt-learning": [
            ("trainers/maple.py", "nn.Linear(ctx_dim, 768)", f"nn.Linear(ctx_dim, {vision_width})"),
            ("trainers/maple.py", "torch.empty(n_ctx, 512)", f"torch.empty(n_ctx, {text_width})"),
            ("trainers/vpt.py", "return_fixed_embeddings().cuda()", "return_fixed_embeddings()")],
        "visual_prompting": [("models/prompters.py", ".cuda()", "")],
    }.get(repository, [])


class Anything(types.ModuleType):
    """A module that has whatever is asked of it: for imports that these runs do not use."""

    __all__ = []

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (), {"__init__": lambda self, *a, **k: None})


def stubs():
    names = ["torchvision", "torchvision.transforms", "torchvision.datasets", "tqdm", "wandb", "packaging",
             "torch.utils.tensorboard", "dassl.data", "dassl.modeling", "dassl.evaluation", "dassl.engine.da",
             "dassl.engine.dg", "dassl.engine.ssl", "turtle", "audioop"]
    out = {name: Anything(name) for name in names}
    out["packaging"].version = types.SimpleNamespace(parse=lambda text: tuple(int(n) for n in re.findall(r"\d+", text)[:3]))
    out["tqdm"].tqdm = lambda iterable, *a, **k: iterable
    out["torchvision.transforms"].InterpolationMode = types.SimpleNamespace(BICUBIC=3)
    out["ftfy"] = types.ModuleType("ftfy")
    out["ftfy"].fix_text = lambda text: text  # what it does to ASCII
    out["regex"] = types.ModuleType("regex")  # ASCII names only

    def compile(pattern, flags=0):
        return re.compile(pattern.replace(r"\p{L}", "a-zA-Z").replace(r"\p{N}", "0-9"), flags)

    out["regex"].compile, out["regex"].IGNORECASE, out["regex"].sub, out["regex"].findall = compile, re.I, re.sub, re.findall
    return out


class Loader(importlib.machinery.SourceFileLoader):
    """Loads a module from its text with the replacements made."""

    changes = ()

    def get_code(self, fullname):
        text = self.get_data(self.path).decode()
        casts, exact = self.changes
        for old, new in casts:
            text = text.replace(old, new)
        for file, old, new in exact:
            if self.path.endswith(file):
                assert old in text, f"{self.path} has no {old!r}"
                text = text.replace(old, new)
        return compile(text, self.path, "exec")


class Finder:
    def __init__(self, roots, changes):
        self.roots = tuple(roots)
        self.loader = type("Loader", (Loader,), {"changes": changes})

    def find_spec(self, name, path=None, target=None):
        spec = importlib.machinery.PathFinder.find_spec(name, path, target)
        if spec and spec.origin and spec.origin.startswith(self.roots) and spec.origin.endswith(".py"):
            spec.loader = self.loader(name, spec.origin)
        return spec


@contextlib.contextmanager
def repository(folder, name, dtype, text_width, vision_width):
    """Within, `import` finds the repository's modules (and Dassl's), changed; afterwards everything is as before."""
    roots = [os.path.join(os.path.abspath(folder), n) for n in (name, "Dassl.pytorch", "CLIP")]
    modules, path, directory = dict(sys.modules), list(sys.path), os.getcwd()
    finder = Finder(roots, replacements(name, dtype, text_width, vision_width))
    sys.meta_path.insert(0, finder)
    sys.path[:0] = roots
    sys.modules.update(stubs())
    torch.set_default_dtype(dtype)
    os.chdir("/tmp")  # DPT's CLIP writes attn_map.json where it runs
    try:
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        os.chdir(directory)
        torch.set_default_dtype(torch.float32)
        sys.meta_path.remove(finder)
        sys.path[:] = path
        for added in set(sys.modules) - set(modules):
            del sys.modules[added]
        sys.modules.update(modules)


class Node(types.SimpleNamespace):
    """Stands for yacs' CfgNode."""

    def clone(self):
        return copy.deepcopy(self)

    def defrost(self):
        pass

    freeze = defrost


def configuration(options, run, size, dataset):
    """The options as the originals' configuration names them."""
    n, init = int(options.get("n_ctx", 0)), options.get("ctx_init", "")
    vision = {"N_CTX_VISION": int(options.get("n_ctx_vision", 0)), "PROMPT_DEPTH_VISION": int(options.get("depth_vision", 0))}
    words = {"N_CTX": n, "CTX_INIT": init, "PREC": "fp32"}
    optim = Node(NAME="sgd", LR=run["lr"], WEIGHT_DECAY=run["weight_decay"], MOMENTUM=run["momentum"], SGD_DAMPNING=0,
                 SGD_NESTEROV=False, RMSPROP_ALPHA=0.99, ADAM_BETA1=0.9, ADAM_BETA2=0.999, STAGED_LR=False, NEW_LAYERS=(),
                 BASE_LR_MULT=0.1, LR_SCHEDULER="cosine", STEPSIZE=(-1,), GAMMA=0.1, MAX_EPOCH=run["epochs"],
                 WARMUP_EPOCH=run["warmup_epochs"], WARMUP_TYPE="constant", WARMUP_CONS_LR=run["warmup_lr"], WARMUP_MIN_LR=1e-5, WARMUP_RECOUNT=True)
    trainer = Node(
        COOP=Node(**words, CSC=options.get("class_specific") == "true", CLASS_TOKEN_POSITION=options.get("position", "end")),
        COCOOP=Node(**words), MAPLE=Node(**words, PROMPT_DEPTH=int(options.get("depth", 0))),
        VPT=Node(**vision, N_CTX=vision["N_CTX_VISION"], PREC="fp32"),
        IVLP=Node(**vision, N_CTX_TEXT=n, CTX_INIT=init, PROMPT_DEPTH_TEXT=int(options.get("depth_text", 0)), PREC="fp32"),
        TOPDOWN_SECOVPT=Node(BOTTOMLIMIT=int(options.get("bottom_limit", 0))),
        SELECTED_COVPT=Node(CPN=int(options.get("top_k", 0))),
        ALPHA=float(options.get("aux_weight", 0)))
    return Node(MODEL=Node(BACKBONE=Node(NAME="ViT-B/32"), INIT_WEIGHTS=""), INPUT=Node(SIZE=(size, size)),
                DATASET=Node(NAME=dataset), OPTIM=optim, TRAINER=trainer, PRETRAIN=Node(C=int(options.get("guidance_epochs", 0))))


def make_trainer(module, name, cfg, classes, checkpoint):
    """The trainer as Dassl makes it, without data loaders and evaluator; its CLIP is read from `checkpoint`."""
    module = importlib.import_module(module)
    if "clip" in vars(module):
        module.clip._download = lambda *a, **k: checkpoint
    trainer = object.__new__(getattr(module, name))
    importlib.import_module("dassl.engine").TrainerBase.__init__(trainer)
    trainer.cfg, trainer.device, trainer.num_classes = cfg, torch.device("cpu"), len(classes)
    trainer.dm = Node(dataset=Node(classnames=list(classes)))
    trainer.build_model()
    return trainer


class VisualPrompting:
    """hjbahng/visual_prompting: its prompters, its train(), OpenAI's CLIP; the interface of the trainers above."""

    def __init__(self, options, run, size, classes, checkpoint, steps, places):
        self.main = importlib.import_module("main_clip")
        prompters = importlib.import_module("models.prompters")
        self.clip = importlib.import_module("clip.model").build_model(torch.load(checkpoint))
        args = Node(prompt_size=int(options["prompt_size"]), image_size=size, print_freq=1, save_freq=10**9, use_wandb=False)
        self.args, self.places = args, places
        numbers = types.SimpleNamespace(**vars(prompters.np))  # its numpy, but for the draws
        numbers.random = Node(choice=lambda room: self.drawn.pop(0))
        prompters.np = numbers
        self.model = prompters.__dict__[options["kind"]](args)
        self.texts = [options["template"][0].format(name) for name in self.main.refine_classname(list(classes))]
        self.optim = torch.optim.SGD(self.model.parameters(), run["lr"], run["momentum"], weight_decay=run["weight_decay"])
        self.schedule = self.main.cosine_lr(self.optim, run["lr"], run["warmup_steps"], steps)
        self.main.save_checkpoint = lambda *a, **k: None
        self.drawn = []

    def model_inference(self, images, step=None):
        """step: whose place a random patch has; None = evaluation."""
        self.drawn = list(self.places[step])
        return self.clip(self.model(images), self.main.clip.tokenize(self.texts))[0]

    def run_epoch(self, epoch, batches, seen):
        """One call of its train(); seen(loss) after every backward."""
        self.drawn = [x for i in range(len(batches)) for x in self.places[epoch * len(batches) + i]]
        losses = []

        def criterion(output, target):
            losses.append(torch.nn.functional.cross_entropy(output, target))
            return losses[-1]

        def step(optimizer):
            seen(losses[-1].item())
            optimizer.step()

        scaler = Node(scale=lambda loss: loss, step=step, update=lambda: None)
        self.main.train(batches, self.texts, self.clip, self.model, self.optim, self.schedule, criterion, scaler, epoch, self.args)
