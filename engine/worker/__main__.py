"""`python -m engine.worker --nice N --session MODULE FD`: one worker process, started by `engine.process`
only.

FD is the worker's end of the channel. The first thing that takes time, importing torch, comes after Hello.
"""

from __future__ import annotations

import argparse
import faulthandler
import logging
import signal
import socket

from engine.worker.priority import die_with_parent, lower_priority
from engine.worker.serve import serve


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m engine.worker")
    parser.add_argument("--nice", type=int, required=True)
    parser.add_argument("--session", required=True, help="the module that holds Session and warm_up")
    parser.add_argument("channel", type=int, metavar="FD")
    arguments = parser.parse_args()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    faulthandler.enable()
    logging.basicConfig(format="%(levelname)s %(name)s: %(message)s")
    die_with_parent()
    lower_priority(arguments.nice)
    channel = socket.socket(fileno=arguments.channel)
    channel.set_inheritable(False)
    serve(channel, arguments.session)


main()
