"""The command line: arguments in, exit codes out. Data goes to stdout, progress to stderr.

``app`` has the commands, ``ending`` turns what they return or raise into the exit status and the last line.
"""

from harness.cli.ending import main as main
