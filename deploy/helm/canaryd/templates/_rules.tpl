{{- /*
What the daemon may do. The comment above a rule is its reason; docs/reference/rbac.md is made of both.
Names cannot be matched by pattern in RBAC, so rules about copies cover the kind in the namespace.
*/}}

{{- define "canaryd.appRules" -}}
# Finds targets by their annotations, makes and rolls the primary, removes it when a target leaves.
- apiGroups: [apps]
  resources: [deployments]
  verbs: [get, list, watch, create, patch, delete]
# Scales the target up for an analysis and down after it, without touching the rest of its spec.
- apiGroups: [apps]
  resources: [deployments/scale]
  verbs: [patch]
# Says on the target, in two conditions of its status, that a run is under way or needs a person.
- apiGroups: [apps]
  resources: [deployments/status]
  verbs: [patch]
# Finds the pod-template-hash of the revision under analysis, so that only its pods get traffic.
- apiGroups: [apps]
  resources: [replicasets]
  verbs: [list]
# Keeps the snapshots that promotion, rollback and undo read.
- apiGroups: [apps]
  resources: [controllerrevisions]
  verbs: [get, list, watch, create, patch, delete]
# Points the apex Service at the primary and keeps the primary's and the canary's Services.
- apiGroups: [""]
  resources: [services]
  verbs: [get, list, watch, create, patch, delete]
# Knows at once when the pods behind a weight are ready, or no longer are.
- apiGroups: [discovery.k8s.io]
  resources: [endpointslices]
  verbs: [list, watch]
# Notices changed configuration and keeps immutable versioned copies for the primary.
- apiGroups: [""]
  resources: [configmaps]
  verbs: [get, list, watch, create, patch, delete]
{{- if eq .Values.secrets.access "all" }}
# Notices changed Secrets that targets use and keeps immutable versioned copies for the primary.
- apiGroups: [""]
  resources: [secrets]
  verbs: [get, list, watch, create, patch, delete]
{{- end }}
# Gives the primary a copy of the target's autoscaler.
- apiGroups: [autoscaling]
  resources: [horizontalpodautoscalers]
  verbs: [get, list, watch, create, patch, delete]
{{- if .Values.autoscalers.keda.enabled }}
# Gives the primary a copy of the target's ScaledObject, and pauses that one between runs.
- apiGroups: [keda.sh]
  resources: [scaledobjects]
  verbs: [get, list, watch, create, patch, delete]
{{- end }}
# Gives the primary's pods the disruption budget that protects the target's.
- apiGroups: [policy]
  resources: [poddisruptionbudgets]
  verbs: [get, list, watch, create, patch, delete]
# Lets through to the primary's pods what is let through to the target's.
- apiGroups: [networking.k8s.io]
  resources: [networkpolicies]
  verbs: [get, list, watch, create, patch, delete]
{{- if .Values.providers.nginx.enabled }}
# Finds the Ingresses of the apex Service and writes the weight into the canary Ingress beside each.
- apiGroups: [networking.k8s.io]
  resources: [ingresses]
  verbs: [get, list, watch, create, patch, delete]
{{- end }}
{{- if .Values.providers.smi.enabled }}
# Keeps one TrafficSplit for each app that uses SMI, and writes the weights into it.
- apiGroups: [split.smi-spec.io]
  resources: [trafficsplits]
  verbs: [list, watch, create, patch, delete]
{{- end }}
{{- if .Values.providers.gateway.enabled }}
# Finds the HTTPRoutes that lead to the apex Service and puts the canary beside it during a run.
- apiGroups: [gateway.networking.k8s.io]
  resources: [httproutes]
  verbs: [get, list, watch, patch]
{{- end }}
# Keeps one Canary for each target: what holds for it, and how far it is.
- apiGroups: [canaryd.io]
  resources: [canaries]
  verbs: [get, list, watch, create, patch, delete]
# Writes the status of Canaries.
- apiGroups: [canaryd.io]
  resources: [canaries/status]
  verbs: [get, patch]
# Tells what it does, and why, on the Deployment and on the Canary.
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create, patch]
{{- end }}

{{- define "canaryd.clusterRules" -}}
# Reads the defaults that a Namespace's annotations set for its apps.
- apiGroups: [""]
  resources: [namespaces]
  verbs: [get, list, watch]
{{- end }}

{{- define "canaryd.leaseRules" -}}
# Makes the Lease the first time; RBAC cannot restrict create to a name.
- apiGroups: [coordination.k8s.io]
  resources: [leases]
  verbs: [create]
# Gets, renews and gives up its own Lease, and no other.
- apiGroups: [coordination.k8s.io]
  resources: [leases]
  resourceNames: [{{ .Values.leaderElection.name }}]
  verbs: [get, update, patch]
{{- end }}

{{- define "canaryd.webhookRules" -}}
# Shares the webhook's certificate between its replicas and replaces it in time; the chart makes the Secret.
- apiGroups: [""]
  resources: [secrets]
  resourceNames: [{{ include "canaryd.webhookName" . }}]
  verbs: [get, patch]
{{- end }}

{{- define "canaryd.webhookClusterRules" -}}
# Tells API servers which certificate of the webhook is good, in its own configuration and in no other.
- apiGroups: [admissionregistration.k8s.io]
  resources: [mutatingwebhookconfigurations]
  resourceNames: [{{ include "canaryd.clusterName" . }}]
  verbs: [get, patch]
{{- end }}
