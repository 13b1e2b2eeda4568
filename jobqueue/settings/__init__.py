"""What can be set, and from where: flags > ``JOBQUEUE_*`` environment > ``jobqueue.toml`` > defaults.

`table` names, explains and holds the settings, `rules` says what is acceptable, `layers` finds the values as text,
`parsing` turns text into values. Only the composition root sees `Settings`; everything else is given what it needs.
"""

from jobqueue.settings.layers import mask_url
from jobqueue.settings.rules import Network
from jobqueue.settings.table import SettingRow, Settings, describe

__all__ = ["Network", "SettingRow", "Settings", "describe", "mask_url"]
