"""CLIP's tokenizer after methods.md 2 -> tests/golden/tokenizer.txt, tokenizer-merges.txt, tokenizer-vocab.json.

Run by hand: needs ../shared/data/clip-bpe and the PyPI package `regex`; with `ftfy` installed it also prints the texts on which
the whole of ftfy, as CLIP calls it, gives other ids than the part of it that the library does.  Nothing here comes from the C
sources: case, white space and NFC are Python's own, entities are html.unescape's, classes of characters are regex's.

tokenizer-merges.txt   header and the first 600 merges of CLIP's vocabulary: enough to run without ../shared
tokenizer-vocab.json   ids for those merges, in an order that CLIP's rule does not give
tokenizer-odd.txt      a line per vocabulary of random merges, some of which make the same string or repeat a pair:
                       [merges, [[text, ids], ...]]
tokenizer.txt          a line per text: [text, what cleaning makes of it, ids by tokenizer-merges.txt, ids by CLIP's vocabulary]
"""
import gzip
import html
import json
import os
import random
import unicodedata

import regex

try:
    import ftfy
except ImportError:
    ftfy = None

HERE = os.path.dirname(os.path.abspath(__file__))
GOLDEN = os.path.join(HERE, "..", "golden")
VOCABULARY = os.path.join(HERE, "..", "..", "..", "shared", "data", "clip-bpe", "bpe_simple_vocab_16e6.txt.gz")
MINI_MERGES = 600
SPECIALS = ("<|startoftext|>", "<|endoftext|>")
PIECE = regex.compile(r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|\p{L}+|\p{N}|[^\s\p{L}\p{N}]+", regex.IGNORECASE)

LIGATURES = {
    "\u0132": "IJ", "\u0133": "ij", "\u0149": "\u02bcn", "\u01f1": "DZ", "\u01f2": "Dz", "\u01f3": "dz",
    "\u01c4": "D\u017d", "\u01c5": "D\u017e", "\u01c6": "d\u017e", "\u01c7": "LJ", "\u01c8": "Lj", "\u01c9": "lj",
    "\u01ca": "NJ", "\u01cb": "Nj", "\u01cc": "nj", "\ufb00": "ff", "\ufb01": "fi", "\ufb02": "fl", "\ufb03": "ffi",
    "\ufb04": "ffl", "\ufb05": "\u017ft", "\ufb06": "st"}
WIDTHS = {"\u3000": " ", **{chr(c): unicodedata.normalize("NFKC", chr(c)) for c in range(0xff01, 0xfff0)}}
QUOTES = {**dict.fromkeys("\u02bc\u2018\u2019\u201a\u201b", "'"), **dict.fromkeys("\u201c\u201d\u201e\u201f", '"')}


def fix(text):
    """The part of ftfy.fix_text that the library does."""
    for table in (LIGATURES, WIDTHS, QUOTES):
        text = text.translate(str.maketrans(table))
    return unicodedata.normalize("NFC", text)


def clean(text, fixer=fix):
    text = html.unescape(html.unescape(fixer(text))).strip()
    return regex.sub(r"\s+", " ", text).strip().lower()


class Bpe:
    def __init__(self, merges):
        shown = [*range(33, 127), *range(161, 173), *range(174, 256)]
        hidden = [b for b in range(256) if b not in shown]
        self.bytes = {**{b: chr(b) for b in shown}, **{b: chr(256 + i) for i, b in enumerate(hidden)}}
        alphabet = [self.bytes[b] for b in shown + hidden]
        words = alphabet + [c + "</w>" for c in alphabet] + [a + b for a, b in merges] + list(SPECIALS)
        self.ids = {w: i for i, w in enumerate(words)}
        self.ranks = {pair: i for i, pair in enumerate(merges)}

    def merge(self, piece):
        symbols = [self.bytes[b] for b in piece.encode()]
        symbols[-1] += "</w>"
        while len(symbols) > 1:
            best = min(zip(symbols, symbols[1:]), key=lambda pair: self.ranks.get(pair, float("inf")))
            if best not in self.ranks:
                break
            i, merged = 0, []
            while i < len(symbols):
                n = 2 if tuple(symbols[i:i + 2]) == best else 1
                merged.append("".join(symbols[i:i + n]))
                i += n
            symbols = merged
        return symbols

    def encode(self, cleaned):
        ids = []
        for piece in PIECE.findall(cleaned):
            ids += [self.ids[s] for s in ([piece] if piece in SPECIALS else self.merge(piece))]
        return ids


# One text between bars; the broken bar stands for the bar itself.
TEXTS = """a photo of a|X|a photo of a dog.|a centered satellite photo of Annual Crop Land.|banded texture.
a photo of a person doing Apply Eye Makeup.|a photo of a 707-320, a type of aircraft.|a photo of apple pie, a type of food.
a photo of a american bulldog, a type of pet.|a photo of a pink primrose, a type of flower.|This is a photo of a aquarium fish
it's <¦endoftext¦> &amp;amp; ok|St. Bernard!.|the internationalization of antidisestablishmentarianism|3.14159 x 10^23
DON'T stop|we're they've I'm you'll he'd it's can't|WE'RE THEY'VE I'M YOU'LL HE'D IT'S CAN'T|'s't're've'm'll'd|'S'T'RE'VE'M'LL'D
'r 'v 'l 'rex 'vet 'sand 'tin|rock'n'roll|o'clock|'|''|'''s|!'s|a's b'|x'\u017f|x'\u017ftart|'\u017f's|'\u212a|'\u017f\u0301
<¦startoftext¦>|<¦endoftext¦>|<¦STARTOFTEXT¦>|a<¦endoftext¦>b|<<¦endoftext¦>
!<¦endoftext¦>|<¦endoftext¦><¦startoftext¦>|<¦endoftext|<¦endoftext¦|<¦\u017ftartoftext¦>
<¦\u017ftarto\u017ftext¦>|< ¦endoftext¦>|<¦pad¦>|&lt;¦endoftext&#124;&gt;|<\uff5cendoftext\uff5c>
| |  a  |\\ta\\nb\\r\\nc\\vd\\fe|a\u00a0b|a\u1680b|a\u2000b\u2001c\u2002d\u2003e\u2004f\u2005g\u2006h\u2007i\u2008j\u2009k\u200al
a\u2028b\u2029c\u202fd\u205fe\u3000f|a\u0085b|a\u200bb|a\u2060b|\u180ea|\ufeffa|a\u001cb|\u001ca\u001f|\u001d\u001e|a \u001c b|a\u0007b\u007fc
\u00a0\u2003|&nbsp;a&nbsp;|a&NewLine;b&Tab;c|a\u001f |\u001f \u001f
na\u00efve caf\u00e9|nai\u0308ve cafe\u0301|\u00c5ngstr\u00f6m A\u030angstro\u0308m|\u212bngstr\u00f6m|\u00dcBERGR\u00d6SSE|Stra\u00dfe STRA\u1e9eE
\u1e69 \u1e61\u0323 s\u0323\u0307 s\u0307\u0323|q\u0307\u0323|e\u0301\u0301\u0300|\u0301a|\u0344 \u0958 \u2adc|\u1100\u1161\u11a8 \uac00\u11a8 \uac00\u11a7 \u1100\u1161\u11a7\u11a8|x\u0345y \u0345 !\u0345?
\ud55c\uad6d\uc5b4 \uac15\uc544\uc9c0|\u4e00\u53ea\u72d7\u7684\u7167\u7247|\u732b\u306e\u5199\u771f|\u30cd\u30b3|\uff88\uff7a\uff76\uff9e\uff8a\uff9f
\uffa1\uffc2\uffa4|\u05db\u05dc\u05d1|\u0643\u0644\u0628|\u0939\u093f\u0928\u094d\u0926\u0940|\u0e2a\u0e38\u0e19\u0e31\u0e02|\u0421\u043e\u0431\u0430\u043a\u0430
\u10db\u10d0\u10e6\u10da\u10d8 \u1c9b\u1c90|\u13a0\u13e3 \uab70|\ua64a\u1c88|\U00010400\U00010428|\U00020000\U0002a6d6|\uf900\ufa0e|\U0002f800
\u0660\u0661 \u0967\u0968 \uff11\uff12|\u00b2\u00b3\u00b9\u00bd \u2460\u2461|\u2160\u2161\u2170|\u3007\u3021 \u3220|\U0001d7d8\U0001d7d9|12 345,678.90|1st 2nd|4x4
\U0001f600|\U0001f468\u200d\U0001f469\u200d\U0001f467|\U0001f1e9\U0001f1ea|\u2764\ufe0f|dog\U0001f415cat|\U0001f44d\U0001f3fd!|\u2603 \u2602|\U0001d49c\U0001d4b7
\u00ac \u00a7\u00b6 \u20ac\u00a3\u00a5|\u2014\u2013\u2026|*** --- ===|...|a.b.c|e-mail@example.com|http://a.b/c?d=e&f=g|#hashtag @user|C++ C#|a/b\\c|_under_score_|(a)[b]{c}
\u2018a\u2019 \u201cb\u201d \u201ac\u201b \u201ed\u201f|dog\u2019s|DOG\u02bcS|\u2032\u2033 \u00ab\u00bb \u2039\u203a|`a\u00b4|\uff07s \uff02|dog\uff07s|dog&rsquo;s
\ufb00\ufb01\ufb02\ufb03\ufb04\ufb05\ufb06|e\ufb03cient \ufb01sh|\u0132SSEL \u0133s|\u0149|\u01c4\u01c5\u01c6\u01c7\u01c8\u01c9\u01ca\u01cb\u01cc\u01f1\u01f2\u01f3|&filig;&fjlig;|\u00c6\u00e6\u0152\u0153
\uff21 \uff50\uff48\uff4f\uff54\uff4f|\uff01\uff03\uff04|\uff5f\uff60|\uffe0\uffe1\uffe2\uffe3\uffe4\uffe5\uffe6|\uffe8\uffec\uffed|\uff1a\uff1b|\u3001\u3002\u300c\u300d
\u03a3|\u03a3\u03a3|A\u03a3|a\u03a3b|\u039f\u0394\u039f\u03a3|\u039f\u0394\u039f\u03a3 \u039f\u0394\u039f\u03a3|A\u03a3.|A.\u03a3|A.\u03a3.B|A\u0301\u03a3\u0301|A\u0301\u03a3\u0301B|1\u03a3|A1\u03a3
A:\u03a3:|A-\u03a3|A\u03a3-B|A\u03a3'B|A\u03a3\u00adB|A\u03a3\u02b0|\u02b0\u03a3|A\u02b0\u03a3|\u2160\u03a3|A\u03a3\u2160|\u24b6\u03a3|\u00aa\u03a3|A\u03a3\u00ba|\U0001f130\u03a3|\u01c5\u03a3|\u4e00\u03a3
A\u03a3\u2024B|A\u03a3\u00b7|\u03a3\u03c3\u03c2|A\u03a3 B|A\u200b\u03a3|A\u03a3\U0001f3fd|A^\u03a3|A\u0387\u03a3|A&#x2019;\u03a3&#x2019;B
I\u0130i\u0131|\u0130STANBUL|\u0130\u0307|I\u0307|\u0130&#x3a3;|DI\u0308YARBAKIR|\u212aelvin \u2126|\u1e9e\u0587\u1f88\u1fbc|\u2c2e\ua7ae\u0220|\u0345A\u0345|\u03b1\u0345 \u0391\u0345
&amp;|&amp|&lt;b&gt;|&ltb|&AMP;&AMP|&amp;amp;|&amp;amp;amp;|&amp;lt;|&#38;amp;|&copy;&COPY&reg|&notit;|&notin;|&not|&notinx|&no;|&n|&|&&|&;|&#|&#;|&#x;|&#X|& amp;|&amp amp;
&eacute;&Eacute;&eacut|&NotEqualTilde;&nLt;&nGg;|&CounterClockwiseContourIntegral;|&CounterClockwiseContourIntegralx;|&CounterClockwiseContourIntegral|&ampamp;|&frac12x|&sup2&sup3;
&unknown;|&unknown|&aacuteamp;|&aacute&amp;x|&lt&lt;&ltlt|&a<b|&gt\u00e9|&gt\u4e00;|&ampabcdefghijklmnopqrstuvwxyzabcdefghij;|&prod;&prodx|&thinsp;a&ensp;b|&zwj;|&shy;|&hearts;
&#65;&#x42;&#X43;&#x44&#69|&#065 x|&#0;|&#x0|&#1;a|&#8;|&#9;a|&#10;b|&#11;c|&#13;d|&#x1F;|&#127;|&#128;&#x80;|&#129;|&#130;&#131;&#132;&#133;|&#150;&#151;|&#153;|&#159;|&#160;a
&#55296;|&#xD800;|&#xDFFF;|&#xE000;|&#1114111;|&#x10FFFF;|&#1114112;|&#99999999999999999999;|&#xFFFFFFFFFFFFFFFF;|&#xFDD0;a|&#xFFFE;|&#x1FFFF;|&#x1F600;|&#65a|&#x41g|&#\u0661;|&#-1;
&#x26;lt;|&#38;#65;|&amp;#38;#65;|&#x26;amp;lt;|&#115;&#39;&#115;|&#x391;&#x3a3;|e&#x301;|&#xFB01;|&#x2019;s|&#xFF21;|&lsquo;q&rsquo;|&ldquo;q&rdquo;|&NBSP;|&Uuml;&uuml;&UUML;|a&#173;b
a|ab|aaa|aaaa|aaaaaaaaaaaaaaaaaaaaaaa|ababababab|the the the|thethethe|banana bandana|mississippi|hahahahahaha|lololol|sssssssss|zzzzzzzz|ooooooooooooo|WWW|wwwwww.wwwww|!!!!!!|........|-------""".replace("\n", "|").split("|")


def texts():
    for text in TEXTS:
        text = text.replace("\\t", "\t").replace("\\n", "\n").replace("\\r", "\r").replace("\\v", "\v").replace("\\f", "\f")
        yield text.replace("¦", "|")
    draw = random.Random(20240611)
    scripts = [range(0x20, 0x7f), range(0xa1, 0x250), range(0x370, 0x3ff), range(0x400, 0x530), range(0x1e00, 0x1f00),
               range(0x1f00, 0x1fc5), range(0x2000, 0x2070), range(0x300, 0x345), range(0x3041, 0x3097), range(0x4e00, 0x4e80),
               range(0xac00, 0xad00), range(0xff01, 0xffbf), range(0x1f600, 0x1f640), range(0x2150, 0x2180), [0x3a3, 0x41, 0x2e],
               [ord(c) for c in "'’sSſtTrevmlLdD &#;<|>"], [ord(c) for c in "aeiounsthr "]]
    for _ in range(160):
        some = draw.sample(scripts, 3)
        text = "".join(chr(draw.choice(draw.choice(some))) for _ in range(draw.randint(3, 24)))
        yield "".join(c for c in text if unicodedata.category(c) != "Cn")
    words = "dog cat &amp; &eacute; 's 're 42 <|endoftext|> photo OF The ﬁre ΣΑΣ İ café 犬 🐕 -- , . ! &#x27;s &amp;lt; \u3000 \xa0".split(" ")
    for _ in range(80):
        yield draw.choice(["", " "]).join(draw.choice(words) for _ in range(draw.randint(2, 12)))


def odd_merges(draw):
    merges = []
    for _ in range(40):
        inner = [*"abc", *("".join(m) for m in merges if not m[1].endswith("</w>"))]
        outer = [c + "</w>" for c in "abc"] + ["".join(m) for m in merges if m[1].endswith("</w>")]
        merges.append((draw.choice(inner[:9]), draw.choice(inner[:9] * 3 + outer[:9])))
    return merges


def odd_vocabularies(f):
    draw = random.Random(20240612)
    # "a bc" brings forth "abc a", of lower rank, while it still has occurrences to merge
    tricky = [("b", "c"), ("a", "b"), ("ab", "c"), ("abc", "a"), ("a", "bc")]
    for merges in (tricky, *(odd_merges(draw) for _ in range(6))):
        bpe = Bpe(merges)
        texts = ["abcabcc", *("".join(draw.choice("abc") for _ in range(draw.randint(1, 20))) for _ in range(60))]
        f.write(json.dumps([[" ".join(m) for m in merges], [[text, bpe.encode(text)] for text in texts]]) + "\n")


def main():
    with gzip.open(VOCABULARY, "rt", encoding="utf-8", newline="\n") as f:
        lines = f.read().split("\n")
    merges = [tuple(line.split()) for line in lines[1:49152 - 256 - 2 + 1]]
    real, mini = Bpe(merges), Bpe(merges[:MINI_MERGES])
    with open(os.path.join(GOLDEN, "tokenizer-merges.txt"), "w", encoding="utf-8") as f:
        f.write("\n".join(lines[:MINI_MERGES + 1]) + "\n")
    with open(os.path.join(GOLDEN, "tokenizer-vocab.json"), "w", encoding="utf-8") as f:
        assert len(mini.ids) == MINI_MERGES + 514
        json.dump({w: (7 * i + 3) % len(mini.ids) for w, i in mini.ids.items()}, f)
        f.write("\n")
    with open(os.path.join(GOLDEN, "tokenizer-odd.txt"), "w", encoding="utf-8") as f:
        odd_vocabularies(f)
    count = 0
    with open(os.path.join(GOLDEN, "tokenizer.txt"), "w", encoding="utf-8") as f:
        for text in dict.fromkeys(texts()):
            cleaned = clean(text)
            f.write(json.dumps([text, cleaned, mini.encode(cleaned), real.encode(cleaned)]) + "\n")
            count += 1
            if ftfy and real.encode(clean(text, ftfy.fix_text)) != real.encode(cleaned):
                print("with all of ftfy", ascii(text), "is", ascii(clean(text, ftfy.fix_text)), "not", ascii(cleaned))
    print(count, "texts")


if __name__ == "__main__":
    main()
