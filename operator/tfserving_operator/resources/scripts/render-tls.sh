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

{
  pem_line server_key "$secret/tls.key"
  pem_line server_cert "$secret/tls.crt"
  if [[ -f $secret/ca.crt ]]; then pem_line custom_ca "$secret/ca.crt"; fi
  if [[ $3 == verify ]]; then echo "client_verify: true"; fi
} >"$target"
