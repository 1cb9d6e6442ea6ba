"""libammpl from Python: ctypes and NumPy, nothing else.  Copy this file and ammpl_abi.py.

    import ammpl
    with ammpl.Context() as context:
        model = ammpl.Model(context, "clip-vit-b16")
        photos = ammpl.Dataset.folder(context, "photos", "train")
        prompt = ammpl.Prompt(model, "ammpl", photos.class_names, n_ctx=4)
        session = ammpl.Session(model)
        session.train(prompt, photos, progress=lambda p: print(p.step, p.loss), epochs=10, batch=8)
        prompt.save("photos.safetensors")
        print(session.classify(prompt, [pixels]))   # uint8 arrays [height, width, 3]

Names, errors and thread tags are those of ammpl.h, where each function's comment stands.  Options are keyword arguments with the
library's names.  A failing call raises ammpl.Error with `status`, `name` and the library's sentence (ValueError, OSError and
MemoryError, too, where that fits).  An object is given back by close(), at the end of a `with`, or by the garbage collector, in any
order: children hold what they need of their parents (nothing new is made from one that is closed).  Calls release the interpreter's lock; a Session is for one thread at a time,
models and prompts that nobody changes are shared.

The library is $AMMPL_LIBRARY, or libammpl.so.0.1 where the loader finds it.
"""
import ctypes
import os
import weakref
from ctypes import byref, c_char_p, c_double, c_int32, c_int64, c_size_t, c_uint64, c_void_p

import numpy as np

from ammpl_abi import *  # noqa: F401,F403  constants, structs, FUNCTIONS: names of ammpl.h without AMMPL_

# ---- the library ----


class _Library:
    """The functions, taking objects for their pointers."""


def _bind(function):
    return lambda *arguments: function(*[a.pointer if isinstance(a, _Handle) else a for a in arguments])


def _open():
    path = os.environ.get("AMMPL_LIBRARY", "libammpl.so.0.1")
    try:
        c = ctypes.CDLL(path)
    except OSError as e:
        raise ImportError(f"{path} cannot be loaded ({e}); install libammpl, or set AMMPL_LIBRARY to the file") from None
    library = _Library()
    for name, (result, *arguments) in FUNCTIONS.items():
        function = getattr(c, name)
        function.restype, function.argtypes = result, arguments
        setattr(library, name, _bind(function))
    return library


_lib = _open()

# ---- errors ----


class Error(Exception):
    """A call that failed: status (a number of ammpl.h), name ("AMMPL_E_IO") and the library's sentence."""

    def __init__(self, status, sentence=None):
        self.status = status
        self.name = _lib.ammpl_status_name(status).decode()
        super().__init__(sentence or _lib.ammpl_last_error().decode(errors="replace") or self.name)


class ArgumentError(Error, ValueError):
    pass


class FileError(Error, OSError):
    pass


class OutOfMemoryError(Error, MemoryError):
    pass


_CLASSES = {E_IO: FileError, E_MEMORY: OutOfMemoryError, E_DEVICE_MEMORY: OutOfMemoryError}
_CLASSES.update(dict.fromkeys([E_ARGUMENT, E_OPTION, E_RANGE, E_SHAPE, E_LABEL, E_BUFFER], ArgumentError))


def _check(status):
    if status < 0:
        raise _CLASSES.get(status, Error)(status)
    return status


# ---- what crosses the border ----


def _text(value):
    return os.fsencode(value)


def _strings(values):
    """The list as an array of char pointers, which keeps its strings."""
    if isinstance(values, (str, bytes)):
        raise TypeError("a list of strings, not one string")
    values = [_text(v) for v in values]
    return (c_char_p * len(values))(*values), len(values)


def _floats(values, shape):
    """A dense float32 array whose shape fits; None in `shape` is any number.  The caller keeps it while C uses it."""
    array = np.ascontiguousarray(values, dtype=np.float32)
    if array.ndim != len(shape) or any(want is not None and got != want for got, want in zip(array.shape, shape)):
        raise ArgumentError(E_SHAPE, f"an array of shape {array.shape} where {shape} is wanted")
    return array


