{{- define "spillway.fullname" -}}
{{- if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 50 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- /* What selects its pods, and may never change. */ -}}
{{- define "spillway.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "spillway.labels" -}}
{{ include "spillway.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | quote }}
{{- end -}}

{{- define "spillway.configMap" -}}
{{- .Values.existingConfigMap | default (printf "%s-policies" (include "spillway.fullname" .)) -}}
{{- end -}}

{{- /* How many there are when all are. */ -}}
{{- define "spillway.replicas" -}}
{{- if .Values.store.disk.enabled }}1{{ else if .Values.autoscaling.enabled }}{{ .Values.autoscaling.maxReplicas }}{{ else }}{{ .Values.replicaCount }}{{ end -}}
{{- end -}}

{{- /* Redis' URL, with the files that belong to it. */ -}}
{{- define "spillway.storeUrl" -}}
{{- $parameters := list -}}
{{- if .Values.store.passwordSecretName }}{{ $parameters = append $parameters "password_file=/secrets/store-password/password" }}{{ end -}}
{{- if .Values.store.caSecretName }}{{ $parameters = append $parameters "tls_ca=/secrets/store-ca/ca.crt" }}{{ end -}}
{{- .Values.store.url -}}
{{- if $parameters }}{{ contains "?" .Values.store.url | ternary "&" "?" }}{{ join "&" $parameters }}{{ end -}}
{{- end -}}

{{- /* Secrets that are directories in the pods: all of one, or one key of it as a file of the name that the flags say. */ -}}
{{- define "spillway.secrets" -}}
{{- $secrets := list -}}
{{- with .Values.grpcTls -}}
{{- if .secretName }}{{ $secrets = append $secrets (dict "name" "grpc-tls" "path" "/certs/grpc" "secret" .secretName) }}{{ end -}}
{{- if .clientCaSecretName }}{{ $secrets = append $secrets (dict "name" "grpc-clients" "path" "/certs/grpc-clients" "secret" .clientCaSecretName "key" .clientCaSecretKey "file" "ca.crt") }}{{ end -}}
{{- end -}}
{{- with .Values.admin -}}
{{- if .tokenSecretName }}{{ $secrets = append $secrets (dict "name" "admin-token" "path" "/secrets/admin" "secret" .tokenSecretName "key" .tokenSecretKey "file" "token") }}{{ end -}}
{{- if .tlsSecretName }}{{ $secrets = append $secrets (dict "name" "admin-tls" "path" "/certs/admin" "secret" .tlsSecretName) }}{{ end -}}
{{- if .clientCaSecretName }}{{ $secrets = append $secrets (dict "name" "admin-clients" "path" "/certs/admin-clients" "secret" .clientCaSecretName "key" .clientCaSecretKey "file" "ca.crt") }}{{ end -}}
{{- end -}}
{{- with .Values.store -}}
{{- if .passwordSecretName }}{{ $secrets = append $secrets (dict "name" "store-password" "path" "/secrets/store-password" "secret" .passwordSecretName "key" .passwordSecretKey "file" "password") }}{{ end -}}
{{- if .caSecretName }}{{ $secrets = append $secrets (dict "name" "store-ca" "path" "/secrets/store-ca" "secret" .caSecretName "key" .caSecretKey "file" "ca.crt") }}{{ end -}}
{{- end -}}
{{- toYaml $secrets -}}
{{- end -}}
