"""Reads ammpl.h, for what speaks to the library in other languages.

    header.py rust HEADER            the raw declarations: examples/rust/src/sys.rs is this, committed; tests/ffi/rust.sh compares
    header.py layout-c HEADER        a C program that prints constants, and sizes and offsets of structs, one a line
    header.py layout-rust HEADER     a Rust program that prints the same from sys.rs

The header's own rules (CONTRIBUTING.md, tests/lint/thread_tags.sh) make this simple: fixed-width types, opaque handles, structs
by pointer, no macros that declare anything.
"""
import re
import sys


class Header:
    """handles: names; types: {name: target}; callbacks: {name: (result, [argument types])}; constants: [(name, value)];
    structs: {name: [(member, type, array length or 0)]}; functions: {name: (result, [(argument, type)])}.
    A type is C's without the name: "const float *"; a pointer to a function is a tuple (result, [types])."""

    def __init__(self, path):
        with open(path, encoding="utf-8") as file:
            text = file.read()
        text = re.sub(r"/\*.*?\*/", " ", text, flags=re.S)
        text = re.sub(r"^ *#.*$", " ", text, flags=re.M)
        text = re.sub(r'extern "C" \{', " ", text)
        self.handles, self.types, self.callbacks, self.constants = [], {}, {}, []
        self.structs, self.functions = {}, {}
        for statement in self.statements(re.sub(r"\s+", " ", text)):
            self.read(statement)

    @staticmethod
    def statements(text):
        depth, begin = 0, 0
        for i, c in enumerate(text):
            depth += (c == "{") - (c == "}")
            if c == ";" and depth == 0:
                yield text[begin:i].strip()
                begin = i + 1

    def read(self, s):
        if m := re.fullmatch(r"typedef struct (\w+) (\w+)", s):
            self.handles.append(m[1])
        elif m := re.fullmatch(r"typedef struct (\w+) \{ (.*) \} (\w+)", s):
            self.structs[m[1]] = [member for part in m[2].split(";") if part.strip() for member in self.members(part.strip())]
        elif m := re.fullmatch(r"enum \{ (.*) \}", s):
            self.constants += [(name, int(value)) for name, value in re.findall(r"(\w+) = (-?\d+)", m[1])]
            assert m[1].count("=") == len(re.findall(r"(\w+) = (-?\d+)", m[1])) == len(m[1].rstrip(", ").split(",")), s
        elif m := re.fullmatch(r"typedef (.*?)\(\* ?(\w+)\)\((.*)\)", s):
            self.callbacks[m[2]] = (m[1].strip(), [t for _, t in self.arguments(m[3])])
        elif m := re.fullmatch(r"typedef (\w+) (\w+)", s):
            self.types[m[2]] = m[1]
        elif m := re.fullmatch(r"(?:AMMPL_NODISCARD )?AMMPL_API (.*?)(\w+)\((.*)\)", s):
            self.functions[m[2]] = (m[1].strip(), self.arguments(m[3]))
        elif s:
            raise SystemExit("header.py does not understand: " + s)

    def arguments(self, text):
        return [] if text == "void" else [self.named(part.strip()) for part in text.split(",")]

    @staticmethod
    def named(text):
        """"const float *pixels" to ("pixels", "const float *"); an array is a pointer."""
        m = re.fullmatch(r"(.*?)(\w+)( ?\[\d*\])?", text)
        kind = re.sub(r" ?\* ?", " *", m[1].strip()).replace("* *", "**").strip()
        return m[2], kind + (" *" if m[3] else "")

    def members(self, text):
        if m := re.fullmatch(r"(.*?)\(\* ?(\w+)\)\((.*)\)", text):
            return [(m[2], (m[1].strip(), [t for _, t in self.arguments(m[3])]), 0)]
        first, *others = text.split(",")
        length = re.search(r"\[(\d+)\]", first)
        name, kind = self.named(re.sub(r"\[\d+\]", "", first).strip())
        assert not others or "*" not in text, text
        return [(name, kind, int(length[1]) if length else 0)] + [(o.strip(), kind, 0) for o in others]


# ---- Rust ----

SCALARS = {"int32_t": "i32", "uint32_t": "u32", "int64_t": "i64", "uint64_t": "u64", "uint8_t": "u8", "size_t": "usize",
           "float": "f32", "double": "f64", "char": "c_char", "void": "c_void"}
