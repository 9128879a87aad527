"""Every threshold, endpoint and limit, with the place its value comes from."""

from core.settings.model import NAMES, SECRETS, LocalServerChoice, Settings, default_home, env_name
from core.settings.report import ORIGIN_TEXT, InvalidSetting, Origin, SettingInfo, SettingProblem
from core.settings.sources import SettingsFileError
from core.settings.store import SettingsStore

__all__ = [
    "NAMES",
    "ORIGIN_TEXT",
    "SECRETS",
    "InvalidSetting",
    "LocalServerChoice",
    "Origin",
    "SettingInfo",
    "SettingProblem",
    "Settings",
    "SettingsFileError",
    "SettingsStore",
    "default_home",
    "env_name",
]
