"""AMMPL (ammpl.md) in plain PyTorch: k real pixel images per image, full-length texts, no shortcuts.

Autograd gives every gradient for which the chain rule holds; the straight-through rule for P is written out in `Mask`.
Tensors: {name: torch tensor}, names and shapes as in ammpl.md, a leading k in class scope.
"""
import math

import numpy as np
import torch

import philox
from clip_ref import norm

DEFAULTS = {
    "scope": "shared", "n_ctx": "4", "ctx_init": "a photo of a", "order": "text_first", "shift": "vector",
    "mask_gradient": "hadamard", "mask": "true", "padding": "true", "interaction": "true", "draws": "class",
    "evaluation": "expected", "mask_mean": "0.95", "lr_mask": "1", "lr_padding": "1", "candidates": "0", "eval_seed": "0",
}


def participating(options):
    """The tensors to which the options give the loss a path (ammpl.md, Ablations)."""
    mask, padding, interaction = (options[n] == "true" for n in ("mask", "padding", "interaction"))
    mlp = ("linear1.weight", "linear1.bias", "linear2.weight", "linear2.bias")
    names = ["ctx"]
    if mask:
        names.append("mask_prob")
        if padding:
            names.append("padding")
        if interaction:
            names += ["text_to_image." + m for m in mlp]
    if interaction:
        names += ["image_to_text." + m for m in mlp]
    return names


class Mask(torch.autograd.Function):
    """Eq. 4, 5: image where the mask is 1, padding where it is 0; backward with the straight-through rule (Eq. 11, 12).

    image [B,1,3,R,R], pad [B,k,3,q,q], mask [B,k,b,b] (0/1, or r in [0,1] for `expected`), P [B,k,b,b] -> [B,k,3,R,R]
    """

    @staticmethod
    def forward(ctx, image, pad, mask, prob, blend):
        q, b = pad.shape[-1], mask.shape[-1]
        keep = mask.repeat_interleave(q, -1).repeat_interleave(q, -2).unsqueeze(2)  # every patch to its q x q pixels
        tile = pad.repeat(1, 1, 1, b, b)  # the same tile in every patch
        ctx.save_for_backward(image, tile, keep)
        ctx.q, ctx.b, ctx.blend = q, b, blend
        return keep * image + (1 - keep) * tile

    @staticmethod
    def backward(ctx, grad):
        image, tile, keep = ctx.saved_tensors
        q, b = ctx.q, ctx.b

        def patches(t):  # [B,k,3,R,R] -> [B,k,3,b,q,b,q]
            return t.reshape(*t.shape[:3], b, q, b, q)

        # dL/dpad_i: sum over the masked patches
        pad_grad = patches(grad * (1 - keep)).sum((3, 5))
        # dL/dP_i[patch]: sum over the patch's pixels of dL/dI^ * I (hadamard) or * (I - pad) (blend), at every patch,
        # without a gate at the clamp
        factor = image - tile if ctx.blend else image
        prob_grad = patches(grad * factor).sum((2, 4, 6))
        return None, pad_grad, None, prob_grad, None


