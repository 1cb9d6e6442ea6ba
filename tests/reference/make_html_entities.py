"""HTML 5's named character references, from Python's html.entities -> src/data/html_entities.c."""
import os
from html.entities import html5

OUT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "src", "data", "html_entities.c")
WIDTH = 120


def main():
    names = sorted(name[:-1] for name in html5 if name.endswith(";"))
    bare = {name for name in html5 if not name.endswith(";")}
    assert len(names) + len(bare) == len(html5) and all(html5[name] == html5[name + ";"] for name in bare)
    rows = []
    for name in names:
        first, second = (*map(ord, html5[name + ";"]), 0)[:2]
        assert len(name) < 32 and first < 0x110000 and second < 0x10000
        rows.append(f'{{"{name}", 0x{first:x}, {hex(second) if second else 0}, {int(name in bare)}}},')
    lines, line = [], "   "
    for row in rows:
        if len(line) + 1 + len(row) > WIDTH:
            lines.append(line)
            line = "   "
        line += " " + row
    lines.append(line)
    with open(OUT, "w", encoding="ascii") as f:
        f.write("/* html_entities.c - HTML 5's named character references: name, code points, whether the semicolon may be missing.\n"
                " * Made by tests/reference/make_html_entities.py; change that, not this. */\n"
                '#include "data/text.h"\n\n'
                "/* clang-format off */\n"
                "const ammpli_html_entity ammpli_html_entities[] = {\n" + "\n".join(lines) + "\n};\n"
                "/* clang-format on */\n"
                "const size_t ammpli_html_entity_count = sizeof ammpli_html_entities / sizeof *ammpli_html_entities;\n")


if __name__ == "__main__":
    main()
