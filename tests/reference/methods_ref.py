"""The methods of methods.md section 5 but DPT (dpt_ref.py), in plain PyTorch: full-length texts, real images, no shortcuts.

Tensors: {name: torch tensor}, names and shapes as in contract.md. Options: {name: text}, names as in contract.md; `template` is
a list. A method has `shapes()` (its tensors), `logits(t, images, where)` and `loss(t, images, labels, where)`; where = (seed,
purpose, step) keys VP's random place and is of no concern to the others. Autograd gives every gradient.
"""
import math

import torch

import philox
from clip_ref import norm


def cross_entropy(logits, labels):
    """Mean over the batch."""
    return (torch.logsumexp(logits, 1) - logits[torch.arange(len(labels)), labels]).mean()


# --- towers with prompts ------------------------------------------------------------------------------------------------


def text_tower(clip, embeddings, tokens, deep=()):
    """[C,L,l] -> [C,d] (5.7). deep: T_1 .. T_{D-1} [n,l]; before block j positions 1 .. n are overwritten by T_j, as it is."""
    mask = clip.causal(embeddings.shape[1])
    x = embeddings + clip.w("positional_embedding")
    for i in range(clip.layers("transformer.")):
        if 1 <= i <= len(deep):
            prompt = deep[i - 1].expand(len(x), -1, -1)
            x = torch.cat([x[:, :1], prompt, x[:, 1 + prompt.shape[1]:]], 1)
        x = clip.block(x, f"transformer.resblocks.{i}.", clip.text_heads, mask)
    return clip.project_text(x, tokens)


def image_tower(clip, images, prompts, after_ln_pre=False):
    """[B,3,R,R] -> [B,d]. prompts: P_0 .. P_{D-1} [n,W], appended at the end of the sequence without positions.

    The MaPLe repository's way (5.5): P_0 goes through ln_pre; P_j replaces the last n tokens before block j; from block D on
    they carry on. after_ln_pre, the DPT repository's way (5.6): P_0 as it is, and outputs of prompts are dropped after every block.
    """
    x = clip.embed_image(images)
    count = x.shape[1]

    def append(x, prompt):
        return torch.cat([x[:, :count], prompt.expand(len(x), -1, -1)], 1)

    if prompts and not after_ln_pre:
        x = append(x, prompts[0])
    x = clip.layer_norm(x, "visual.ln_pre")
    for i in range(clip.layers("visual.transformer.")):
        if i < len(prompts) and (i > 0 or after_ln_pre):
            x = append(x, prompts[i])
        x = clip.block(x, f"visual.transformer.resblocks.{i}.", clip.vision_heads, None)
        if after_ln_pre:
            x = x[:, :count]
    return clip.project_image(x)


def fixed_texts(clip, tokenizer, classes, templates, spaces="_"):
    """[C,d]: one template: norm(Text(template)); several: their mean, divided by the count, re-normalised (5.1)."""
    total = 0
    for template in templates:
        texts = []
        for name in classes:
            for letter in spaces:
                name = name.replace(letter, " ")
            texts.append(template.replace("{}", name))
        tokens = torch.from_numpy(tokenizer.tokenize(texts))
        total = total + norm(clip.encode_text(clip.embed(tokens), tokens))
    return norm(total / len(templates)) if len(templates) > 1 else total


