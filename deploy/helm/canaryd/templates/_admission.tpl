{{- /* Where the policies hold: everywhere, or in the namespaces that are watched. */}}
{{- define "canaryd.keepScope" -}}
{{- if eq .Values.scope.mode "namespaces" }}
matchResources:
  matchPolicy: Equivalent
  namespaceSelector:
    matchExpressions:
      - key: kubernetes.io/metadata.name
        operator: In
        values: {{ toJson .Values.scope.namespaces }}
{{- end }}
{{- end }}

{{- /*
A mutation that puts back `keys` of metadata.`field` where an update changed or dropped them.
The map itself may be gone from the new object, and JSON Patch does not make parents: hence the first part.
*/}}
{{- define "canaryd.keepMap" -}}
{{- $field := .field -}}
{{- $old := printf "oldObject.metadata.%s" $field -}}
{{- $new := printf "object.metadata.%s" $field -}}
{{- $keys := list -}}
{{- range .keys }}{{ $keys = append $keys (squote .) }}{{ end -}}
- patchType: JSONPatch
  jsonPatch:
    expression: >-
      !has({{ $old }})
      ? []
      : (has({{ $new }}) ? [] : [JSONPatch{op: "add", path: "/metadata/{{ $field }}", value: {}}]) +
      [{{ join ", " $keys }}]
      .filter(key, key in {{ $old }} && !(has({{ $new }}) && key in {{ $new }} && {{ $new }}[key] == {{ $old }}[key]))
      .map(key, JSONPatch{op: "add", path: "/metadata/{{ $field }}/" + jsonpatch.escapeKey(key), value: {{ $old }}[key]})
{{- end }}

{{- /*
Whether a Deployment is enrolled, is being given back, or carries the note of who made its template.
In the oldest words of CEL: Kubernetes 1.28 reads this too, in the webhook's conditions.
*/}}
{{- define "canaryd.isNoted" -}}
(has(object.metadata.annotations) &&
('internal.canaryd.io/author' in object.metadata.annotations ||
('canaryd.io/enabled' in object.metadata.annotations && object.metadata.annotations['canaryd.io/enabled'] == 'true'))) ||
(oldObject != null && has(oldObject.metadata.annotations) &&
('internal.canaryd.io/author' in oldObject.metadata.annotations ||
('internal.canaryd.io/managed' in oldObject.metadata.annotations && oldObject.metadata.annotations['internal.canaryd.io/managed'] == 'true')))
{{- end }}

{{- /* What the hooks of the webhook have in common. */}}
{{- define "canaryd.webhook" -}}
clientConfig:
  service:
    namespace: {{ .Release.Namespace }}
    name: {{ include "canaryd.webhookName" . }}
    path: /keep
    port: 443
admissionReviewVersions: [v1]
sideEffects: None
failurePolicy: Ignore
timeoutSeconds: 2
matchPolicy: Equivalent
# A webhook that writes after us must not have the last word.
reinvocationPolicy: IfNeeded
{{- if eq .Values.scope.mode "namespaces" }}
namespaceSelector:
  matchExpressions:
    - key: kubernetes.io/metadata.name
      operator: In
      values: {{ toJson .Values.scope.namespaces }}
{{- end }}
{{- end }}
