"""Learns the classes of PHOTOS/train (a folder each), saves that, and names PICTURE."""
import argparse
import sys

import ammpl


def main(args):
    context = ammpl.Context()
    model = ammpl.Model(context, args.clip, context.find_device(args.backend, args.backend_dir))
    data = ammpl.Dataset.folder(context, args.photos, "train")
    prompt = ammpl.Prompt(model, "ammpl", data.class_names)
    session = ammpl.Session(model)
    session.train(prompt, data, lambda p: p.epoch_end and print(f"epoch {p.epoch + 1}/{p.epochs}: loss {p.epoch_loss:.4f}"))
    prompt.save("hello.safetensors", overwrite=True)
    probabilities = session.classify(prompt, [args.picture])[0]
    print(prompt.class_names[probabilities.argmax()])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("clip", help="folder of a CLIP")
    parser.add_argument("photos")
    parser.add_argument("picture")
    parser.add_argument("--backend", default="cpu", help="cuda: on a GPU")
    parser.add_argument("--backend-dir", help="where backends lie that are not installed")
    try:
        main(parser.parse_args())
    except ammpl.Error as e:
        sys.exit(f"hello.py: {e}")
