{{- /* The daemon's settings. A field stands here if and only if canaryd/config/settings.py has it. */}}
{{- define "canaryd.config" -}}
scope:
  mode: {{ .Values.scope.mode }}
  namespaces: {{ toJson .Values.scope.namespaces }}
leader_election:
  enabled: {{ .Values.leaderElection.enabled }}
  namespace: {{ include "canaryd.leaseNamespace" . | quote }}
  name: {{ .Values.leaderElection.name | quote }}
  lease_s: {{ int .Values.leaderElection.leaseSeconds }}
  renew_s: {{ int .Values.leaderElection.renewSeconds }}
  retry_s: {{ int .Values.leaderElection.retrySeconds }}
providers:
  nginx:
    enabled: {{ .Values.providers.nginx.enabled }}
    annotation_prefix: {{ .Values.providers.nginx.annotationPrefix | quote }}
    dialect: {{ .Values.providers.nginx.dialect }}
    propagation_s: {{ int .Values.providers.nginx.propagationSeconds }}
  smi:
    enabled: {{ .Values.providers.smi.enabled }}
    version: {{ .Values.providers.smi.version }}
    dialect: {{ .Values.providers.smi.dialect }}
    propagation_s: {{ int .Values.providers.smi.propagationSeconds }}
  gateway:
    enabled: {{ .Values.providers.gateway.enabled }}
    dialect: {{ .Values.providers.gateway.dialect }}
    propagation_s: {{ int .Values.providers.gateway.propagationSeconds }}
  none:
    enabled: {{ .Values.providers.none.enabled }}
    propagation_s: {{ int .Values.providers.none.propagationSeconds }}
autoscalers:
  keda:
    enabled: {{ .Values.autoscalers.keda.enabled }}
metric_sources:
  {{- $sources := dict }}
  {{- range $name, $source := .Values.metricSources }}
  {{- if and $source $source.url }}
  {{- $entry := dict "type" ($source.type | default "prometheus") "url" $source.url "timeout_s" (int ($source.timeoutSeconds | default 10)) }}
  {{- $_ := set $sources $name $entry }}
  {{- end }}
  {{- end }}
  {{- toYaml $sources | nindent 2 }}
secrets:
  access: {{ .Values.secrets.access }}
defaults:
  {{- toYaml .Values.defaults | nindent 2 }}
egress:
  allowed_hosts: {{ toJson .Values.egress.allowedHosts }}
  allow_private_networks: {{ toJson .Values.egress.allowPrivateNetworks }}
load_tests:
  enabled: {{ .Values.loadTests.enabled }}
  max_rate: {{ int .Values.loadTests.maxRate }}
  max_concurrent: {{ int .Values.loadTests.maxConcurrent }}
log:
  level: {{ .Values.log.level }}
  format: {{ .Values.log.format }}
server:
  host: {{ .Values.server.host | quote }}
  port: {{ int .Values.server.port }}
max_runs: {{ int .Values.maxRuns }}
workers: {{ int .Values.workers }}
resync_s: {{ int .Values.resyncSeconds }}
admission:
  # What this release installed.
  keep: {{ include "canaryd.keep" . | quote }}
  commands: {{ include "canaryd.commands" . }}
  username: {{ include "canaryd.username" . | quote }}
  webhook:
    port: {{ int .Values.admission.webhook.port }}
    name: {{ include "canaryd.webhookName" . | quote }}
    configuration: {{ include "canaryd.clusterName" . | quote }}
{{- end }}
