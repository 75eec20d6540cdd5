"""What is installed, what is configured, and what of it would not work.

The modules: ``examination`` puts all together, ``installation`` looks at what is installed,
``configuration`` at what was configured, ``models`` at the entries for models and stores,
``secrecy`` keeps keys out, and ``printing`` shows it. Plugins add to it by the hook
``flowcore_diagnose``.
"""

from __future__ import annotations

from flowcore.doctor.examination import Diagnosis, examine

__all__ = ["Diagnosis", "examine"]
