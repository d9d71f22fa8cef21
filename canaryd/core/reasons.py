"""The words for why: one CamelCase word per outcome, the same in the log line,
the Event and the condition.

Words are an interface: people grep them and alert on them. Adding one is free,
renaming one is a breaking change.
"""

from enum import StrEnum


class Reason(StrEnum):
    """Why a decision came out as it did."""

    # nothing to do
    NOT_ENROLLED = "NotEnrolled"
    TARGET_GONE = "TargetGone"
    IDLE = "Idle"
    SUSPENDED = "Suspended"
    # cannot act
    CONFIG_INVALID = "ConfigInvalid"
    SERVICE_NOT_FOUND = "ServiceNotFound"
    SERVICE_AMBIGUOUS = "ServiceAmbiguous"
    INGRESS_NOT_FOUND = "IngressNotFound"
    INGRESS_INVALID = "IngressInvalid"
    CONFLICT = "Conflict"
    NETWORK_POLICY_UNMATCHED = "NetworkPolicyUnmatched"
    WORKLOAD_UNSUPPORTED = "WorkloadUnsupported"
    CONFIG_MISSING = "ConfigMissing"
    CONFIG_UNREADABLE = "ConfigUnreadable"
    API_ERROR = "ApiError"
    CACHE_BEHIND = "CacheBehind"
    # enrolment
    ENROLLING = "Initializing"
    PRIMARY_NOT_READY = "PrimaryNotReady"
    WAITING_FOR_ENDPOINTS = "WaitingForEndpoints"
    DRAINING = "Draining"
    INITIALIZED = "Initialized"
    # a run
    NEW_REVISION = "NewRevisionDetected"
    REVISION_CHANGED = "RevisionChanged"
    REVERTED = "Reverted"
    WAITING_FOR_GATE = "WaitingForGate"
    CANARY_NOT_READY = "CanaryNotReady"
    CANARY_LOST = "CanaryLost"
    ANALYSIS_STARTED = "AnalysisStarted"
    WEIGHT_ADVANCED = "WeightAdvanced"
    ANALYZING = "Analyzing"
    ADVANCEMENT_HELD = "AdvancementHeld"
    METRIC_FAILED = "MetricFailed"
    HOOK_FAILED = "HookFailed"
    LOAD_TEST_FAILED = "LoadTestFailed"
    ROLLBACK_REQUESTED = "RollbackRequested"
    PROGRESS_DEADLINE_EXCEEDED = "ProgressDeadlineExceeded"
    MAX_DURATION_EXCEEDED = "MaxDurationExceeded"
    INCONCLUSIVE_TOO_LONG = "InconclusiveTooLong"
    PROMOTION_STARTED = "PromotionStarted"
    PROMOTING = "Promoting"
    PROMOTION_FAILED = "PromotionFailed"
    FINALISING = "Finalising"
    PROMOTED = "Promoted"
    ROLLED_BACK = "RolledBack"
    # upkeep
    TRAFFIC_DRIFT = "TrafficDrift"
    SELECTOR_DRIFT = "SelectorDrift"
    REPLICAS_DRIFT = "ReplicasDrift"
    PRIMARY_REBUILT = "PrimaryRebuilt"
    PRIMARY_DRIFT = "PrimaryDrift"
    SERVICE_WRITTEN = "ServiceWritten"
    MENDED = "Mended"
    HEALTH_CHANGED = "HealthChanged"
    SATELLITE_CHANGED = "SatelliteChanged"
    PRIMARY_SCALED = "PrimaryScaled"
    # leaving
    LEAVING = "Leaving"
    LEFT = "Unenrolled"
