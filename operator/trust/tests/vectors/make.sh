#!/bin/sh
# How these files were made: one key and one envelope for each kind, with nothing but openssl and
# a shell. The private keys are thrown away. Run in an empty folder; signatures differ each time.
set -eu
digest=$(printf 'an image' | openssl dgst -sha256 -r | cut -d' ' -f1)
type=application/vnd.in-toto+json
cat > statement.json <<STATEMENT
{"_type": "https://in-toto.io/Statement/v1",
 "subject": [{"name": "card-os-1.0.0.iso", "digest": {"sha256": "$digest"}}],
 "predicateType": "https://provisioning.opiproject.org/image/v1",
 "predicate": {"version": "1.0.0", "securityVersion": 3,
               "fits": {"vendors": ["NVIDIA"], "families": ["BlueField-3"], "architectures": ["aarch64"]}}}
STATEMENT
{ printf 'DSSEv1 %d %s %d ' "${#type}" "$type" "$(wc -c < statement.json)"; cat statement.json; } > pae

openssl ecparam -name prime256v1 -genkey -noout -out p256.key
openssl ecparam -name secp384r1 -genkey -noout -out p384.key
openssl genpkey -algorithm ed25519 -out ed25519.key
openssl genrsa -out rsa.key 2048

openssl dgst -sha256 -sign p256.key -out p256.sig pae
openssl dgst -sha384 -sign p384.key -out p384.sig pae
openssl pkeyutl -sign -rawin -inkey ed25519.key -in pae -out ed25519.sig

for kind in p256 p384 ed25519; do
  printf '{"payloadType": "%s", "payload": "%s", "signatures": [{"keyid": "", "sig": "%s"}]}\n' \
    "$type" "$(base64 -w0 < statement.json)" "$(base64 -w0 < $kind.sig)" > $kind.dsse.json
done
for kind in p256 p384 ed25519 rsa; do
  openssl pkey -in $kind.key -pubout -out $kind.pub.pem
done
rm -f ./*.key ./*.sig pae
