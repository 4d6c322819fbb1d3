{{- define "lockstep.labels" -}}
app.kubernetes.io/part-of: lockstep
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{- define "lockstep.image" -}}
{{ printf "%s:%s" .image.repository (.image.tag | default .root.Chart.AppVersion) | quote }}
{{- end }}

{{/* What the restricted level of Pod security asks of a container. */}}
{{- define "lockstep.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: ["ALL"]
{{- end }}

{{- define "lockstep.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
seccompProfile:
  type: RuntimeDefault
{{- end }}

{{- define "lockstep.pullSecrets" -}}
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
{{- range . }}
  - name: {{ . | quote }}
{{- end }}
{{- end }}
{{- end }}

{{/* A volume of the site agent: dict name, volume, claim. */}}
{{- define "lockstep.volume" -}}
name: {{ .name }}
{{- if eq (.volume.type | default "PersistentVolumeClaim") "EmptyDir" }}
emptyDir:
  sizeLimit: {{ .volume.size | default .size }}
{{- else }}
persistentVolumeClaim:
  claimName: {{ .volume.existingClaim | default .claim | quote }}
{{- end }}
{{- end }}

{{/* Its claim, unless it exists or is not wanted: dict root, namespace, name, volume, size. */}}
{{- define "lockstep.claim" -}}
{{- if and (eq (.volume.type | default "PersistentVolumeClaim") "PersistentVolumeClaim") (not .volume.existingClaim) }}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata:
  name: {{ .name }}
  namespace: {{ .namespace | quote }}
  annotations:
    helm.sh/resource-policy: keep
  labels:
    {{- include "lockstep.labels" .root | nindent 4 }}
spec:
  accessModes: ["ReadWriteOnce"]
  {{- with .volume.storageClassName }}
  storageClassName: {{ . | quote }}
  {{- end }}
  resources:
    requests:
      storage: {{ .volume.size | default .size }}
{{- end }}
{{- end }}
