# shellcheck shell=bash
# The database servers of a test run, for scripts/test to source. Three functions for each:
#   find_NAME   uses a server that is there: one named by the environment, or on its usual port
#   has_NAME    tells whether there are programs to start one with
#   start_NAME  starts one for this run, with its data in a directory that goes with it
# They leave the server's URL in the environment, and what to tell people in `servers`.

servers=()
directory=

# uses VARIABLE URL DESCRIPTION
uses() {
    export "$1=$2"
    servers+=("$3")
}

# named VARIABLE TITLE: whether the environment says which server to use. Its URL is not shown,
# it may hold a password.
named() {
    [ -n "${!1:-}" ] && uses "$1" "${!1}" "$2 at \$$1"
}

answers() {
    (: <>"/dev/tcp/127.0.0.1/$1") 2>/dev/null
}

# Below the ports that the system gives to outgoing connections.
free_port() {
    local port=20000
    while port=$((20000 + RANDOM % 10000)) && answers "$port"; do :; done
    echo "$port"
}

# The first of these programs that is there. Servers are often where only root looks for programs.
program() {
    (PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin" type -P "$@" || true) | sed -n 1p
}

# prepare NAME ACCOUNT makes the server's directory, `home`, and `as`, which starts its programs.
# PostgreSQL and MariaDB refuse to run as root, so root starts them with the account of their
# package. The directory is in /tmp whatever TMPDIR says, since they may not enter root's own.
prepare() {
    [ -n "$directory" ] || directory=$(mktemp -d /tmp/tower-api-key.XXXXXX)
    home=$directory/$1
    mkdir -m 700 "$home"
    : >"$home.log"
    as=(env "HOME=$home" "TMPDIR=$home")
    if [ "$(id -u)" -eq 0 ]; then
        local account=nobody
        ! id -u "$2" >/dev/null 2>&1 || account=$2
        chmod 711 "$directory"
        chown "$account" "$home"
        as+=(setpriv "--reuid=$account" "--regid=$(id -g "$account")" --init-groups --)
    fi
}

# Starts one of the server's programs, in a process group of its own: Ctrl-C is for the tests, and
# `stop_servers` ends what they leave.
start() {
    set -m
    (cd "$home" && exec "${as[@]}" "$@") >>"$home.log" 2>&1 </dev/null &
    set +m
}

# Runs one to its end.
run() {
    start "$@"
    wait $! || failed "$1"
}

# launch READY PROGRAM...: starts the server and waits for READY in its log.
launch() {
    local ready=$1
    shift
    start "$@"
    for _ in {1..600}; do
        ! grep -qw -- "$ready" "$home.log" || return 0
        kill -0 $! 2>/dev/null || break
        sleep 0.1
    done
    failed "$1"
}

failed() {
    tail -n 20 "$home.log" >&2
    say "$1 failed, see above"
    exit 1
}

# The servers are this shell's only jobs, so none but them is ended, even when one died early.
stop_servers() {
    local process
    for process in $(jobs -pr); do
        # On TERM, PostgreSQL waits for its clients. On INT, it does not.
        kill -TERM -- "-$process" || true
        kill -INT -- "-$process" || true
    done
    for _ in {1..100}; do
        [ -n "$(jobs -pr)" ] || break
        sleep 0.1
    done
    for process in $(jobs -pr); do
        kill -KILL -- "-$process" || true
    done
    wait
    [ -z "$directory" ] || rm -rf "$directory"
} 2>/dev/null

# PostgreSQL

may_create_databases="select current_setting('server_version') from pg_roles
    where rolname = current_user and (rolsuper or rolcreatedb)"

find_postgres() {
    ! named TEST_POSTGRES_URL PostgreSQL || return 0
    { command -v psql >/dev/null && answers 5432; } || return 1
    local user database version
    for user in root postgres "${USER:-$(id -un 2>/dev/null)}"; do
        for database in test postgres; do
            version=$(timeout 5 psql -XAtqw -h 127.0.0.1 -p 5432 -U "$user" -d "$database" \
                -c "$may_create_databases" 2>/dev/null </dev/null) || { [ $? -ne 124 ] && continue; return 1; }
            [ -n "$version" ] || continue
            uses TEST_POSTGRES_URL "postgres://$user@127.0.0.1:5432/$database" \
                "PostgreSQL ${version%% *} on 127.0.0.1:5432 (running)"
            return 0
        done
    done
    return 1
}

# Debian keeps the versions side by side and off the PATH: the newest one that is complete.
postgres_programs() {
    local folder
    for folder in $(printf '%s\n' /usr/lib/postgresql/*/bin | sort -rV) "$(dirname "$(program initdb)")"; do
        if [ -x "$folder/initdb" ] && [ -x "$folder/postgres" ]; then
            echo "$folder"
            return 0
        fi
    done
    return 1
}

has_postgres() {
    postgres_programs >/dev/null
}

start_postgres() {
    local programs port version
    programs=$(postgres_programs)
    port=$(free_port)
    prepare postgres postgres
    run "$programs/initdb" -D "$home/data" -U postgres -A trust -E UTF8 --locale=C --no-sync
    launch 'database system is ready to accept connections' "$programs/postgres" \
        -D "$home/data" -p "$port" -c listen_addresses=127.0.0.1 -c unix_socket_directories= -c fsync=off
    version=$("$programs/postgres" --version | sed 's/^[^0-9]*\([0-9.]*\).*/\1/')
    uses TEST_POSTGRES_URL "postgres://postgres@127.0.0.1:$port/postgres" \
        "PostgreSQL $version started for this run on port $port"
}

# MariaDB or MySQL

find_mysql() {
    ! named TEST_MYSQL_URL 'MariaDB or MySQL' || return 0
    local client version
    client=$(program mariadb mysql)
    { [ -n "$client" ] && answers 3306; } || return 1
    # Without the user's own defaults, where there may be a password that the tests do not have.
    version=$(timeout 5 "$client" --no-defaults --protocol=tcp -h 127.0.0.1 -P 3306 -u root -N \
        -e 'create database if not exists test; select version()' 2>/dev/null </dev/null) || return 1
    uses TEST_MYSQL_URL mysql://root@127.0.0.1:3306/test \
        "$(mysql_title "$version") on 127.0.0.1:3306 (running)"
}

mysql_title() {
    case $1 in
        *MariaDB*) echo "MariaDB ${1%%-*}" ;;
        *) echo "MySQL ${1%%-*}" ;;
    esac
}

