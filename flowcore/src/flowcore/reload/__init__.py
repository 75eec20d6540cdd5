"""Serving with reload: a new process takes over when what was loaded has changed.

One process supervises, and loads nothing of the user's own; its child serves. When a file changes,
another child is started, and only when that serves is the first one asked to retire. The modules,
from the ground up:

- ``channel``: messages, and sockets, between the supervisor and a child;
- ``handover``: what a service in a child is given;
- ``loaded``: which files a child has loaded;
- ``snapshot``: which of them have changed;
- ``watcher``: tells that it is time to look;
- ``child``: the process that serves;
- ``supervisor``: the process that starts, replaces and ends the others.
"""

from __future__ import annotations
