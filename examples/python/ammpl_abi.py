"""What ammpl.h declares, for ammpl.py: constants, structs and functions as ctypes sees them (tests/ffi/test_python.py compares)."""
import ctypes
from ctypes import POINTER, c_char_p, c_double, c_int32, c_int64, c_size_t, c_uint32, c_uint64, c_void_p

END, CANCELLED = 1, 2
E_ARGUMENT, E_MEMORY, E_DEVICE_MEMORY, E_IO, E_OPTION, E_RANGE, E_SHAPE, E_LABEL, E_BUFFER = -1, -2, -3, -4, -8, -9, -10, -11, -13
E_BACKEND = -14
LEVEL_DEBUG, LEVEL_INFO, LEVEL_WARN, LEVEL_ERROR = 10, 20, 30, 40
QUERY_EMBED_WIDTH, QUERY_IMAGE_SIZE, QUERY_PATCH_SIZE, QUERY_GRID, QUERY_CONTEXT_LENGTH = 10000, 10001, 10002, 10003, 10004
QUERY_VOCAB_SIZE, QUERY_TEXT_WIDTH, QUERY_TEXT_LAYERS, QUERY_IMAGE_WIDTH, QUERY_IMAGE_LAYERS = 10005, 10010, 10011, 10020, 10021
QUERY_LOGIT_SCALE, QUERY_ACTIVATION, QUERY_SOURCE = 10030, 10040, 10041
RECORD_NONE, RECORD_ALL, RECORD_PROMPTS = 0, 1, 2
PLAN_PREDICT, PLAN_ACCUMULATE, PLAN_ACCUMULATE_FEATURES = 0, 1, 2
GRADIENT_ROWS, GRADIENT_PREFIX, GRADIENT_PIXELS, GRADIENT_PROMPT = 1, 2, 3, 4


class TensorInfo(ctypes.Structure):
    _fields_ = [("struct_size", c_uint32), ("rank", c_int32), ("trainable", c_int32), ("group", c_int32), ("shape", c_int64 * 4),
                ("count", c_uint64), ("name", c_char_p)]


class Batch(ctypes.Structure):
    _fields_ = [("struct_size", c_uint32), ("reserved", c_uint32), ("n", c_size_t), ("pixels", c_void_p), ("label", c_void_p),
                ("image_id", c_void_p), ("seed", c_uint64), ("step", c_uint32), ("reserved2", c_uint32), ("weight", c_double),
                ("features", c_void_p), ("epoch", c_int64), ("aux_weight", c_double)]


class Metrics(ctypes.Structure):
    _fields_ = [("struct_size", c_uint32), ("reserved", c_uint32), ("samples", c_uint64), ("correct", c_uint64),
                ("skipped", c_uint64), ("loss", c_double), ("accuracy", c_double), ("macro_f1", c_double)]


class Progress(ctypes.Structure):
    _fields_ = [("struct_size", c_uint32), ("reserved", c_uint32), ("epoch", c_uint64), ("epochs", c_uint64), ("step", c_uint64),
                ("steps", c_uint64), ("images", c_uint64), ("loss", c_double), ("learning_rate", c_double), ("seconds", c_double),
                ("seconds_left", c_double), ("epoch_end", c_int32), ("reserved2", c_int32), ("epoch_loss", c_double),
                ("epoch_accuracy", c_double), ("images_per_second", c_double), ("epoch_seconds", c_double)]


class TextInput(ctypes.Structure):
    _fields_ = [("struct_size", c_uint32), ("record", c_int32), ("n", c_size_t), ("L", c_size_t), ("rows", c_void_p),
                ("length", c_void_p), ("prefix", c_void_p), ("prefix_rows", c_size_t), ("slot_first", c_size_t), ("slots", c_size_t)]


class ImageInput(ctypes.Structure):
    _fields_ = [("struct_size", c_uint32), ("record", c_int32), ("n", c_size_t), ("pixels", c_void_p), ("tokens", c_void_p),
                ("block", c_int32), ("reserved", c_int32)]


