"""The command line behind `make test`, `make tools`, `make support` and `make lock`."""

import argparse
import os
import sys

from tests.tooling import locks, runner, suites, support, tools


def main() -> int:
    """Run one command and return its exit code: 0, 1 for a failure, 3 for a missing tool."""
    parser = argparse.ArgumentParser(prog="python -m tests.tooling")
    commands = parser.add_subparsers(dest="command", required=True)
    test = commands.add_parser("test", help="run the checks and every suite, or the suites named")
    test.add_argument("--full", action="store_true", help="the long form")
    test.add_argument("suite", nargs="*", choices=[[], *(suite.name for suite in suites.TABLE)])
    commands.add_parser("tools", help="fetch every tool into .tools")
    commands.add_parser("support", help="write docs/S3-SUPPORT.md anew")
    commands.add_parser("lock", help="write the requirement locks anew")
    arguments = parser.parse_args()
    if arguments.command == "lock":
        locks.write()
        return 0
    if arguments.command == "support":
        support.write()
        return 0
    allow_missing = os.environ.get("ALLOW_MISSING") == "1"
    if arguments.command == "tools":
        missing = tools.acquire(list(tools.TABLE))
        for reason in missing.values():
            print(f"MISSING {reason}")
        return runner.EXIT_MISSING if missing and not allow_missing else 0
    allow_skips = os.environ.get("CI") != "true"
    return runner.run(full=arguments.full, allow_missing=allow_missing, allow_skips=allow_skips, only=arguments.suite)


sys.exit(main())
