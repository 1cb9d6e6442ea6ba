"""Writes golden/gif/NAME.gif and NAME.png: small GIFs and what Pillow's convert("RGB") makes of their first picture.

Made with Pillow 13.0 (pip install pillow).  Pictures smaller than their screen, beyond it, interlaced, with a palette of their own,
transparent, of several frames: written here byte by byte, since Pillow writes plain ones only.
"""
import pathlib
import random
import struct

from PIL import Image

FOLDER = pathlib.Path(__file__).parent / "../golden/gif"


def lzw(pixels, bits):
    """Codes of growing width, the table cleared when it is full: the ordinary encoder."""
    clear, out = 1 << bits, []
    table, size = {(i,): i for i in range(clear)}, bits + 1
    out.append((clear, size))
    word = ()
    for p in pixels:
        if word + (p,) in table:
            word += (p,)
            continue
        out.append((table[word], size))
        table[word + (p,)] = len(table) + 2
        if len(table) + 2 > 1 << size and size < 12:
            size += 1
        elif len(table) + 2 > 4095:
            out.append((clear, size))
            table, size = {(i,): i for i in range(clear)}, bits + 1
        word = (p,)
    out += [(table[word], size), (clear + 1, size)]
    bits_held, held, data = 0, 0, bytearray()
    for code, n in out:
        held |= code << bits_held
        bits_held += n
        while bits_held >= 8:
            data.append(held & 255)
            held >>= 8
            bits_held -= 8
    return bytes(data) + (bytes([held & 255]) if bits_held else b"")


def blocks(data):
    return b"".join(bytes([len(data[i:i + 255])]) + data[i:i + 255] for i in range(0, len(data), 255)) + b"\0"


def palette(bits, seed):
    return random.Random(seed).randbytes(3 << bits)


def frame(bits, place, size, pixels, transparent=None, own=None, interlaced=False, comment=False):
    out = b"\x21\xfe" + blocks(b"a comment of some length") if comment else b""
    if transparent is not None:
        out += b"\x21\xf9\x04" + struct.pack("<BHB", 1, 7, transparent) + b"\0"
    out += b"\x2c" + struct.pack("<HHHHB", *place, *size, (0x80 | (bits - 1) if own else 0) | (0x40 if interlaced else 0))
    if own:
        out += own
    rows = [pixels[y * size[0]:(y + 1) * size[0]] for y in range(size[1])]
    if interlaced:
        rows = [rows[y] for first, step in ((0, 8), (4, 8), (2, 4), (1, 2)) for y in range(first, size[1], step)]
    return out + bytes([max(bits, 2)]) + blocks(lzw([p for row in rows for p in row], max(bits, 2)))


def gif(bits, screen, frames, shared=True):
    return (b"GIF89a" + struct.pack("<HHBBB", *screen, (0x80 if shared else 0) | (bits - 1), 1, 0)
            + (palette(bits, "shared") if shared else b"") + b"".join(frames) + b";")


def noise(n, bits, seed):
    rng = random.Random(seed)
    return [rng.randrange(1 << bits) if rng.random() < 0.3 else i // 40 % (1 << bits) for i in range(n)]


def main():
    files = {
        "plain": gif(8, (61, 47), [frame(8, (0, 0), (61, 47), noise(61 * 47, 8, 1))]),
        "large": gif(6, (203, 151), [frame(6, (0, 0), (203, 151), noise(203 * 151, 6, 2), comment=True)]),
        "two-colours": gif(1, (9, 7), [frame(1, (0, 0), (9, 7), noise(63, 1, 3))]),
        "interlaced": gif(4, (23, 37), [frame(4, (0, 0), (23, 37), noise(23 * 37, 4, 4), interlaced=True)]),
        "own-palette": gif(3, (20, 11), [frame(3, (0, 0), (20, 11), noise(220, 3, 5), own=palette(3, "own"))], shared=False),
        "inside": gif(4, (30, 20), [frame(4, (5, 3), (17, 12), noise(204, 4, 6))]),
        "inside-transparent": gif(4, (30, 20), [frame(4, (5, 3), (17, 12), noise(204, 4, 7), transparent=9)]),
        "beyond": gif(4, (10, 10), [frame(4, (5, 3), (17, 12), noise(204, 4, 8), own=palette(4, "own"))]),
        "animated": gif(4, (12, 13), [frame(4, (0, 0), (12, 13), noise(156, 4, 9)), frame(4, (0, 0), (12, 13), noise(156, 4, 10))]),
    }
    FOLDER.mkdir(exist_ok=True)
    for name, data in files.items():
        (FOLDER / f"{name}.gif").write_bytes(data)
        Image.open(FOLDER / f"{name}.gif").convert("RGB").save(FOLDER / f"{name}.png")


main()
