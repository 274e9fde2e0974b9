{{/* The operator's environment: what the values say, and extraEnv in place of it where both name a variable. */}}
{{- define "tfserving-operator.env" -}}
{{- $given := list }}
{{- range .Values.extraEnv }}
{{- if has .name (list "TFSERVING_OPERATOR_HEALTH_PORT" "TFSERVING_OPERATOR_METRICS_PORT") }}
{{- fail (printf "extraEnv: leave out %s, by whose value the chart's probes, Service and monitors go" .name) }}
{{- end }}
{{- $given = append $given .name }}
{{- end }}
{{- $variables := list }}
{{- range include "tfserving-operator.env.ofValues" . | fromYamlArray }}
{{- if not (has .name $given) }}
{{- $variables = append $variables . }}
{{- end }}
{{- end }}
{{- range .Values.extraEnv }}
{{- $variables = append $variables . }}
{{- end }}
{{- toYaml $variables }}
{{- end }}

{{/* A value that is null, or not there after `helm upgrade --reuse-values`, leaves the operator its own default. */}}
{{- define "tfserving-operator.env.ofValues" -}}
- name: TFSERVING_OPERATOR_WATCH_NAMESPACES
  value: {{ join "," .Values.watchNamespaces | quote }}
- name: TFSERVING_OPERATOR_FETCHER_IMAGE
  value: {{ include "tfserving-operator.image" . | quote }}
{{- with (.Values.log).format }}
- name: TFSERVING_OPERATOR_LOG_FORMAT
  value: {{ . | quote }}
{{- end }}
{{- with (.Values.log).level }}
- name: TFSERVING_OPERATOR_LOG_LEVEL
  value: {{ . | quote }}
{{- end }}
{{- /* Numbers of a values file are floats: a large one would be written as 1e+06. */}}
{{- with .Values.concurrency }}
- name: TFSERVING_OPERATOR_CONCURRENCY
  value: {{ int64 . | quote }}
{{- end }}
{{- with .Values.resyncSeconds }}
- name: TFSERVING_OPERATOR_RESYNC_SECONDS
  value: {{ int64 . | quote }}
{{- end }}
{{- with (.Values.autoscaling).tickSeconds }}
- name: TFSERVING_OPERATOR_AUTOSCALING_TICK_SECONDS
  value: {{ . | quote }}
{{- end }}
{{- with ((.Values.autoscaling).budget).replicas }}
- name: TFSERVING_OPERATOR_FLEET_MAX_REPLICAS
  value: {{ int64 . | quote }}
{{- end }}
{{- with ((.Values.autoscaling).budget).devices }}
- name: TFSERVING_OPERATOR_FLEET_MAX_DEVICES
  value: "{{ range $resource, $count := . }}{{ printf "%s=%d," $resource (int64 $count) }}{{ end }}"
{{- end }}
{{- include "tfserving-operator.prometheus.env" . }}
- name: TFSERVING_OPERATOR_HEALTH_PORT
  value: "8080"
- name: TFSERVING_OPERATOR_METRICS_PORT
  value: "9090"
{{- end }}
