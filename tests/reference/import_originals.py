"""import_originals.py DIR BUILD [--write]: from the original repositories' own checkpoints to this library's logits.

Every original trainer (DIR and what changes: ORACLES.md) gets random numbers for what it learns, says its logits, and saves itself with
its own code.  Then the way a user goes: examples/python/to_safetensors.py, ammpl-train --import (BUILD/examples), logits of the
prompt file.  Prints one line each; exits 1 where logits differ by more than 1e-4.

--write: ../golden/import_<variant>.safetensors, the same checkpoints small: the learned tensors in F16 (maple in BF16), of all
others (buffers, CLIP's weights) their names and one number.
"""
import gzip
import importlib
import json
import os
import shutil
import subprocess
import sys
import tempfile

import numpy as np
import torch

import bpe
import compare_originals as compare
import original_repos as original
import philox
import st
from make_nano import GOLDEN, open_clip_config, openai_weights, save_json

HERE = os.path.dirname(os.path.abspath(__file__))
EXAMPLES = os.path.join(HERE, "..", "..", "examples")
# heads = width / 64 in the originals; text and joint width, layers and grid differ
SIZES = ({"width": 128, "heads": 2, "layers": 3, "hidden": 512, "length": 77},
         {"width": 64, "heads": 1, "layers": 4, "hidden": 256, "patch": 4, "grid": 2}, 48)
SEED = 5
CLASSES = ["707 jet", "cat", "red_dog", "zebra"]  # as a folder sorts them
TEMPLATE = ["--template", compare.TEMPLATE]
VARIANTS = {  # options of the run; what a user has to say, because no file does
    "coop": ({**compare.COOP, "n_ctx": "5"}, ["--position", "end"]),
    "coop_class": ({**compare.COOP, "class_specific": "true", "position": "middle"}, ["--position", "middle"]),
    "cocoop": (compare.COCOOP, []),
    "vp_padding": ({**compare.VP, "prompt_size": "2"}, []),
    "vp_fixed_patch": ({**compare.VP, "kind": "fixed_patch", "prompt_size": "3"}, []),
    "vpt": ({**compare.VPT, "n_ctx_vision": "3"}, []),
    "vpt_dpt": ({**compare.VPT, "depth_vision": "4", "variant": "dpt", "template": [compare.TEMPLATE]}, TEMPLATE),
    "dlp": ({**compare.DLP, "depth_text": "3"}, []),
    "ivlp": ({**compare.IVLP, "depth_vision": "3"}, []),
    "maple": ({**compare.MAPLE, "depth": "3"}, []),
    "dpt": ({**compare.DPT, "bottom_limit": "3", "top_k": "3", "n_ctx_vision": "4"}, [*TEMPLATE, "--top-k", "3"]),
}


def halves(*shape, generator):
    """Random numbers that float16 has."""
    return (0.2 * torch.randn(*shape, generator=generator)).half().float()


def make_clip(folder):
    vocabulary = os.path.join(folder, "CLIP", "clip", "bpe_simple_vocab_16e6.txt.gz")
    with gzip.open(vocabulary, "rt", encoding="utf-8") as f:
        merges = [tuple(line.split()) for line in f.read().split("\n")[1:49152 - 256 - 2 + 1]]
    return vocabulary, openai_weights(*SIZES, len(bpe.Bpe(merges, 77).ids), SEED)


def learned(trainer, vp):
    return [(n, p) for n, p in trainer.model.named_parameters() if p.requires_grad]


