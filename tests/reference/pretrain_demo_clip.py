#!/usr/bin/env python3
"""Pre-trains the demo's CLIP (examples/demo-clip) from scratch, by hand, on pictures that ammpl-pictures draws.

    /usr/bin/python3 tests/reference/pretrain_demo_clip.py --pictures build/examples/ammpl-pictures

needs torch, numpy and Pillow. It draws the pre-training pictures and the demo's into a temporary folder, trains with the
contrastive loss of CLIP, writes model.safetensors (F16), open_clip_config.json, merges.txt and vocab.json, reads the file back
and prints the zero-shot accuracies that the written weights have. Same seed, torch version and machine type: the same numbers;
elsewhere the last digits of the training differ and the accuracies move by a few points, the committed file does not.
"""
import argparse
import json
import math
import os

for pool in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):  # before numpy and torch start theirs
    os.environ.setdefault(pool, "1")
import struct
import subprocess
import sys
import tempfile
import time

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from PIL import Image

SIZE, PATCH, WIDTH_V, LAYERS_V, HEAD_V = 48, 6, 64, 3, 32
CONTEXT, WIDTH_T, LAYERS_T, HEADS_T, JOINT = 16, 64, 2, 2, 64
SHEET = 32
MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)
TEMPLATES = ("a photo of a {}.", "a picture of a {}.", "a {}.")
WORDS = ("a photo picture of the this image small large "
         "red green blue yellow purple cyan pink white plain striped dotted checked "
         "disc square triangle cross ring diamond star moon hourglass bar").split()


# ---------------------------------------------------------------------------------------------------- vocabulary
def byte_alphabet():
    """CLIP's order: the printable bytes first, then the others, shown as the characters from 256 on."""
    printable = list(range(33, 127)) + list(range(161, 173)) + list(range(174, 256))
    rest = [b for b in range(256) if b not in printable]
    order = printable + rest
    return [chr(b) for b in printable] + [chr(256 + i) for i in range(len(rest))], order


def bpe(word, ranks):
    symbols = list(word[:-1]) + [word[-1] + "</w>"]
    while len(symbols) > 1:
        pairs = [p for p in zip(symbols, symbols[1:]) if p in ranks]
        if not pairs:
            break
        best = min(pairs, key=ranks.get)
        merged, i = [], 0
        while i < len(symbols):
            if tuple(symbols[i:i + 2]) == best:
                merged.append(symbols[i] + symbols[i + 1])
                i += 2
            else:
                merged.append(symbols[i])
                i += 1
        symbols = merged
    return symbols


class Tokenizer:
    """Merges so that every word of WORDS is one token: what the merges so far leave of a word is merged from the left.
    Later merges rank behind earlier ones, so they never change how an earlier word is read."""

    def __init__(self):
        self.merges = []
        for word in WORDS:
            symbols = bpe(word, self.ranks())
            while len(symbols) > 1:
                self.merges.append((symbols[0], symbols[1]))
                symbols = [symbols[0] + symbols[1]] + symbols[2:]
        characters, _ = byte_alphabet()
        names = characters + [c + "</w>" for c in characters] + ["".join(m) for m in self.merges]
        names += ["<|startoftext|>", "<|endoftext|>"]
        assert len(set(names)) == len(names)
        self.ids = {name: i for i, name in enumerate(names)}
        assert all(len(bpe(w, self.ranks())) == 1 for w in WORDS)

    def ranks(self):
        return {m: i for i, m in enumerate(self.merges)}

    def __call__(self, texts):
        ranks, out = self.ranks(), torch.zeros(len(texts), CONTEXT, dtype=torch.long)
        for row, text in enumerate(texts):
            pieces = text.replace(".", " .").split()
            ids = [self.ids[s] for piece in pieces for s in bpe(piece, ranks)]
            ids = [self.ids["<|startoftext|>"]] + ids + [self.ids["<|endoftext|>"]]
            out[row, :len(ids)] = torch.tensor(ids)
        return out


