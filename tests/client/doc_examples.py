#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The programs in the documentation are those that the tests build and run, to the letter.
usage: doc_examples.py DOCUMENT EXAMPLE...
"""

import sys
from pathlib import Path


def main():
    document = Path(sys.argv[1]).read_text()
    bad = 0
    for example in sys.argv[2:]:
        text = Path(example).read_text()
        body = text[text.index("#include"):].strip()
        if f"```c\n{body}\n```" not in document:
            print(f"{sys.argv[1]}: {example} does not stand there as it is")
            bad = 1
    return bad


sys.exit(main())
