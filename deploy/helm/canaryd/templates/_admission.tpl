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
