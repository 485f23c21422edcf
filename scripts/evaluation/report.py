# SPDX-License-Identifier: Apache-2.0
"""One page that needs nothing else, from the raw figures."""

from html import escape

from .systems import PEERS, Avocado

STYLE = """body{font:15px/1.5 sans-serif;max-width:800px;margin:2em auto;padding:0 1em;color:#222}
table{border-collapse:collapse;margin:1em 0}td,th{padding:3px 10px;text-align:right;border-bottom:1px solid #ddd}
th:first-child{text-align:left}svg{width:100%}svg text{font-size:11px;fill:#555}polyline{fill:none;stroke-width:2}
.grid{stroke:#e6e6e6}.mark{stroke:#999;stroke-dasharray:4}.spread{stroke:#333}.warn{color:#c62828}"""


def busy(data):
    load = data.get("load_before", 0)
    return f"; <b>others were at work on them</b> (load average {load:.1f} before the first run)" if load > 0.5 else ""


def page(data, experiments):
    out = [f'<!doctype html><html lang="en"><meta charset="utf-8"><title>Avocado: evaluation</title>'
           f"<style>{STYLE}</style><h1>Avocado: evaluation</h1>",
           f"<p>{escape(data['machine'])}; {escape(data['date'])}; commit {escape(data['commit'])}. "
           f"Servers and load share these cores, everything is on loopback{busy(data)}. {data['repetitions']} "
           f"repetition{'s' if data['repetitions'] > 1 else ''} of {data['seconds']:g} s a point; bars are medians, "
           "thin lines reach from the smallest to the largest. Compare figures within a plot, not with other machines.</p>",
           "<h2>What the others promise</h2><table>"]
    for system in (Avocado, *PEERS):
        out.append(f"<tr><th>{escape(system.name)}<td style='text-align:left'>{escape(system.guarantee)}</tr>")
    out.append("</table>")
    for e in experiments:
        if e.name not in data["experiments"]:
            continue
        found = data["experiments"][e.name]
        out.append(f"<h2>{escape(e.title)}</h2><p>{escape(e.text)}</p>")
        out.append(f"<p class='warn'>{escape(found['failed'])}</p>" if "failed" in found else e.show(found))
    for note in data["notes"]:
        out.append(f"<p class='warn'>{escape(note)}</p>")
    return "\n".join(out) + "</html>\n"
