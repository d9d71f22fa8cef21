{{- define "canaryd.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 40 | trimSuffix "-" }}
{{- end }}

{{- define "canaryd.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" }}
{{- else if contains (include "canaryd.name" .) .Release.Name }}
{{- .Release.Name | trunc 40 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name (include "canaryd.name" .) | trunc 40 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{- /*
Name of objects without a namespace of their own choice. Two daemons for the whole cluster would fight over every app,
so they collide here and Helm refuses the second; releases with listed namespaces may stand beside each other.
*/}}
{{- define "canaryd.clusterName" -}}
{{- if eq .Values.scope.mode "cluster" }}
{{- include "canaryd.fullname" . }}
{{- else }}
{{- printf "%s.%s" (include "canaryd.fullname" .) .Release.Namespace }}
{{- end }}
{{- end }}

{{- define "canaryd.selectorLabels" -}}
app.kubernetes.io/name: {{ include "canaryd.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "canaryd.labels" -}}
{{ include "canaryd.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name (.Chart.Version | replace "+" "_") }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "canaryd.serviceAccountName" -}}
{{- if .Values.serviceAccount.create }}
{{- default (include "canaryd.fullname" .) .Values.serviceAccount.name }}
{{- else }}
{{- required "serviceAccount.name: name an existing ServiceAccount, or let the chart create one with serviceAccount.create=true" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{- /* The name under which the API server knows the daemon. */}}
{{- define "canaryd.username" -}}
{{- printf "system:serviceaccount:%s:%s" .Release.Namespace (include "canaryd.serviceAccountName" .) }}
{{- end }}

{{- define "canaryd.image" -}}
{{- $registry := .Values.global.imageRegistry | default .Values.image.registry }}
{{- $name := .Values.image.repository }}
{{- if $registry }}{{ $name = printf "%s/%s" (trimSuffix "/" $registry) $name }}{{ end }}
{{- if .Values.image.digest }}
{{- printf "%s@%s" $name .Values.image.digest }}
{{- else }}
{{- printf "%s:%s" $name (.Values.image.tag | default .Chart.AppVersion) }}
{{- end }}
{{- end }}

{{- define "canaryd.leaseNamespace" -}}
{{- .Values.leaderElection.namespace | default .Release.Namespace }}
{{- end }}

{{- /* What the schema cannot say, or says without a way out when it is skipped. */}}
{{- define "canaryd.check" -}}
{{- if not (has .Values.scope.mode (list "cluster" "namespaces")) }}
{{- fail "scope.mode: choose \"cluster\" (watch every namespace, needs a ClusterRole) or \"namespaces\" (watch those of scope.namespaces), for example --set scope.mode=cluster" }}
{{- end }}
{{- $leaseSeconds := int .Values.leaderElection.leaseSeconds }}
{{- $renewSeconds := int .Values.leaderElection.renewSeconds }}
{{- $retrySeconds := int .Values.leaderElection.retrySeconds }}
{{- if not (and (lt $renewSeconds $leaseSeconds) (lt $retrySeconds $renewSeconds)) }}
{{- fail (printf "leaderElection: retrySeconds < renewSeconds < leaseSeconds must hold, or two daemons could lead at once; got %d, %d and %d" $retrySeconds $renewSeconds $leaseSeconds) }}
{{- end }}
{{- if and (not .Values.leaderElection.enabled) (gt (int .Values.replicas) 1) }}
{{- fail "replicas: only one replica may run while leaderElection.enabled is false" }}
{{- end }}
{{- end }}

{{- /* The API version in which the API server has MutatingAdmissionPolicy; nothing if it does not say. */}}
{{- define "canaryd.policyVersion" -}}
{{- $group := "admissionregistration.k8s.io" }}
{{- if .Capabilities.APIVersions.Has (printf "%s/v1/MutatingAdmissionPolicy" $group) }}
{{- printf "%s/v1" $group }}
{{- else if .Capabilities.APIVersions.Has (printf "%s/v1beta1/MutatingAdmissionPolicy" $group) }}
{{- printf "%s/v1beta1" $group }}
{{- end }}
{{- end }}

{{- /*
What keeps selectors and replicas: policy, webhook or off. A values file that says `keep: off` without quotes arrives
as a boolean. With listed namespaces the webhook needs the one right in the whole cluster, so there it must be asked for.
*/}}
{{- define "canaryd.keep" -}}
{{- $keep := toString .Values.admission.keep }}
{{- if ne $keep "auto" }}
{{- eq $keep "false" | ternary "off" $keep }}
{{- else if include "canaryd.policyVersion" . }}
{{- "policy" }}
{{- else }}
{{- eq .Values.scope.mode "cluster" | ternary "webhook" "off" }}
{{- end }}
{{- end }}

{{- /* The API version of the policies that keep, or nothing if they are not to be installed. */}}
{{- define "canaryd.keepVersion" -}}
{{- if eq (include "canaryd.keep" .) "policy" }}
{{- $newest := semverCompare ">=1.36.0-0" .Capabilities.KubeVersion.Version | ternary "v1" "v1beta1" }}
{{- include "canaryd.policyVersion" . | default (printf "admissionregistration.k8s.io/%s" $newest) }}
{{- end }}
{{- end }}

{{- /* What keeps, for people. */}}
{{- define "canaryd.keepsBy" -}}
{{- $words := dict "policy" "selectors and replicas, by admission policies" "webhook" "selectors and replicas, by the daemon's webhook" "off" "nothing" }}
{{- get $words (include "canaryd.keep" .) }}
{{- end }}

{{- /* The Service and the Secret of the webhook. */}}
{{- define "canaryd.webhookName" -}}
{{- printf "%s-webhook" (include "canaryd.fullname" .) }}
{{- end }}

{{- /* Whether the policy is installed that says who may ask what of a rollout: true or false. */}}
{{- define "canaryd.commands" -}}
{{- $commands := toString .Values.admission.commands }}
{{- if eq $commands "auto" }}
{{- semverCompare ">=1.30.0-0" .Capabilities.KubeVersion.Version }}
{{- else }}
{{- has $commands (list "on" "true") }}
{{- end }}
{{- end }}

{{- /* The enabled providers, for people. */}}
{{- define "canaryd.providers" -}}
{{- $found := list }}
{{- if .Values.providers.nginx.enabled }}
{{- $found = append $found (printf "nginx (%s)" .Values.providers.nginx.dialect) }}
{{- end }}
{{- if .Values.providers.smi.enabled }}
{{- $found = append $found (printf "smi (%s)" .Values.providers.smi.dialect) }}
{{- end }}
{{- if .Values.providers.gateway.enabled }}
{{- $found = append $found (printf "gateway (%s)" .Values.providers.gateway.dialect) }}
{{- end }}
{{- if .Values.providers.none.enabled }}
{{- $found = append $found "none (Services alone)" }}
{{- end }}
{{- join ", " $found | default "no one, so no app can be enrolled" }}
{{- end }}
