"""Settings, by priority from flags, the ``JOBQUEUE_*`` environment, ``jobqueue.toml``, and defaults.

`table` names, explains and holds the settings, `layers` finds their values as text, `rules` parses and checks the
texts. Only the composition root sees `Settings`; it gives all other parts the values that they need.
"""

from jobqueue.settings.layers import mask_url, secret
from jobqueue.settings.rules import Network
from jobqueue.settings.table import SettingRow, Settings, describe

__all__ = ["Network", "SettingRow", "Settings", "describe", "mask_url", "secret"]
