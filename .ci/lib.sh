# shellcheck shell=bash
# Shared by the scripts in this folder, which source it. It keeps to bash 3.2, the one macOS ships.

repo=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)

# On stderr. That it is closed, as a terminal may be, must not keep anything from being stopped.
say() { printf '%s\n' "$*" >&2 || true; }

die() {
  say "error: $*"
  exit 1
}

have() { command -v "$1" >/dev/null 2>&1; }

# port_open HOST PORT: whether something listens there.
port_open() { (exec 3<>"/dev/tcp/$1/$2") 2>/dev/null; }

# The command line of a process, or nothing when it is gone (a zombie has none either). A slim container has no ps.
command_of() {
  if [ -d /proc/self ]; then
    tr '\0' ' ' 2>/dev/null <"/proc/$1/cmdline" || true
  else
    printf '%s ' "$(ps -p "$1" -o command= 2>/dev/null)"
  fi
} 2>/dev/null

# is_running PID TEXT...: whether the command line of the process holds one of these. Pids are reused: a number that a
# killed run left in a file proves nothing by itself.
is_running() {
  local pid=$1 command text
  case $pid in '' | *[!0-9]*) return 1 ;; esac
  command=$(command_of "$pid")
  shift
  for text; do
    case $command in *"$text"*) return 0 ;; esac
  done
  return 1
}

# stop_process PID TEXT SIGNAL...: sends the first signal, and each next one when the last did not help in 20 s.
stop_process() {
  local pid=$1 text=$2 signal i
  shift 2
  for signal; do
    kill -s "$signal" "$pid" 2>/dev/null || true
    for ((i = 0; i < 200; i++)); do
      is_running "$pid" "$text" || return 0
      sleep 0.1
    done
  done
  die "process $pid does not stop: $(command_of "$pid")"
}

# lock NAME MESSAGE: held as file descriptor 9 for as long as this script lives; macOS has no flock and does without.
lock() {
  mkdir -p "$repo/.run"
  exec 9>"$repo/.run/$1.lock"
  ! have flock || flock -n 9 || die "$2"
}

child=

# start CMD...: in the background with a process group of its own. Ctrl-C in a terminal then reaches only this script,
# which decides what is stopped, how, and in which order. The lock is not for daemons to inherit.
start() {
  set -m
  "$@" 9>&- &
  child=$!
  set +m
}

# finish: the exit code of what was started.
finish() {
  local code=0
  wait "$child" || code=$?
  child=
  return "$code"
}

# run CMD...: like running it plainly, but a signal is acted upon at once instead of after it has ended.
run() {
  start "$@"
  finish
}

# stop_child: lets the child end by itself for half a minute, then makes it.
stop_child() {
  local i
  [ -n "$child" ] || return 0
  kill -TERM -- "-$child" 2>/dev/null || true
  for ((i = 0; i < 300; i++)); do
    kill -0 "$child" 2>/dev/null || break
    sleep 0.1
  done
  kill -KILL -- "-$child" 2>/dev/null || true
  wait "$child" 2>/dev/null || true
  child=
}

# at_exit COMMAND...: runs it exactly once, however this script ends; a second Ctrl-C does not interrupt it.
at_exit() {
  last_command=("$@")
  trap 'end $?' EXIT
  trap 'exit 130' INT
  trap 'exit 143' TERM
  trap 'exit 129' HUP
  trap 'exit 141' PIPE
}

end() {
  trap - EXIT
  trap '' INT TERM HUP PIPE
  set +e
  stop_child
  "${last_command[@]}"
  exit "$1"
}

# What a non-interactive shell starts in the background has INT ignored, and bash cannot trap what was ignored when it
# began. `env` of coreutils 8.31 or newer can put that right; elsewhere TERM still works.
# heed_interrupts "$0" "$@"
heed_interrupts() {
  if [ -z "${MAINSTAY_HEEDS_INT-}" ] && env --default-signal=INT true 2>/dev/null; then
    MAINSTAY_HEEDS_INT=1 exec env --default-signal=INT "$@"
  fi
  unset MAINSTAY_HEEDS_INT
}
