{{- /* The pods, whatever makes them. */ -}}
{{- define "spillway.pod" -}}
metadata:
  labels:
    {{- include "spillway.selector" . | nindent 4 }}
    {{- with .Values.podLabels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- with .Values.podAnnotations }}
  annotations: {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  automountServiceAccountToken: false
  enableServiceLinks: false
  # More than --drain-delay and the ten seconds that calls in flight may take.
  terminationGracePeriodSeconds: {{ add .Values.drainDelaySeconds 15 }}
  securityContext:
    runAsNonRoot: true
    runAsUser: 65534
    runAsGroup: 65534
    fsGroup: 65534
    seccompProfile: {type: RuntimeDefault}
  {{- with .Values.imagePullSecrets }}
  imagePullSecrets: {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.priorityClassName }}
  priorityClassName: {{ . }}
  {{- end }}
  topologySpreadConstraints:
    - maxSkew: 1
      topologyKey: kubernetes.io/hostname
      whenUnsatisfiable: ScheduleAnyway
      labelSelector:
        matchLabels: {{- include "spillway.selector" . | nindent 10 }}
  containers:
    - name: spillway
      image: "{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}"
      imagePullPolicy: {{ .Values.image.pullPolicy }}
      args:
        - serve
        - --config
        - /config
        - --drain-delay
        - {{ .Values.drainDelaySeconds }}s
        - --log-format
        - {{ .Values.logFormat }}
        {{- with .Values.grpcTls }}
        {{- if .secretName }}
        - --grpc-tls-cert
        - /certs/grpc/tls.crt
        - --grpc-tls-key
        - /certs/grpc/tls.key
        {{- end }}
        {{- if .clientCaSecretName }}
        - --grpc-tls-client-ca
        - /certs/grpc-clients/ca.crt
        {{- end }}
        {{- if .clientSans }}
        - --grpc-tls-client-san
        - {{ join "," .clientSans | quote }}
        {{- end }}
        {{- end }}
        {{- with .Values.admin }}
        {{- if .exposed }}
        - --admin-addr
        - 0.0.0.0:6070
        {{- end }}
        {{- if .tokenSecretName }}
        - --admin-token-file
        - /secrets/admin/token
        {{- end }}
        {{- if .tlsSecretName }}
        - --admin-tls-cert
        - /certs/admin/tls.crt
        - --admin-tls-key
        - /certs/admin/tls.key
        {{- end }}
        {{- if .clientCaSecretName }}
        - --admin-tls-client-ca
        - /certs/admin-clients/ca.crt
        {{- end }}
        {{- if .clientSans }}
        - --admin-tls-client-san
        - {{ join "," .clientSans | quote }}
        {{- end }}
        {{- end }}
        {{- range .Values.extraArgs }}
        - {{ . | quote }}
        {{- end }}
      env:
        - name: SPILLWAY_STORE
          {{- if .Values.store.disk.enabled }}
          value: disk:/var/lib/spillway
          {{- else if .Values.store.url }}
          value: {{ include "spillway.storeUrl" . | quote }}
          {{- else }}
          valueFrom:
            secretKeyRef:
              name: {{ .Values.store.secretName }}
              key: {{ .Values.store.secretKey }}
              optional: {{ .Values.store.optional }}
          {{- end }}
        - name: SPILLWAY_REPLICAS
          value: {{ include "spillway.replicas" . | quote }}
        {{- with .Values.store.timeout }}
        - name: SPILLWAY_STORE_TIMEOUT
          value: {{ . }}
        {{- end }}
        {{- with .Values.extraEnv }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      {{- with .Values.extraEnvFrom }}
      envFrom: {{- toYaml . | nindent 8 }}
      {{- end }}
      ports:
        - {name: grpc, containerPort: 8081}
        - {name: http, containerPort: 8080}
        {{- if .Values.admin.exposed }}
        - {name: admin, containerPort: 6070}
        {{- end }}
      startupProbe:
        httpGet: {path: /ready, port: http}
        periodSeconds: 1
        failureThreshold: 60
      readinessProbe:
        httpGet: {path: /ready, port: http}
        periodSeconds: 1
        failureThreshold: 1
      # Not /healthcheck, which says no while it drains.
      livenessProbe:
        tcpSocket: {port: grpc}
        periodSeconds: 10
      resources: {{- toYaml .Values.resources | nindent 8 }}
      securityContext:
        allowPrivilegeEscalation: false
        readOnlyRootFilesystem: true
        capabilities: {drop: [ALL]}
      volumeMounts:
        - {name: policies, mountPath: /config, readOnly: true}
        {{- if .Values.store.disk.enabled }}
        - {name: counters, mountPath: /var/lib/spillway}
        {{- end }}
        {{- range $mount := fromYamlArray (include "spillway.secrets" .) }}
        - {name: {{ $mount.name }}, mountPath: {{ $mount.path }}, readOnly: true}
        {{- end }}
        {{- with .Values.extraVolumeMounts }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
  {{- with .Values.nodeSelector }}
  nodeSelector: {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.tolerations }}
  tolerations: {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.affinity }}
  affinity: {{- toYaml . | nindent 4 }}
  {{- end }}
  volumes:
    - name: policies
      {{- if .Values.subjectsSecret }}
      projected:
        sources:
          - configMap: {name: {{ include "spillway.configMap" . }}}
          - secret: {name: {{ .Values.subjectsSecret }}}
      {{- else }}
      configMap: {name: {{ include "spillway.configMap" . }}}
      {{- end }}
    {{- range $mount := fromYamlArray (include "spillway.secrets" .) }}
    - name: {{ $mount.name }}
      secret:
        secretName: {{ $mount.secret }}
        {{- with $mount.key }}
        items: [{key: {{ . }}, path: {{ $mount.file }}}]
        {{- end }}
    {{- end }}
    {{- with .Values.extraVolumes }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
{{- end -}}
