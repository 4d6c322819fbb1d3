#!/bin/sh
# How these files were made: what cosign puts beside an artefact, by cosign's specification
# (specs/SIGNATURE_SPEC.md) and by sigstore's of bundles, with nothing but openssl and a shell.
# The private keys are thrown away. Run in an empty folder; signatures differ each time.
set -eu
image=$(printf 'an image' | openssl dgst -sha256 -r | cut -d' ' -f1)
empty=$(printf '{}' | openssl dgst -sha256 -r | cut -d' ' -f1)
cat > manifest.json <<MANIFEST
{"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
 "artifactType": "application/vnd.unknown.artifact.v1",
 "config": {"mediaType": "application/vnd.oci.empty.v1+json", "digest": "sha256:$empty", "size": 2},
 "layers": [{"mediaType": "application/octet-stream", "digest": "sha256:$image", "size": 8,
             "annotations": {"org.opencontainers.image.title": "card-os-1.0.0.iso"}}],
 "annotations": {"org.opencontainers.image.version": "1.0.0"}}
MANIFEST
manifest=$(openssl dgst -sha256 -r < manifest.json | cut -d' ' -f1)

printf '{"critical":{"identity":{"docker-reference":"registry.example.com/cards/os"},"image":{"docker-manifest-digest":"sha256:%s"},"type":"cosign container image signature"},"optional":null}' \
  "$manifest" > simple.json
printf '{"_type":"https://in-toto.io/Statement/v1","subject":[{"digest":{"sha256":"%s"}}],"predicateType":"https://sigstore.dev/cosign/sign/v1","predicate":{}}' \
  "$manifest" > sign.json
printf '{"_type":"https://in-toto.io/Statement/v0.1","predicateType":"https://provisioning.opiproject.org/image/v1","subject":[{"name":"registry.example.com/cards/os","digest":{"sha256":"%s"}}],"predicate":{"version":"1.0.0","securityVersion":3,"fits":{"families":["BlueField-3"]}}}' \
  "$manifest" > attest.json

openssl ecparam -name prime256v1 -genkey -noout -out p256.key
openssl genpkey -algorithm ed25519 -out ed25519.key
for kind in p256 ed25519; do
  openssl pkey -in $kind.key -pubout -out $kind.pub.pem
done

openssl dgst -sha256 -sign p256.key simple.json | base64 -w0 > p256.simple.sig
openssl pkeyutl -sign -rawin -inkey ed25519.key -in simple.json | base64 -w0 > ed25519.simple.sig

type=application/vnd.in-toto+json
for said in sign attest; do
  { printf 'DSSEv1 %d %s %d ' "${#type}" "$type" "$(wc -c < $said.json)"; cat $said.json; } > pae
  printf '{"mediaType":"application/vnd.dev.sigstore.bundle.v0.3+json","verificationMaterial":{"publicKey":{"hint":"of-the-key"},"tlogEntries":[],"timestampVerificationData":null},"dsseEnvelope":{"payload":"%s","payloadType":"%s","signatures":[{"sig":"%s","keyid":""}]}}' \
    "$(base64 -w0 < $said.json)" "$type" "$(openssl dgst -sha256 -sign p256.key pae | base64 -w0)" > $said.bundle.json
done
printf '{"mediaType":"application/vnd.dev.sigstore.bundle.v0.3+json","verificationMaterial":{"publicKey":{"hint":"of-the-key"}},"messageSignature":{"messageDigest":{"algorithm":"SHA2_256","digest":"%s"},"signature":"%s"}}' \
  "$(openssl dgst -sha256 -binary manifest.json | base64 -w0)" "$(openssl dgst -sha256 -sign p256.key manifest.json | base64 -w0)" > message.bundle.json
rm -f ./*.key pae sign.json attest.json