class Context:
    """The texts "CONTEXT NAME." and where the context stands in them (4.1, 5.2, 5.7)."""

    def __init__(self, clip, tokenizer, classes, n_ctx, ctx_init, position="end"):
        names = [name.replace("_", " ") for name in classes]
        words = ctx_init or " ".join(["X"] * n_ctx)  # "X": placeholders, replaced by ctx
        self.clip, self.m, self.position = clip, n_ctx, position
        self.tokens = torch.from_numpy(tokenizer.tokenize([f"{words} {name}." for name in names]))
        self.embedded = clip.embed(self.tokens)
        self.name_lengths = [len(tokenizer.encode(name)) for name in names]

    def assemble(self, ctx):
        """ctx [M,l], [C,M,l] -> [C,L,l]: SOT, context, name and the rest in the order that `position` says."""
        rows = []
        for i, e in enumerate(self.embedded):
            own = ctx[i] if ctx.dim() == 3 else ctx
            sot, suffix = e[:1], e[1 + self.m:]
            name, rest = suffix[:self.name_lengths[i]], suffix[self.name_lengths[i]:]
            half = self.m // 2  # odd M: the second half is longer
            rows.append(torch.cat({"end": [sot, own, suffix], "middle": [sot, own[:half], name, own[half:], rest],
                                   "front": [sot, name, own, rest]}[self.position]))
        return torch.stack(rows)

    def encode(self, ctx, deep=()):
        """-> [C,d], not normalised."""
        return text_tower(self.clip, self.assemble(ctx), self.tokens, deep)


# --- methods --------------------------------------------------------------------------------------------------------------


class Method:
    spaces = "_"  # letters of a class name that the text tower reads as spaces

    def __init__(self, clip, tokenizer, classes, options):
        self.clip, self.tokenizer, self.classes, self.options = clip, tokenizer, classes, options
        self.margins = {}  # how close the run came to a discontinuity: name -> smallest distance
        self.active = [0, 0]  # ReLU: active, seen
        self.prepare()

    def number(self, name):
        return int(self.options[name])

    def context(self, position="end"):
        return Context(self.clip, self.tokenizer, self.classes, self.number("n_ctx"), self.options["ctx_init"], position)

    def fixed(self):
        return fixed_texts(self.clip, self.tokenizer, self.classes, self.options["template"], self.spaces)

    def compare(self, images, texts):
        """s norm(images) norm(texts)': [B,d], [C,d] -> [B,C]."""
        return self.clip.scale * norm(images) @ norm(texts).T

    def loss(self, t, images, labels, where):
        """-> loss, {name: value} of its parts and whatever else is worth a comparison at step 0."""
        logits = self.logits(t, images, where)
        return cross_entropy(logits, labels), {"logits0": logits}


class Zeroshot(Method):
    def prepare(self):
        self.texts = self.fixed()

    def shapes(self):
        return {}

    def logits(self, t, images, where):
        return self.compare(self.clip.encode_image(images), self.texts)


class Coop(Method):
    def prepare(self):
        self.text = self.context(self.options["position"])

    def shapes(self):
        lead = [len(self.classes)] if self.options["class_specific"] == "true" else []
        return {"ctx": [*lead, self.text.m, self.clip.text_width]}

    def logits(self, t, images, where):
        return self.compare(self.clip.encode_image(images), self.text.encode(t["ctx"]))


