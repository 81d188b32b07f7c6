"""longhand from Python: models over long context.

    import longhand

    longhand.train("runs/book", "compressive-tiny", ["data.path=book.txt", "train.minutes=2"], progress=print)
    model = longhand.Model("runs/book")
    session = model.session()
    ids = model.tokenizer.encode(open("book.txt", "rb").read())
    nats = session.score(ids[:-1], ids[1:])
    print("".join(session.generate("It was a", tokens=200)))

A thin layer over the C library, whose header longhand.h says everything in detail. Results are numpy arrays where
numpy is installed, else lists."""
import ctypes
import os

from . import _library
from ._library import Error, Handle, call, plain, texts

try:
    import numpy
except ImportError:
    numpy = None

__version__ = _library.library.lh_version().decode()
__all__ = ["Error", "Model", "Session", "Tokenizer", "keys", "presets", "train"]


def _path(path):
    return None if path is None else os.fsencode(path)


def _text(text):
    return text.encode() if isinstance(text, str) else bytes(text)


def _ids(tokens, lanes):
    """Token ids as a C array, and how many there are in a lane. With several lanes, one row for each."""
    if numpy is not None and isinstance(tokens, numpy.ndarray):
        if not numpy.issubdtype(tokens.dtype, numpy.integer):
            raise TypeError("token ids must be integers, not %s" % tokens.dtype)
        if tokens.size and not -2**31 <= int(tokens.min()) <= int(tokens.max()) < 2**31:
            raise ValueError("a token id needs more than 32 bits")
        flat = tokens.astype(numpy.int32).ravel()
        rows = 1 if tokens.ndim == 1 else tokens.shape[0] if tokens.ndim == 2 else 0
        array = (ctypes.c_int32 * flat.size).from_buffer_copy(flat) if flat.size else (ctypes.c_int32 * 0)()
    else:
        lists = tokens if len(tokens) and hasattr(tokens[0], "__len__") else [tokens]
        if len({len(row) for row in lists}) > 1:
            raise ValueError("all lanes must have equally many tokens")
        rows, flat = len(lists), [int(token) for row in lists for token in row]
        array = (ctypes.c_int32 * len(flat))(*flat)
    if rows != lanes:
        raise ValueError("tokens for %d lanes were given to %d" % (rows, lanes))
    return array, len(array) // lanes


def _result(array, lanes):
    """A C array as numpy array or list; with several lanes, a row for each."""
    if numpy is not None:
        found = numpy.frombuffer(array, dtype=numpy.dtype(array._type_)).copy()
        return found if lanes == 1 else found.reshape(lanes, -1)
    found, count = list(array), len(array) // lanes
    return found if lanes == 1 else [found[i * count:(i + 1) * count] for i in range(lanes)]


class Tokenizer(Handle):
    """Bytes to token ids and back. `path`: a tokenizer file, a run, or "bytes"."""

    kind = "tokenizer"

    def __init__(self, path="bytes", _model=None):
        super().__init__(*(("model_tokenizer", _model) if _model else ("tokenizer_open", _path(path))))

    def __len__(self):
        return plain("tokenizer_size", self._handle)

    @property
    def end(self):
        """The end-of-text token, or None."""
        token = plain("tokenizer_end", self._handle)
        return token if token >= 0 else None

    def token(self, token):
        """The bytes of one token, or None if there is no such token."""
        size = ctypes.c_size_t()
        found = plain("tokenizer_token", self._handle, token, ctypes.byref(size))
        return ctypes.string_at(found, size.value) if found else None

    def encode(self, text, special=False):
        """Token ids of a str (as UTF-8) or bytes."""
        text = _text(text)
        ids, count = _library.ids_pointer(), ctypes.c_size_t()
        call("tokenizer_encode", self._handle, text, len(text), special, ctypes.byref(ids), ctypes.byref(count))
        try:
            return ids[:count.value] if count.value else []
        finally:
            plain("free", ids)

    def decode(self, ids, special=True):
        """The bytes that token ids stand for."""
        array, count = _ids(ids, 1)
        text, size = ctypes.POINTER(ctypes.c_char)(), ctypes.c_size_t()
        call("tokenizer_decode", self._handle, array, count, special, ctypes.byref(text), ctypes.byref(size))
        try:
            return ctypes.string_at(text, size.value)
        finally:
            plain("free", text)


