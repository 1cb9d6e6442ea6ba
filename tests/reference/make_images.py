"""Writes tests/golden/images/: small pictures of every kind the library reads, and images.safetensors with what must come
out of them. Run by hand (numpy, Pillow; checks itself against torchvision where that is installed):

    /usr/bin/python3 tests/reference/make_images.py

Tensors of images.safetensors, told by their names:
    rgb/FILE                                U8 [h, w, 3]   decoded; by Pillow, but 16-bit grey keeps its high byte
    resize/LEFT/TOP/W/H/OUT_W/OUT_H/FILE    U8 [OUT_H, OUT_W, 3]  crop, then Pillow's bicubic
    test/R/FILE                             F32 [3, R, R]  methods.md 3.2
    train/R/SEED/ID/STEP/FILE               F32 [3, R, R]  methods.md 3.3 with the draws of src/data/preprocess.c
    labels, shots/K/SEED                    I64            labels of a data set, ids of its few-shot picks
"""
import io
import json
import math
import os
import struct
import sys
import zlib

import numpy as np
from PIL import Image

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import philox

OUT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "golden", "images")
MEAN = np.array([0.48145466, 0.4578275, 0.40821073], np.float32)
STD = np.array([0.26862954, 0.26130258, 0.27577711], np.float32)
random = np.random.RandomState(20240501)
tensors = {}


def write_tensors(path):
    names = {np.dtype("<i8"): "I64", np.dtype("<f4"): "F32", np.dtype("u1"): "U8"}
    header, blob = {}, b""
    for name in sorted(tensors, key=lambda n: (-tensors[n].dtype.itemsize, n)):  # widest first: all aligned
        raw = tensors[name].tobytes()
        header[name] = {"dtype": names[tensors[name].dtype], "shape": list(tensors[name].shape),
                        "data_offsets": [len(blob), len(blob) + len(raw)]}
        blob += raw
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text + blob)


# --- PNG of every colour type and depth; Pillow writes few of them ----------------------------------------------------


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def pack(rows, depth):
    """Filter byte 0 and the samples of each row, `depth` bits each, most significant first."""
    out = b""
    for row in rows:
        if depth == 16:
            out += b"\0" + row.astype(">u2").tobytes()
        else:
            bits = "".join(format(int(v), f"0{depth}b") for v in row)
            bits += "0" * (-len(bits) % 8)
            out += b"\0" + bytes(int(bits[i:i + 8], 2) for i in range(0, len(bits), 8))
    return out


ADAM7 = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]


def png(samples, depth, color, interlace, extra=b""):
    """samples: [h, w, channels]."""
    h, w, channels = samples.shape
    if interlace:
        passes = [samples[y::dy, x::dx] for x, y, dx, dy in ADAM7]
    else:
        passes = [samples]
    raw = b"".join(pack(p.reshape(p.shape[0], -1), depth) for p in passes if p.shape[0] and p.shape[1])
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", w, h, depth, color, 0, 0, interlace)) + extra
            + chunk(b"IDAT", zlib.compress(raw, 9)) + chunk(b"IEND", b""))


def png_of_every_kind():
    names = {0: "grey", 2: "rgb", 3: "palette", 4: "greyalpha", 6: "rgba"}
    channels = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
    for color, depths in {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}.items():
        for depth in depths:
            for interlace in (0, 1):
                samples = random.randint(0, 2**depth, (11, 13, channels[color]))
                extra = b""
                if color == 3:
                    extra = chunk(b"PLTE", random.bytes(3 * 2**depth))
                    if interlace == 0:  # transparency of the first entries
                        extra += chunk(b"tRNS", random.bytes(2 ** (depth - 1)))
                elif color in (0, 2) and interlace == 0:  # one transparent colour, and a gamma to ignore
                    extra = chunk(b"gAMA", struct.pack(">I", 22727))
                    extra += chunk(b"tRNS", b"".join(struct.pack(">H", int(v)) for v in samples[0, 0]))
                add(f"{'adam7-' if interlace else ''}{names[color]}{depth}.png", png(samples, depth, color, interlace, extra),
                    samples >> 8 if color == 0 and depth == 16 else None)


# --- JPEG ---------------------------------------------------------------------------------------------------------------