def _pointer(array):
    return None if array is None else array.ctypes.data


class _Handle:
    """A C object, given back once: by close(), at the end of a with, by the garbage collector, or when Python ends."""

    def __init__(self, destroy, pointer, keep):
        # `keep` is what the C object may still call (the log): it lives until this one is gone.
        self._pointer = pointer
        self._finalizer = weakref.finalize(self, lambda p, _keep: destroy(p), pointer, keep)

    def close(self):
        self._finalizer()
        self._pointer = None

    @property
    def closed(self):
        return not self._finalizer.alive

    @property
    def pointer(self):
        if self._pointer is None:
            raise ArgumentError(E_ARGUMENT, f"this {type(self).__name__} is closed")
        return self._pointer

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def _make(function, *arguments):
    out = c_void_p()
    _check(function(*arguments, byref(out)))
    return out.value


def _config(context, options):
    """A config with these options, or None where there are none."""
    if not options:
        return None
    config = _Handle(_lib.ammpl_config_destroy, _make(_lib.ammpl_config_create, context), None)
    for name, value in options.items():
        text = str(value).lower() if isinstance(value, bool) else repr(value) if isinstance(value, float) else str(value)
        _check(_lib.ammpl_config_set_text(config, _text(name), _text(text)))
    return config


class _Callback:
    """A Python function as an ammpl_progress_fn.  True stops the run; what it raises stops the run and is raised behind it."""

    def __init__(self, function):
        self.function, self.raised = function, None
        self.c = ProgressFunction(self.call) if function else ProgressFunction()

    def call(self, _user, progress):
        try:
            return 1 if self.function(Progress.from_buffer_copy(progress.contents)) else 0 # a copy, which may be kept
        except BaseException as e:  # KeyboardInterrupt, too: nothing may be lost in C
            self.raised = e
            return 1

    def finish(self, status):
        if self.raised is not None:
            raise self.raised
        return _check(status)


# ---- objects ----


def version():
    return _lib.ammpl_version_string().decode()


class Context(_Handle):
    """Log, threads, memory.  log(level, line) is called from any thread that works."""

    def __init__(self, threads=0, log=None, level=LEVEL_INFO):
        # What a log raises has nobody to go to: Python prints it and goes on.
        self._log = LogFunction(lambda _user, level, line: log(level, line.decode(errors="replace"))) if log else LogFunction()
        super().__init__(_lib.ammpl_context_destroy, _make(_lib.ammpl_context_create, None), self._log)
        _check(_lib.ammpl_context_set_log(self, level, self._log, None))
        _check(_lib.ammpl_context_set_threads(self, threads))

    def find_device(self, name, folder=None):
        """What Model computes on: "cpu", or "cuda", "cuda:1" ... after a look for backends in folder, or where they are installed;
        before the context is shared between threads."""
        found = _lib.ammpl_device_find(self, _text(name))
        if not found:
            _check(_lib.ammpl_context_scan_backends(self, folder and _text(folder)))
            found = _lib.ammpl_device_find(self, _text(name))
        if not found:
            raise Error(E_BACKEND)
        return found

    @property
    def memory(self):
        """Bytes held now, and at most so far."""
        now, peak = c_uint64(), c_uint64()
        _check(_lib.ammpl_context_memory(self, byref(now), byref(peak)))
        return now.value, peak.value


