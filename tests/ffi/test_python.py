"""examples/python/ammpl.py against the header, and on the nano model.  Prints TAP.

    test_python.py SOURCE_ROOT HEADER_LAYOUT     HEADER_LAYOUT: what the program of `header.py layout-c` prints
"""
import ctypes
import gc
import json
import os
import sys
import tempfile
import threading
import traceback
import weakref

ROOT, LAYOUT = sys.argv[1:]
sys.dont_write_bytecode = True
sys.path[:0] = [os.path.join(ROOT, *folder) for folder in (("examples", "python"), ("tests", "ffi"), ("tests", "reference"))]
import numpy as np  # noqa: E402

import ammpl  # noqa: E402
import ammpl_abi  # noqa: E402
import new_method  # noqa: E402
import st  # noqa: E402
from header import Header  # noqa: E402

HEADER = Header(os.path.join(ROOT, "include", "ammpl", "ammpl.h"))
NANO = os.path.join(ROOT, "tests", "golden", "nano")
NAMES = ["cat", "dog", "red_bird"]


# ---- declarations ----

def layout():
    """{"ammpl_batch": (size,), "ammpl_batch.n": (offset, size), "AMMPL_OK": (value,)}"""
    with open(LAYOUT, encoding="utf-8") as file:
        return {name: tuple(map(int, values)) for name, *values in map(str.split, file)}


def test_structs():
    facts = layout()
    assert len(facts) > 100
    for name, struct in ammpl.STRUCTS.items():
        # The header's struct may have grown at its tail since: struct_size says what this one has.
        members, known = [member for member, *_ in struct._fields_], [member for member, _, _ in HEADER.structs[name]]
        assert members == known[:len(members)], name
        end = facts[f"{name}.{known[len(members)]}"] if len(members) < len(known) else facts[name]
        assert ctypes.sizeof(struct) == end[0], name
        for member in members:
            field = getattr(struct, member)
            assert facts[f"{name}.{member}"] == (field.offset, field.size), (name, member)


def test_constants():
    facts = layout()
    mine = {name: value for name, value in vars(ammpl_abi).items() if name.isupper() and isinstance(value, int)}
    assert len(mine) > 20
    for name, value in mine.items():
        assert facts["AMMPL_" + name] == (value,), name


def test_functions():
    scalars = {"int32_t": ctypes.c_int32, "uint32_t": ctypes.c_uint32, "int64_t": ctypes.c_int64, "uint64_t": ctypes.c_uint64,
               "size_t": ctypes.c_size_t, "double": ctypes.c_double}
    callbacks = {"ammpl_log_fn": ammpl.LogFunction, "ammpl_progress_fn": ammpl.ProgressFunction}

    def wanted(kind):
        kind = HEADER.types.get(kind, kind)
        if kind == "void":
            return None
        if kind == "const char *":
            return ctypes.c_char_p
        if kind.endswith("*"):
            return ctypes.c_void_p
        return callbacks[kind] if kind in callbacks else scalars[kind]

    for name, (result, *arguments) in ammpl.FUNCTIONS.items():
        c_result, c_arguments = HEADER.functions[name]
        assert result == wanted(c_result), name
        assert arguments == [wanted(kind) for _, kind in c_arguments], (name, arguments, c_arguments)


# ---- the nano model ----