class Ammpl:
    def __init__(self, clip, tokenizer, classes, options):
        self.clip, self.classes, self.k = clip, classes, len(classes)
        self.options = {**DEFAULTS, **options}
        for name in ("mask", "padding", "interaction"):
            setattr(self, name, self.options[name] == "true")
        self.class_scope = self.options["scope"] == "class"
        self.blend = self.options["mask_gradient"] == "blend"
        self.candidates = int(self.options["candidates"])
        self.patches = clip.grid ** 2
        self.m = int(self.options["n_ctx"])
        words = self.options["ctx_init"] or " ".join(["X"] * self.m)  # "X": placeholders, replaced by ctx
        prompts = [f"{words} {name.replace('_', ' ')}." for name in classes]
        self.tokens = torch.from_numpy(tokenizer.tokenize(prompts))
        self.embedded = clip.embed(self.tokens)
        self.margins = {}  # how close the run came to a discontinuity: name -> smallest distance
        self.active = {}  # ReLU: name -> [active, seen]

    # --- small parts ---------------------------------------------------------------------------------------------------

    def note(self, name, distance):
        self.margins[name] = min(self.margins.get(name, math.inf), float(distance))

    def per_class(self, tensor):
        """[k, ...] in either scope: a shared tensor serves every class (its gradient is then the sum over classes)."""
        return tensor if self.class_scope else tensor.expand(self.k, *tensor.shape)

    def mlp(self, t, name, x):
        """f_T or f_I: x [..., k, d] -> [..., k, out], Linear - ReLU - Linear with class i's own weights."""
        w1, b1, w2, b2 = (self.per_class(t[f"{name}.{part}"]) for part in
                          ("linear1.weight", "linear1.bias", "linear2.weight", "linear2.bias"))
        hidden = torch.einsum("krd,...kd->...kr", w1, x) + b1
        self.note("relu", hidden.detach().abs().min())
        count = self.active.setdefault(name, [0, 0])
        count[0] += int((hidden > 0).sum())
        count[1] += hidden.numel()
        return torch.einsum("kor,...kr->...ko", w2, torch.relu(hidden)) + b2

    def texts(self, t, shift=None):
        """norm(TextEnc(ctx_i + h_i, name_i)): [k,d], or [B,k,d] with a shift [B,k,l] (or [B,k,1] for shift=scalar)."""
        ctx = self.per_class(t["ctx"])  # [k,M,l]
        e = self.embedded
        if shift is None:
            return norm(self.clip.encode_text(torch.cat([e[:, :1], ctx, e[:, 1 + self.m:]], 1), self.tokens))
        out = []
        for h in shift:  # one image after the other: ctx'_i = ctx_i + h_i, added to every context token (Eq. 7, 8)
            moved = ctx + h[:, None, :]
            out.append(norm(self.clip.encode_text(torch.cat([e[:, :1], moved, e[:, 1 + self.m:]], 1), self.tokens)))
        return torch.stack(out)

    def pictures(self, images, plain, pad, mask, prob, chosen):
        """x_i = norm(ImageEnc(I^_i)), [B,k,d] (Eq. 4-6). pad [k,3,q,q]; mask, prob [B or 1,k,b,b]; a class not chosen keeps
        the plain image's x (chosen None: all are)."""
        batch = images.shape[0]
        g, q = self.clip.grid, self.clip.patch
        masked = Mask.apply(images[:, None], pad.expand(batch, *pad.shape), mask.expand(batch, self.k, g, g),
                            prob.expand(batch, self.k, g, g), self.blend)
        x = norm(self.clip.encode_image(masked.reshape(batch * self.k, 3, g * q, g * q))).reshape(batch, self.k, -1)
        return x if chosen is None else torch.where(chosen[:, :, None], x, plain[:, None])

    def choose(self, plain, z0, labels):
        """candidates = K: the K classes with the largest <x_plain, z0_i> (ties by class order), and the true one if known."""
        batch = plain.shape[0]
        score = (plain @ z0.T).detach()
        chosen = torch.zeros(batch, self.k, dtype=torch.bool)
        for b in range(batch):
            order = sorted(range(self.k), key=lambda i: (-score[b, i].item(), i))
            chosen[b, order[:self.candidates]] = True
            self.note("candidates", score[b, order[self.candidates - 1]] - score[b, order[self.candidates]])
            if labels is not None:
                chosen[b, labels[b]] = True
        return chosen

    # --- the forward pass (ammpl.md, steps 1-8) ------------------------------------------------------------------------

    def logits(self, t, images, mask, labels=None):
        """images [B,3,R,R], mask [B or 1,k,b,b] -> [B,k]. labels only widen the candidates (training)."""
        g, q = self.clip.grid, self.clip.patch
        z0 = self.texts(t)  # step 1
        every = self.mask and self.candidates == 0  # every class has a picture of its own: nobody looks at the plain one
        plain = None if every else norm(self.clip.encode_image(images))
        if self.mask:
            chosen = None if every else self.choose(plain, z0, labels)
            zero = torch.zeros(self.k, 3, q, q, dtype=images.dtype)
            own = self.per_class(t["padding"]) if self.padding else zero  # N_i
            pad = own
            if self.interaction:  # step 2: pad_i = N_i + reshape(f_T,i(z0_i)), channel first
                pad = own + self.mlp(t, "text_to_image", z0).reshape(self.k, 3, q, q)
            prob = self.per_class(t["mask_prob"])[None]
            x = self.pictures(images, plain, pad, mask, prob, chosen)  # steps 4, 5
        else:
            x = plain[:, None].expand(-1, self.k, -1)
        if not self.interaction:
            return self.clip.scale * torch.einsum("bkd,kd->bk", x, z0)
        seen = x
        if self.mask and self.options["order"] == "simultaneous":  # h from x0: pad = N only, the same mask draw
            seen = self.pictures(images, plain, own, mask, prob, chosen)
        z = self.texts(t, self.mlp(t, "image_to_text", seen))  # steps 6, 7
        return self.clip.scale * torch.einsum("bkd,bkd->bk", x, z)  # step 8, Eq. 10

    # --- masks ---------------------------------------------------------------------------------------------------------

    def keep_probability(self, t):
        """clamp(P, 0, 1), rounded to float32 as every program sees it, [k,b,b]."""
        return self.per_class(t["mask_prob"]).detach().clamp(0, 1).float().double().cpu().numpy()

    def bernoulli(self, p, u):
        """1 where u < p. (u = 24-bit numbers; p at 0 or 1 is decided for good, whatever the rounding.)"""
        u = u.reshape(p.shape)
        open_ = (p > 0) & (p < 1)
        if open_.any():
            self.note("mask draw", np.abs(u - p)[open_].min())
        return (u < p).astype(np.float64)

    def train_masks(self, t, seed, image_ids, step):
        """Eq. 3: [B,k,b,b]; one draw per image and class, or per image with draws=image."""
        if not self.mask:
            return None
        p = self.keep_probability(t)
        common = not self.class_scope and self.options["draws"] == "image"
        out = [[self.bernoulli(p[i], philox.train_uniforms(self.patches, seed, None if common else name, image_id, step))
                for i, name in enumerate(self.classes)] for image_id in image_ids]
        return torch.tensor(np.array(out)).to(self.clip.dtype)

    def eval_masks(self, t, mode):
        """A list of [1,k,b,b]: one, or S for mean:S."""
        if not self.mask:
            return [None]
        p = self.keep_probability(t)
        if mode == "expected":  # r = clamp(P, 0, 1)
            masks = [p]
        elif mode == "threshold":
            self.note("threshold", np.abs(p - 0.5).min())
            masks = [(p >= 0.5).astype(np.float64)]
        else:
            draws = 1 if mode == "sample" else int(mode.split(":")[1])
            seed = int(self.options["eval_seed"])
            masks = [np.array([self.bernoulli(p[i], philox.eval_uniforms(self.patches, seed, name if self.class_scope else None, n))
                               for i, name in enumerate(self.classes)]) for n in range(draws)]
        return [torch.tensor(m)[None].to(self.clip.dtype) for m in masks]

    # --- training and evaluation ---------------------------------------------------------------------------------------

    def step(self, t, images, labels, masks):
        """-> loss (mean cross-entropy over the batch), logits, {name: gradient} of the participating tensors."""
        leaves = {n: t[n].detach().clone().requires_grad_() for n in participating(self.options)}
        logits = self.logits(leaves, images, masks, labels)
        picked = logits[torch.arange(len(labels)), labels]
        loss = (torch.logsumexp(logits, 1) - picked).mean()
        grads = torch.autograd.grad(loss, list(leaves.values()))
        return loss.item(), logits.detach(), dict(zip(leaves, grads))

    @torch.no_grad()
    def evaluate(self, t, images, mode):
        """[B,k]; for mean:S the log of the mean probability."""
        logits = [self.logits(t, images, m) for m in self.eval_masks(t, mode)]
        if len(logits) == 1 and not mode.startswith("mean"):
            return logits[0]
        return torch.stack([torch.log_softmax(x, 1).exp() for x in logits]).mean(0).log()


def learning_rate(epoch, base, epochs, warmup_epochs, warmup_lr):
    """methods.md 6.5: constant warm-up, then a cosine whose period is the total number of epochs."""
    if epoch < warmup_epochs:
        return warmup_lr
    return base * 0.5 * (1 + math.cos(math.pi * (epoch - warmup_epochs) / epochs))


class Sgd:
    """PyTorch's SGD: g <- g + wd p; m <- momentum m + g (first step m = g); p <- p - lr m (methods.md 4.2)."""

    def __init__(self, momentum, weight_decay, factors):
        self.momentum, self.weight_decay, self.factors, self.buffers = momentum, weight_decay, factors, {}

    def update(self, t, grads, lr):
        for name, grad in grads.items():
            g = grad + self.weight_decay * t[name]
            self.buffers[name] = g if name not in self.buffers else self.momentum * self.buffers[name] + g
            t[name] = t[name] - lr * self.factors.get(name, 1.0) * self.buffers[name]