class Model(_Handle):
    """A frozen CLIP from a .safetensors file or a folder, for a device of Context.find_device (None: the CPU)."""

    def __init__(self, context, path, device=None, **options):
        config = _config(context, options)
        self.context = context
        made = _make(_lib.ammpl_model_load_file, context, device, _text(path), config)
        super().__init__(_lib.ammpl_model_destroy, made, context._log)
        self.embed_width = self.get_int(QUERY_EMBED_WIDTH)  # E
        self.image_size = self.get_int(QUERY_IMAGE_SIZE)  # R
        self.logit_scale = self.get_float(QUERY_LOGIT_SCALE)  # s

    def get_int(self, query):
        value = c_int64()
        _check(_lib.ammpl_model_get_int(self, query, byref(value)))
        return value.value

    def get_float(self, query):
        value = c_double()
        _check(_lib.ammpl_model_get_float(self, query, byref(value)))
        return value.value

    def get_string(self, query):
        value = c_char_p()
        _check(_lib.ammpl_model_get_string(self, query, byref(value)))
        return value.value.decode()

    def tokenize(self, text):
        """Ids with SOT and EOT."""
        need = c_size_t()
        status = _lib.ammpl_model_tokenize(self, _text(text), None, 0, byref(need))
        if status != E_BUFFER:
            _check(status)
        ids = np.empty(need.value, np.int32)
        _check(_lib.ammpl_model_tokenize(self, _text(text), _pointer(ids), ids.size, None))
        return ids

    def preprocess(self, images):
        """Pictures (paths, or uint8 arrays [height, width, 3]) to [n, 3, R, R]."""
        return self._pictures(images, lambda _i, img, out: _lib.ammpl_model_preprocess(self, img, _pointer(out), out.size))

    def augment(self, images, seed, image_ids, step):
        """The same under the training transform's draws: random crops and flips."""
        def transform(i, img, out):
            return _lib.ammpl_model_augment(self, img, seed, image_ids[i], step, _pointer(out), out.size)
        return self._pictures(images, transform)

    def _pictures(self, images, transform):
        size = self.image_size
        out = np.empty((len(images), 3, size, size), np.float32)
        for i, source in enumerate(images):
            with _image(self.context, source) as img:
                _check(transform(i, img, out[i]))
        return out


def _image(context, source):
    if isinstance(source, (str, os.PathLike)):
        pointer = _make(_lib.ammpl_image_load_file, context, _text(source))
    else:
        pixels = np.ascontiguousarray(source)
        if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3:
            raise ArgumentError(E_SHAPE, f"a picture is uint8 [height, width, 3], not {pixels.dtype} {pixels.shape}")
        height, width, _ = pixels.shape
        pointer = _make(_lib.ammpl_image_from_pixels, context, _pointer(pixels), width, height, 0)
    return _Handle(_lib.ammpl_image_destroy, pointer, context._log)


def decode(context, source):
    """A JPEG or PNG (a path, or the file's bytes) as a uint8 array [height, width, 3]."""
    if isinstance(source, (bytes, bytearray, memoryview)):
        data = np.frombuffer(source, np.uint8)
        made = _make(_lib.ammpl_image_load_memory, context, _pointer(data), data.size)
        image = _Handle(_lib.ammpl_image_destroy, made, context._log)
    else:
        image = _image(context, source)
    return _array(image)


def _array(image):
    """A copy of a picture's pixels [height, width, 3]; the picture is given back."""
    with image:
        shape = _lib.ammpl_image_height(image), _lib.ammpl_image_width(image), 3
        borrowed = (ctypes.c_uint8 * (shape[0] * shape[1] * 3)).from_address(_lib.ammpl_image_pixels(image))
        return np.frombuffer(borrowed, np.uint8).reshape(shape).copy()


