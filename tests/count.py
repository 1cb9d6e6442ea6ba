"""Counts test cases from what the test programs printed.

    count.py TESTLOG.json [NAME OUTPUT_FILE EXIT_STATUS]...

TESTLOG.json is meson's, one program per line.  A case is a TAP line ("ok ...", "not ok ...") or "SKIP name: sentence".  A program
that crashed, ran out of time, exited with a failure that none of its cases tells, ran fewer cases than it announced, or ran
none at all counts as one failed case.  Failing cases are printed with their output; the last line is the sum.
"""
import json
import re
import sys

CASE = re.compile(r"(not )?ok\b *\d* *-? *(.*)")
TIMEOUT = 124  # as timeout(1) says it


def programs(arguments):
    """Yields (name, output, errors, exit status, seconds)."""
    with open(arguments[0], encoding="utf-8") as log:
        for line in log:
            t = json.loads(line)
            status = TIMEOUT if t["result"] == "TIMEOUT" else t.get("returncode") or 0
            yield t["name"].split(" / ")[-1], t.get("stdout") or "", t.get("stderr") or "", status, t["duration"]
    for name, file, status in zip(arguments[1::3], arguments[2::3], arguments[3::3]):
        with open(file, encoding="utf-8", errors="replace") as log:
            yield name, log.read(), "", int(status), None


def cases(output):
    """Yields (kind, text, the lines that follow it)."""
    found = []
    planned = None
    for line in output.splitlines():
        case = CASE.match(line)
        plan = re.match(r"1\.\.(\d+)", line)
        if case and re.search(r"# *SKIP\b", case.group(2), re.I):
            found.append(["skipped", case.group(2), []])
        elif case:
            found.append(["failed" if case.group(1) else "passed", case.group(2), []])
        elif line.startswith("SKIP "):
            found.append(["skipped", line[5:], []])
        elif plan:
            planned = int(plan.group(1))
        elif found:
            found[-1][2].append(line)
    ran = sum(kind != "skipped" for kind, _, _ in found)
    return found, planned, ran


def judge(output, status):
    """The cases of one program, with what its end says added to them."""
    found, planned, ran = cases(output)
    failed = any(kind == "failed" for kind, _, _ in found)
    tail = output.splitlines()[-40:]
    if status == TIMEOUT:
        found.append(["failed", "ran out of time", tail])
    elif status < 0 or status >= 128:
        found.append(["failed", f"crashed (signal {-status if status < 0 else status - 128})", tail])
    elif status == 77 and not ran:
        found.append(["skipped", "the program says that it cannot run here", []])
    elif planned is not None and ran < planned and not any(kind == "skipped" for kind, _, _ in found):
        found.append(["failed", f"ran {ran} cases of {planned}", tail])
    elif status != 0 and not failed:
        found.append(["failed", f"exit status {status}", tail])
    elif not found:
        found.append(["failed", "no case was run", tail])
    return found


def main():
    total = {"passed": 0, "failed": 0, "skipped": 0}
    complaints = []
    for name, output, errors, status, seconds in programs(sys.argv[1:]):
        found = judge(output, status)
        count = {kind: sum(k == kind for k, _, _ in found) for kind in total}
        for kind in total:
            total[kind] += count[kind]
        print(f"{name:20} {count['passed']:4} passed {count['failed']:3} failed {count['skipped']:3} skipped"
              + (f" {seconds:7.1f} s" if seconds is not None else ""))
        for kind, text, lines in found:
            if kind == "skipped":
                print(f"    SKIP {text}")
            elif kind == "failed":
                complaints += [f"FAILED {name}: {text}"] + ["    " + line for line in lines]
        if count["failed"] and errors.strip():
            complaints += ["  standard error of " + name + ":"] + ["    " + line for line in errors.splitlines()[-60:]]
    print("\n".join(complaints))
    print(f"{total['passed']} passed, {total['failed']} failed, {total['skipped']} skipped")
    return 0 if total["passed"] and not total["failed"] else 1


sys.exit(main())
