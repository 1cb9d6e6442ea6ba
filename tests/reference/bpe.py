"""CLIP's byte-pair tokenizer (methods.md 2) for the nano vocabulary; ASCII texts only, which is all the goldens use."""
import json
import os
import re

import numpy as np

PIECE = re.compile(r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[a-z]+|[0-9]|[^\sa-z0-9]+", re.IGNORECASE)


def byte_alphabet():
    """256 printable characters, one per byte, in vocabulary order: bytes 33-126, 161-172, 174-255, then the other 68."""
    shown = [*range(33, 127), *range(161, 173), *range(174, 256)]
    hidden = [b for b in range(256) if b not in shown]
    table = {b: chr(b) for b in shown}
    table.update({b: chr(256 + i) for i, b in enumerate(hidden)})
    return [(b, table[b]) for b in shown + hidden]


def vocabulary(merges):
    """CLIP's rule for the ids: alphabet, alphabet with </w>, one per merge, SOT, EOT."""
    chars = [c for _, c in byte_alphabet()]
    words = chars + [c + "</w>" for c in chars] + ["".join(m) for m in merges] + ["<|startoftext|>", "<|endoftext|>"]
    return {w: i for i, w in enumerate(words)}


class Bpe:
    def __init__(self, merges, length):
        self.ranks = {tuple(m): i for i, m in enumerate(merges)}
        self.ids, self.length = vocabulary(merges), length
        self.bytes = dict(byte_alphabet())
        self.sot, self.eot = self.ids["<|startoftext|>"], self.ids["<|endoftext|>"]

    def word(self, piece):
        """Merge every occurrence of the lowest-rank pair, left to right, until none is in the table."""
        symbols = [self.bytes[b] for b in piece.encode()]
        symbols[-1] += "</w>"
        while len(symbols) > 1:
            best = min(zip(symbols, symbols[1:]), key=lambda p: self.ranks.get(p, len(self.ranks)))
            if best not in self.ranks:
                break
            merged, i = [], 0
            while i < len(symbols):
                if tuple(symbols[i:i + 2]) == best:
                    merged.append(best[0] + best[1])
                    i += 2
                else:
                    merged.append(symbols[i])
                    i += 1
            symbols = merged
        return symbols

    def encode(self, text):
        assert text.isascii()
        text = re.sub(r"\s+", " ", text).strip().lower()
        ids = []
        for piece in PIECE.findall(text):
            ids += [self.ids[piece]] if piece in self.ids and piece.startswith("<|") else [self.ids[s] for s in self.word(piece)]
        return ids

    def tokenize(self, texts):
        """-> int64 [C, length]: SOT ids EOT 0 0 ..."""
        rows = np.zeros((len(texts), self.length), np.int64)
        for row, text in zip(rows, texts):
            ids = [self.sot, *self.encode(text), self.eot]
            assert len(ids) <= self.length, text
            row[:len(ids)] = ids
        return rows


def load(folder, length):
    with open(os.path.join(folder, "merges.txt"), encoding="utf-8") as f:
        lines = f.read().split("\n")
    merges = [tuple(line.split()) for line in lines[1:] if line.strip()]
    bpe = Bpe(merges, length)
    with open(os.path.join(folder, "vocab.json"), encoding="utf-8") as f:
        assert json.load(f) == bpe.ids
    return bpe
