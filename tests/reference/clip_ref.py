"""CLIP's two towers, written plainly (methods.md 1.2, 1.3, 1.5), from safetensors weights with OpenAI names.

No shortcut of any kind: the text runs at its full length, every image is a real pixel image. float64 by default, so what it
returns is the true value to which float32 programs are compared.
"""
import json
import math
import os

import torch

import st


def norm(x):
    """L2 normalisation along the last axis, no epsilon (methods.md 0)."""
    return x / x.pow(2).sum(-1, keepdim=True).sqrt()


def quick_gelu(x):
    return x * torch.sigmoid(1.702 * x)


def gelu(x):
    return 0.5 * x * (1.0 + torch.erf(x / math.sqrt(2.0)))


class Clip:
    def __init__(self, weights, vision_heads, text_heads, eps=1e-5, activation="quick_gelu", dtype=torch.float64):
        """weights: {OpenAI name: numpy array}, used at their stored (rounded) values."""
        self.weights, self.dtype, self.eps = weights, dtype, eps
        self.converted = {}
        self.vision_heads, self.text_heads = vision_heads, text_heads
        self.activation = {"quick_gelu": quick_gelu, "gelu": gelu}[activation]
        self.scale = self.w("logit_scale").exp()  # s = 1/tau
        self.patch = weights["visual.conv1.weight"].shape[-1]
        self.vision_width = weights["visual.conv1.weight"].shape[0]
        self.grid = round(math.sqrt(weights["visual.positional_embedding"].shape[0] - 1))
        self.length, self.text_width = weights["positional_embedding"].shape
        self.width = weights["text_projection"].shape[1]

    def w(self, name):
        """The weight in the computing type; small ones are kept, large models are converted at every use."""
        if name not in self.converted:
            value = torch.from_numpy(self.weights[name]).to(self.dtype)
            if value.numel() > 100_000:
                return value
            self.converted[name] = value
        return self.converted[name]

    def layers(self, prefix):
        return len({n[len(prefix):].split(".")[1] for n in self.weights if n.startswith(prefix + "resblocks.")})

    def layer_norm(self, x, name):
        mean = x.mean(-1, keepdim=True)
        var = (x - mean).pow(2).mean(-1, keepdim=True)
        return (x - mean) / (var + self.eps).sqrt() * self.w(name + ".weight") + self.w(name + ".bias")

    def linear(self, x, name):
        return x @ self.w(name + ".weight").T + self.w(name + ".bias")

    def attention(self, x, name, heads, mask):
        """softmax(q k' / sqrt(width of a head) + mask) v, heads concatenated, out_proj."""
        rows, length, width = x.shape
        qkv = x @ self.w(name + ".in_proj_weight").T + self.w(name + ".in_proj_bias")
        q, k, v = (t.reshape(rows, length, heads, width // heads).transpose(1, 2) for t in qkv.split(width, dim=-1))
        scores = q @ k.transpose(-1, -2) / math.sqrt(width // heads)
        if mask is not None:
            scores = scores + mask
        out = torch.softmax(scores, -1) @ v
        return self.linear(out.transpose(1, 2).reshape(rows, length, width), name + ".out_proj")

    def block(self, x, block, heads, mask):
        """One residual attention block; `block` is its name with a full stop at the end (methods.md 1.2)."""
        x = x + self.attention(self.layer_norm(x, block + "ln_1"), block + "attn", heads, mask)
        hidden = self.activation(self.linear(self.layer_norm(x, block + "ln_2"), block + "mlp.c_fc"))
        return x + self.linear(hidden, block + "mlp.c_proj")

    def transformer(self, x, prefix, heads, mask):
        for i in range(self.layers(prefix)):
            x = self.block(x, f"{prefix}resblocks.{i}.", heads, mask)
        return x

    def embed_image(self, images):
        """[B,3,R,R] normalised pixels -> [B,N,W]: CLS and patches with positions, before ln_pre (methods.md 1.3)."""
        batch, q, g = images.shape[0], self.patch, self.grid
        # the strided convolution without bias, as one product per patch: vectors in (channel, y, x) order
        patches = images.reshape(batch, 3, g, q, g, q).permute(0, 2, 4, 1, 3, 5).reshape(batch, g * g, 3 * q * q)
        tokens = patches @ self.w("visual.conv1.weight").reshape(self.vision_width, -1).T
        cls = self.w("visual.class_embedding").expand(batch, 1, -1)
        return torch.cat([cls, tokens], 1) + self.w("visual.positional_embedding")

    def project_image(self, x):
        """Tokens after the last block [B,*,W] -> [B,d]: only CLS, which stands first, counts."""
        return self.layer_norm(x[:, 0], "visual.ln_post") @ self.w("visual.proj")

    def encode_image(self, images):
        """[B,3,R,R] normalised pixels -> [B,d], not normalised (methods.md 1.3)."""
        x = self.layer_norm(self.embed_image(images), "visual.ln_pre")
        return self.project_image(self.transformer(x, "visual.transformer.", self.vision_heads, None))

    def embed(self, tokens):
        """[C,L] ids -> [C,L,l] token embeddings, without positions."""
        return self.w("token_embedding.weight")[tokens]

    def causal(self, length):
        return torch.full((length, length), -math.inf, dtype=self.dtype).triu(1)

    def project_text(self, x, tokens):
        """Tokens after the last block [C,L,l] -> [C,d]: ln_final, the EOT row, projection."""
        x = self.layer_norm(x, "ln_final")
        eot = tokens.argmax(-1)  # the largest id, first maximum
        return x[torch.arange(x.shape[0]), eot] @ self.w("text_projection")

    def encode_text(self, embeddings, tokens):
        """Embeddings [C,L,l] (context tokens already put in), ids [C,L] only for the EOT row -> [C,d] (methods.md 1.5)."""
        length = embeddings.shape[1]
        x = embeddings + self.w("positional_embedding")[:length]
        return self.project_text(self.transformer(x, "transformer.", self.text_heads, self.causal(length)), tokens)

    def probe(self, sot, eot):
        """contract.md, prompt files: 16 numbers that tell one CLIP from another."""
        tokens = torch.zeros(1, self.length, dtype=torch.long)
        tokens[0, :2] = torch.tensor([sot, eot])
        text = norm(self.encode_text(self.embed(tokens), tokens))[0, :8]
        cls = self.layer_norm(self.w("visual.class_embedding"), "visual.ln_post") @ self.w("visual.proj")
        return torch.cat([text, norm(cls)[:8]])


def load(folder, activation=None, dtype=torch.float64):
    """A folder with model.safetensors (OpenAI names) and open_clip_config.json."""
    weights, _ = st.read(os.path.join(folder, "model.safetensors"))
    with open(os.path.join(folder, "open_clip_config.json")) as f:
        config = json.load(f)["model_cfg"]
    if activation is None:
        activation = "quick_gelu" if config.get("quick_gelu") else "gelu"
    vision, text = config["vision_cfg"], config["text_cfg"]
    eps = text.get("norm_kwargs", {}).get("eps", 1e-5)
    return Clip(weights, vision["width"] // vision["head_width"], text["heads"], eps, activation, dtype)