class Dataset(_Handle):
    """Labelled pictures: uint8 arrays, or files that are opened when they are used."""

    def __init__(self, context, class_names, _made=None):
        if _made is None:
            _made = _make(_lib.ammpl_dataset_create, context, *_strings(class_names))
        self.context = context
        super().__init__(_lib.ammpl_dataset_destroy, _made, context._log)

    @classmethod
    def folder(cls, context, path, part=None):
        """One folder per class; part is "train", "val", "test" or None."""
        part = None if part is None else _text(part)
        return cls(context, None, _make(_lib.ammpl_dataset_open_folder, context, _text(path), part))

    @classmethod
    def split(cls, context, root, json, part):
        """CoOp's split file."""
        return cls(context, None, _make(_lib.ammpl_dataset_open_split, context, _text(root), _text(json), _text(part)))

    def add(self, source, label):
        """A path, or a uint8 array [height, width, 3]."""
        if isinstance(source, (str, os.PathLike)):
            _check(_lib.ammpl_dataset_add_file(self, _text(source), label))
        else:
            with _image(self.context, source) as img:
                _check(_lib.ammpl_dataset_add_image(self, img, label))

    def __len__(self):
        return _lib.ammpl_dataset_count(self)

    @property
    def class_names(self):
        return [_lib.ammpl_dataset_class_name(self, i).decode() for i in range(_lib.ammpl_dataset_class_count(self))]

    @property
    def labels(self):
        return np.array([_lib.ammpl_dataset_label(self, i) for i in range(len(self))], np.int32)

    def image(self, i):
        """Item i as a uint8 array [height, width, 3]."""
        return _array(_Handle(_lib.ammpl_image_destroy, _make(_lib.ammpl_dataset_load_image, self, i), self.context._log))

    def shots(self, count, seed=1):
        """At most `count` pictures of each class."""
        return Dataset(self.context, None, _make(_lib.ammpl_dataset_select_shots, self, count, seed))

    def shuffle(self, seed, epoch):
        """The order of an epoch."""
        order = np.empty(len(self), np.int32)
        _check(_lib.ammpl_dataset_shuffle(self, seed, epoch, _pointer(order), order.size))
        return order


class Prompt(_Handle):
    """Learned tensors, their gradients, class names."""

    def __init__(self, model, method, class_names, *, _made=None, **options):
        if _made is None:
            number = c_int32()
            _check(_lib.ammpl_method_find(_text(method), byref(number)))
            config = _config(model.context, options)
            _made = _make(_lib.ammpl_prompt_create, model, number.value, *_strings(class_names), config)
        self.model = model
        super().__init__(_lib.ammpl_prompt_destroy, _made, model.context._log)

    @classmethod
    def load(cls, model, path, **options):
        config = _config(model.context, options)
        return cls(model, None, None, _made=_make(_lib.ammpl_prompt_load_file, model, _text(path), config))

    def save(self, path, overwrite=False):
        _check(_lib.ammpl_prompt_save_file(self, _text(path), bool(overwrite)))

    def rebind(self, class_names):
        """The learned prompt for other classes."""
        _check(_lib.ammpl_prompt_rebind_classes(self, *_strings(class_names)))

    @property
    def class_names(self):
        return [_lib.ammpl_prompt_class_name(self, i).decode() for i in range(_lib.ammpl_prompt_class_count(self))]

    def option(self, name):
        """The option in force, as text."""
        value = _lib.ammpl_prompt_option(self, _text(name))
        if value is None:
            raise KeyError(name)
        return value.decode()

    def describe(self, name):
        """TensorInfo of a tensor."""
        i = _lib.ammpl_prompt_tensor_find(self, _text(name))
        if i < 0:
            raise KeyError(f"the prompt has no tensor {name}: it has {', '.join(self.tensor_names)}")
        return self._describe(i)

    def _describe(self, i):
        info = TensorInfo(struct_size=ctypes.sizeof(TensorInfo))
        _check(_lib.ammpl_prompt_tensor_describe(self, i, byref(info)))
        return info

    @property
    def tensor_names(self):
        return [self._describe(i).name.decode() for i in range(_lib.ammpl_prompt_tensor_count(self))]

    def tensor(self, name):
        return self._read(name, _lib.ammpl_prompt_tensor_read)

    def set_tensor(self, name, value):
        self._write(name, value, _lib.ammpl_prompt_tensor_write)

    def tensors(self):
        return {name: self.tensor(name) for name in self.tensor_names}

    def gradient(self, name):
        return self._read(name, _lib.ammpl_prompt_gradient_read)

    def set_gradient(self, name, value):
        self._write(name, value, _lib.ammpl_prompt_gradient_write)

    def zero_gradients(self):
        _check(_lib.ammpl_prompt_zero_gradients(self))

    def _read(self, name, function):
        info = self.describe(name)
        value = np.empty(info.shape[:info.rank], np.float32)
        _check(function(self, _lib.ammpl_prompt_tensor_find(self, _text(name)), _pointer(value), value.size))
        return value

    def _write(self, name, value, function):
        info = self.describe(name)
        value = _floats(value, tuple(info.shape[:info.rank]))
        _check(function(self, _lib.ammpl_prompt_tensor_find(self, _text(name)), _pointer(value), value.size))


