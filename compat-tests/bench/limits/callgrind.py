"""Reads what valgrind's callgrind writes: instructions in a function, below it, and how often it is called."""
import re
from collections import Counter

NAME = re.compile(r"^(c?fn)=\((\d+)\)(?: (.*))?$")


class Profile:
    def __init__(self, path):
        self.total, self.own, self.below, self.calls = 0, Counter(), Counter(), Counter()
        names, function, callee = {}, None, None
        with open(path) as lines:
            for line in lines:
                if match := NAME.match(line.rstrip("\n")):
                    kind, number, name = match.groups()
                    if name is not None:
                        names[number] = name
                    if kind == "fn":
                        function = names[number]
                    else:
                        callee = names[number]
                elif line.startswith("calls="):
                    self.calls[callee] += int(line[6:].split()[0])
                elif line[0].isdigit() or line[0] in "+-*":
                    cost = int(line.split()[1]) if len(line.split()) > 1 else 0
                    if callee is not None:
                        self.below[callee] += cost
                        callee = None
                    else:
                        self.own[function] += cost
                        self.total += cost
