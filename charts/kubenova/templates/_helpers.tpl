{{/* Labels of everything in the chart. Children of the operator carry managed-by=kubenova; these carry Helm's. */}}
{{- define "kubenova.labels" -}}
app.kubernetes.io/name: kubenova
app.kubernetes.io/part-of: kubenova
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end }}

{{/* Labels by which the Deployment finds its pod; they can never change. */}}
{{- define "kubenova.selector" -}}
app.kubernetes.io/name: kubenova
app.kubernetes.io/component: operator
{{- end }}

{{- define "kubenova.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end }}