class Session(_Handle):
    """Scratch memory for one thread on a model: inference, gradients, training."""

    def __init__(self, model, **options):
        config = _config(model.context, options)
        self.model = model
        super().__init__(_lib.ammpl_session_destroy, _make(_lib.ammpl_session_create, model, config), model.context._log)

    def _pixels(self, pixels):
        size = self.model.image_size
        return _floats(pixels, (None, 3, size, size))

    def plan(self, prompt, n, call=PLAN_PREDICT):
        """Bytes that it will hold at most during PLAN_* of n images."""
        size = c_uint64()
        _check(_lib.ammpl_session_plan(self, prompt, n, call, byref(size)))
        return size.value

    def encode_texts(self, texts):
        """Plain CLIP features of length 1, [n, E]."""
        array, n = _strings(texts)
        out = np.empty((n, self.model.embed_width), np.float32)
        _check(_lib.ammpl_session_encode_texts(self, array, n, _pointer(out), out.size))
        return out

    def encode_images(self, pixels, prompt=None):
        """[n, 3, R, R] to [n, E]; without a prompt: plain CLIP."""
        pixels = self._pixels(pixels)
        out = np.empty((len(pixels), self.model.embed_width), np.float32)
        _check(_lib.ammpl_session_encode_images(self, prompt, _pointer(pixels), len(pixels), _pointer(out), out.size))
        return out

    def encode_classes(self, prompt):
        out = np.empty((len(prompt.class_names), self.model.embed_width), np.float32)
        _check(_lib.ammpl_session_encode_classes(self, prompt, _pointer(out), out.size))
        return out

    def predict(self, prompt, pixels):
        """Logits [n, C] of preprocessed pixels [n, 3, R, R]."""
        pixels = self._pixels(pixels)
        logits = np.empty((len(pixels), len(prompt.class_names)), np.float32)
        _check(_lib.ammpl_session_predict(self, prompt, _pointer(pixels), len(pixels), _pointer(logits), logits.size))
        return logits

    def classify(self, prompt, images):
        """Probabilities [n, C] of pictures: paths, or uint8 arrays [height, width, 3]."""
        logits = self.predict(prompt, self.model.preprocess(images)).astype(np.float64)
        e = np.exp(logits - logits.max(axis=1, keepdims=True))
        return e / e.sum(axis=1, keepdims=True)

    def accumulate(self, prompt, pixels, labels, image_ids=None, seed=1, step=0, epoch=0, weight=0.0):
        """Adds a batch's gradients to the prompt's; (loss, logits [n, C]).  weight 0 means 1/n."""
        pixels = self._pixels(pixels)
        labels = np.ascontiguousarray(labels, np.int32)
        ids = None if image_ids is None else np.ascontiguousarray(image_ids, np.uint32)
        if labels.shape != (len(pixels),) or (ids is not None and ids.shape != labels.shape):
            raise ArgumentError(E_SHAPE, f"{len(pixels)} pictures with labels {labels.shape}")
        batch = Batch(struct_size=ctypes.sizeof(Batch), n=len(pixels), pixels=_pointer(pixels), label=_pointer(labels),
                      image_id=_pointer(ids), seed=seed, step=step, epoch=epoch, weight=weight)
        logits = np.empty((len(pixels), len(prompt.class_names)), np.float32)
        loss = c_double()
        _check(_lib.ammpl_session_accumulate(self, prompt, byref(batch), byref(loss), _pointer(logits)))
        return loss.value, logits

    def evaluate(self, prompt, data, progress=None, **options):
        """(Metrics, the class of each item or -1)."""
        callback = _Callback(progress)
        predicted = np.full(len(data), -1, np.int32)
        metrics = Metrics(struct_size=ctypes.sizeof(Metrics))
        config = _config(self.model.context, options)
        callback.finish(_lib.ammpl_session_evaluate(self, prompt, data, config, callback.c, None, _pointer(predicted),
                                                    byref(metrics)))
        return metrics, predicted

    def train(self, prompt, data, progress=None, **options):
        """A whole run.  progress(Progress) after every step: true stops.  Returns whether the end was reached."""
        callback = _Callback(progress)
        config = _config(self.model.context, options)
        status = _lib.ammpl_train(self, prompt, data, config, callback.c, None)
        return callback.finish(status) != CANCELLED

    def embed_tokens(self, ids):
        """Ids of any shape to their embeddings, [..., l]."""
        ids = np.ascontiguousarray(ids, np.int32)
        out = np.empty(ids.shape + (self.model.get_int(QUERY_TEXT_WIDTH),), np.float32)
        _check(_lib.ammpl_session_embed_tokens(self, _pointer(ids), ids.size, _pointer(out), out.size))
        return out

    def similarity(self, x, z):
        """Logits [n, C] = s <x/|x|, z/|z|> of features x [n, E] and z [C, E]."""
        x, z = (_floats(v, (None, self.model.embed_width)) for v in (x, z))
        logits = np.empty((len(x), len(z)), np.float32)
        _check(_lib.ammpl_session_similarity(self, _pointer(x), len(x), _pointer(z), len(z), _pointer(logits), logits.size))
        return logits

    def similarity_backward(self, x, z, dlogits):
        """(dx, dz)"""
        x, z = (_floats(v, (None, self.model.embed_width)) for v in (x, z))
        dlogits, dx, dz = _floats(dlogits, (len(x), len(z))), np.empty_like(x), np.empty_like(z)
        _check(_lib.ammpl_session_similarity_backward(self, _pointer(x), len(x), _pointer(z), len(z), _pointer(dlogits),
                                                      _pointer(dx), _pointer(dz)))
        return dx, dz

    def cross_entropy(self, logits, labels, weight=0.0):
        """(the sum of weight * loss_i, its gradient like logits); weight 0 means 1/n."""
        logits = _floats(logits, (None, None))
        labels = np.ascontiguousarray(labels, np.int32)
        if labels.shape != logits.shape[:1]:
            raise ArgumentError(E_SHAPE, f"logits {logits.shape} with labels {labels.shape}")
        loss, dlogits = c_double(), np.empty_like(logits)
        _check(_lib.ammpl_session_cross_entropy(self, _pointer(logits), _pointer(labels), *logits.shape, weight, byref(loss),
                                                _pointer(dlogits), dlogits.size))
        return loss.value, dlogits

    def cancel(self):
        """Stops a train or evaluate that runs on this session, from any thread."""
        _lib.ammpl_session_cancel(self)