class Model(Handle):
    """A trained model: of a run directory, a model directory or a file of weights in one.

    checkpoint: "model", "best", "latest" or a step. overrides: "section.key=value" of what may differ from
    training. `info` is a dictionary of sizes and costs."""

    kind = "model"

    def __init__(self, path, checkpoint=None, overrides=()):
        array, count = texts(overrides)
        options = _library.ModelOptions(checkpoint=_path(None if checkpoint is None else str(checkpoint)),
                                        overrides=array, override_count=count)
        super().__init__("model_open", _path(path), ctypes.byref(options))
        info = _library.ModelInfo()
        call("model_get_info", self._handle, ctypes.byref(info))
        self.info = info.dictionary()
        self.tokenizer = Tokenizer(_model=self._handle)

    def session(self, lanes=1, threads=0):
        """Documents to be read side by side, from nothing."""
        return Session(self, lanes, threads)

    def evaluate(self, data, progress=None, stop=None, **options):
        """How well the model predicts a text or data set, as a dictionary of totals and figures. options: the fields
        of longhand_evaluation_options. progress(dictionary) is called as it goes on; stop() true ends it (Error)."""
        watching = _library.Watching(progress, stop)
        values = {name: _path(value) if isinstance(value, (str, os.PathLike)) else value
                  for name, value in options.items()}
        given = _library.EvaluationOptions(data=_path(data), watch=watching.watch, stop=watching.stop, **values)
        found = _library.Evaluation()
        watching.call("evaluate", self._handle, ctypes.byref(given), ctypes.byref(found))
        return found.dictionary()


class Session(Handle):
    """Documents being read by a model. See longhand_session in longhand.h."""

    kind = "session"

    def __init__(self, model, lanes=1, threads=0, _copy=None):
        if _copy is not None:
            super().__init__("session_fork", _copy)
        else:
            super().__init__("session_create", model._handle, lanes, threads)
        self.model, self.lanes = model, lanes

    @property
    def position(self):
        """Tokens read since the last reset."""
        return plain("session_position", self._handle)

    @property
    def state_bytes(self):
        """Of one lane; it does not grow with what is read."""
        return plain("session_state_bytes", self._handle)

    def feed(self, tokens):
        """Reads token ids and returns the logits of what follows the last one."""
        array, count = _ids(tokens, self.lanes)
        logits = (ctypes.c_float * (self.lanes * self.model.info["vocabulary"]))()
        call("session_feed", self._handle, array, count, logits)
        return _result(logits, self.lanes)

    def score(self, tokens, targets):
        """Reads token ids and returns the loss of each target in nats; negative targets are not scored."""
        array, count = _ids(tokens, self.lanes)
        wanted, other = _ids(targets, self.lanes)
        if count != other:
            raise ValueError("%d tokens have %d targets" % (count, other))
        nats = (ctypes.c_double * (self.lanes * count))()
        call("session_score", self._handle, array, wanted, count, nats)
        return _result(nats, self.lanes)

    def generate(self, prompt="", tokens=200, temperature=1.0, top_k=0, top_p=1.0, min_p=0.0, repetition_penalty=1.0,
                 repetition_window=64, seed=0, stop=(), ignore_end=False, special=False, source=None):
        """Reads a prompt and writes on: yields pieces of text as they are written. The session has then read all of
        it, also if the caller takes no more pieces. A model with an encoder begins anew beside `source`, a text,
        whose beginning its encoder reads; with None it goes on beside the one it has."""
        stops, count = texts(_text(item) for item in stop)
        options = _library.GeneratorOptions(
            temperature=temperature, top_k=top_k, top_p=top_p, min_p=min_p, repetition_penalty=repetition_penalty,
            repetition_window=repetition_window, seed=seed, stops=stops, stop_count=count, ignore_end=ignore_end,
            special=special)
        with _Generator(self, options) as generator:
            if source is not None:
                generator.source(_text(source))
            generator.read(_text(prompt))
            yield from generator.write(tokens)

    def reset(self, lane=-1):
        """Forgets what was read, in all lanes or in one."""
        call("session_reset", self._handle, lane)

    def fork(self):
        """An independent copy."""
        return Session(self.model, self.lanes, _copy=self._handle)

    def mark(self):
        """Remembers this point, for rewind."""
        call("session_mark", self._handle)

    def rewind(self):
        """Returns to the marked point."""
        call("session_rewind", self._handle)

    def set_overlap(self, overlap):
        """Models without memory: how many tokens are read again when a segment is full."""
        call("session_set_overlap", self._handle, overlap)

    def save(self, path):
        """Writes the state to a file."""
        call("session_save", self._handle, _path(path))

    def restore(self, path):
        """Takes a saved state back, bit for bit."""
        call("session_restore", self._handle, _path(path))


