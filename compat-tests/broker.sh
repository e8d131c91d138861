# Sourced by the parts: one Ottla broker for the tests of a part, stopped when the part ends.
#
#   start_broker [ottla arguments ...]   a fresh data directory and a free port; sets BOOTSTRAP, BROKER_PID, BROKER_DIR
#   stop_broker                          SIGTERM, and waits; the part fails when the broker does not end well
#
# OTTLA_BOOTSTRAP=host:port uses that broker instead (Apache Kafka's, to check the tests themselves).
compat_tests=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$compat_tests/.." && pwd)
target=${CARGO_TARGET_DIR:-$root/target}
export OTTLA_BIN=${OTTLA_BIN:-$target/release/ottla}

# A port and the next one, which Apache Kafka's controller takes. Not of those that the system gives to clients: a broker that is
# started again must find them free.
free_port() { python3 "$compat_tests/raw/ports.py"; }

start_broker() {
  if [ -n "${OTTLA_BOOTSTRAP:-}" ]; then BOOTSTRAP=$OTTLA_BOOTSTRAP BROKER_PID="" BROKER_DIR=""; export BOOTSTRAP; return; fi
  local port; port=$(free_port)
  BROKER_DIR=$(mktemp -d -t ottla-part.XXXXXX)
  "$OTTLA_BIN" --data "$BROKER_DIR/data" --override "listeners=PLAINTEXT://127.0.0.1:$port" "$@" >"$BROKER_DIR/log" 2>&1 &
  BROKER_PID=$! BOOTSTRAP=127.0.0.1:$port; export BOOTSTRAP
  for _ in $(seq 200); do
    (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null && return
    kill -0 "$BROKER_PID" 2>/dev/null || break
    sleep 0.05
  done
  echo "the broker did not start:"; cat "$BROKER_DIR/log"; return 1
}

stop_broker() {
  [ -n "${BROKER_PID:-}" ] || return 0
  local status=0 pid=$BROKER_PID; BROKER_PID=""
  kill -TERM "$pid" 2>/dev/null || true
  wait "$pid" || status=$?
  if grep -q 'panicked' "$BROKER_DIR/log"; then echo "the broker panicked:"; grep -A3 'panicked' "$BROKER_DIR/log"; status=1; fi
  [ $status = 0 ] || { echo "the broker ended with status $status:"; tail -20 "$BROKER_DIR/log"; return 1; }
  rm -rf "$BROKER_DIR"
}

# What else is to be ended and removed is set as `at_end`: a trap of a part's own would forget how the part ended.
at_end=:
end_part() { local status=$?; eval "$at_end" || true; stop_broker || status=1; exit $status; }
trap end_part EXIT