class Cocoop(Method):
    def prepare(self):
        self.text = self.context()

    def shapes(self):
        d, l = self.clip.width, self.clip.text_width
        r = max(1, d // 16)
        return {"ctx": [self.text.m, l], "meta_net.linear1.weight": [r, d], "meta_net.linear1.bias": [r],
                "meta_net.linear2.weight": [l, r], "meta_net.linear2.bias": [l]}

    def logits(self, t, images, where):
        v = norm(self.clip.encode_image(images))
        hidden = v @ t["meta_net.linear1.weight"].T + t["meta_net.linear1.bias"]
        distance = hidden.detach().abs().min().item()
        self.margins["relu"] = min(self.margins.get("relu", math.inf), distance)
        self.active = [self.active[0] + int((hidden > 0).sum()), self.active[1] + hidden.numel()]
        shift = torch.relu(hidden) @ t["meta_net.linear2.weight"].T + t["meta_net.linear2.bias"]  # [B,l]
        return torch.cat([self.compare(v[i:i + 1], self.text.encode(t["ctx"] + shift[i])) for i in range(len(v))])


class Vp(Method):
    spaces = "_-"

    def prepare(self):
        self.texts = self.fixed()
        self.size, self.p = self.clip.grid * self.clip.patch, self.number("prompt_size")

    def shapes(self):
        p, inner = self.p, self.size - 2 * self.p
        if self.options["kind"] != "padding":
            return {"patch": [1, 3, p, p]}
        return {"pad_up": [1, 3, p, self.size], "pad_down": [1, 3, p, self.size],
                "pad_left": [1, 3, inner, p], "pad_right": [1, 3, inner, p]}

    def prompt(self, t, where):
        """[1,3,R,R], zero where nothing is learned."""
        if self.options["kind"] == "padding":
            inner = self.size - 2 * self.p
            middle = torch.zeros(1, 3, inner, inner, dtype=self.clip.dtype)
            row = torch.cat([t["pad_left"], middle, t["pad_right"]], 3)
            return torch.cat([t["pad_up"], row, t["pad_down"]], 2)
        room = self.size - self.p
        r, c = philox.place(room, *where) if self.options["kind"] == "random_patch" else (0, 0)
        return torch.nn.functional.pad(t["patch"], (c, room - c, r, room - r))

    def logits(self, t, images, where):
        return self.compare(self.clip.encode_image(images + self.prompt(t, where)), self.texts)


class Vpt(Method):
    def prepare(self):
        self.texts = self.fixed()

    def shapes(self):
        shape = [self.number("n_ctx_vision"), self.clip.vision_width]
        return {f"visual_ctx.{i}": shape for i in range(self.number("depth_vision"))}

    def logits(self, t, images, where):
        prompts = [t[n] for n in self.shapes()]
        return self.compare(image_tower(self.clip, images, prompts, self.options["variant"] == "dpt"), self.texts)


class Ivlp(Method):
    """IVLP, and DLP with depth_vision = 0."""

    def prepare(self):
        self.text = self.context()

    def shapes(self):
        text, image = [self.text.m, self.clip.text_width], [self.number("n_ctx_vision"), self.clip.vision_width]
        out = {"ctx": text}
        out.update({f"text_ctx.{i}": text for i in range(1, self.number("depth_text"))})
        out.update({f"visual_ctx.{i}": image for i in range(self.number("depth_vision"))})
        return out

    def logits(self, t, images, where):
        deep = [t[f"text_ctx.{i}"] for i in range(1, self.number("depth_text"))]
        prompts = [t[f"visual_ctx.{i}"] for i in range(self.number("depth_vision"))]
        return self.compare(image_tower(self.clip, images, prompts), self.text.encode(t["ctx"], deep))


class Maple(Method):
    def prepare(self):
        self.text = self.context()

    def shapes(self):
        l, w, depth = self.clip.text_width, self.clip.vision_width, self.number("depth")
        out = {"ctx": [self.text.m, l]}
        out.update({f"text_ctx.{j}": [self.text.m, l] for j in range(1, depth)})
        for j in range(depth):
            out.update({f"proj.{j}.weight": [w, l], f"proj.{j}.bias": [w]})
        return out

    def logits(self, t, images, where):
        texts = [t["ctx"]] + [t[f"text_ctx.{j}"] for j in range(1, self.number("depth"))]
        prompts = [x @ t[f"proj.{j}.weight"].T + t[f"proj.{j}.bias"] for j, x in enumerate(texts)]
        return self.compare(image_tower(self.clip, images, prompts), self.text.encode(texts[0], texts[1:]))


METHODS = {"zeroshot": Zeroshot, "coop": Coop, "cocoop": Cocoop, "vp": Vp, "vpt": Vpt, "dlp": Ivlp, "ivlp": Ivlp, "maple": Maple}


def step_rate(step, base, warmup, steps):
    """VP's schedule (5.4): linear over the first `warmup` steps, then half a cosine down to 0 at `steps`."""
    if step < warmup:
        return base * (step + 1) / warmup
    return base / 2 * (1 + math.cos(math.pi * (step - warmup) / (steps - warmup)))
