#!/bin/sh
# Makes the secrets that docker-compose.yml reads; existing files stay. Needs openssl.
# The folder is closed to others; the files are not, since each container has a user of its own.
set -eu
cd "$(dirname "$0")"
umask 077
mkdir -p secrets
cd secrets

random() { openssl rand -hex 32 | tr -d '\n'; }
keep() { # keep NAME: from standard input, whole or not at all
    cat > "$1.partial"
    chmod 444 "$1.partial"
    mv "$1.partial" "$1"
}

[ -e database_password ] || random | keep database_password
[ -e database_url ] ||
    printf 'postgresql://errata:%s@database:5432/errata' "$(cat database_password)" | keep database_url
[ -e queue_password ] || random | keep queue_password
[ -e queue_url ] || printf 'redis://errata:%s@queue:6379/0' "$(cat queue_password)" | keep queue_url
[ -e queue_users ] || keep queue_users <<END
user default off
user errata on #$(openssl dgst -sha256 -r queue_password | cut -d ' ' -f 1) ~errata:* resetchannels +@all -@admin -@dangerous
user health on nopass resetkeys resetchannels -@all +ping
END
[ -e key_pepper ] || random | keep key_pepper
if ! [ -e tls.key ]; then
    echo "docker/secrets.sh: making a certificate for localhost, to try it out with" >&2
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -noenc -days 365 -subj /CN=localhost \
        -addext subjectAltName=DNS:localhost,IP:127.0.0.1 -keyout made.key -out made.crt 2>/dev/null
    keep tls.crt < made.crt
    keep tls.key < made.key
    rm made.key made.crt
fi