STRUCTS = {"ammpl_text_input": TextInput, "ammpl_image_input": ImageInput,
           "ammpl_tensor_info": TensorInfo, "ammpl_batch": Batch, "ammpl_metrics": Metrics, "ammpl_progress": Progress}
LogFunction = ctypes.CFUNCTYPE(None, c_void_p, c_int32, c_char_p)
ProgressFunction = ctypes.CFUNCTYPE(c_int32, c_void_p, POINTER(Progress))

# name: (result, arguments); a result None is void.
_P, _S, _STATUS = c_void_p, c_char_p, c_int32
FUNCTIONS = {
    "ammpl_version_string": (_S,), "ammpl_status_name": (_S, _STATUS), "ammpl_last_error": (_S,),
    "ammpl_context_create": (_STATUS, _P, _P), "ammpl_context_destroy": (None, _P),
    "ammpl_context_set_log": (_STATUS, _P, c_int32, LogFunction, _P), "ammpl_context_set_threads": (_STATUS, _P, c_int32),
    "ammpl_context_memory": (_STATUS, _P, _P, _P), "ammpl_context_scan_backends": (_STATUS, _P, _S), "ammpl_device_find": (_P, _P, _S),
    "ammpl_config_create": (_STATUS, _P, _P), "ammpl_config_destroy": (None, _P), "ammpl_config_set_text": (_STATUS, _P, _S, _S),
    "ammpl_method_find": (_STATUS, _S, _P),
    "ammpl_model_load_file": (_STATUS, _P, _P, _S, _P, _P), "ammpl_model_destroy": (None, _P),
    "ammpl_model_get_int": (_STATUS, _P, c_int32, _P), "ammpl_model_get_float": (_STATUS, _P, c_int32, _P),
    "ammpl_model_get_string": (_STATUS, _P, c_int32, _P), "ammpl_model_tokenize": (_STATUS, _P, _S, _P, c_size_t, _P),
    "ammpl_model_preprocess": (_STATUS, _P, _P, _P, c_size_t),
    "ammpl_model_augment": (_STATUS, _P, _P, c_uint64, c_uint32, c_uint32, _P, c_size_t),
    "ammpl_image_load_file": (_STATUS, _P, _S, _P), "ammpl_image_load_memory": (_STATUS, _P, _P, c_size_t, _P),
    "ammpl_image_from_pixels": (_STATUS, _P, _P, c_int32, c_int32, c_int64, _P), "ammpl_image_destroy": (None, _P),
    "ammpl_image_width": (c_int32, _P), "ammpl_image_height": (c_int32, _P), "ammpl_image_pixels": (_P, _P),
    "ammpl_dataset_create": (_STATUS, _P, _P, c_size_t, _P), "ammpl_dataset_open_folder": (_STATUS, _P, _S, _S, _P),
    "ammpl_dataset_open_split": (_STATUS, _P, _S, _S, _S, _P), "ammpl_dataset_destroy": (None, _P),
    "ammpl_dataset_add_image": (_STATUS, _P, _P, c_int32), "ammpl_dataset_add_file": (_STATUS, _P, _S, c_int32),
    "ammpl_dataset_count": (c_size_t, _P), "ammpl_dataset_class_count": (c_size_t, _P),
    "ammpl_dataset_class_name": (_S, _P, c_size_t), "ammpl_dataset_label": (c_int32, _P, c_size_t),
    "ammpl_dataset_path": (_S, _P, c_size_t), "ammpl_dataset_load_image": (_STATUS, _P, c_size_t, _P),
    "ammpl_dataset_select_shots": (_STATUS, _P, c_int32, c_uint64, _P),
    "ammpl_dataset_shuffle": (_STATUS, _P, c_uint64, c_uint32, _P, c_size_t),
    "ammpl_prompt_create": (_STATUS, _P, c_int32, _P, c_size_t, _P, _P), "ammpl_prompt_load_file": (_STATUS, _P, _S, _P, _P),
    "ammpl_prompt_destroy": (None, _P), "ammpl_prompt_save_file": (_STATUS, _P, _S, c_int32),
    "ammpl_prompt_rebind_classes": (_STATUS, _P, _P, c_size_t), "ammpl_prompt_class_count": (c_size_t, _P),
    "ammpl_prompt_class_name": (_S, _P, c_size_t), "ammpl_prompt_option": (_S, _P, _S),
    "ammpl_prompt_tensor_count": (c_size_t, _P), "ammpl_prompt_tensor_describe": (_STATUS, _P, c_size_t, _P),
    "ammpl_prompt_tensor_find": (c_int32, _P, _S), "ammpl_prompt_tensor_read": (_STATUS, _P, c_size_t, _P, c_size_t),
    "ammpl_prompt_tensor_write": (_STATUS, _P, c_size_t, _P, c_size_t),
    "ammpl_prompt_gradient_read": (_STATUS, _P, c_size_t, _P, c_size_t),
    "ammpl_prompt_gradient_write": (_STATUS, _P, c_size_t, _P, c_size_t), "ammpl_prompt_zero_gradients": (_STATUS, _P),
    "ammpl_session_create": (_STATUS, _P, _P, _P), "ammpl_session_destroy": (None, _P),
    "ammpl_session_encode_texts": (_STATUS, _P, _P, c_size_t, _P, c_size_t),
    "ammpl_session_encode_images": (_STATUS, _P, _P, _P, c_size_t, _P, c_size_t),
    "ammpl_session_encode_classes": (_STATUS, _P, _P, _P, c_size_t),
    "ammpl_session_predict": (_STATUS, _P, _P, _P, c_size_t, _P, c_size_t),
    "ammpl_session_plan": (_STATUS, _P, _P, c_size_t, c_int32, _P),
    "ammpl_session_evaluate": (_STATUS, _P, _P, _P, _P, ProgressFunction, _P, _P, _P),
    "ammpl_session_accumulate": (_STATUS, _P, _P, _P, _P, _P), "ammpl_session_cancel": (None, _P),
    "ammpl_optimizer_create": (_STATUS, _P, _P, _P), "ammpl_optimizer_destroy": (None, _P), "ammpl_optimizer_step": (_STATUS, _P),
    "ammpl_optimizer_set_epoch": (_STATUS, _P, c_int64), "ammpl_optimizer_learning_rate": (c_double, _P, c_size_t),
    "ammpl_train": (_STATUS, _P, _P, _P, _P, ProgressFunction, _P),
    "ammpl_tape_create": (_STATUS, _P, _P, _P), "ammpl_tape_destroy": (None, _P),
    "ammpl_tape_begin_text": (_STATUS, _P, _P), "ammpl_tape_begin_image": (_STATUS, _P, _P),
    "ammpl_tape_insert": (_STATUS, _P, c_int32, _P, c_size_t, c_int32, c_int32), "ammpl_tape_run": (_STATUS, _P, c_int32),
    "ammpl_tape_tokens": (_STATUS, _P, _P, c_size_t), "ammpl_tape_finish": (_STATUS, _P, _P, c_size_t),
    "ammpl_tape_seed": (_STATUS, _P, c_size_t, _P, c_size_t), "ammpl_tape_backward": (_STATUS, _P, _P),
    "ammpl_tape_gradient": (_STATUS, _P, c_int32, c_size_t, _P, c_size_t),
    "ammpl_session_embed_tokens": (_STATUS, _P, _P, c_size_t, _P, c_size_t),
    "ammpl_session_similarity": (_STATUS, _P, _P, c_size_t, _P, c_size_t, _P, c_size_t),
    "ammpl_session_similarity_backward": (_STATUS, _P, _P, c_size_t, _P, c_size_t, _P, _P, _P),
    "ammpl_session_cross_entropy": (_STATUS, _P, _P, _P, c_size_t, c_size_t, c_double, _P, _P, c_size_t),
}

__all__ = [name for name in globals() if not name.startswith(("_", "c_")) and name not in ("ctypes", "POINTER")]
