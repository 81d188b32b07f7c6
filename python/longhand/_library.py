"""The C library through ctypes: where it is, its structs and its functions. include/longhand.h is the manual."""
import ctypes
import ctypes.util
import os

c_size, c_text, c_int64, c_real = ctypes.c_size_t, ctypes.c_char_p, ctypes.c_int64, ctypes.c_double
handle = ctypes.c_void_p
ids_pointer = ctypes.POINTER(ctypes.c_int32)


INTERRUPTED = 9  # lh_status LH_E_INTERRUPTED


class Error(Exception):
    """What the library says went wrong; `status` is an lh_status."""

    def __init__(self, status, message):
        super().__init__(message)
        self.status = status


class _ErrorStruct(ctypes.Structure):
    _fields_ = [("status", ctypes.c_int), ("message", ctypes.c_char * 1024)]


class Struct(ctypes.Structure):
    """A struct whose first field is its size."""

    def __init__(self, **values):
        super().__init__(size=ctypes.sizeof(type(self)), **values)

    def dictionary(self):
        found = {name: getattr(self, name) for name, _ in self._fields_ if name != "size"}
        return {name: value.decode() if isinstance(value, bytes) else value for name, value in found.items()}


class Progress(Struct):
    _fields_ = [("size", c_size), ("phase", c_text), ("done", ctypes.c_uint64), ("total", ctypes.c_uint64),
                ("step", c_int64), ("tokens", c_int64), ("seconds", c_real), ("seconds_left", c_real),
                ("loss", c_real), ("validation", c_real), ("rate", c_real), ("unit", c_text)]


watch_function = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.POINTER(Progress))
stop_function = ctypes.CFUNCTYPE(ctypes.c_bool, ctypes.c_void_p)


class ModelOptions(Struct):
    _fields_ = [("size", c_size), ("checkpoint", c_text), ("overrides", ctypes.POINTER(c_text)),
                ("override_count", c_size)]


class ModelInfo(Struct):
    _fields_ = [("size", c_size), ("memory", c_text), ("step", c_int64), ("parameters", c_int64), ("body", c_int64),
                ("vocabulary", c_int64), ("layers", c_int64), ("width", c_int64), ("heads", c_int64),
                ("segment", c_int64), ("reach", c_int64), ("state_bytes", c_int64), ("running_bytes", c_int64),
                ("flops", c_real), ("note", c_text), ("source", c_int64), ("classes", c_int64)]


class GeneratorOptions(Struct):
    _fields_ = [("size", c_size), ("temperature", c_real), ("top_k", c_int64), ("top_p", c_real), ("min_p", c_real),
                ("repetition_penalty", c_real), ("repetition_window", c_int64), ("seed", ctypes.c_uint64),
                ("stops", ctypes.POINTER(c_text)), ("stop_count", c_size), ("ignore_end", ctypes.c_bool),
                ("special", ctypes.c_bool)]


class Piece(Struct):
    _fields_ = [("size", c_size), ("text", ctypes.POINTER(ctypes.c_char)), ("text_size", c_size),
                ("token", ctypes.c_int32), ("ended", ctypes.c_bool)]


class EvaluationOptions(Struct):
    _fields_ = [("size", c_size), ("data", c_text), ("split", c_text), ("protocol", c_text), ("window", c_int64),
                ("stride", c_int64), ("length", c_int64), ("lanes", c_int64), ("first", c_text),
                ("limit_tokens", ctypes.c_uint64), ("threads", ctypes.c_int), ("resume_path", c_text),
                ("allow_skipped", ctypes.c_bool), ("watch", watch_function), ("stop", stop_function),
                ("user", ctypes.c_void_p)]


class Evaluation(Struct):
    _fields_ = [("size", c_size), ("nats", c_real), ("tokens", ctypes.c_uint64), ("scored", ctypes.c_uint64),
                ("skipped", ctypes.c_uint64), ("documents", ctypes.c_uint64), ("bytes", ctypes.c_uint64),
                ("characters", ctypes.c_uint64), ("words", ctypes.c_uint64), ("nats_per_token", c_real),
                ("bits_per_token", c_real), ("token_perplexity", c_real), ("bits_per_byte", c_real),
                ("bits_per_character", c_real), ("word_perplexity", c_real), ("seconds", c_real),
                ("state_bytes", c_int64), ("complete", ctypes.c_bool), ("lossless", ctypes.c_bool),
                ("accuracy", c_real)]


class Preset(Struct):
    _fields_ = [("size", c_size), ("name", c_text), ("help", c_text)]


class Key(Struct):
    _fields_ = [("size", c_size), ("section", c_text), ("key", c_text), ("kind", c_text), ("usual", c_text),
                ("choices", c_text), ("condition", c_text), ("help", c_text), ("minimum", c_real),
                ("maximum", c_real)]


class TrainingOptions(Struct):
    _fields_ = [("size", c_size), ("must_exist", ctypes.c_bool), ("watch", watch_function), ("stop", stop_function),
                ("user", ctypes.c_void_p)]


class TrainingReport(Struct):
    _fields_ = [("size", c_size), ("step", c_int64), ("tokens", c_int64), ("parameters", c_int64),
                ("seconds", c_real), ("tokens_per_second", c_real), ("unit", c_text), ("loss", c_real),
                ("validation", c_real), ("best", c_real), ("best_step", c_int64), ("resumed", ctypes.c_bool),
                ("finished", ctypes.c_bool), ("accuracy", c_real)]