class _Generator(Handle):
    kind = "generator"

    def __init__(self, session, options):
        super().__init__("generator_create", session._handle, ctypes.byref(options))
        self._piece = _library.Piece()

    def _text(self):
        return ctypes.string_at(self._piece.text, self._piece.text_size).decode("utf-8", "replace")

    def source(self, text):
        cut = ctypes.c_int64()
        call("generator_source", self._handle, text, len(text), ctypes.byref(cut))

    def read(self, text):
        if text:
            call("generator_read", self._handle, text, len(text))

    def write(self, tokens):
        try:
            for _ in range(tokens):
                call("generator_next", self._handle, ctypes.byref(self._piece))
                if self._piece.text_size:
                    yield self._text()
                if self._piece.ended:
                    break
        finally:
            call("generator_finish", self._handle, ctypes.byref(self._piece))
        if self._piece.text_size:
            yield self._text()


class _Recipe(Handle):
    kind = "recipe"


def presets():
    """Names of configurations and what they are, as a dictionary."""
    found, preset = {}, _library.Preset()
    while True:
        try:
            call("preset_get", len(found), ctypes.byref(preset))
        except Error:
            return found
        found[preset.name.decode()] = preset.help.decode()


def keys():
    """Every key that a recipe may have, as a list of dictionaries."""
    found, key = [], _library.Key()
    with _Recipe("recipe_create", None) as recipe:
        while True:
            try:
                call("recipe_key", recipe._handle, len(found), ctypes.byref(key))
            except Error:
                return found
            found.append(key.dictionary())


def train(run, recipe=None, settings=(), text=None, progress=None, stop=None):
    """Trains into the run directory `run` and returns a report as a dictionary.

    recipe: a preset's name or a recipe file. text: a recipe as text. settings: "section.key=value" on top. With
    neither recipe nor text, goes on with the run that is there. progress(dictionary) is called after every step;
    stop() true saves and ends with "finished" false. What these functions raise ends the training, too, and is
    raised when everything is saved."""
    go_on = recipe is None and text is None
    watching = _library.Watching(progress, stop)
    report = _library.TrainingReport()
    options = _library.TrainingOptions(must_exist=go_on, watch=watching.watch, stop=watching.stop)
    creator = ("recipe_open_run", _path(run)) if go_on else ("recipe_create", _path(recipe))
    with _Recipe(*creator) as made:
        if text is not None:
            call("recipe_add", made._handle, _text(text), len(_text(text)))
        for setting in settings:
            call("recipe_set", made._handle, _text(setting))
        try:
            watching.call("train", made._handle, _path(run), ctypes.byref(options), ctypes.byref(report))
        except Error as reason:
            if reason.status != _library.INTERRUPTED:  # because stop() said so
                raise
    return report.dictionary()
