# Sourced by the parts that need Docker.
#
#   start_engine     installs Debian's engine, starts one with a data root of its own, which ends with the part; sets WORK
#   build_image      the image ottla:8.0.0 around $OTTLA_BIN (Testcontainers' modules compare tags with versions of Confluent's platform)
#   on_end COMMAND   before the engine ends
images=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$images/../.." && pwd)
export OTTLA_BIN=${OTTLA_BIN:-${CARGO_TARGET_DIR:-$root/target}/release/ottla}
export DOCKER_CLI_HINTS=false
WORK=$(mktemp -d -t ottla-docker.XXXXXX)
engine="" end_command=true

install_engine() {
  local packages=(docker.io docker-compose iptables kcat ca-certificates)
  dpkg -s "${packages[@]}" >/dev/null 2>&1 && return
  apt-get update -qq && apt-get -o DPkg::Lock::Timeout=300 install -y -qq --no-install-recommends "${packages[@]}" >/dev/null 2>"$WORK/apt.log" \
    || { cat "$WORK/apt.log"; return 1; }
}

start_engine() {
  # One engine at a time: two would share the bridge and its rules.
  exec 8>"${TMPDIR:-/tmp}/ottla-docker.lock"
  flock 8
  trap end_engine EXIT
  install_engine
  docker info >/dev/null 2>&1 && return
  dockerd --data-root "$WORK/engine" --exec-root "$WORK/exec" --pidfile "$WORK/pid" >"$WORK/engine.log" 2>&1 8>&- &
  engine=$!
  for _ in $(seq 300); do docker info >/dev/null 2>&1 && return; sleep 0.1; done
  tail -20 "$WORK/engine.log"
  return 1
}

build_image() { "$root/docker/build-local" ottla:8.0.0 >/dev/null; }

on_end() { end_command=$1; }

end_engine() {
  local status=$?
  $end_command >/dev/null 2>&1 || true
  if [ -n "$engine" ]; then kill "$engine"; wait "$engine" || true; fi
  rm -rf "$WORK" || true
  exit $status
}
