{{- define "regroup.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{/* Short enough for "-coordinator-headless" and a pod's number: service names have at most 63 characters. */}}
{{- define "regroup.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else if contains (include "regroup.name" .) .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "regroup.name" .) | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* Labels that select pods. They must not change between versions of the chart. */}}
{{- define "regroup.selector" -}}
app.kubernetes.io/name: {{ include "regroup.name" .root }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end -}}

{{- define "regroup.labels" -}}
{{ include "regroup.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
app.kubernetes.io/part-of: regroup
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version }}
{{- end -}}

{{- define "regroup.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ default .Chart.AppVersion .Values.image.tag }}
{{- end -}}
{{- end -}}

{{/* The coordinator's address. With several coordinators it resolves to all of them, and clients find the leader. */}}
{{- define "regroup.address" -}}
{{- if .Values.store.postgresql.enabled -}}
dns:///{{ include "regroup.headless" . }}:7447
{{- else -}}
{{ include "regroup.fullname" . }}-coordinator.{{ .Release.Namespace }}.svc:7447
{{- end -}}
{{- end -}}

{{/* DNS name of all coordinator pods; each pod's own name is a prefix to it. */}}
{{- define "regroup.headless" -}}
{{ include "regroup.fullname" . }}-coordinator-headless.{{ .Release.Namespace }}.svc
{{- end -}}

{{- define "regroup.authSecret" -}}
{{- default (printf "%s-auth" (include "regroup.fullname" .)) .Values.auth.existingSecret -}}
{{- end -}}

{{/* "true" if workers identify themselves by tokens of their service account. */}}
{{- define "regroup.workersHaveJwts" -}}
{{- if and .Values.auth.jwt.enabled .Values.auth.jwt.workers }}true{{ end -}}
{{- end -}}

{{/* The rules for the holders of JSON Web Tokens. Each worker's pod speaks for the worker with its name only. */}}
{{- define "regroup.jwtRules" -}}
{{- $rules := .Values.auth.jwt.rules -}}
{{- if include "regroup.workersHaveJwts" . -}}
{{- $account := printf "system:serviceaccount:%s:%s-worker" .Release.Namespace (include "regroup.fullname" .) -}}
{{- $rule := dict "claim" "sub" "value" $account "role" "worker" "worker_claim" (list "kubernetes.io" "pod" "name") "owner_claim" (list "kubernetes.io" "serviceaccount" "name") -}}
{{- $rules = prepend $rules $rule -}}
{{- end -}}
{{- if not $rules -}}{{- fail "auth.jwt.rules: give at least one rule, or set auth.jwt.workers" -}}{{- end -}}
{{- toYaml (dict "rules" $rules) -}}
{{- end -}}

{{/* Secret with the certificate of .component: coordinator, worker or client. */}}
{{- define "regroup.tlsSecret" -}}
{{- if eq .root.Values.tls.mode "existingSecrets" -}}
{{- required (printf "tls.existingSecrets.%s: name a secret with tls.crt, tls.key and ca.crt" .component) (index .root.Values.tls.existingSecrets .component) -}}
{{- else -}}
{{- printf "%s-tls-%s" (include "regroup.fullname" .root) .component -}}
{{- end -}}
{{- end -}}

{{/* Names and addresses in the coordinator's certificate; the loopback ones are for an operator's probes. */}}
{{- define "regroup.coordinatorNames" -}}
{{- $service := printf "%s-coordinator" (include "regroup.fullname" .) -}}
{{- $names := list $service (printf "%s.%s" $service .Release.Namespace) (printf "%s.%s.svc" $service .Release.Namespace) (printf "%s.%s.svc.%s" $service .Release.Namespace .Values.clusterDomain) "localhost" -}}
{{- $headless := include "regroup.headless" . -}}
{{- $names = concat $names (list $headless (printf "*.%s" $headless)) -}}
{{- concat $names .Values.tls.extraNames | join "," -}}
{{- end -}}

{{- define "regroup.podSecurity" -}}
runAsNonRoot: true
runAsUser: {{ .Values.podSecurity.runAsUser }}
runAsGroup: {{ .Values.podSecurity.runAsGroup }}
fsGroup: {{ .Values.podSecurity.fsGroup }}
fsGroupChangePolicy: OnRootMismatch
seccompProfile: {type: RuntimeDefault}
{{- end -}}

{{- define "regroup.containerSecurity" -}}
allowPrivilegeEscalation: false
capabilities: {drop: [ALL]}
privileged: false
readOnlyRootFilesystem: true
runAsNonRoot: true
{{- end -}}

{{/* The three flags for mutual TLS, the same for each program. */}}
{{- define "regroup.tlsArgs" -}}
- --tls-certificate=/etc/regroup/tls/tls.crt
- --tls-key=/etc/regroup/tls/tls.key
- --tls-authority=/etc/regroup/tls/ca.crt
{{- end -}}

{{/* Folders and addresses that jobs may read and write. Coordinator and workers get the same flags, since both check them. */}}
{{- define "regroup.rootArgs" -}}
{{- range .Values.jobs.dataRoots }}
- --data-root={{ . }}
{{- end }}
{{- range .Values.jobs.outputRoots }}
- --output-root={{ . }}
{{- end }}
{{- range .Values.jobs.allowRemote }}
- --allow-remote={{ . }}
{{- end }}
{{- end -}}

{{/* Mounts of the claims in .data; .readOnly makes all of them read-only. */}}
{{- define "regroup.dataMounts" -}}
{{- $readOnly := .readOnly }}
{{- range .data }}
- name: data-{{ .name }}
  mountPath: {{ .mountPath }}
  readOnly: {{ or $readOnly .readOnly | default false }}
  {{- with .subPath }}
  subPath: {{ . }}
  {{- end }}
{{- end }}
{{- end -}}

{{- define "regroup.dataVolumes" -}}
{{- $readOnly := .readOnly }}
{{- range .data }}
- name: data-{{ .name }}
  persistentVolumeClaim: {claimName: {{ .claim }}, readOnly: {{ or $readOnly .readOnly | default false }}}
{{- end }}
{{- end -}}

{{/* Environment of the command line in a pod: file names only, no secrets. */}}
{{- define "regroup.clientEnv" -}}
- {name: REGROUP_COORDINATOR, value: {{ include "regroup.address" . | quote }}}
- {name: REGROUP_TLS_CERTIFICATE, value: /etc/regroup/tls/tls.crt}
- {name: REGROUP_TLS_KEY, value: /etc/regroup/tls/tls.key}
- {name: REGROUP_TLS_AUTHORITY, value: /etc/regroup/tls/ca.crt}
{{- end -}}

{{- define "regroup.workClaim" -}}
{{- default (printf "%s-work" (include "regroup.fullname" .)) .Values.work.existingClaim -}}
{{- end -}}

{{/* Placement of a component's pods. */}}
{{- define "regroup.placement" -}}
{{- with .nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .affinity }}
affinity: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- end -}}

{{- define "regroup.pullSecrets" -}}
{{- with .Values.image.pullSecrets }}
imagePullSecrets:
{{- range . }}
  - name: {{ . }}
{{- end }}
{{- end }}
{{- end -}}

{{/* Egress rule that lets a pod use DNS. */}}
{{- define "regroup.nameEgress" -}}
- to:
    - namespaceSelector: {}
      podSelector:
        matchLabels: {k8s-app: kube-dns}
  ports: [{port: 53, protocol: UDP}, {port: 53, protocol: TCP}]
{{- end -}}
