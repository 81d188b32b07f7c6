"""The Python package on a small trained model: called by api.sh.

    _api.py with|without RUN BOOK SCRATCH      with or without numpy
"""
import math
import os
import sys
import traceback

if sys.argv[1] == "without":
    sys.modules["numpy"] = None
import longhand  # noqa: E402

run, book_path, scratch = sys.argv[2:5]
os.makedirs(scratch)
with open(book_path, "rb") as file:
    book = file.read()
model = longhand.Model(run)
ids = model.tokenizer.encode(book)


def rows(result):
    """Results as plain lists, whatever they came as."""
    return result.tolist() if hasattr(result, "tolist") else result


def refuses(status, words, function, *arguments, **named):
    try:
        function(*arguments, **named)
    except longhand.Error as reason:
        assert status == reason.status, (status, reason.status, reason)
        assert words in str(reason), reason
    else:
        raise AssertionError("nothing was refused")


def test_numpy():
    assert (longhand.numpy is None) == (sys.argv[1] == "without")
    assert type(model.session().feed([1])).__name__ == ("list" if longhand.numpy is None else "ndarray")


def test_model():
    assert model.info["memory"] == "compressive" and model.info["vocabulary"] == 256, model.info
    small = longhand.Model(run, checkpoint="latest", overrides=["memory.compressed=32"])
    assert small.info["reach"] > model.info["reach"] and small.info["step"] == 44, small.info
    refuses(5, "nowhere", longhand.Model, "nowhere")
    refuses(7, "model.heads", longhand.Model, run, overrides=["model.heads=1"])


def test_tokenizer():
    tokenizer = longhand.Tokenizer()
    assert len(tokenizer) == 256 and tokenizer.end is None
    assert tokenizer.encode("é") == [0xC3, 0xA9] and tokenizer.encode("") == []
    assert tokenizer.decode([0xC3, 0xA9, 0]) == "é\0".encode() and tokenizer.decode([]) == b""
    assert tokenizer.token(65) == b"A" and tokenizer.token(300) is None
    refuses(2, "300", tokenizer.decode, [300])


def test_scores_are_those_of_logits():
    session, other = model.session(), model.session()
    nats = rows(session.score(ids[:40], ids[1:41]))
    assert session.position == 40 and len(nats) == 40
    for at in range(40):
        logits = rows(other.feed([ids[at]]))
        top = max(logits)
        expected = math.log(sum(math.exp(x - top) for x in logits)) + top - logits[ids[at + 1]]
        assert abs(expected - nats[at]) < 1e-4, (at, expected, nats[at])


def test_lanes():
    session, alone = model.session(lanes=2, threads=1), model.session(threads=1)
    logits = session.feed([ids[:50], ids[100:150]])
    assert len(logits) == 2 and len(logits[0]) == 256
    for a, b in zip(rows(alone.feed(ids[100:150])), rows(logits[1])):
        assert abs(a - b) < 1e-4
    for wrong in (ids[:3], [ids[:3]], [ids[:3], ids[:4]]):
        try:
            session.feed(wrong)
        except ValueError:
            continue
        raise AssertionError("%s was taken" % wrong)


def test_arrays():
    if longhand.numpy is None:
        return
    array = longhand.numpy.array(ids[:30], dtype=longhand.numpy.int64)
    assert rows(model.session().feed(array)) == rows(model.session().feed(ids[:30]))
    assert rows(model.session().feed(array[::2])) == rows(model.session().feed(ids[:30:2]))
    for wrong in (array.astype(float), array + 2**40):
        try:
            model.session().feed(wrong)
        except (TypeError, ValueError):
            continue
        raise AssertionError("%s was taken" % wrong.dtype)


def test_the_same_future():
    session, path = model.session(), os.path.join(scratch, "session")
    session.feed(ids[:300])
    session.save(path)
    session.mark()
    copy = session.fork()
    expected = rows(session.feed(ids[300:340]))
    session.rewind()
    fresh = model.session()
    fresh.restore(path)
    for other in (session, copy, fresh):
        assert other.position == 300
        assert rows(other.feed(ids[300:340])) == expected
    session.reset()
    assert session.position == 0
    refuses(2, "256", session.feed, [256])
    refuses(5, "nowhere", session.restore, "nowhere")


