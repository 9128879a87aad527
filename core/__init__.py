"""The router core's public face: plain asyncio, no Qt. Everything a program, and the panel, needs is here by name.

::

    from core import ChatRequest, RouterCore

    async with RouterCore() as core:
        result = await core.ask(ChatRequest.from_prompt("What is the capital of France?", max_tokens=50))

A name's module is imported when the name is first asked for, so that one part of the core does not load them all.
A new name stands in three places: under ``TYPE_CHECKING`` (for type checkers), in ``__all__``, and in ``_HOMES``;
a test holds them together.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from core.base.child_process import child_environment, python_command
    from core.base.files import check_regular, decode_text, open_regular_file, write_whole, writing_whole
    from core.base.home import plain_home, secure_home
    from core.base.net import is_near
    from core.base.permissions import make_private_folder
    from core.base.redaction import redact
    from core.base.text import (
        MEMORY_GB,
        age,
        counted,
        exact_duration,
        file_size,
        in_memory_gb,
        marked,
        measured_duration,
        memory_size,
        rough_duration,
        sentence,
        sentence_case,
        shortened,
        spreadsheet_cell,
        tokens_short,
        transfer_facts,
        two_decimals,
        with_thousands,
    )
    from core.chat import (
        CacheMarks,
        CachePlan,
        CacheSwitchCost,
        ChatRequest,
        ChatResult,
        ContextEconomy,
        Estimate,
        EventStream,
        Failed,
        Feature,
        Finished,
        FinishReason,
        ImagePart,
        JsonSchemaFormat,
        Message,
        PromptProgress,
        RequestStep,
        RouteDecision,
        RoutingMode,
        Rule,
        Savings,
        Side,
        Signals,
        Source,
        Started,
        Stopped,
        StreamEnd,
        StreamEvent,
        TextDelta,
        Tool,
        ToolCall,
        ToolCallDelta,
        Usage,
        UsageReported,
        Waiting,
    )
    from core.context.tokens import estimate_tokens, tokens_of_length, utf8_bytes
    from core.context.trimming import plan_summary
    from core.doctor.findings import Finding
    from core.errors import (
        AnswerInvalid,
        AuthenticationFailed,
        BudgetExceeded,
        ContentRefused,
        ContextTooLong,
        CreditExhausted,
        DeadlineExceeded,
        DuplicateRequest,
        HomeRefused,
        InvalidRequest,
        KeyHeldBack,
        LedgerUnavailable,
        ModelNotFound,
        Overloaded,
        PermissionDenied,
        QueueFull,
        RateExceeded,
        RateLimited,
        RunawayPaused,
        SignalboxError,
        TimedOut,
        TransientFailure,
        Unavailable,
    )
    from core.keys import BackendStatus, KeyName, KeyStatus
    from core.ledger.limits import Budget, LimitUsage, Unit
    from core.ledger.models import ArmedLimit, LedgerRow, PausedConversation, ReportRow
    from core.ledger.savings import saved_words
    from core.local.alerts import Alert, one_of_each_kind
    from core.local.fit import FitEstimate, FitOption
    from core.local.gpu_sample import GpuProcess, GpuReading, HostReading, MachineSample, ServerFigures
    from core.local.history import History, MachineEvent, MetricName, Series
    from core.local.models import CuratedModel, Download, FoundServer, ModelOnDisk, ModelShelf
    from core.local.preflight import FixSetting, PreflightCheck, PreflightReport
    from core.local.server import STEP_DOING, ServerFailure, ServerState, StartStep
    from core.local.server_log import LogLine, LogPage
    from core.local.vllm_settings import DockerContext, SettingFault, VllmPlan, VllmSettings
    from core.model_list import PACKAGED_MODEL, ListedModel, ModelList
    from core.pricing.money import (
        NANO_PER_DOLLAR,
        dollars_to_nano,
        exact_dollars,
        format_amount,
        format_cost,
        format_limit,
        nano_to_dollars,
    )
    from core.pricing.spending import (
        NO_CHARGE,
        MoneyKind,
        MoneyPart,
        Spending,
        likely_nanodollars,
        own_cost_is_open,
        unsettled_amount,
    )
    from core.providers.base import CheckResult
    from core.router_core import RouterCore
    from core.routing.conversations import conversation_of
    from core.serialization import from_json, salvage_json, to_json, to_plain
    from core.services.setting_check import SettingDoubt
    from core.services.status import ApiStatus, CoreStatus, LedgerCheck, Problem
    from core.settings import Settings, SettingsStore
    from core.structured.schema import check_schema
    from core.structured.scoreboard import Score
    from core.telemetry.logs import log_path, redacted_traceback, setup_logging

__all__ = [
    "MEMORY_GB",
    "NANO_PER_DOLLAR",
    "NO_CHARGE",
    "PACKAGED_MODEL",
    "STEP_DOING",
    "Alert",
    "AnswerInvalid",
    "ApiStatus",
    "ArmedLimit",
    "AuthenticationFailed",
    "BackendStatus",
    "Budget",
    "BudgetExceeded",
    "CacheMarks",
    "CachePlan",
    "CacheSwitchCost",
    "ChatRequest",
    "ChatResult",
    "CheckResult",
    "ContentRefused",
    "ContextEconomy",
    "ContextTooLong",
    "CoreStatus",
    "CreditExhausted",
    "CuratedModel",
    "DeadlineExceeded",
    "DockerContext",
    "Download",
    "DuplicateRequest",
    "Estimate",
    "EventStream",
    "Failed",
    "Feature",
    "Finding",
    "FinishReason",
    "Finished",
    "FitEstimate",
    "FitOption",
    "FixSetting",
    "FoundServer",
    "GpuProcess",
    "GpuReading",
    "History",
    "HomeRefused",
    "HostReading",
    "ImagePart",
    "InvalidRequest",
    "JsonSchemaFormat",
    "KeyHeldBack",
    "KeyName",
    "KeyStatus",
    "LedgerCheck",
    "LedgerRow",
    "LedgerUnavailable",
    "LimitUsage",
    "ListedModel",
    "LogLine",
    "LogPage",
    "MachineEvent",
    "MachineSample",
    "Message",
    "MetricName",
    "ModelList",
    "ModelNotFound",
    "ModelOnDisk",
    "ModelShelf",
    "MoneyKind",
    "MoneyPart",
    "Overloaded",
    "PausedConversation",
    "PermissionDenied",
    "PreflightCheck",
    "PreflightReport",
    "Problem",
    "PromptProgress",
    "QueueFull",
    "RateExceeded",
    "RateLimited",
    "ReportRow",
    "RequestStep",
    "RouteDecision",
    "RouterCore",
    "RoutingMode",
    "Rule",
    "RunawayPaused",
    "Savings",
    "Score",
    "Series",
    "ServerFailure",
    "ServerFigures",
    "ServerState",
    "SettingDoubt",
    "SettingFault",
    "Settings",
    "SettingsStore",
    "Side",
    "SignalboxError",
    "Signals",
    "Source",
    "Spending",
    "StartStep",
    "Started",
    "Stopped",
    "StreamEnd",
    "StreamEvent",
    "TextDelta",
    "TimedOut",
    "Tool",
    "ToolCall",
    "ToolCallDelta",
    "TransientFailure",
    "Unavailable",
    "Unit",
    "Usage",
    "UsageReported",
    "VllmPlan",
    "VllmSettings",
    "Waiting",
    "age",
    "check_regular",
    "check_schema",
    "child_environment",
    "conversation_of",
    "counted",
    "decode_text",
    "dollars_to_nano",
    "estimate_tokens",
    "exact_dollars",
    "exact_duration",
    "file_size",
    "format_amount",
    "format_cost",
    "format_limit",
    "from_json",
    "in_memory_gb",
    "is_near",
    "likely_nanodollars",
    "log_path",
    "make_private_folder",
    "marked",
    "measured_duration",
    "memory_size",
    "nano_to_dollars",
    "one_of_each_kind",
    "open_regular_file",
    "own_cost_is_open",
    "plain_home",
    "plan_summary",
    "python_command",
    "redact",
    "redacted_traceback",
    "rough_duration",
    "salvage_json",
    "saved_words",
    "secure_home",
    "sentence",
    "sentence_case",
    "setup_logging",
    "shortened",
    "spreadsheet_cell",
    "to_json",
    "to_plain",
    "tokens_of_length",
    "tokens_short",
    "transfer_facts",
    "two_decimals",
    "unsettled_amount",
    "utf8_bytes",
    "with_thousands",
    "write_whole",
    "writing_whole",
]

_HOMES = {
    "core.base.child_process": "child_environment python_command",
    "core.base.files": "check_regular decode_text open_regular_file write_whole writing_whole",
    "core.base.home": "plain_home secure_home",
    "core.base.net": "is_near",
    "core.base.permissions": "make_private_folder",
    "core.base.redaction": "redact",
    "core.base.text": "MEMORY_GB age counted exact_duration file_size in_memory_gb marked measured_duration "
    "memory_size rough_duration sentence sentence_case shortened spreadsheet_cell tokens_short transfer_facts "
    "two_decimals "
    "with_thousands",
    "core.chat": (
        "CacheMarks CachePlan CacheSwitchCost ChatRequest ChatResult ContextEconomy Estimate EventStream Failed "
        "Feature Finished FinishReason ImagePart JsonSchemaFormat Message PromptProgress RequestStep RouteDecision "
        "RoutingMode Rule Savings Side Signals Source Started Stopped StreamEnd StreamEvent TextDelta Tool "
        "ToolCall ToolCallDelta Usage UsageReported Waiting"
    ),
    "core.context.tokens": "estimate_tokens tokens_of_length utf8_bytes",
    "core.context.trimming": "plan_summary",
    "core.doctor.findings": "Finding",
    "core.errors": (
        "AnswerInvalid AuthenticationFailed BudgetExceeded ContentRefused ContextTooLong CreditExhausted "
        "DeadlineExceeded DuplicateRequest HomeRefused InvalidRequest KeyHeldBack LedgerUnavailable "
        "ModelNotFound Overloaded PermissionDenied QueueFull RateExceeded RateLimited RunawayPaused "
        "SignalboxError TimedOut TransientFailure Unavailable"
    ),
    "core.keys": "BackendStatus KeyName KeyStatus",
    "core.ledger.limits": "Budget LimitUsage Unit",
    "core.ledger.models": "ArmedLimit LedgerRow PausedConversation ReportRow",
    "core.ledger.savings": "saved_words",
    "core.model_list": "PACKAGED_MODEL ListedModel ModelList",
    "core.local.alerts": "Alert one_of_each_kind",
    "core.local.fit": "FitEstimate FitOption",
    "core.local.gpu_sample": "GpuProcess GpuReading HostReading MachineSample ServerFigures",
    "core.local.history": "History MachineEvent MetricName Series",
    "core.local.models": "CuratedModel Download FoundServer ModelOnDisk ModelShelf",
    "core.local.preflight": "FixSetting PreflightCheck PreflightReport",
    "core.local.server": "STEP_DOING ServerFailure ServerState StartStep",
    "core.local.server_log": "LogLine LogPage",
    "core.local.vllm_settings": "DockerContext SettingFault VllmPlan VllmSettings",
    "core.pricing.money": (
        "NANO_PER_DOLLAR dollars_to_nano exact_dollars format_amount format_cost format_limit nano_to_dollars"
    ),
    "core.pricing.spending": (
        "NO_CHARGE MoneyKind MoneyPart Spending likely_nanodollars own_cost_is_open unsettled_amount"
    ),
    "core.providers.base": "CheckResult",
    "core.router_core": "RouterCore",
    "core.routing.conversations": "conversation_of",
    "core.serialization": "from_json salvage_json to_json to_plain",
    "core.services.setting_check": "SettingDoubt",
    "core.services.status": "ApiStatus CoreStatus LedgerCheck Problem",
    "core.settings": "Settings SettingsStore",
    "core.structured.schema": "check_schema",
    "core.structured.scoreboard": "Score",
    "core.telemetry.logs": "log_path redacted_traceback setup_logging",
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names.split()}

if not TYPE_CHECKING:  # else every name, a misspelt one too, would pass the type checker

    def __getattr__(name: str) -> object:
        home = _HOME_OF.get(name)
        if home is None:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = globals()[name] = getattr(import_module(home), name)
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