RUST_WORDS = {"type": "r#type", "fn": "r#fn"}


def rust_type(header, kind):
    if isinstance(kind, tuple):
        result, arguments = kind
        returns = "" if result == "void" else " -> " + rust_type(header, result)
        return f"Option<unsafe extern \"C\" fn({', '.join(rust_type(header, a) for a in arguments)}){returns}>"
    text, constant = "", False
    for word in re.findall(r"\w+|\*", kind):  # "const char *const *": each const says what the next star points to
        if word == "const":
            constant = True
        elif word == "*":
            text, constant = ("*const " if constant else "*mut ") + text, False
        else:
            text = f"Option<{word}>" if word in header.callbacks else SCALARS.get(word, word)
    return text


def rust(header):
    lines = ["//! The declarations of ammpl.h, made from it by `python3 tests/ffi/header.py rust include/ammpl/ammpl.h`.",
             "//! What they mean is written there.", "#![allow(non_camel_case_types, non_snake_case)]", "",
             "use std::os::raw::{c_char, c_void};", ""]
    for name in header.handles:
        lines += ["#[repr(C)]", f"pub struct {name} {{", "    _opaque: [u8; 0],", "}"]
    lines.append("")
    lines += [f"pub type {name} = {SCALARS[target]};" for name, target in header.types.items()]
    for name, kind in header.callbacks.items():
        lines.append(f"pub type {name} = {rust_type(header, kind)[len('Option<'):-1]};")
    lines.append("")
    lines += [f"pub const {name}: i32 = {value};" for name, value in header.constants]
    for name, members in header.structs.items():
        lines += ["", "#[repr(C)]", "#[derive(Clone, Copy)]", f"pub struct {name} {{"]
        for member, kind, length in members:
            text = rust_type(header, kind)
            lines.append(f"    pub {RUST_WORDS.get(member, member)}: {f'[{text}; {length}]' if length else text},")
        lines.append("}")
    lines += ["", "extern \"C\" {"]
    for name, (result, arguments) in header.functions.items():
        text = ", ".join(f"{RUST_WORDS.get(a, a)}: {rust_type(header, t)}" for a, t in arguments)
        returns = "" if result == "void" else " -> " + rust_type(header, result)
        lines.append(f"    pub fn {name}({text}){returns};")
    return "\n".join(lines + ["}", ""])


# ---- the same facts, printed by two compilers ----

def layout_c(header):
    lines = ["#include <ammpl/ammpl.h>", "#include <stdio.h>", "int main(void)", "{"]
    lines += [f'    printf("{name} %d\\n", {name});' for name, _ in header.constants]
    for name, members in header.structs.items():
        lines.append(f'    printf("{name} %zu\\n", sizeof({name}));')
        lines += [f'    printf("{name}.{m} %zu %zu\\n", offsetof({name}, {m}), sizeof((({name} *)0)->{m}));' for m, _, _ in members]
    return "\n".join(lines + ["    return 0;", "}", ""])


def layout_rust(header):
    lines = ["#![allow(dead_code)]", "mod sys;", "use std::mem::{size_of, size_of_val, MaybeUninit};", "fn main() {"]
    lines += [f'    println!("{name} {{}}", sys::{name});' for name, _ in header.constants]
    for name, members in header.structs.items():
        lines += [f'    println!("{name} {{}}", size_of::<sys::{name}>());',
                  f"    let s: sys::{name} = unsafe {{ MaybeUninit::zeroed().assume_init() }};",
                  f"    let base = &s as *const sys::{name} as usize;"]
        for m, _, _ in members:
            m_rust = RUST_WORDS.get(m, m)
            lines.append(f'    println!("{name}.{m} {{}} {{}}", &s.{m_rust} as *const _ as usize - base, size_of_val(&s.{m_rust}));')
    return "\n".join(lines + ["}", ""])


if __name__ == "__main__":
    makers = {"rust": rust, "layout-c": layout_c, "layout-rust": layout_rust}
    if len(sys.argv) != 3 or sys.argv[1] not in makers:
        sys.exit(__doc__)
    sys.stdout.write(makers[sys.argv[1]](Header(sys.argv[2])))
