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

{{- /*
The API version in which the API server has MutatingAdmissionPolicy, or nothing if it is not to be installed.
A values file that says `keep: on` without quotes arrives as a boolean.
*/}}
{{- define "canaryd.keepVersion" -}}
{{- $group := "admissionregistration.k8s.io" }}
{{- $keep := toString .Values.admission.keep }}
{{- if has $keep (list "auto" "on" "true") }}
{{- if .Capabilities.APIVersions.Has (printf "%s/v1/MutatingAdmissionPolicy" $group) }}
{{- printf "%s/v1" $group }}
{{- else if .Capabilities.APIVersions.Has (printf "%s/v1beta1/MutatingAdmissionPolicy" $group) }}
{{- printf "%s/v1beta1" $group }}
{{- else if ne $keep "auto" }}
{{- printf "%s/%s" $group (semverCompare ">=1.36.0-0" .Capabilities.KubeVersion.Version | ternary "v1" "v1beta1") }}
{{- end }}
{{- end }}
{{- end }}
