# Reads streams, one a line, in hexadecimal. Says of each where the stream began (+), where elements in it and the stream
# itself ended (-), and where it is refused (!), all by bytes.
import sys
from xml.parsers import expat


def reading(stream):
    # The separator is ejabberd's.
    parser = expat.ParserCreate("UTF-8", "\n")
    if hasattr(parser, "SetReparseDeferralEnabled"):
        parser.SetReparseDeferralEnabled(False)
    depth = 0
    at = 0
    said = []

    def start(name, attributes):
        nonlocal depth
        depth += 1
        if depth == 1:
            said.append("%d+ " % at)

    def end(name):
        nonlocal depth
        depth -= 1
        if depth < 2:
            said.append("%d- " % at)

    parser.StartElementHandler = start
    parser.EndElementHandler = end
    try:
        for at in range(1, len(stream) + 1):
            parser.Parse(stream[at - 1 : at], False)
    except expat.ExpatError:
        said.append("!%d" % at)
    return "".join(said)


answers = [reading(bytes.fromhex(line)) for line in sys.stdin.read().splitlines()]
print("\n".join(answers))
