# SPDX-License-Identifier: Apache-2.0
"""Samples of call stacks as a flame graph (Gregg, CACM 2016): a picture of where processor time goes."""

import re
from collections import Counter
from html import escape

WIDTH, ROW, TEXT_PER_CHAR = 1200, 17, 6.6
HEAD = 40
STYLE = ("text{font:11px sans-serif;fill:#111}.t{font-size:14px}rect{stroke:#fff;stroke-width:.4}"
         "g:hover>rect{stroke:#000;stroke-width:1}")
FRAME = re.compile(r"^\s+[0-9a-f]+ (.*?)(?:\+0x[0-9a-f]+)? \((.*)\)$")
# The layers of docs/architecture.md by what their functions are called; the first that fits.
LAYERS = [
    ("AES-GCM", "#e8743b", re.compile(r"^(aead_|aes_gcm|IPSec_MB|seal$|open$)")),
    ("rpc", "#5899da", re.compile(r"^(rpc_|frame_|reader_|writer_)")),
    ("replication", "#19a979", re.compile(r"^(abd_|rmw_)")),
    ("store", "#8ecf4d", re.compile(r"^(store_)")),
    ("replica", "#13a4b4", re.compile(r"^(replica_|shard_)")),
    ("client", "#945ecf", re.compile(r"^(core_|avo_|client_)")),
    ("kernel: network", "#d9a441", re.compile(r"(udp|ip_|skb|sock|net_|dev_|napi|inet|loopback|sendmsg|recvmsg|sendmmsg|recvmmsg)")),
]
KERNEL, OTHER = "#e9cf73", "#bfc6cc"


def fold(lines):
    """Of `perf script`'s text: {(frame, ...): samples}, outermost frame first. A frame is its name, "[k]" behind it when it
    is the kernel's."""
    stacks, stack, program = Counter(), [], None

    def end():
        if program is not None and stack:
            stacks[(program, *reversed(stack))] += 1

    for line in lines:
        if not line.strip():
            end()
            stack, program = [], None
        elif line[0] not in " \t":
            program = line.split()[0]
        else:
            match = FRAME.match(line)
            name, obj = match.groups() if match else (line.strip(), "")
            name = re.sub(r"\.(isra|constprop|part|cold)\b.*", "", name)
            if name == "[unknown]" and "IPSec_MB" in obj:
                name = "IPSec_MB"
            stack.append(name + ("_[k]" if "kernel" in obj or obj.endswith(".ko") else ""))
    end()
    return stacks


def layer_of(frame):
    if frame.endswith("_[k]"):
        return "kernel: network" if LAYERS[-1][2].search(frame) else "kernel"
    for name, _, pattern in LAYERS[:-1]:
        if pattern.search(frame):
            return name
    return None


def shares(stacks):
    """Part of all samples by layer: that of the innermost frame that belongs to one; helpers (memcpy, SipHash) count for
    whoever calls them."""
    total, by = sum(stacks.values()), Counter()
    for stack, n in stacks.items():
        layer = next((x for x in map(layer_of, reversed(stack)) if x is not None), "other")
        if stack[-1].endswith("_[k]"):
            in_kernel = [layer_of(f) for f in stack if f.endswith("_[k]")]
            layer = "kernel: network" if "kernel: network" in in_kernel else "kernel: the rest"
        by[layer] += n
    return {k: v / total for k, v in by.most_common()}


def own(stacks):
    """Part of all samples in which a function itself ran."""
    total, by = sum(stacks.values()), Counter()
    for stack, n in stacks.items():
        by[stack[-1]] += n / total
    return by


def colour(frame):
    for name, value, _ in LAYERS:
        if layer_of(frame) == name:
            return value
    return KERNEL if frame.endswith("_[k]") else OTHER


def tree(stacks):
    root = {"n": 0, "below": {}}
    for stack, n in stacks.items():
        root["n"] += n
        at = root
        for frame in stack:
            at = at["below"].setdefault(frame, {"n": 0, "below": {}})
            at["n"] += n
    return root


def svg(stacks, title, smallest=0.003):
    """A self-contained picture. Frames below `smallest` of all samples are left out: their parents show the gap."""
    root, out = tree(stacks), []
    total, deepest = max(1, root["n"]), 0

    def draw(name, node, x, depth):
        nonlocal deepest
        width = node["n"] / total * WIDTH
        if node["n"] / total < smallest:
            return
        deepest = max(deepest, depth)
        room = int((width - 4) / TEXT_PER_CHAR)
        shown = name if len(name) <= room else name[:max(0, room - 1)] + "…" if room > 3 else ""
        text = f'<text x="{x + 3:.1f}" y="{{{depth}}}">{escape(shown)}</text>' if shown else ""
        out.append((depth, f'<g><title>{escape(name)}: {node["n"] / total:.1%}</title><rect x="{x:.1f}" y="{{}}" '
                           f'width="{width:.1f}" height="{ROW - 1}" fill="{colour(name)}"/>', text))
        for below, child in sorted(node["below"].items()):
            draw(below, child, x, depth + 1)
            x += child["n"] / total * WIDTH

    x = 0
    for name, child in sorted(root["below"].items()):
        draw(name, child, x, 0)
        x += child["n"] / total * WIDTH
    height = HEAD + (deepest + 1) * ROW + 4
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}"><style>{STYLE}</style>'
             f'<rect width="{WIDTH}" height="{height}" fill="#fff"/><text class="t" x="4" y="16">{escape(title)}</text>']
    at = 4
    for name, value, _ in [*LAYERS, ("kernel", KERNEL, None), ("other", OTHER, None)]:
        parts.append(f'<rect x="{at}" y="22" width="11" height="11" fill="{value}"/><text x="{at + 15}" y="32">{name}</text>')
        at += 34 + len(name) * 7
    for depth, rect, text in out:
        y = height - 4 - (depth + 1) * ROW
        parts.append(rect.replace("{}", str(y)) + text.replace(f"{{{depth}}}", str(y + 12)) + "</g>")
    return "".join(parts) + "</svg>\n"