def test_generation():
    session = model.session()
    text = "".join(session.generate("Line 9", tokens=60, temperature=0.7, seed=3))
    assert len(text) == 60 and session.position == 66
    again = model.session()
    pieces = again.generate("Line 9", tokens=60, temperature=0.7, seed=3)
    part = "".join(next(pieces) for _ in range(20))
    pieces.close()  # enough
    assert part == text[:20] and again.position == 26, (part, again.position)
    again.feed([65])  # the session is its own again
    stop = text[10:12]
    stopped = "".join(model.session().generate("Line 9", tokens=60, temperature=0.7, seed=3, stop=[stop]))
    assert stopped == text[:text.index(stop)]
    session = model.session()
    session.feed(ids[:100])
    assert "".join(session.generate(tokens=30, temperature=0)) == "".join(
        model.session().generate(book[:100], tokens=30, temperature=0))


def test_handles_in_any_order():
    other = longhand.Model(run)
    session = other.session()
    pieces = session.generate("a", tokens=3)
    next(pieces)
    tokenizer = other.tokenizer
    other.close()
    other.close()
    session.close()
    assert len("".join(pieces)) == 2 and len(tokenizer) == 256
    refuses(2, "without session", session.feed, [1])
    with longhand.Model(run) as third:
        assert third.info["layers"] == 2


def test_evaluation():
    seen = []
    found = model.evaluate(book_path, progress=seen.append, first="skip")
    nats = rows(model.session().score(ids[:-1], ids[1:]))
    assert abs(sum(nats) - found["nats"]) < 1e-2 and found["skipped"] == 1
    assert seen[-1]["phase"] == "evaluate" and seen[-1]["unit"] == "bits_per_byte"
    refuses(9, "interrupted", model.evaluate, book_path, stop=lambda: True)
    refuses(2, "guess", model.evaluate, book_path, protocol="guess")


def test_recipes():
    assert "compressive-tiny" in longhand.presets()
    found = {(key["section"], key["key"]): key for key in longhand.keys()}
    assert found["train", "steps"]["kind"] == "integer" and found["train", "steps"]["usual"] == "0"


settings = ["data.path=" + book_path, "data.batch=2", "model.layers=1", "model.width=16", "model.heads=2",
            "model.hidden=32", "model.segment=16", "memory.length=16", "memory.compressed=8", "train.steps=12",
            "train.threads=1", "train.log_every=2"]


def test_training():
    path, seen = os.path.join(scratch, "run"), []
    report = longhand.train(path, "compressive-tiny", settings, progress=seen.append, stop=lambda: len(seen) > 6)
    assert not report["finished"] and 0 < report["step"] < 12
    report = longhand.train(path, settings=["train.log_every=1"], progress=seen.append)
    assert report["finished"] and report["resumed"] and report["step"] == 12
    assert seen[-1]["step"] == 12 and seen[-1]["rate"] > 0
    assert longhand.Model(path, checkpoint=12).info["layers"] == 1
    refuses(5, "no run", longhand.train, os.path.join(scratch, "nowhere"))
    text = "preset = compressive-tiny\n[train]\nsteps = 2\n"
    assert longhand.train(os.path.join(scratch, "text"), text=text, settings=settings[:-3])["step"] == 2


def test_what_callbacks_raise():
    path = os.path.join(scratch, "raised")

    def interrupt(progress):
        if progress["step"] == 3:
            raise KeyboardInterrupt

    try:
        longhand.train(path, "compressive-tiny", settings, progress=interrupt)
    except KeyboardInterrupt:
        assert os.path.exists(os.path.join(path, "checkpoint-3.safetensors"))
    else:
        raise AssertionError("nothing was raised")
    try:
        model.evaluate(book_path, stop=lambda: 1 / 0)
    except ZeroDivisionError:
        pass
    else:
        raise AssertionError("nothing was raised")


passed = failed = 0
for name, test in list(globals().items()):
    if name.startswith("test_"):
        try:
            test()
            passed += 1
        except BaseException:
            failed += 1
            print("FAILED: %s numpy: %s" % (sys.argv[1], name))
            traceback.print_exc(file=sys.stdout)
print("%d passed, %d failed" % (passed, failed))
