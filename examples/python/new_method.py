"""KgCoOp, a method that libammpl does not have, through its towers.

KgCoOp ("Visual-Language Prompt Tuning with Knowledge-guided Context Optimization", CVPR 2023) is CoOp, whose learned context v
stands where hand-written words would, plus a pull of the class features towards those of the hand-written texts:

    w_i  = norm(Text([SOT | v_1 ... v_M | name_i . EOT]))
    loss = cross-entropy(s <x, w_i>) + weight * mean over i of |w_i - norm(Text("a photo of a name_i."))|^2      (weight = 8)

PHOTOS/train and PHOTOS/test have a folder for each class.  Options: n_ctx=4 weight=8 epochs=10 batch=8 lr=0.002 seed=1.
"""
import argparse
import sys

import numpy as np

import ammpl


def unit(x):
    return x / np.linalg.norm(x, axis=1, keepdims=True)


class KgCoOp:
    def __init__(self, model, class_names, n_ctx=4, words="a photo of a", template="a photo of a {}.", weight=8.0, seed=1):
        self.session, self.tape, self.weight = ammpl.Session(model), ammpl.Tape(model), weight
        names = [name.replace("_", " ") for name in class_names]
        # What stands behind the context, "name . EOT", padded to one length; and SOT, which stands before it.
        tails = [model.tokenize(f"{name}.") for name in names]
        self.length = np.array([len(ids) - 1 for ids in tails])
        padded = np.zeros((len(names), self.length.max()), np.int32)
        for row, ids in zip(padded, tails):
            row[:len(ids) - 1] = ids[1:]
        self.rows, self.sot = self.session.embed_tokens(padded), self.session.embed_tokens(tails[0][:1])
        start = self.session.embed_tokens(model.tokenize(words)[1:-1])
        noise = np.random.default_rng(seed).normal(0, 0.02, (n_ctx, start.shape[1]))
        self.ctx = (start if len(start) == n_ctx else noise).astype(np.float32)
        self.written = self.session.encode_texts([template.format(name) for name in names])  # [C, E], of length 1

    def class_features(self, record):
        prefix = np.concatenate([self.sot, self.ctx])
        self.tape.begin_text(self.rows, self.length, prefix, record=record)
        return self.tape.finish()

    def predict(self, x):
        """Logits of image features x [n, E]."""
        return self.session.similarity(x, self.class_features(ammpl.RECORD_NONE))

    def gradient(self, x, labels):
        """(the loss, its gradient for the context [M, l])"""
        z = self.class_features(ammpl.RECORD_ALL)
        loss, dlogits = self.session.cross_entropy(self.session.similarity(x, z), labels)
        _, dz = self.session.similarity_backward(x, z, dlogits)
        w = unit(z)
        pull = w - self.written
        dw = 2 * self.weight / len(w) * pull
        dz += (dw - w * (dw * w).sum(1, keepdims=True)) / np.linalg.norm(z, axis=1, keepdims=True)
        self.tape.backward(dz)
        return loss + self.weight * (pull ** 2).sum(1).mean(), self.tape.gradient(ammpl.GRADIENT_PREFIX)[1:]

    def train(self, x, labels, epochs=10, batch=8, lr=0.002, seed=1, progress=lambda epoch, loss: None):
        """SGD with momentum and the cosine schedule of CoOp's repository, without its warm-up."""
        momentum, order = np.zeros_like(self.ctx), np.random.default_rng(seed)
        for epoch in range(epochs):
            rate, losses = lr / 2 * (1 + np.cos(np.pi * epoch / epochs)), []
            shuffled = order.permutation(len(x))
            for i in range(0, len(x), batch):
                items = shuffled[i:i + batch]
                loss, gradient = self.gradient(x[items], labels[items])
                momentum = 0.9 * momentum + gradient + 5e-4 * self.ctx
                self.ctx = self.ctx - np.float32(rate) * momentum
                losses.append(loss)
            progress(epoch, np.mean(losses))


def features(session, data):
    """Image features [n, E] of a data set: the image tower learns nothing, so each picture is encoded once."""
    return np.concatenate([session.encode_images(session.model.preprocess([data.image(i)])) for i in range(len(data))])


def accuracy(logits, labels):
    return 100 * (logits.argmax(axis=1) == labels).mean()


def main(args):
    option = {"n_ctx": 4, "weight": 8.0, "epochs": 10, "batch": 8, "lr": 0.002, "seed": 1}
    for text in args.options:
        name, _, value = text.partition("=")
        if name not in option:
            raise ValueError(f"there is no option {name}; all are: {', '.join(option)}")
        option[name] = type(option[name])(value)
    context = ammpl.Context()
    model = ammpl.Model(context, args.clip, context.find_device(args.backend, args.backend_dir))
    train, test = (ammpl.Dataset.folder(context, args.photos, part) for part in ("train", "test"))
    method = KgCoOp(model, train.class_names, option["n_ctx"], weight=option["weight"], seed=option["seed"])
    x, held_out = features(method.session, train), features(method.session, test)
    zero_shot = method.session.similarity(held_out, method.written)
    print(f"zero-shot: {accuracy(zero_shot, test.labels):.1f} % of {len(test)} pictures")
    method.train(x, train.labels, option["epochs"], option["batch"], option["lr"], option["seed"],
                 lambda epoch, loss: print(f"epoch {epoch + 1}: loss {loss:.4f}"))
    print(f"KgCoOp:    {accuracy(method.predict(held_out), test.labels):.1f} %")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clip", help="folder of a CLIP")
    parser.add_argument("photos")
    parser.add_argument("options", nargs="*", metavar="NAME=VALUE")
    parser.add_argument("--backend", default="cpu", help="cuda: on a GPU")
    parser.add_argument("--backend-dir", help="where backends lie that are not installed")
    try:
        main(parser.parse_args())
    except (ammpl.Error, ValueError) as e:
        sys.exit(f"new_method.py: {e}")
