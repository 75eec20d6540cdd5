"""What a shell offers when Tab is pressed.

Configurations are read, and plugins loaded where their settings are asked for; no module of the
user's own is imported, no app made and no model loaded.
"""

from __future__ import annotations
