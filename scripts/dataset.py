#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Real records from this machine: the path and the SHA-256 of every file below /usr/share/doc.

usage: dataset.py FILE [MINIMUM]

Writes lines PATH<tab>SHA-256. Where that gives fewer than MINIMUM (default 20000), files below
/usr/share follow until there are enough, then the words of the word list, then files below /usr.
"""

import hashlib
import os
import sys

KEY_MAX = 1024


def files(top):
    for folder, folders, names in os.walk(top):
        folders.sort()
        for name in sorted(names):
            path = os.path.join(folder, name)
            key = os.fsencode(path)
            if os.path.islink(path) or not os.path.isfile(path):
                continue
            if len(key) > KEY_MAX or b"\t" in key or b"\n" in key:
                continue
            try:
                with open(path, "rb") as f:
                    yield key, hashlib.file_digest(f, "sha256").hexdigest()
            except OSError:
                continue


def words(path):
    try:
        with open(path, "rb") as f:
            for word in f.read().split():
                yield b"word/" + word[:64], hashlib.sha256(word).hexdigest()
    except OSError:
        return


def main():
    minimum = int(sys.argv[2]) if len(sys.argv) > 2 else 20000
    seen = set()
    sources = [
        (files("/usr/share/doc"), False),
        (files("/usr/share"), True),
        (words("/usr/share/dict/words"), True),
        (files("/usr"), True),
    ]
    with open(sys.argv[1], "wb") as out:
        for source, only_if_needed in sources:
            if only_if_needed and len(seen) >= minimum:
                continue
            for key, digest in source:
                if key not in seen:
                    seen.add(key)
                    out.write(key + b"\t" + digest.encode() + b"\n")
                if only_if_needed and len(seen) >= minimum:
                    break
    print(len(seen))
    return 0 if len(seen) >= minimum else 1


sys.exit(main())
