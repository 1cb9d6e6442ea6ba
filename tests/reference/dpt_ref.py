"""DPT (methods.md 5.10) in plain PyTorch: VPT in the lower blocks, CAVPT in the upper ones, the auxiliary loss, two phases."""
import math

import torch

from clip_ref import norm
from methods_ref import Method, cross_entropy

KEPT, QUERY = 10, 32  # cavpt.ctx tokens and the width of queries and keys: literals of the original


class Dpt(Method):
    def prepare(self):
        self.text = self.context()
        self.z = self.fixed()  # [C,d], normalised, frozen
        self.layers = self.clip.layers("visual.transformer.")
        self.b = self.number("bottom_limit") - 1  # blocks 0 .. b-1: VPT; b ..: CAVPT
        self.top_k = self.number("top_k")

    def shapes(self):
        clip, count = self.clip, self.layers - self.b
        w, c = clip.vision_width, len(self.classes)
        out = {"ctx": [self.text.m, clip.text_width], "visual_ctx": [self.b, self.number("n_ctx_vision"), w],
               "cavpt.ctx": [count, KEPT, w]}
        for j in range(count):
            out.update({f"cavpt.meta_nets.{j}.weight": [w, clip.width], f"cavpt.meta_nets.{j}.bias": [w],
                        f"cavpt.attns.{j}.qmlp.weight": [QUERY, w], f"cavpt.attns.{j}.kmlp.weight": [QUERY, w],
                        f"cavpt.attns.{j}.vmlp.weight": [w, w], f"cavpt.classifiers.{j}.weight": [c, w]})
            out.update({f"cavpt.{ln}.{j}.{part}": [w] for ln in ("lns", "lns2") for part in ("weight", "bias")})
        return out

    def select(self, plain):
        """Step 1: [B,K] classes, the K largest of s v0 Z' in descending order, ties in class order; v0 [B,d] normalised."""
        scores = self.clip.scale * plain @ self.z.T
        ranked = scores.sort(dim=1, descending=True, stable=True)
        gaps = ranked.values[:, :-1] - ranked.values[:, 1:]  # within the K and at their end
        if gaps[:, :self.top_k].numel():
            self.margins["selection"] = min(self.margins.get("selection", math.inf), gaps[:, :self.top_k].min().item())
        return ranked.indices[:, :self.top_k]

    @staticmethod
    def layer_norm(x, t, name):
        return torch.nn.functional.layer_norm(x, x.shape[-1:], t[name + ".weight"], t[name + ".bias"], 1e-5)

    def cavpt(self, t, j, x, chosen):
        """Step 5: tokens x [B,N,W], texts of the selected classes [B,K,d] -> prompts [B,K,W], auxiliary logits [B,K,C]."""
        query = chosen @ t[f"cavpt.meta_nets.{j}.weight"].T + t[f"cavpt.meta_nets.{j}.bias"]
        tokens = torch.cat([x.detach(), t["cavpt.ctx"][j].expand(len(x), -1, -1)], 1)
        q = query @ t[f"cavpt.attns.{j}.qmlp.weight"].T
        k = tokens @ t[f"cavpt.attns.{j}.kmlp.weight"].T
        seen = torch.softmax(q @ k.transpose(1, 2) / math.sqrt(QUERY), -1) @ tokens
        out = seen @ t[f"cavpt.attns.{j}.vmlp.weight"].T
        auxiliary = self.layer_norm(out, t, f"cavpt.lns.{j}") @ t[f"cavpt.classifiers.{j}.weight"].T
        return self.layer_norm(out + query, t, f"cavpt.lns2.{j}"), auxiliary

    def forward(self, t, images):
        """-> logits, logits1 (text only), logits2 (image only) [B,C], selected [B,K], auxiliary logits [T] x [B,K,C]."""
        clip = self.clip
        plain = norm(clip.encode_image(images))
        selected = self.select(plain)
        texts = self.text.encode(t["ctx"])
        x = clip.layer_norm(clip.embed_image(images), "visual.ln_pre")
        count, auxiliary = x.shape[1], []
        for i in range(self.layers):
            if i < self.b:
                prompts = t["visual_ctx"][i].expand(len(x), -1, -1)
            else:
                prompts, aux = self.cavpt(t, i - self.b, x, texts[selected])
                auxiliary.append(aux)
            block = f"visual.transformer.resblocks.{i}."
            x = clip.block(torch.cat([x, prompts], 1), block, clip.vision_heads, None)[:, :count]
        v = norm(clip.project_image(x))
        compare = [clip.scale * v @ norm(texts).T, clip.scale * plain @ norm(texts).T, clip.scale * v @ self.z.T]
        return *compare, selected, auxiliary

    def logits(self, t, images, where):
        return self.forward(t, images)[0]

    def loss(self, t, images, labels, where, guided):
        """guided: the first phase (epoch < guidance_epochs)."""
        logits, logits1, logits2, selected, auxiliary = self.forward(t, images)
        image, slot = (selected == labels[:, None]).nonzero(as_tuple=True)  # at most one slot per image
        rows = [aux[image, slot] for aux in auxiliary]
        hits = len(image) * len(auxiliary)
        parts = [cross_entropy(x, labels) for x in (logits, logits1, logits2)]
        loss = parts[1] + parts[2] + 0.1 * parts[0] if guided else parts[0]
        aux = torch.zeros((), dtype=self.clip.dtype)
        if hits:
            aux = cross_entropy(torch.cat(rows), labels[image].repeat(len(auxiliary)))
            loss = loss + float(self.options["aux_weight"]) * aux
        seen = {"logits0": logits, "text_logits0": logits1, "image_logits0": logits2, "selected0": selected,
                "aux_logits0": torch.stack(auxiliary), "parts0": torch.stack([*parts, aux]), "hits": hits}
        return loss, seen
