"""Every threshold, endpoint and limit, with the place its value comes from."""

from core.settings.model import NAMES, SECRETS, LocalServerChoice, Settings, default_home, env_name
from core.settings.report import (
    ORIGIN_TEXT,
    InvalidSetting,
    NamesNothing,
    Origin,
    SettingInfo,
    SettingProblem,
    UntrustedFile,
    Withheld,
    printable_path,
)
from core.settings.sources import SettingsFileError
from core.settings.store import SettingsStore

__all__ = [
    "NAMES",
    "ORIGIN_TEXT",
    "SECRETS",
    "InvalidSetting",
    "LocalServerChoice",
    "NamesNothing",
    "Origin",
    "SettingInfo",
    "SettingProblem",
    "Settings",
    "SettingsFileError",
    "SettingsStore",
    "UntrustedFile",
    "Withheld",
    "default_home",
    "env_name",
    "printable_path",
]