class Optimizer(_Handle):
    """SGD or AdamW over a prompt's trainable tensors."""

    def __init__(self, prompt, **options):
        context = prompt.model.context
        config = _config(context, options)
        super().__init__(_lib.ammpl_optimizer_destroy, _make(_lib.ammpl_optimizer_create, prompt, config), context._log)

    def step(self):
        _check(_lib.ammpl_optimizer_step(self))

    def set_epoch(self, epoch):
        _check(_lib.ammpl_optimizer_set_epoch(self, epoch))

    def learning_rate(self, group=0):
        return _lib.ammpl_optimizer_learning_rate(self, group)


class Tape(_Handle):
    """A pass through a tower and its way back: begin, insert prompts, run, read tokens, finish, backward, gradients."""

    def __init__(self, model, **options):
        config = _config(model.context, options)
        self.model = model
        self._begun({}, (0, 0, 0), False, 0)
        super().__init__(_lib.ammpl_tape_destroy, _make(_lib.ammpl_tape_create, model, config), model.context._log)

    def begin_text(self, rows, length=None, prefix=None, slots=(0, 0), record=RECORD_ALL):
        """rows [n, L, l] behind prefix [S, l]; length [n] of them count; slots: (place of the first, how many)."""
        rows = _floats(rows, (None, None, self.model.get_int(QUERY_TEXT_WIDTH)))
        n, places, width = rows.shape
        prefix = _floats(np.zeros((0, width)) if prefix is None else prefix, (None, width))
        length = None if length is None else np.ascontiguousarray(length, np.int32)
        if length is not None and length.shape != (n,):
            raise ArgumentError(E_SHAPE, f"{n} sequences with lengths {length.shape}")
        _check(_lib.ammpl_tape_begin_text(self, byref(TextInput(
            struct_size=ctypes.sizeof(TextInput), record=record, n=n, L=places, rows=_pointer(rows), length=_pointer(length),
            prefix=_pointer(prefix), prefix_rows=len(prefix), slot_first=slots[0], slots=slots[1]))))
        self._begun({GRADIENT_ROWS: rows.shape, GRADIENT_PREFIX: prefix.shape}, (n, len(prefix) + places, width), False, 0)

    def begin_image(self, pixels=None, tokens=None, block=0, record=RECORD_ALL):
        """pixels [n, 3, R, R], or tokens [n, 1+P, W] as an earlier pass had them before `block`."""
        size, count, width = self.model.image_size, 1 + self.model.get_int(QUERY_GRID) ** 2, self.model.get_int(QUERY_IMAGE_WIDTH)
        given = _floats(pixels, (None, 3, size, size)) if tokens is None else _floats(tokens, (None, count, width))
        pointers = (_pointer(given), None) if tokens is None else (None, _pointer(given))
        _check(_lib.ammpl_tape_begin_image(self, byref(ImageInput(
            struct_size=ctypes.sizeof(ImageInput), record=record, n=len(given), pixels=pointers[0], tokens=pointers[1], block=block))))
        self._begun({GRADIENT_PIXELS if tokens is None else GRADIENT_ROWS: given.shape}, (len(given), count, width), True, block)

    def _begun(self, shapes, rows, grows, block):
        self._shapes, self._rows, self._grows, self._block = shapes, rows, grows, block
        self._prompts = []  # (block, shape) of every insert
        self._reads = []  # shapes

    def insert(self, block, prompt, before_ln=False):
        """prompt [count, D] for all sequences, or [n, count, D]; None: no slots from there on (images)."""
        n, _, width = self._rows
        prompt = np.zeros((0, width), np.float32) if prompt is None else np.asarray(prompt)
        prompt = _floats(prompt, (n, None, width) if prompt.ndim == 3 else (None, width))
        _check(_lib.ammpl_tape_insert(self, block, _pointer(prompt), prompt.shape[-2], prompt.ndim == 3, before_ln))
        self._prompts.append((block, prompt.shape))

    def run(self, block):
        _check(_lib.ammpl_tape_run(self, block))
        self._block = block

    def tokens(self):
        """The tokens before the block to be run next: text [n, S + L, l], images [n, 1 + P + slots, W]."""
        n, count, width = self._rows
        before = [(block, shape[-2]) for block, shape in self._prompts if self._grows and block < self._block]
        out = np.empty((n, count + (max(before)[1] if before else 0), width), np.float32)
        _check(_lib.ammpl_tape_tokens(self, _pointer(out), out.size))
        self._reads.append(out.shape)
        return out

    def finish(self):
        """Features [n, E], not normalised."""
        out = np.empty((self._rows[0], self.model.embed_width), np.float32)
        _check(_lib.ammpl_tape_finish(self, _pointer(out), out.size))
        return out

    def seed(self, read, dtokens):
        """The loss reads what the tokens() call number `read` gave."""
        dtokens = _floats(dtokens, self._reads[read])
        _check(_lib.ammpl_tape_seed(self, read, _pointer(dtokens), dtokens.size))

    def backward(self, dfeatures=None):
        dfeatures = None if dfeatures is None else _floats(dfeatures, (self._rows[0], self.model.embed_width))
        _check(_lib.ammpl_tape_backward(self, _pointer(dfeatures)))

    def gradient(self, what, index=0):
        """GRADIENT_ROWS, _PREFIX, _PIXELS, or _PROMPT of insert number `index`."""
        shape = self._prompts[index][1] if what == GRADIENT_PROMPT else self._shapes.get(what, (0,))
        out = np.empty(shape, np.float32)
        _check(_lib.ammpl_tape_gradient(self, what, index, _pointer(out), out.size))
        return out