# Functions that return an lh_status and take an lh_error last, without it.
_calls = {
    "model_open": [ctypes.POINTER(handle), c_text, ctypes.POINTER(ModelOptions)],
    "model_get_info": [handle, ctypes.POINTER(ModelInfo)],
    "model_tokenizer": [ctypes.POINTER(handle), handle],
    "tokenizer_open": [ctypes.POINTER(handle), c_text],
    "tokenizer_encode": [handle, c_text, c_size, ctypes.c_bool, ctypes.POINTER(ids_pointer), ctypes.POINTER(c_size)],
    "tokenizer_decode": [handle, ids_pointer, c_size, ctypes.c_bool, ctypes.POINTER(ctypes.POINTER(ctypes.c_char)),
                         ctypes.POINTER(c_size)],
    "session_create": [ctypes.POINTER(handle), handle, c_int64, ctypes.c_int],
    "session_feed": [handle, ids_pointer, c_int64, ctypes.POINTER(ctypes.c_float)],
    "session_score": [handle, ids_pointer, ids_pointer, c_int64, ctypes.POINTER(c_real)],
    "session_reset": [handle, c_int64],
    "session_fork": [ctypes.POINTER(handle), handle],
    "session_mark": [handle],
    "session_rewind": [handle],
    "session_save": [handle, c_text],
    "session_restore": [handle, c_text],
    "session_set_overlap": [handle, c_int64],
    "generator_create": [ctypes.POINTER(handle), handle, ctypes.POINTER(GeneratorOptions)],
    "generator_read": [handle, c_text, c_size],
    "generator_source": [handle, c_text, c_size, ctypes.POINTER(c_int64)],
    "generator_next": [handle, ctypes.POINTER(Piece)],
    "generator_finish": [handle, ctypes.POINTER(Piece)],
    "evaluate": [handle, ctypes.POINTER(EvaluationOptions), ctypes.POINTER(Evaluation)],
    "preset_get": [c_size, ctypes.POINTER(Preset)],
    "recipe_create": [ctypes.POINTER(handle), c_text],
    "recipe_open_run": [ctypes.POINTER(handle), c_text],
    "recipe_add": [handle, c_text, c_size],
    "recipe_set": [handle, c_text],
    "recipe_key": [handle, c_size, ctypes.POINTER(Key)],
    "train": [handle, c_text, ctypes.POINTER(TrainingOptions), ctypes.POINTER(TrainingReport)],
}
# The others: what they return, what they take.
_plain = {
    "free": (None, [ctypes.c_void_p]),
    "model_free": (None, [handle]),
    "tokenizer_free": (None, [handle]),
    "session_free": (None, [handle]),
    "generator_free": (None, [handle]),
    "recipe_free": (None, [handle]),
    "tokenizer_kind": (c_text, [handle]),
    "tokenizer_size": (ctypes.c_int32, [handle]),
    "tokenizer_end": (ctypes.c_int32, [handle]),
    "tokenizer_token": (ctypes.POINTER(ctypes.c_char), [handle, ctypes.c_int32, ctypes.POINTER(c_size)]),
    "session_lanes": (c_int64, [handle]),
    "session_position": (c_int64, [handle]),
    "session_state_bytes": (c_int64, [handle]),
}


def _open():
    name = os.environ.get("LONGHAND_LIBRARY") or ctypes.util.find_library("longhand") or "liblonghand.so.0"
    try:
        found = ctypes.CDLL(name)
    except OSError as reason:
        raise ImportError("the longhand library cannot be loaded (%s); LONGHAND_LIBRARY can name it" % reason) from None
    for call, arguments in _calls.items():
        function = getattr(found, "longhand_" + call)
        function.restype, function.argtypes = ctypes.c_int, arguments + [ctypes.POINTER(_ErrorStruct)]
    for name, (result, arguments) in _plain.items():
        function = getattr(found, "longhand_" + name)
        function.restype, function.argtypes = result, arguments
    found.lh_version.restype = c_text
    return found


library = _open()


def call(name, *arguments):
    """Calls longhand_<name>; raises Error."""
    error = _ErrorStruct()
    status = getattr(library, "longhand_" + name)(*arguments, ctypes.byref(error))
    if status != 0:
        raise Error(status, error.message.decode("utf-8", "replace"))


def plain(name, *arguments):
    return getattr(library, "longhand_" + name)(*arguments)


def texts(items):
    """A C array of texts, and their count."""
    items = [os.fsencode(item) for item in items]
    return (c_text * max(len(items), 1))(*items), len(items)


class Handle:
    """Owns what a *_create or *_open gave out."""

    kind = ""

    def __init__(self, creator, *arguments):
        self._handle = handle()
        call(creator, ctypes.byref(self._handle), *arguments)

    def close(self):
        """Releases it now; without this, that is done when nobody refers to it any more."""
        owned, self._handle = getattr(self, "_handle", None), None
        if owned:
            plain(self.kind + "_free", owned)

    __del__ = close

    def __enter__(self):
        return self

    def __exit__(self, *reason):
        self.close()


class Watching:
    """Python functions as callbacks of long work. What they raise ends the work and is raised again afterwards."""

    def __init__(self, progress, stop):
        self._progress, self._stop, self.raised = progress, stop, None
        self.watch = watch_function(self._watch)
        self.stop = stop_function(self._ask)

    def _watch(self, _, now):
        if self._progress and not self.raised:
            try:
                self._progress(now.contents.dictionary())
            except BaseException as reason:  # KeyboardInterrupt, too
                self.raised = reason

    def _ask(self, _):
        try:
            return bool(self.raised or (self._stop and self._stop()))
        except BaseException as reason:
            self.raised = reason
            return True

    def call(self, *arguments):
        try:
            call(*arguments)
        except Error:
            if not self.raised:
                raise
        if self.raised:
            raise self.raised
