{{- define "tfserving-operator.prometheus.directory" -}}
/etc/tfserving-operator/prometheus
{{- end }}

{{/* All addresses by the directory of their files: "default", and "namespaces/NAME". */}}
{{- define "tfserving-operator.prometheus.endpoints" -}}
{{- $endpoints := dict }}
{{- with .Values.prometheus }}
{{- if .url }}
{{- $_ := set $endpoints "default" (pick . "url" "bearerToken" "basicAuth" "headers" "secretHeaders" "ca" "clientCertificate" "insecureSkipVerify" "matchers") }}
{{- end }}
{{- range $namespace, $endpoint := .namespaces }}
{{- $_ := set $endpoints (printf "namespaces/%s" $namespace) $endpoint }}
{{- end }}
{{- end }}
{{- toYaml $endpoints }}
{{- end }}

{{/* The file that the operator reads; nothing where no address is set. */}}
{{- define "tfserving-operator.prometheus.config" -}}
{{- $root := include "tfserving-operator.prometheus.directory" . }}
{{- $endpoints := include "tfserving-operator.prometheus.endpoints" . | fromYaml }}
{{- with $endpoints.default }}
default:
  {{- include "tfserving-operator.prometheus.endpoint" (dict "endpoint" . "directory" (printf "%s/default" $root)) | nindent 2 }}
{{- end }}
{{- with (.Values.prometheus).namespaces }}
namespaces:
  {{- range $namespace, $endpoint := . }}
  {{ $namespace | quote }}:
    {{- include "tfserving-operator.prometheus.endpoint" (dict "endpoint" $endpoint "directory" (printf "%s/namespaces/%s" $root $namespace)) | nindent 4 }}
  {{- end }}
{{- end }}
{{- end }}

{{- define "tfserving-operator.prometheus.endpoint" -}}
{{- $directory := .directory }}
{{- with .endpoint -}}
url: {{ .url | quote }}
{{- if (.bearerToken).secretName }}
bearerTokenFile: {{ $directory }}/token
{{- end }}
{{- if (.basicAuth).secretName }}
basicAuth:
  usernameFile: {{ $directory }}/username
  passwordFile: {{ $directory }}/password
{{- end }}
{{- with .headers }}
headers: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .secretHeaders }}
headerFiles:
  {{- range $name, $_ := . }}
  {{ $name | quote }}: {{ $directory }}/headers/{{ $name }}
  {{- end }}
{{- end }}
{{- if (.ca).secretName }}
caFile: {{ $directory }}/ca.crt
{{- end }}
{{- if (.clientCertificate).secretName }}
clientCertificateFile: {{ $directory }}/tls.crt
clientKeyFile: {{ $directory }}/tls.key
{{- end }}
{{- if .insecureSkipVerify }}
insecureSkipVerify: true
{{- end }}
{{- with .matchers }}
matchers: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
{{- end }}

{{/* Sources of the projected volume, one for each Secret that is named. */}}
{{- define "tfserving-operator.prometheus.secrets" -}}
{{- range $directory, $endpoint := include "tfserving-operator.prometheus.endpoints" . | fromYaml }}
{{- with $endpoint.bearerToken }}{{ if .secretName }}
- secret:
    name: {{ .secretName | quote }}
    items:
      - key: {{ default "token" .key | quote }}
        path: {{ $directory }}/token
{{- end }}{{ end }}
{{- with $endpoint.basicAuth }}{{ if .secretName }}
- secret:
    name: {{ .secretName | quote }}
    items:
      - key: {{ default "username" .usernameKey | quote }}
        path: {{ $directory }}/username
      - key: {{ default "password" .passwordKey | quote }}
        path: {{ $directory }}/password
{{- end }}{{ end }}
{{- range $name, $header := $endpoint.secretHeaders }}
- secret:
    name: {{ $header.secretName | quote }}
    items:
      - key: {{ $header.key | quote }}
        path: {{ $directory }}/headers/{{ $name }}
{{- end }}
{{- with $endpoint.ca }}{{ if .secretName }}
- secret:
    name: {{ .secretName | quote }}
    items:
      - key: {{ default "ca.crt" .key | quote }}
        path: {{ $directory }}/ca.crt
{{- end }}{{ end }}
{{- with $endpoint.clientCertificate }}{{ if .secretName }}
- secret:
    name: {{ .secretName | quote }}
    items:
      - key: {{ default "tls.crt" .certificateKey | quote }}
        path: {{ $directory }}/tls.crt
      - key: {{ default "tls.key" .keyKey | quote }}
        path: {{ $directory }}/tls.key
{{- end }}{{ end }}
{{- end }}
{{- end }}

{{/* Each line begins with a new one: all of them may be left out. */}}
{{- define "tfserving-operator.prometheus.env" -}}
{{- with .Values.prometheus }}
{{- with .scrapeIntervalSeconds }}
- name: TFSERVING_OPERATOR_PROMETHEUS_SCRAPE_INTERVAL_SECONDS
  value: {{ . | quote }}
{{- end }}
{{- with .timeoutSeconds }}
- name: TFSERVING_OPERATOR_PROMETHEUS_TIMEOUT_SECONDS
  value: {{ . | quote }}
{{- end }}
{{- with .maxSampleAgeSeconds }}
- name: TFSERVING_OPERATOR_PROMETHEUS_MAX_SAMPLE_AGE_SECONDS
  value: {{ . | quote }}
{{- end }}
{{- end }}
{{- with include "tfserving-operator.prometheus.labels" . | fromYaml }}
- name: TFSERVING_OPERATOR_PROMETHEUS_NAMESPACE_LABEL
  value: {{ .namespace | quote }}
- name: TFSERVING_OPERATOR_PROMETHEUS_SERVED_MODEL_LABEL
  value: {{ .servedModel | quote }}
- name: TFSERVING_OPERATOR_PROMETHEUS_POOL_LABEL
  value: {{ .pool | quote }}
- name: TFSERVING_OPERATOR_PROMETHEUS_POD_LABEL
  value: {{ .pod | quote }}
{{- end }}
{{- if include "tfserving-operator.prometheus.config" . }}
- name: TFSERVING_OPERATOR_PROMETHEUS_CONFIG_FILE
  value: {{ include "tfserving-operator.prometheus.directory" . }}/prometheus.yaml
{{- end }}
{{- end }}

{{/* Labels by which a target is known, as the Prometheus operator names them where the values do not. */}}
{{- define "tfserving-operator.prometheus.labels" -}}
{{- $labels := default dict (.Values.prometheus).labels }}
namespace: {{ default "namespace" $labels.namespace | quote }}
servedModel: {{ default "tfserving_dev_servedmodel" $labels.servedModel | quote }}
pool: {{ default "tfserving_dev_pool" $labels.pool | quote }}
pod: {{ default "pod" $labels.pod | quote }}
{{- end }}