def original_run(folder, name, weights, pixels, work):
    """-> logits, the files that it saved as to_safetensors.py is told of them, {module: what it learns there}."""
    options = {"eval_seed": "3", **{n: v for n, v in VARIANTS[name][0].items() if n not in compare.RUN_NAMES}}
    run = {**compare.RUN, **{n: v for n, v in VARIANTS[name][0].items() if n in compare.RUN_NAMES}}
    vp, size = options["method"] == "vp", SIZES[1]["patch"] * SIZES[1]["grid"]
    kind = options["method"] + ("_dpt" if options.get("variant") == "dpt" else "")
    source, module, title = compare.TRAINERS[kind]
    g, x = torch.Generator().manual_seed(SEED), torch.from_numpy(pixels)
    repository = original.repository(folder, source, torch.float32, SIZES[0]["width"], SIZES[1]["width"])
    with tempfile.NamedTemporaryFile(suffix=".pt") as checkpoint, repository:
        torch.save({n: torch.from_numpy(v) for n, v in weights.items()}, checkpoint.name)
        if vp:
            trainer = original.VisualPrompting(options, run, size, list(CLASSES), checkpoint.name, 4, {None: philox.place(1, 0, philox.PLACE_EVAL, 0)})
        else:
            trainer = original.make_trainer(module, title, original.configuration(options, run, size, compare.DATASET), CLASSES, checkpoint.name)
        names = set()
        for n, p in learned(trainer, vp):
            p.data.copy_(halves(*p.shape, generator=g))
            names.add(n)
        if not vp:
            trainer.set_model_mode("eval")
        with torch.no_grad():
            logits = trainer.model_inference(x).double().numpy()
        if vp:
            path = os.path.join(work, "checkpoint.pth.tar")
            trainer.args.model_folder = work
            importlib.import_module("utils").save_checkpoint({"epoch": 7, "state_dict": trainer.model.state_dict(), "best_acc1": torch.tensor(3.5),
                                                              "optimizer": trainer.optim.state_dict()}, trainer.args)
            return logits, [path], names
        trainer.save_model(6, work)
    files = [f"{module}={os.path.join(work, module, 'model.pth.tar-7')}" for module in trainer._models]
    if len(files) == 1:  # a user gives one file as it is
        return logits, [files[0].partition("=")[2]], names
    # DPT: as --help of to_safetensors.py says
    return logits, [f.replace("image_encoder.transformer.", "", 1) for f in files], names


def imported(build, name, clip, vocabulary, checkpoint, pixels, work):
    """-> logits of the prompt that ammpl-train makes of it."""
    photos, prompt = os.path.join(work, "photos"), os.path.join(work, "prompt.safetensors")
    for c in CLASSES:
        os.makedirs(os.path.join(photos, c))
        shutil.copy(os.path.join(GOLDEN, "images", "adam7-grey1.png"), os.path.join(photos, c))
    subprocess.run([os.path.join(build, "examples", "ammpl-train"), "--model", clip, "--vocab", vocabulary, "--data", photos, "--quiet", "--method",
                    VARIANTS[name][0]["method"], "--import", checkpoint, "--out", prompt, *VARIANTS[name][1]], check=True)
    import ammpl
    context = ammpl.Context()
    model = ammpl.Model(context, clip, vocab=vocabulary)
    return ammpl.Session(model).predict(ammpl.Prompt.load(model, prompt), pixels)


def write_golden(name, checkpoint, names):
    tensors, _ = st.read(checkpoint)
    out = {}
    for n, v in tensors.items():
        tail = n[n.rfind(".VPT"):] if ".VPT" in n else n
        mine = any(p.endswith(n) or n.endswith(p) for p in names) or tail.startswith(".VPT")
        out[n] = (st.Bf16(v) if name == "maple" else v.astype(np.float16)) if mine else np.zeros(1, np.float32)
    path = os.path.join(GOLDEN, f"import_{name}.safetensors")
    st.write(path, out, {"format": "pt", "classes": json.dumps(CLASSES)})
    return os.path.getsize(path)


def main(folder, build, *flags):
    vocabulary, weights = make_clip(folder)
    size, failed = SIZES[1]["patch"] * SIZES[1]["grid"], 0
    pixels = torch.randn(3, 3, size, size, generator=torch.Generator().manual_seed(SEED)).numpy()
    os.environ["AMMPL_LIBRARY"] = os.path.join(build, "lib", "libammpl.so")
    sys.path.insert(0, os.path.join(EXAMPLES, "python"))
    with tempfile.TemporaryDirectory() as clip:
        st.write(os.path.join(clip, "model.safetensors"), weights, {"format": "pt"})
        save_json(os.path.join(clip, "open_clip_config.json"), open_clip_config(*SIZES, len(weights["token_embedding.weight"])))
        for name in VARIANTS:
            with tempfile.TemporaryDirectory() as work:
                want, files, names = original_run(folder, name, weights, pixels, work)
                checkpoint = os.path.join(work, "checkpoint.safetensors")
                subprocess.run([sys.executable, os.path.join(EXAMPLES, "python", "to_safetensors.py"), *files, "--out", checkpoint], check=True,
                               stdout=subprocess.DEVNULL)
                got = imported(build, name, clip, vocabulary, checkpoint, pixels, work)
                worst = np.abs(got - want).max() / np.abs(want).max()
                failed += worst > 1e-4
                note = f", golden of {write_golden(name, checkpoint, names)} bytes" if "--write" in flags else ""
                print(f"{name:15} logits differ by {worst:.1e} ({len(st.read(checkpoint)[0])} tensors{note})", flush=True)
    sys.exit(f"{failed} differ" if failed else 0)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(*sys.argv[1:])
