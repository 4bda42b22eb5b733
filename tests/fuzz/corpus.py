#!/usr/bin/env python3
"""Golden frames as a fuzzer's first corpus.

    corpus.py frame|body VECTORS OUT     whole frames behind a byte of piece size, or bodies alone
"""

import pathlib
import sys


def read(path):
    lines = [line for line in path.read_text().splitlines() if not line.startswith("#")]
    return bytes.fromhex("".join(lines))


def main():
    form, vectors, out = sys.argv[1], pathlib.Path(sys.argv[2]), pathlib.Path(sys.argv[3])
    out.mkdir(parents=True, exist_ok=True)
    for path in sorted(vectors.glob("*.hex")):
        frame = read(path)
        (out / path.stem).write_bytes(b"\x06" + frame if form == "frame" else frame[4:])


if __name__ == "__main__":
    main()
