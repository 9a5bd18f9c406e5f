# SPDX-License-Identifier: Apache-2.0
"""A stretch of the standard library for bench/record_traces.sh: JSON, regular expressions, dictionaries, sorting, text."""
import collections
import json
import re
import sys
import textwrap

rounds = int(sys.argv[1])
words = re.findall(r"\w+", textwrap.__doc__ + json.__doc__ + re.__doc__ + collections.__doc__)
for n in range(rounds):
    records = [{"id": i, "name": words[i % len(words)] * (1 + i % 3), "tags": words[i % 50: i % 50 + 5],
                "score": i * 1.25, "nested": {"a": [i, i + n, None], "b": str(i)}} for i in range(400)]
    text = json.dumps(records, indent=1)
    back = json.loads(text)
    count = collections.Counter(w for r in back for w in r["tags"])
    lines = sorted(text.splitlines(), key=lambda s: (len(s), s))
    index = collections.defaultdict(list)
    for line in lines:
        m = re.match(r'\s*"(\w+)": (.*?),?$', line)
        if m:
            index[m.group(1)].append(m.group(2))
    report = textwrap.fill(" ".join(w for w, _ in count.most_common(40)), 60)
    assert len(back) == 400 and "id" in index and report