def picture(k):
    i = np.arange(20 * 17 * 3)
    return ((i * 37 + k * k * 11 + i // 60 * k) % 251).astype(np.uint8).reshape(17, 20, 3)


class World:
    def __init__(self, **context):
        self.context = ammpl.Context(**context)
        self.model = ammpl.Model(self.context, NANO)
        self.data = ammpl.Dataset(self.context, NAMES)
        for k in range(6):
            self.data.add(picture(k), k % 3)
        self.prompt = ammpl.Prompt(self.model, "ammpl", NAMES, n_ctx=3)
        self.session = ammpl.Session(self.model)

    def train(self, progress=None, **options):
        return self.session.train(self.prompt, self.data, progress, epochs=2, batch=2, augment="none", **options)


def raises(kind, call, *words):
    try:
        call()
    except kind as e:
        for word in words:
            assert word in str(e), (word, str(e))
        return e
    raise AssertionError(f"no {kind.__name__} was raised")


def test_train_and_progress():
    w = World()
    before = w.prompt.tensor("ctx")
    seen = []
    assert w.train(seen.append) is True
    gc.collect()
    assert [p.step for p in seen] == list(range(6)) and [p.epoch_end for p in seen] == [0, 0, 1, 0, 0, 1]  # kept, and still good
    assert all(np.isfinite(p.loss) for p in seen)
    assert before.shape == (3, w.model.get_int(ammpl.QUERY_TEXT_WIDTH)) and not np.array_equal(before, w.prompt.tensor("ctx"))
    assert w.train(lambda p: p.step == 1) is False  # cancelled
    metrics, predicted = w.session.evaluate(w.prompt, w.data)
    assert metrics.samples == 6 and metrics.correct == (predicted == w.data.labels).sum()


def test_exception_in_a_callback():
    w = World()

    def stop(p):
        raise KeyboardInterrupt(p.step)
    e = raises(KeyboardInterrupt, lambda: w.train(stop))
    assert e.args == (0,)
    w.session.predict(w.prompt, w.model.preprocess([picture(1)]))


def test_classify():
    w = World()
    images = [picture(0), picture(1)[:, ::-1], np.asfortranarray(picture(2))]
    p = w.session.classify(w.prompt, images)
    assert p.shape == (3, 3) and np.allclose(p.sum(axis=1), 1) and not np.allclose(p[0], p[1])
    logits = w.session.predict(w.prompt, w.model.preprocess(images))
    assert np.array_equal(p.argmax(axis=1), logits.argmax(axis=1))
    assert 0 < w.session.plan(w.prompt, 1) < w.session.plan(w.prompt, 3) < w.session.plan(w.prompt, 3, ammpl.PLAN_ACCUMULATE)
    assert np.array_equal(w.session.predict(w.prompt, w.model.preprocess([np.ascontiguousarray(images[1])])), logits[1:2])
    assert np.array_equal(w.data.image(4), picture(4))
    texts, images = w.session.encode_texts(["a cat", "a dog"]), w.session.encode_images(w.model.preprocess(images))
    assert np.allclose((texts ** 2).sum(axis=1), 1, atol=1e-5) and np.allclose((images ** 2).sum(axis=1), 1, atol=1e-5)
    golden = os.path.join(ROOT, "tests", "golden", "images", "444.jpg")
    with open(golden, "rb") as file:
        assert np.array_equal(ammpl.decode(w.context, golden), ammpl.decode(w.context, file.read()))
    zero_shot = ammpl.Prompt(w.model, "zeroshot", ["cat", "dog"], template="a {}")
    direct = w.session.encode_images(w.model.preprocess([picture(3)])) @ texts.T
    assert np.allclose(w.session.predict(zero_shot, w.model.preprocess([picture(3)])), w.model.logit_scale * direct, rtol=1e-4)


def test_tensors_and_files():
    w = World()
    w.train()
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "p.safetensors")
        w.prompt.save(path)
        raises(ammpl.Error, lambda: w.prompt.save(path), path)
        w.prompt.save(path, overwrite=True)
        again = ammpl.Prompt.load(w.model, path)
    for name, value in w.prompt.tensors().items():
        assert np.array_equal(again.tensor(name), value), name
    assert again.option("n_ctx") == "3" and again.class_names == NAMES
    raises(KeyError, lambda: again.tensor("nothing"), "ctx")
    new = np.random.default_rng(1).normal(size=again.tensor("ctx").shape)  # float64, converted
    again.set_tensor("ctx", new)
    assert np.array_equal(again.tensor("ctx"), new.astype(np.float32))
    raises(ValueError, lambda: again.set_tensor("ctx", new[:2]), "shape")
    raises(ammpl.Error, lambda: again.set_tensor("ctx", new * np.nan), "finite")
    again.rebind(["house", "tree"])
    assert w.session.predict(again, w.model.preprocess([picture(0)])).shape == (1, 2)


def test_gradients_and_steps():
    w = World()
    pixels = w.model.augment([picture(k) for k in range(4)], 1, [0, 1, 2, 3], 0)
    labels = [0, 1, 2, 0]
    loss, logits = w.session.accumulate(w.prompt, pixels, labels)
    z = logits - logits.max(axis=1, keepdims=True)
    reference = (np.log(np.exp(z).sum(axis=1)) - z[np.arange(4), labels]).mean()
    assert abs(loss - reference) < 1e-4 * abs(reference)
    whole = w.prompt.gradient("ctx")
    w.prompt.zero_gradients()
    for part in ([0, 2], [1, 3]):
        w.session.accumulate(w.prompt, pixels[part], np.array(labels)[part], image_ids=part, weight=0.25)
    assert np.abs(w.prompt.gradient("ctx") - whole).max() < 1e-5 * np.abs(whole).max() and np.abs(whole).max() > 0
    # A step of plain SGD is what NumPy makes of it.
    optimizer = ammpl.Optimizer(w.prompt, lr=0.1, momentum=0, weight_decay=0, warmup_epochs=0, schedule="constant")
    w.prompt.set_gradient("ctx", np.ones_like(whole))
    before = w.prompt.tensor("ctx")
    optimizer.step()
    assert np.allclose(w.prompt.tensor("ctx"), before - np.float32(0.1), atol=1e-6)
    order = w.data.shuffle(1, 0)
    assert sorted(order) == list(range(6))


def test_errors():
    context = ammpl.Context()
    e = raises(OSError, lambda: ammpl.Model(context, "/no/such/model"), "/no/such/model")
    assert isinstance(e, ammpl.Error) and e.status == ammpl.E_IO and e.name == "AMMPL_E_IO"
    e = raises(ammpl.Error, lambda: context.find_device("no-such", "/"), "no-such")
    assert e.name == "AMMPL_E_BACKEND"
    assert ammpl.Model(context, NANO, context.find_device("cpu")).embed_width > 0
    w = World()
    raises(ValueError, lambda: w.train(epoch=3), "epochs")
    raises(ValueError, lambda: w.session.predict(w.prompt, np.zeros((2, 3, 7, 7))), "shape")
    raises(ValueError, lambda: w.session.classify(w.prompt, [np.zeros((4, 4), np.uint8)]), "height")
    raises(ammpl.Error, lambda: ammpl.decode(w.context, b"\xff\xd8\xff no JPEG"))
    raises(TypeError, lambda: w.session.encode_texts("one string"), "list")
    w.session.close()
    w.session.close()
    assert w.session.closed
    raises(ValueError, lambda: w.session.encode_texts(["a"]), "closed")


def test_lifetimes():
    lines = []
    w = World(log=lambda level, line: lines.append((level, line)), level=ammpl.LEVEL_ERROR)
    assert lines == []
    context = w.context
    empty = ammpl.Context().memory[0]
    pixels = w.model.preprocess([picture(0)])
    prompt, session, data = w.prompt, w.session, w.data
    w.model.close()  # parents may go first
    del w
    gc.collect()
    session.predict(prompt, pixels)
    del session
    prompt.close()
    assert context.memory[0] > empty  # the data set
    gone = weakref.ref(context)
    raises(ammpl.Error, lambda: data.add("x.png", 77))
    assert len(lines) == 1 and "77" in lines[0][1]
    data.context = None
    del context, prompt
    gc.collect()
    assert gone() is None  # Python's context is gone, C's lives with the data set, and so does the log
    raises(ammpl.Error, lambda: data.add("x.png", 78))
    assert len(lines) == 2 and "78" in lines[1][1]
    with ammpl.Context() as c:
        assert ammpl.Dataset(c, NAMES).class_names == NAMES
        full = c.memory[0]
        keep = [ammpl.Dataset(c, NAMES) for _ in range(10)]
        assert c.memory[0] > full
        del keep
        assert c.memory[0] <= full
    raises(ValueError, lambda: c.memory, "closed")


def test_threads():
    w = World(threads=2)
    pixels = [w.model.preprocess([picture(k)]) for k in range(6)]
    alone = [w.session.predict(w.prompt, p) for p in pixels]
    wrong = []

    def work(first):
        session = ammpl.Session(w.model)
        for k in range(6):
            i = (first + k) % 6
            if not np.array_equal(session.predict(w.prompt, pixels[i]), alone[i]):
                wrong.append(i)
    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert wrong == []


# ---- towers ----

def close(got, want, bound=1e-4):
    """Relative to the largest number, as everywhere in tests/."""
    assert got.shape == want.shape, (got.shape, want.shape)
    off = np.abs(got - want).max() / np.abs(want).max()
    assert off <= bound, f"off by {off:.3g}"


def test_tape_against_pytorch():
    g, _ = st.read(os.path.join(ROOT, "tests", "golden", "tape.safetensors"))
    model = ammpl.Model(ammpl.Context(), os.path.join(ROOT, "tests", "golden", "nano-odd"))
    tape, session = ammpl.Tape(model), ammpl.Session(model)

    tape.begin_text(g["text_rows"], g["text_length"], g["text_prefix"], slots=(1, 2))
    for k in range(2):
        tape.run(k + 1)
        close(tape.tokens(), g[f"text_tokens.{k}"], 1e-5)
        tape.seed(k, g[f"d_text_tokens.{k}"])
        tape.insert(k + 1, g[f"text_prompt.{k}"])
    close(tape.finish(), g["text_features"], 1e-5)
    tape.backward(g["d_text_features"])
    close(tape.gradient(ammpl.GRADIENT_ROWS), g["grad_text_rows"])
    close(tape.gradient(ammpl.GRADIENT_PREFIX), g["grad_text_prefix"])
    for k in range(2):
        close(tape.gradient(ammpl.GRADIENT_PROMPT, k), g[f"grad_text_prompt.{k}"])

    tape.begin_image(g["pixels"])
    for k, block in enumerate([0, 1, 3]):
        tape.run(block)
        if k > 0:
            close(tape.tokens(), g[f"image_tokens.{k - 1}"], 1e-5)
            tape.seed(k - 1, g[f"d_image_tokens.{k - 1}"])
        tape.insert(block, g[f"image_prompt.{k}"], before_ln=block == 0)
    tape.insert(4, None)
    close(tape.finish(), g["image_features"], 1e-5)
    tape.backward(g["d_image_features"])
    close(tape.gradient(ammpl.GRADIENT_PIXELS), g["grad_pixels"])
    for k in range(3):
        close(tape.gradient(ammpl.GRADIENT_PROMPT, k), g[f"grad_image_prompt.{k}"])
    raises(ammpl.Error, lambda: tape.gradient(ammpl.GRADIENT_PREFIX), "without")
    tokens = np.zeros((2, 37, model.get_int(ammpl.QUERY_IMAGE_WIDTH)))
    tape.begin_image(tokens=tokens, block=3, record=ammpl.RECORD_NONE)
    assert tape.finish().shape == (2, model.embed_width)
    raises(ammpl.Error, lambda: tape.backward(np.zeros((2, model.embed_width))), "RECORD_NONE")
    raises(ValueError, lambda: tape.begin_image(tokens=tokens[:, 1:], block=3), "shape")

    close(session.similarity(g["x"], g["z"]), g["logits"])
    loss, dlogits = session.cross_entropy(g["logits"], g["labels"], 0.3)
    assert abs(loss - g["loss"][0]) < 1e-5 * loss
    close(dlogits, g["grad_logits"])
    for got, name in zip(session.similarity_backward(g["x"], g["z"], g["grad_logits"]), "xz"):
        close(got, g[f"grad_{name}"])
    close(session.embed_tokens(g["ids"]), g["embedded"], 1e-6)


def test_new_method_against_pytorch():
    g, facts = st.read(os.path.join(ROOT, "tests", "golden", "kgcoop.safetensors"))
    model = ammpl.Model(ammpl.Context(), NANO)
    method = new_method.KgCoOp(model, json.loads(facts["classes"]), weight=float(facts["weight"]))
    method.ctx = g["ctx"]
    close(method.predict(g["x"]), g["logits"])
    loss, gradient = method.gradient(g["x"], g["labels"])
    assert abs(loss - g["loss"][0]) < 1e-5 * loss
    close(gradient, g["gradient"])


def test_new_method_without_its_pull_is_coop():
    w = World()
    method = new_method.KgCoOp(w.model, NAMES, weight=0.0)
    coop = ammpl.Prompt(w.model, "coop", NAMES, n_ctx=4, ctx_init="a photo of a")
    assert np.array_equal(coop.tensor("ctx"), method.ctx)
    pixels = w.model.preprocess([picture(k) for k in range(4)])
    loss, _ = w.session.accumulate(coop, pixels, [0, 1, 2, 0])
    own, gradient = method.gradient(w.session.encode_images(pixels), [0, 1, 2, 0])
    assert abs(own - loss) < 1e-5 * loss
    close(gradient, coop.gradient("ctx"), 1e-5)
    start = [method.ctx.copy()]
    method.train(w.session.encode_images(pixels), np.array([0, 1, 2, 0]), epochs=30, batch=2, lr=0.02,
                 progress=lambda epoch, loss: start.append(loss))
    assert len(start) == 31 and start[-1] < 0.7 * start[1], start[1:]


def main():
    tests = [(name[5:], test) for name, test in globals().items() if name.startswith("test_")]
    failed = False
    for number, (name, test) in enumerate(tests, 1):
        try:
            test()
            print(f"ok {number} - {name}")
        except Exception:  # a failing test is told and the others run
            failed = True
            print(f"not ok {number} - {name}")
            print("".join("# " + line + "\n" for line in traceback.format_exc().splitlines()), end="")
    print(f"1..{len(tests)}")
    return failed


sys.exit(main())
