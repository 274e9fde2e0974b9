{{/* Settings with which the operator would not start, or would see nothing, end here with what to write instead. */}}
{{- define "tfserving-operator.prometheus.check" -}}
{{- $labels := include "tfserving-operator.prometheus.labels" . | fromYaml }}
{{- include "tfserving-operator.prometheus.check.labels" $labels }}
{{- with .Values.prometheus }}
{{- $tick := default 2 ($.Values.autoscaling).tickSeconds }}
{{- if and .timeoutSeconds (ge (float64 .timeoutSeconds) (float64 $tick)) }}
{{- fail (printf "prometheus.timeoutSeconds (%v) must be shorter than autoscaling.tickSeconds (%v): lower the one or raise the other" .timeoutSeconds $tick) }}
{{- end }}
{{- if not .url }}
{{- include "tfserving-operator.prometheus.check.unused" . }}
{{- end }}
{{- include "tfserving-operator.prometheus.check.endpoint" (dict "place" "prometheus" "endpoint" . "labels" $labels) }}
{{- range $namespace, $endpoint := .namespaces }}
{{- include "tfserving-operator.prometheus.check.endpoint" (dict "place" (printf "prometheus.namespaces.%s" $namespace) "endpoint" $endpoint "labels" $labels) }}
{{- end }}
{{- end }}
{{- end }}

{{/* Labels that mean something in the queries: no target can be known by them, and series may not be chosen by most. */}}
{{- define "tfserving-operator.prometheus.takenLabels" -}}
[le, status, API, model_name, entrypoint, situation]
{{- end }}

{{- define "tfserving-operator.prometheus.check.labels" -}}
{{- $taken := concat (include "tfserving-operator.prometheus.takenLabels" . | fromYamlArray) (list "job" "instance") }}
{{- range $name, $label := . }}
{{- if has $label $taken }}
{{- fail (printf "prometheus.labels.%s: %s means something else in the operator's queries, choose another label" $name $label) }}
{{- end }}
{{- end }}
{{- if lt (values . | uniq | len) (len .) }}
{{- fail "prometheus.labels: namespace, servedModel, pool and pod must differ, or targets cannot be told apart" }}
{{- end }}
{{- end }}

{{- define "tfserving-operator.prometheus.check.unused" -}}
{{- $secrets := list (dict "bearerToken" .bearerToken) (dict "basicAuth" .basicAuth) (dict "ca" .ca) (dict "clientCertificate" .clientCertificate) }}
{{- $given := pick . "headers" "secretHeaders" "matchers" "insecureSkipVerify" }}
{{- range $setting := $secrets }}
{{- range $name, $secret := $setting }}
{{- $_ := set $given $name ($secret).secretName }}
{{- end }}
{{- end }}
{{- range $name, $value := $given }}
{{- if $value }}
{{- fail (printf "prometheus.%s has no effect without prometheus.url: set it, or write this under the namespaces' own addresses, which inherit nothing" $name) }}
{{- end }}
{{- end }}
{{- end }}

{{- define "tfserving-operator.prometheus.check.endpoint" -}}
{{- $headers := concat (keys (default dict .endpoint.headers)) (keys (default dict .endpoint.secretHeaders)) | join " " | lower | splitList " " | compact }}
{{- if lt ($headers | uniq | len) (len $headers) }}
{{- fail (printf "%s: a header is there twice in headers and secretHeaders, in which upper and lower case are the same: keep one" .place) }}
{{- end }}
{{- $ways := compact (list (.endpoint.bearerToken).secretName (.endpoint.basicAuth).secretName (has "authorization" $headers | ternary "header" "")) }}
{{- if gt (len $ways) 1 }}
{{- fail (printf "%s: bearerToken, basicAuth and a header Authorization exclude each other: keep one" .place) }}
{{- end }}
{{- if and (.endpoint.ca).secretName .endpoint.insecureSkipVerify }}
{{- fail (printf "%s: ca has no effect with insecureSkipVerify: keep one" .place) }}
{{- end }}
{{- if regexMatch "/api/v1/*$" (default "" .endpoint.url) }}
{{- fail (printf "%s.url: leave out /api/v1, which the operator adds" .place) }}
{{- end }}
{{- $taken := concat (values .labels) (include "tfserving-operator.prometheus.takenLabels" . | fromYamlArray) }}
{{- range $name, $_ := .endpoint.matchers }}
{{- if has $name $taken }}
{{- fail (printf "%s.matchers: leave out %s, which the operator's queries choose series by themselves" $.place $name) }}
{{- end }}
{{- end }}
{{- end }}
