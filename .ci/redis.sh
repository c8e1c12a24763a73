# shellcheck shell=bash disable=SC2154
# The private Redis of services, which sources this. Its settings, pid file and log are in $redis.

redis_setting() { sed -n "s/^$1 //p" "$redis/redis.conf" 2>/dev/null || true; }

redis_url() { printf 'redis://default:%s@127.0.0.1:%s/0\n' "$(redis_setting requirepass)" "$(redis_setting port)"; }

# It replaces its command line by its address once it runs.
redis_pid() {
  local pid
  pid=$(cat "$redis/redis.pid" 2>/dev/null) || return 1
  is_running "$pid" "-server 127.0.0.1:$(redis_setting port) " "-server $redis/redis.conf " && echo "$pid"
}

configure_redis() { # PORT
  local password
  password=$(redis_setting requirepass)
  (umask 077 && printf '%s\n' "port $1" 'bind 127.0.0.1' "requirepass ${password:-$(random_password)}" 'daemonize yes' \
    'pidfile redis.pid' 'logfile redis.log' 'save ""' 'appendonly no' >"$redis/redis.new")
  mv "$redis/redis.new" "$redis/redis.conf"
}

# Whether the server that answers on the port is the one in the pid file: another may have been faster to take it.
redis_answers() {
  local line pid
  pid=$(redis_pid) && exec 3<>"/dev/tcp/127.0.0.1/$(redis_setting port)" || return 1
  printf 'AUTH %s\r\nINFO server\r\nQUIT\r\n' "$(redis_setting requirepass)" >&3
  while IFS= read -r -t 2 line <&3; do
    [ "$line" != "process_id:$pid"$'\r' ] || return 0
  done
  return 1
}

# start_redis [same]: `same` insists on the port and the settings of last time.
start_redis() {
  local try i
  mkdir -p "$redis"
  for try in 1 2 3 4 5 6 7 8; do
    [ -n "${1-}" ] || configure_redis "$(pick_port "$(redis_setting port)" "$try")"
    rm -f "$redis/redis.pid"
    # from its folder, for its settings name files without a path
    (cd "$redis" && detached "$redis_server" "$redis/redis.conf") || continue
    for ((i = 0; i < 30; i++)); do
      if (redis_answers) 2>/dev/null; then return; fi
      sleep 0.1
    done
  done
  fail_with_log "Redis does not start"
}

stop_redis() {
  local pid
  pid=$(redis_pid) || return 0
  say "stopping Redis ($pid)"
  stop_process "$pid" "-server " TERM KILL
}
