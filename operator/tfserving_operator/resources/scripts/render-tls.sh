# Init container: TensorFlow Serving wants the PEM texts inside one text proto, not as files.
# Arguments: directory of the TLS secret, the file to write, "verify" or "no-verify".
set -eu
secret=$1
target=$2
umask 077

pem_line() {
  local pem
  pem=$(<"$2")
  printf '%s: "%s\\n"\n' "$1" "${pem//$'\n'/\\n}"
}

# The operator knows "the TLS secret lacks" and repeats the line in the ServedModel's status.
need() {
  [[ -s $secret/$1 ]] && return
  echo "the TLS secret lacks $1$2" >&2
  exit 1
}

need tls.key ": add it"
need tls.crt ": add it"
# Without it the server refuses every client, and says nowhere why.
if [[ $3 == verify ]]; then
  need ca.crt ", by which clients are verified: add ca.crt to it, or turn server.tls.clientVerify off"
fi

{
  pem_line server_key "$secret/tls.key"
  pem_line server_cert "$secret/tls.crt"
  if [[ -f $secret/ca.crt ]]; then pem_line custom_ca "$secret/ca.crt"; fi
  if [[ $3 == verify ]]; then echo "client_verify: true"; fi
} >"$target"
