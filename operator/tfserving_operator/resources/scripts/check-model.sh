# Init container: a mounted model must be there before the server starts, because one missing base path makes
# TensorFlow Serving wait for ever and keeps its other models from loading, without a word to Kubernetes.
# Arguments: the model's name, the file with the expected versions, the models directory.
set -u
model=$1
expected_file=$2
models_directory=$3

fail() {
  printf '{"reason":"%s","message":"%s","model":"%s"}' "$1" "$2" "$model" | tee /dev/termination-log
  exit 1
}

# TensorFlow Serving skips names beyond 64 bits; arithmetic would make another number of them.
fits_int64() {
  ((${#1} < 19)) || [[ ${#1} -eq 19 && ! $1 > 9223372036854775807 ]]
}

[[ -d $models_directory/$model ]] || fail ModelPathNotFound \
  "the volume has no directory for model $model: correct source.uri"

found=""
for path in "$models_directory/$model"/*/; do
  name=${path%/}
  name=${name##*/}
  [[ $name =~ ^0*([0-9]+)$ ]] && fits_int64 "${BASH_REMATCH[1]}" && found="$found ${BASH_REMATCH[1]}"
done
[[ -n $found ]] || fail ModelPathNotFound \
  "the directory of model $model holds no numeric version directory: correct source.uri, or publish a version"

while read -r name policy arguments; do
  [[ $name == "$model" && $policy == specific ]] || continue
  for version in $arguments; do
    [[ " $found " == *" $version "* ]] || fail VersionNotFound \
      "version $version of model $model is not there; there are:$found. Correct versions.specific, or publish it"
  done
done <"$expected_file"