has_mysql() {
    [ -n "$(program mariadbd mysqld)" ]
}

start_mysql() {
    local server port version
    server=$(program mariadbd mysqld)
    version=$("$server" --no-defaults --version 2>/dev/null | sed 's/.* Ver \([^ ]*\).*/\1/')
    port=$(free_port)
    prepare mysql mysql
    if [[ $version == *MariaDB* ]]; then
        run "$(program mariadb-install-db)" --no-defaults --datadir="$home/data" --skip-test-db \
            --auth-root-authentication-method=normal
    else
        run "$server" --no-defaults --datadir="$home/data" --initialize-insecure
    fi
    cat >"$home/first.sql" <<'SQL'
create database test;
create user if not exists 'root'@'127.0.0.1';
grant all on *.* to 'root'@'127.0.0.1' with grant option;
SQL
    chmod 644 "$home/first.sql"
    launch "port: $port" "$server" --no-defaults --datadir="$home/data" --socket="$home/socket" \
        --pid-file="$home/pid" --bind-address=127.0.0.1 --port="$port" --loose-mysqlx=OFF \
        --secure-file-priv="$home" --init-file="$home/first.sql"
    uses TEST_MYSQL_URL "mysql://root@127.0.0.1:$port/test" \
        "$(mysql_title "$version") started for this run on port $port"
}

# Redis or Valkey

find_redis() {
    ! named TEST_REDIS_URL Redis || return 0
    local version
    # In the protocol's plain form, for which no client is needed. No version: it wants a password.
    version=$( (exec 3<>/dev/tcp/127.0.0.1/6379 && printf 'INFO server\r\nQUIT\r\n' >&3 &&
        timeout 5 cat <&3) 2>/dev/null | sed -n 's/^redis_version:\([0-9.]*\).*/\1/p')
    [ -n "$version" ] || return 1
    uses TEST_REDIS_URL redis://127.0.0.1:6379 "Redis $version on 127.0.0.1:6379 (running)"
}

has_redis() {
    [ -n "$(program redis-server valkey-server)" ]
}

start_redis() {
    local server port version
    server=$(program redis-server valkey-server)
    version=$("$server" --version | sed 's/.* v=\([0-9.]*\).*/\1/')
    port=$(free_port)
    prepare redis redis
    launch 'Ready to accept connections' "$server" --bind 127.0.0.1 --port "$port" \
        --dir "$home" --save '' --appendonly no
    uses TEST_REDIS_URL "redis://127.0.0.1:$port" "Redis $version started for this run on port $port"
}