# --------------------------------------------------------------------------------------------------------- model
class Block(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.ln_1, self.ln_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attn = nn.Module()
        self.attn.in_proj_weight = nn.Parameter(torch.empty(3 * width, width))
        self.attn.in_proj_bias = nn.Parameter(torch.zeros(3 * width))
        self.attn.out_proj = nn.Linear(width, width)
        self.mlp = nn.Module()
        self.mlp.c_fc, self.mlp.c_proj = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.heads = heads

    def forward(self, x, mask):
        n, length, width = x.shape
        qkv = F.linear(self.ln_1(x), self.attn.in_proj_weight, self.attn.in_proj_bias)
        q, k, v = qkv.view(n, length, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        scores = q @ k.transpose(-1, -2) / math.sqrt(width // self.heads)
        if mask is not None:
            scores = scores + mask
        x = x + self.attn.out_proj((scores.softmax(-1) @ v).transpose(1, 2).reshape(n, length, width))
        h = self.mlp.c_fc(self.ln_2(x))
        return x + self.mlp.c_proj(h * torch.sigmoid(1.702 * h))


class Transformer(nn.Module):
    def __init__(self, width, layers, heads):
        super().__init__()
        self.resblocks = nn.ModuleList(Block(width, heads) for _ in range(layers))

    def forward(self, x, mask=None):
        for block in self.resblocks:
            x = block(x, mask)
        return x


class Clip(nn.Module):
    """Parameter names are OpenAI's, so state_dict() is the file."""

    def __init__(self, vocabulary):
        super().__init__()
        grid = SIZE // PATCH
        self.visual = nn.Module()
        self.visual.conv1 = nn.Conv2d(3, WIDTH_V, PATCH, PATCH, bias=False)
        self.visual.class_embedding = nn.Parameter(torch.randn(WIDTH_V) * WIDTH_V ** -0.5)
        self.visual.positional_embedding = nn.Parameter(torch.randn(grid * grid + 1, WIDTH_V) * WIDTH_V ** -0.5)
        self.visual.ln_pre, self.visual.ln_post = nn.LayerNorm(WIDTH_V), nn.LayerNorm(WIDTH_V)
        self.visual.transformer = Transformer(WIDTH_V, LAYERS_V, WIDTH_V // HEAD_V)
        self.visual.proj = nn.Parameter(torch.randn(WIDTH_V, JOINT) * WIDTH_V ** -0.5)
        self.token_embedding = nn.Embedding(vocabulary, WIDTH_T)
        self.positional_embedding = nn.Parameter(torch.randn(CONTEXT, WIDTH_T) * 0.01)
        self.transformer = Transformer(WIDTH_T, LAYERS_T, HEADS_T)
        self.ln_final = nn.LayerNorm(WIDTH_T)
        self.text_projection = nn.Parameter(torch.randn(WIDTH_T, JOINT) * WIDTH_T ** -0.5)
        self.logit_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))
        nn.init.normal_(self.token_embedding.weight, std=0.02)
        for tower in (self.visual.transformer, self.transformer):
            for block in tower.resblocks:
                width, deep = block.ln_1.weight.numel(), (2 * len(tower.resblocks)) ** -0.5
                nn.init.normal_(block.attn.in_proj_weight, std=width ** -0.5)
                nn.init.normal_(block.attn.out_proj.weight, std=width ** -0.5 * deep)
                nn.init.normal_(block.mlp.c_fc.weight, std=(2 * width) ** -0.5)
                nn.init.normal_(block.mlp.c_proj.weight, std=width ** -0.5 * deep)

    def embed(self, pixels):
        return self.visual.conv1(pixels).flatten(2).transpose(1, 2)

    def image_tokens(self, tokens):
        v = self.visual
        x = torch.cat([v.class_embedding.expand(len(tokens), 1, -1), tokens], 1) + v.positional_embedding
        x = v.transformer(v.ln_pre(x))
        return F.normalize(v.ln_post(x[:, 0]) @ v.proj, dim=-1)

    def image(self, pixels):
        return self.image_tokens(self.embed(pixels))

    def text_embeddings(self, x, end):
        length = x.shape[1]
        mask = torch.full((length, length), float("-inf")).triu(1)
        x = self.ln_final(self.transformer(x + self.positional_embedding[:length], mask))
        return F.normalize(x[torch.arange(len(x)), end] @ self.text_projection, dim=-1)

    def text(self, tokens):
        end = tokens.argmax(-1)
        return self.text_embeddings(self.token_embedding(tokens[:, :int(end.max()) + 1]), end)


# ---------------------------------------------------------------------------------------------------------- data
def to_tensor(pictures):
    x = torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 255
    return (x - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)


def load_sheets(folder):
    names = [line.rstrip("\n") for line in open(os.path.join(folder, "captions.txt"))]
    sheets = sorted(f for f in os.listdir(folder) if f.startswith("sheet-"))
    pictures = []
    for sheet in sheets:
        pixels = np.asarray(Image.open(os.path.join(folder, sheet)))
        pixels = pixels.reshape(SHEET, SIZE, SHEET, SIZE, 3).transpose(0, 2, 1, 3, 4)
        pictures.append(pixels.reshape(SHEET * SHEET, SIZE, SIZE, 3))
    pictures = np.concatenate(pictures)
    assert len(pictures) == len(names)
    return pictures, names


def load_classes(folder):
    classes = sorted(os.listdir(folder))
    pictures, labels = [], []
    for label, name in enumerate(classes):
        for f in sorted(os.listdir(os.path.join(folder, name))):
            pictures.append(np.asarray(Image.open(os.path.join(folder, name, f))))
            labels.append(label)
    return np.stack(pictures), torch.tensor(labels), [c.replace("_", " ") for c in classes]


# ------------------------------------------------------------------------------------------------------ training
def contrastive_loss(x, z, index, scale):
    """CLIP's symmetric loss; captions that several pictures of the batch share count as positives of all of them."""
    logits = scale * x @ z.t()
    by_text = F.one_hot(index, len(z)).float().t()
    to_text = F.cross_entropy(logits, index)
    to_image = -(logits.t().log_softmax(-1) * by_text / by_text.sum(1, keepdim=True)).sum(1).mean()
    return (to_text + to_image) / 2


def train(model, tokenizer, pictures, names, args):
    concepts = sorted(set(names))
    number = {c: i for i, c in enumerate(concepts)}
    labels = torch.tensor([number[n] for n in names])
    tokens = [tokenizer([t.format(c) for c in concepts]) for t in TEMPLATES]
    decay = [p for p in model.parameters() if p.ndim >= 2]
    plain = [p for p in model.parameters() if p.ndim < 2]
    optimizer = torch.optim.AdamW([{"params": decay, "weight_decay": 0.05}, {"params": plain, "weight_decay": 0.0}],
                                  lr=args.lr, betas=(0.9, 0.98))
    steps_per_epoch = len(pictures) // args.batch
    total, step, start = args.epochs * steps_per_epoch, 0, time.time()
    for epoch in range(args.epochs):
        order, losses = np.random.permutation(len(pictures)), []
        for i in range(steps_per_epoch):
            rate = args.lr * min(1, (step + 1) / 100) * 0.5 * (1 + math.cos(math.pi * step / total))
            for group in optimizer.param_groups:
                group["lr"] = rate
            rows = order[i * args.batch:(i + 1) * args.batch]
            batch = pictures[rows]
            if np.random.rand() < 0.5:
                batch = batch[:, :, ::-1]
            present, index = torch.unique(labels[rows], return_inverse=True)
            template = np.random.randint(len(TEMPLATES))
            x = model.image(to_tensor(np.ascontiguousarray(batch)))
            z = model.text(tokens[template][present])
            loss = contrastive_loss(x, z, index, model.logit_scale.exp())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            with torch.no_grad():
                model.logit_scale.clamp_(max=math.log(100))
            losses.append(loss.item())
            step += 1
        print("epoch %d: loss %.3f, scale %.1f, %.0f s" % (epoch + 1, np.mean(losses[-100:]), model.logit_scale.exp().item(),
                                                        time.time() - start), flush=True)


@torch.no_grad()
def accuracy(model, tokenizer, pictures, labels, classes):
    z = model.text(tokenizer(["a photo of a %s." % c for c in classes]))
    hits = 0
    for i in range(0, len(pictures), 256):
        hits += ((model.image(to_tensor(pictures[i:i + 256])) @ z.t()).argmax(1) == labels[i:i + 256]).sum().item()
    return 100 * hits / len(pictures)


# --------------------------------------------------------------------------------------------------------- files
def save_safetensors(path, tensors):
    header, offset = {"__metadata__": {"format": "pt"}}, 0
    for name, t in tensors.items():
        size = 2 * t.numel()
        header[name] = {"dtype": "F16", "shape": list(t.shape), "data_offsets": [offset, offset + size]}
        offset += size
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text)
        for t in tensors.values():
            f.write(t.half().numpy().astype("<f2").tobytes())


def load_safetensors(path):
    data = open(path, "rb").read()
    length = struct.unpack("<Q", data[:8])[0]
    header, body, out = json.loads(data[8:8 + length]), data[8 + length:], {}
    for name, entry in header.items():
        if name != "__metadata__":
            begin, end = entry["data_offsets"]
            out[name] = torch.from_numpy(np.frombuffer(body[begin:end], "<f2").reshape(entry["shape"]).astype("f4"))
    return out


def write_model(folder, model, tokenizer):
    os.makedirs(folder, exist_ok=True)
    save_safetensors(os.path.join(folder, "model.safetensors"), {k: v.detach() for k, v in model.state_dict().items()})
    config = {"model_cfg": {"embed_dim": JOINT, "quick_gelu": True,
                            "vision_cfg": {"image_size": SIZE, "layers": LAYERS_V, "width": WIDTH_V, "patch_size": PATCH,
                                           "head_width": HEAD_V},
                            "text_cfg": {"context_length": CONTEXT, "vocab_size": len(tokenizer.ids), "width": WIDTH_T,
                                         "heads": HEADS_T, "layers": LAYERS_T}},
              "preprocess_cfg": {"mean": MEAN, "std": STD}}
    with open(os.path.join(folder, "open_clip_config.json"), "w") as f:
        json.dump(config, f, indent=2)
        f.write("\n")
    with open(os.path.join(folder, "merges.txt"), "w", encoding="utf-8") as f:
        f.write("#version: 0.2\n" + "".join("%s %s\n" % m for m in tokenizer.merges))
    with open(os.path.join(folder, "vocab.json"), "w", encoding="utf-8") as f:
        json.dump(tokenizer.ids, f, ensure_ascii=False)
        f.write("\n")


def main():
    here = os.path.dirname(os.path.abspath(__file__))
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--pictures", required=True, metavar="PROGRAM", help="the built ammpl-pictures")
    parser.add_argument("--out", default=os.path.join(here, "..", "..", "examples", "demo-clip"))
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--count", type=int, default=49152)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--measure", action="store_true", help="only measure the file that is there")
    args = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(args.seed)
    np.random.seed(args.seed)
    tokenizer = Tokenizer()
    model = Clip(len(tokenizer.ids))
    print("%d parameters, %d tokens" % (sum(p.numel() for p in model.parameters()), len(tokenizer.ids)))
    with tempfile.TemporaryDirectory() as tmp:
        def draw(name, *more):
            folder = os.path.join(tmp, name)
            subprocess.run([args.pictures, "--out", folder, "--size", str(SIZE), *more], check=True)
            return folder
        if not args.measure:
            pictures, names = load_sheets(draw("pretrain", "--split", "pretrain", "--seed", "1", "--pictures", str(args.count)))
            train(model, tokenizer, pictures, names, args)
            write_model(args.out, model, tokenizer)
        model.load_state_dict(load_safetensors(os.path.join(args.out, "model.safetensors")))
        model.eval()
        # pre-training kind of pictures that it has not seen, among all 320 concepts
        pictures, names = load_sheets(draw("held-out", "--split", "pretrain", "--seed", "2", "--pictures", "2048"))
        concepts = sorted(set(names))
        labels = torch.tensor([concepts.index(n) for n in names])
        print("held-out pre-training pictures, %d concepts: %.1f %%" % (
            len(concepts), accuracy(model, tokenizer, pictures, labels, concepts)))
        demo = draw("demo", "--seed", "1")
        for split in ("base/train", "base/test", "unseen/test"):
            pictures, labels, classes = load_classes(os.path.join(demo, split))
            print("zero-shot on demo %s, %d classes: %.1f %%" % (split, len(classes),
                                                                accuracy(model, tokenizer, pictures, labels, classes)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
