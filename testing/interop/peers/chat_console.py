"""Somebody who chats at a console: profanity on a terminal of its own.

A line on standard input is typed and entered; what the terminal shows goes to standard output as text, each run of
it in a line. The argument is profanity's home. It ends with its standard input.
"""

import fcntl
import os
import pty
import re
import select
import struct
import sys
import termios

#: What a terminal understands besides text: moves, colours, modes (ECMA-48), and character sets.
CONTROLS = re.compile(rb"\x1b\[[0-9;?]*[a-zA-Z]|\x1b[()][A-Z0-9]|\x1b[=>78]|[\x00-\x1f]")
ROWS, COLUMNS = 50, 200


def run(home):
    os.environ.update(HOME=home, XDG_CONFIG_HOME=home, XDG_DATA_HOME=home, TERM="xterm", LANG="C.UTF-8")
    os.execvp("profanity", ["profanity", "--log", "DEBUG"])


def main():
    child, terminal = pty.fork()
    if child == 0:
        run(sys.argv[1])
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
    while True:
        ready, _, _ = select.select([terminal, sys.stdin], [], [])
        if terminal in ready:
            try:
                shown = os.read(terminal, 65536)
            except OSError:
                return
            for text in CONTROLS.split(shown):
                if text.strip():
                    sys.stdout.write(text.decode(errors="replace").rstrip() + "\n")
            sys.stdout.flush()
        if sys.stdin in ready:
            line = os.read(sys.stdin.fileno(), 4096)
            if not line:
                return
            # Enter is a carriage return.
            os.write(terminal, line.replace(b"\n", b"\r"))


if __name__ == "__main__":
    main()
