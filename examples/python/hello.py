"""hello.py CLIP_FOLDER PHOTOS PICTURE: learns the classes of PHOTOS (a folder each), saves that, and names PICTURE."""
import sys

import ammpl


def main(clip, photos, picture):
    context = ammpl.Context()
    model = ammpl.Model(context, clip)
    data = ammpl.Dataset.folder(context, photos, "train")
    prompt = ammpl.Prompt(model, "ammpl", data.class_names)
    session = ammpl.Session(model)
    session.train(prompt, data, lambda p: p.epoch_end and print(f"epoch {p.epoch + 1}/{p.epochs}: loss {p.epoch_loss:.4f}"))
    prompt.save("hello.safetensors", overwrite=True)
    probabilities = session.classify(prompt, [picture])[0]
    print(prompt.class_names[probabilities.argmax()])


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    try:
        main(*sys.argv[1:])
    except ammpl.Error as e:
        sys.exit(f"hello.py: {e}")
