{{/* The agent's configuration, from one element of `sites`. */}}
{{- define "lockstep.siteConfig" -}}
site: {{ .name | quote }}
namespace: {{ .namespace | quote }}
allowedNetworks:
{{- range .allowedNetworks }}
  - {{ . | quote }}
{{- end }}
store:
  dir: /var/lib/lockstep/store
  quotaBytes: {{ .store.quotaBytes | int64 }}
  {{- with .store.maxImageBytes }}
  maxImageBytes: {{ . | int64 }}
  {{- end }}
  listen: "[::]:8080"
  advertiseUrl: {{ .store.advertiseUrl | quote }}
  {{- if .store.caConfigMap }}
  caFile: /etc/lockstep-store-ca/ca.crt
  {{- end }}
  {{- if .store.tlsSecret }}
  tls:
    certFile: /etc/lockstep-store-tls/tls.crt
    keyFile: /etc/lockstep-store-tls/tls.key
  {{- end }}
stateDir: /var/lib/lockstep/state
xpu:
  apiServer: {{ .xpu.apiServer | quote }}
  {{- with .xpu.storeUrl }}
  storeUrl: {{ . | quote }}
  {{- end }}
  {{- if .xpu.caConfigMap }}
  caFile: /etc/lockstep-xpu-ca/ca.crt
  {{- end }}
  {{- if hasKey .xpu "services" }}
  {{- if (.xpu.services | default dict).storeCaConfigMap }}
  services:
    storeCaFile: /etc/lockstep-cards-store-ca/ca.crt
  {{- else }}
  services: {}
  {{- end }}
  {{- end }}
{{- if (.pxe | default dict).claim }}
pxe:
  dir: /var/lib/lockstep/pxe
{{- end }}
{{- with .poll }}
poll:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .discovery }}
discovery:
  {{- toYaml . | nindent 2 }}
{{- end }}
health: "[::]:8081"
{{- end }}
