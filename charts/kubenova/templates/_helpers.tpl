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

{{/* Rules to read what `kubectl get all` asks for: the kinds of Kubernetes in the category `all`. */}}
{{- define "kubenova.readAll" -}}
- apiGroups: [""]
  resources: [pods, services, replicationcontrollers]
  verbs: [get, list, watch]
- apiGroups: [apps]
  resources: [deployments, statefulsets, daemonsets, replicasets]
  verbs: [get, list, watch]
- apiGroups: [batch]
  resources: [jobs, cronjobs]
  verbs: [get, list, watch]
- apiGroups: [autoscaling]
  resources: [horizontalpodautoscalers]
  verbs: [get, list, watch]
{{- end }}

{{/* CEL: who asks is a person, or a ServiceAccount of a tenant. */}}
{{- define "kubenova.byTenant" -}}
!request.userInfo.username.startsWith('system:') ||
request.userInfo.username.startsWith('system:serviceaccount:tn-') ||
request.userInfo.username.startsWith('system:serviceaccount:kubenova-grants:')
{{- end }}
