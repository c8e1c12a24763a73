# shellcheck shell=bash disable=SC2154
# The private Postgres of services, which sources this. Its data is in $data, its password and log beside that in $pg.

# It refuses to run as root.
as_postgres() {
  if [ "$(id -u)" = 0 ]; then
    (cd / && exec setpriv --reuid=postgres --regid=postgres --init-groups -- "$@")
  else
    "$@"
  fi
}

# In a home folder that is closed to others the user postgres reaches nothing: its data goes to /var/tmp then.
postgres_root() {
  if [ "$(id -u)" != 0 ] || [ -e "$dir/postgres" ] || as_postgres test -x "$dir" 2>/dev/null; then
    echo "$dir/postgres"
  else
    echo "/var/tmp/mainstay-$(printf %s "$dir" | sha256sum | cut -c1-16)"
  fi
}

postgres_pid() {
  local pid
  pid=$(head -n1 "$data/postmaster.pid" 2>/dev/null) || return 1
  is_running "$pid" "postgres -D $data " && echo "$pid"
}

postgres_port() { sed -n 's/^port = //p' "$data/mainstay.conf" 2>/dev/null || true; }

postgres_url() {
  printf 'postgres://mainstay:%s@127.0.0.1:%s/mainstay\n' "$(cat "$pg/password" 2>/dev/null)" "$(postgres_port)"
}

own_postgres_folder() {
  if [ "$(id -u)" != 0 ]; then
    mkdir -p "$pg"
    return
  fi
  id postgres >/dev/null 2>&1 || useradd --system --user-group --home-dir /nonexistent --shell /usr/sbin/nologin postgres
  if mkdir -m 700 "$pg" 2>/dev/null; then
    chown postgres:postgres "$pg"
  elif [ -L "$pg" ] || [ "$(stat -c %U "$pg")" != postgres ]; then
    # /var/tmp is everybody's, and what someone else laid there is not ours to use
    die "$pg belongs to another user: remove it"
  fi
}

# The cluster is made beside its place and moved there last: a killed run leaves no half of one.
create_cluster() {
  local new=$pg/new options=(--encoding=UTF8 --locale=C)
  own_postgres_folder
  as_postgres rm -rf "$new"
  ! locale -a 2>/dev/null | grep -qix 'C.utf-\{0,1\}8' || options=(--encoding=UTF8 --locale=C.UTF-8)
  [ -n "$durable" ] || options+=(--no-sync)
  (umask 077 && random_password | as_postgres tee "$pg/password" >/dev/null)
  # `password` and not `scram`: that exchange costs an unoptimised client tens of milliseconds for each connection
  detached as_postgres "$bin/initdb" -D "$new" -U mainstay --pwfile="$pg/password" --auth=password \
    "${options[@]}" || fail_with_log "initdb failed"
  echo "include_if_exists = 'mainstay.conf'" | as_postgres tee -a "$new/postgresql.conf" >/dev/null
  # in single-user mode, for not every package carries a client program
  echo 'CREATE DATABASE mainstay' | as_postgres "$bin/postgres" --single -D "$new" postgres >>"$dir/start.log" 2>&1
  as_postgres mv "$new" "$data"
}

configure_postgres() { # PORT
  {
    printf '%s\n' "listen_addresses = '127.0.0.1'" "unix_socket_directories = ''" "max_connections = 400" "port = $1"
    [ -n "$durable" ] || printf '%s = off\n' fsync full_page_writes synchronous_commit
  } | as_postgres tee "$data/mainstay.conf" >/dev/null
}

pg_ctl() { detached as_postgres "$bin/pg_ctl" "$@" -D "$data" -w -t 60 -l "$pg/postgres.log"; }

# Whether processes of a killed server still hold its shared memory: the pid file notes its key and number.
memory_in_use() {
  local id
  id=$(sed -n '7s/.* //p' "$data/postmaster.pid" 2>/dev/null)
  [ -n "$id" ] && awk -v id="$id" '$2 == id && $7 > 0 { used = 1 } END { exit !used }' /proc/sysvipc/shm 2>/dev/null
}

# A pid file whose number belongs to some other program by now, or to a zombie, would keep Postgres from starting.
drop_stale_pid_file() {
  [ -e "$data/postmaster.pid" ] && ! postgres_pid >/dev/null && ! memory_in_use || return 0
  as_postgres rm -f "$data/postmaster.pid"
}

# start_postgres [same]: `same` insists on the port and the settings of last time.
start_postgres() {
  local try
  for try in 1 2 3 4 5 6 7 8; do
    [ -n "${1-}" ] || configure_postgres "$(pick_port "$(postgres_port)" "$try")"
    drop_stale_pid_file
    if pg_ctl start; then return; fi
    # a port that was taken meanwhile, or processes of a killed server that still hold its memory
    sleep 1
  done
  fail_with_log "Postgres does not start"
}

stop_postgres() {
  local pid
  pid=$(postgres_pid) || return 0
  say "stopping Postgres ($pid)"
  stop_process "$pid" "postgres -D $data " INT QUIT KILL
}
