# Startup probe: succeeds once the model server itself can answer for every version that this replica was
# started with. An open port only says that some version of each model was loaded.
# Arguments: the file with the expected versions, the models directory, the REST port.
set -u
expected_file=$1
models_directory=$2
rest_port=$3

# The metadata call is the one whose HTTP code depends on a version that can answer.
can_answer() {
  local status_line
  exec 3<>"/dev/tcp/127.0.0.1/$rest_port" || return 1
  printf 'GET %s HTTP/1.0\r\nHost: localhost\r\n\r\n' "$1" >&3
  IFS= read -r -t 5 status_line <&3
  exec 3>&-
  [[ $status_line == *" 200"* ]]
}

# TensorFlow Serving skips names beyond 64 bits; arithmetic would make another number of them.
fits_int64() {
  ((${#1} < 19)) || [[ ${#1} -eq 19 && ! $1 > 9223372036854775807 ]]
}

versions_on_disk() {
  local path name
  for path in "$models_directory/$1"/*/; do
    name=${path%/}
    name=${name##*/}
    [[ $name =~ ^0*([0-9]+)$ ]] && fits_int64 "${BASH_REMATCH[1]}" && echo "${BASH_REMATCH[1]}"
  done | sort -rn
}

while read -r model policy arguments; do
  case $policy in
    specific) versions=$arguments ;;
    latest) versions=$(versions_on_disk "$model" | head -n "$arguments") ;;
    *) versions=$(versions_on_disk "$model") ;;
  esac
  if [[ -z $versions ]]; then
    echo "model $model: no version under $models_directory/$model"
    exit 1
  fi
  for version in $versions; do
    if ! can_answer "/v1/models/$model/versions/$version/metadata" 2>/dev/null; then
      echo "model $model: version $version cannot answer yet"
      exit 1
    fi
  done
done <"$expected_file"
