"""Checks that are counted and printed; the first that fails ends the part."""
passed = 0


def check(name, holds, detail=""):
    global passed
    if not holds:
        raise SystemExit(f"FAILED {name}: {detail}")
    passed += 1
    print(f"ok {name}", flush=True)


def end():
    """The line that a part ends with."""
    print(f"{passed} passed, 0 failed")