def picture(h, w, channels=3):
    """Something like a photograph: smooth, with edges and a little noise; compresses."""
    y, x = np.mgrid[0:h, 0:w]
    out = []
    for c in range(channels):
        a, b, p = random.uniform(0.05, 0.4, 3)
        v = 120 + 70 * np.sin(a * x + 3 * p) * np.cos(b * y) + 50 * ((x * (c + 1) + 2 * y) // 9 % 2)
        out.append(v + random.randint(-2, 3, (h, w)) * 3)
    return np.clip(np.stack(out, -1), 0, 255).astype(np.uint8)


def jpeg(image, **options):
    data = io.BytesIO()
    image.save(data, "JPEG", **options)
    return data.getvalue()


def segments(data):
    """[marker and its bytes] up to the first scan, and the rest."""
    parts, at = [], 2
    while data[at + 1] != 0xDA:
        n = 2 + struct.unpack(">H", data[at + 2:at + 4])[0]
        parts.append(data[at:at + n])
        at += n
    return parts, data[at:]


def with_markers(data, drop, put=b""):
    parts, rest = segments(data)
    return data[:2] + put + b"".join(p for p in parts if p[1] != drop) + rest


def adobe(transform):
    return b"\xff\xee\0\x0eAdobe\0\x64\0\0\0\0" + bytes([transform])


def jpeg_of_every_kind():
    rgb = Image.fromarray(picture(23, 37))
    cmyk = Image.fromarray(picture(19, 21, 4), "CMYK")
    add("444.jpg", jpeg(rgb, quality=90, subsampling=0))
    add("422.jpg", jpeg(rgb, quality=85, subsampling=1))
    add("420.jpg", jpeg(rgb, quality=75, subsampling=2, optimize=True))
    add("progressive.jpg", jpeg(rgb, quality=80, progressive=True))
    add("grey.jpg", jpeg(rgb.convert("L"), quality=80))
    add("grey-progressive.jpg", jpeg(rgb.convert("L"), quality=80, progressive=True))
    exif = Image.Exif()
    exif[0x0112] = 6  # "turn right"
    add("exif.jpg", jpeg(rgb, quality=80, exif=exif.tobytes()))
    add("rgb-adobe.jpg", with_markers(jpeg(rgb, quality=90, subsampling=0), 0xE0, adobe(0)))
    add("cmyk.jpg", jpeg(cmyk, quality=90))
    add("cmyk-plain.jpg", with_markers(jpeg(cmyk, quality=90), 0xEE))  # without Adobe's marker: inverted all the same
    add("ycck.jpg", with_markers(jpeg(cmyk, quality=90), 0xEE, adobe(2)))
    add("one-pixel.jpg", jpeg(Image.fromarray(picture(1, 1)), quality=90))
    # A wrong byte inside the scan: a picture with a warning, as Pillow has it.
    damaged = bytearray(jpeg(rgb, quality=75))
    damaged[len(damaged) - 200] ^= 0x5A
    add("flipped.jpg", bytes(damaged))


# --- files and what comes out -----------------------------------------------------------------------------------------------


def add(name, data, expected=None):
    with open(os.path.join(OUT, name), "wb") as f:
        f.write(data)
    if expected is None:
        expected = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    else:
        expected = np.repeat(expected, 3, axis=2)
    tensors["rgb/" + name] = np.ascontiguousarray(expected, np.uint8)


def source(name, h, w):
    data = io.BytesIO()
    Image.fromarray(picture(h, w)).save(data, "PNG", optimize=True)
    add(name, data.getvalue())


def opened(name):
    return Image.fromarray(tensors["rgb/" + name])


def normalised(image):
    v = np.asarray(image, np.float32).transpose(2, 0, 1) / np.float32(255)
    return np.ascontiguousarray((v - MEAN[:, None, None]) / STD[:, None, None])


def test_transform(image, size):
    w, h = image.size
    short, long = min(w, h), max(w, h)
    longer = int(size * long / short)
    w, h = (size, longer) if w <= h else (longer, size)
    left, top = int(round((w - size) / 2.0)), int(round((h - size) / 2.0))
    result = normalised(image.resize((w, h), Image.BICUBIC).crop((left, top, left + size, top + size)))
    try:
        from torchvision import transforms as T
    except ImportError:
        return result
    official = T.Compose([T.Resize(size, interpolation=T.InterpolationMode.BICUBIC), T.CenterCrop((size, size)), T.ToTensor(),
                          T.Normalize(MEAN.tolist(), STD.tolist())])(image).numpy()
    assert np.array_equal(result, official), (image.size, size)
    return result


def random_crop(w, h, seed, image_id, step):
    """-> left, top, width, height."""
    def u(position):
        return philox.uniform(philox.draw(seed, philox.CROP, position, 0, image_id, step))

    for t in range(10):
        area = w * h * (0.08 + 0.92 * u(2 * t))
        ratio = math.exp((2 * u(2 * t + 1) - 1) * math.log(4 / 3))
        cw, ch = int(round(math.sqrt(area * ratio))), int(round(math.sqrt(area / ratio)))
        if 0 < cw <= w and 0 < ch <= h:
            top = min(h - ch, math.floor(u(100) * (h - ch + 1)))
            left = min(w - cw, math.floor(u(101) * (w - cw + 1)))
            return left, top, cw, ch
    cw, ch = w, h
    if w / h < 3 / 4:
        ch = int(round(w / (3 / 4)))
    elif w / h > 4 / 3:
        cw = int(round(h * (4 / 3)))
    return (w - cw) // 2, (h - ch) // 2, cw, ch


def train_transform(image, size, seed, image_id, step):
    left, top, w, h = random_crop(*image.size, seed, image_id, step)
    image = image.crop((left, top, left + w, top + h)).resize((size, size), Image.BICUBIC)
    if philox.uniform(philox.draw(seed, philox.FLIP, 0, 0, image_id, step)) < 0.5:
        image = image.transpose(Image.FLIP_LEFT_RIGHT)
    return normalised(image)


def transforms():
    source("large.png", 101, 150)
    source("small.png", 15, 20)
    source("tall.png", 203, 20)
    source("wide.png", 6, 301)
    source("square.png", 32, 32)
    for name, size in (("large.png", 32), ("small.png", 32), ("tall.png", 24), ("wide.png", 16), ("square.png", 32),
                       ("square.png", 21), ("large.png", 33), ("one-pixel.jpg", 8), ("adam7-palette8.png", 12),
                       ("420.jpg", 23), ("grey16.png", 12), ("ycck.jpg", 20)):
        tensors[f"test/{size}/{name}"] = test_transform(opened(name), size)
    for left, top, w, h, ow, oh, name in ((0, 0, 150, 101, 31, 47, "large.png"), (17, 5, 90, 33, 90, 12, "large.png"),
                                          (3, 2, 7, 11, 40, 11, "small.png"), (19, 14, 1, 1, 3, 5, "small.png"),
                                          (0, 100, 20, 103, 20, 103, "tall.png"), (100, 0, 201, 6, 5, 64, "wide.png")):
        out = opened(name).crop((left, top, left + w, top + h)).resize((ow, oh), Image.BICUBIC)
        tensors[f"resize/{left}/{top}/{w}/{h}/{ow}/{oh}/{name}"] = np.ascontiguousarray(out)
    # tall and wide: no try can fit, the centred fallback; elongated: some tries fit
    source("elongated.png", 60, 110)
    for size, seed, image_id, step, name in ((16, 1, 0, 0, "large.png"), (16, 1, 0, 1, "large.png"), (16, 1, 1, 0, "large.png"),
                                             (16, 2**63 + 12345, 4000000000, 77, "large.png"), (24, 7, 3, 9, "small.png"),
                                             (12, 1, 0, 0, "tall.png"), (12, 5, 6, 7, "wide.png"), (8, 1, 2, 3, "one-pixel.jpg"),
                                             (16, 3, 1, 4, "elongated.png"), (16, 3, 1, 5, "elongated.png"),
                                             (16, 3, 1, 6, "elongated.png"), (16, 3, 1, 7, "elongated.png")):
        tensors[f"train/{size}/{seed}/{image_id}/{step}/{name}"] = train_transform(opened(name), size, seed, image_id, step)


def few_shot():
    labels = random.randint(0, 4, 60)
    labels[labels == 3] = 1
    labels[[7, 41]] = 3  # a class of two
    tensors["labels"] = labels.astype("<i8")
    for shots, seed in ((1, 1), (2, 1), (4, 1), (4, 2**40 + 3)):
        tensors[f"shots/{shots}/{seed}"] = np.array(philox.few_shot([int(v) for v in labels], shots, seed), "<i8")


os.makedirs(OUT, exist_ok=True)
for old in os.listdir(OUT):
    os.remove(os.path.join(OUT, old))
png_of_every_kind()
jpeg_of_every_kind()
transforms()
few_shot()
write_tensors(os.path.join(OUT, "images.safetensors"))
total = sum(os.path.getsize(os.path.join(OUT, f)) for f in os.listdir(OUT))
print(f"{len(os.listdir(OUT))} files, {total} bytes, {len(tensors)} tensors")
