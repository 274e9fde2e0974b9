{{- define "tfserving-operator.name" -}}
{{- default .Chart.Name .Values.nameOverride }}
{{- end }}

{{/*
A Service is called so with "-metrics" at the end, and a Service's name has at most 63 characters and no dot, which the
name of a release may have.
*/}}
{{- define "tfserving-operator.fullname" -}}
{{- $name := include "tfserving-operator.name" . }}
{{- $full := contains $name .Release.Name | ternary .Release.Name (printf "%s-%s" .Release.Name $name) }}
{{- default ($full | replace "." "-") .Values.fullnameOverride | trunc 55 | trimSuffix "-" }}
{{- end }}

{{/*
Roles are in places that releases share: the cluster, and the namespaces that are watched. A colon is in no namespace
and in no other name, so that no two releases meet.
*/}}
{{- define "tfserving-operator.roleName" -}}
{{ .Release.Namespace }}:{{ include "tfserving-operator.fullname" . }}
{{- end }}

{{- define "tfserving-operator.selectorLabels" -}}
app.kubernetes.io/name: {{ include "tfserving-operator.name" . | quote }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end }}

{{- define "tfserving-operator.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" | quote }}
{{ include "tfserving-operator.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service | quote }}
{{- end }}

{{/* Labels of the user's beside the chart's, and in place of those of the same name. */}}
{{- define "tfserving-operator.labelsBeside" -}}
{{- merge (dict) (default dict .more) (include "tfserving-operator.labels" .context | fromYaml) | toYaml }}
{{- end }}

{{- define "tfserving-operator.serviceAccountName" -}}
{{- if .Values.serviceAccount.create }}
{{- default (include "tfserving-operator.fullname" .) .Values.serviceAccount.name }}
{{- else }}
{{- required "serviceAccount.name is needed when serviceAccount.create is false" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{- define "tfserving-operator.image" -}}
{{ .Values.image.repository }}:{{ default .Chart.AppVersion .Values.image.tag }}
{{- end }}

{{/* What the operator does, and nothing else: e2e compares it with the audit log. */}}
{{- define "tfserving-operator.rules" -}}
# Get: before a missing child is made again, whether its ServedModel is still there.
- apiGroups: [tfserving.dev]
  resources: [servedmodels]
  verbs: [get, list, watch]
- apiGroups: [tfserving.dev]
  resources: [servedmodels/status]
  verbs: [patch]
# Children name their owner with blockOwnerDeletion, which clusters such as OpenShift grant by this right.
- apiGroups: [tfserving.dev]
  resources: [servedmodels/finalizers]
  verbs: [update]
- apiGroups: [apps]
  resources: [deployments]
  verbs: [get, list, watch, create, update, patch, delete]
- apiGroups: [""]
  resources: [configmaps, services]
  verbs: [get, list, watch, create, update, patch, delete]
- apiGroups: [policy]
  resources: [poddisruptionbudgets]
  verbs: [get, list, watch, create, update, patch, delete]
- apiGroups: [""]
  resources: [pods]
  verbs: [list, watch]
# Whether somebody else scales a ServedModel in mode Auto.
- apiGroups: [autoscaling]
  resources: [horizontalpodautoscalers]
  verbs: [list]
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create, patch]
{{- end }}
