//! Whether a key is good, and why not.

use crate::session::Shell;

/// The SHA-256 of some key.
const DIGEST: &str = "48e4389fe9be1b939c761ccc20b69bf962af209365732a074a6d10f5e6423a4b";
const PEPPER: &str = "a pepper that has at least 32 bytes";

#[tokio::test]
async fn verify() {
    for shell in Shell::on_each().await {
        shell.session(
            r#"
$ GOOD=$(tower-api-key create --name good --owner user-1 --scope 'orders:*' --allow 10.0.0.0/8 2>/dev/null)
$ OFF=$(tower-api-key create --name off 2>/dev/null)
$ OVER=over-over-over-over
$ printf 'key_hash,name,expires_at\n%s,over,2001-01-01T00:00:00Z\n' $(printf %s $OVER | sha256sum | cut -c 1-64) > over.csv
$ tower-api-key import over.csv > /dev/null
$ tower-api-key update $(tower-api-key list --json | grep '"off"' | cut -d '"' -f 4) --disable --json > /dev/null
Services refuse an ended key at once where they are told of changes (PostgreSQL, REDIS_URL), within a tenth of a second on SQLite, and otherwise within 30 seconds or their CACHE_TTL.
$ echo $GOOD | tower-api-key verify --address 10.1.2.3 --scope orders:read
The key is good.
id  <id-1>
name  good
start  <start>
status  active
owner  user-1
scopes  orders:*
allowed addresses  10.0.0.0/8
created at  <time>
uses  0
$ API_KEY=$GOOD tower-api-key verify --address 10.1.2.3 --scope stock:read --json
{"good":false,"code":"insufficient_scope","detail":"This API key may not do this. Use one with the required scopes.","id":"<id-1>","missing_scopes":["stock:read"]}
=> 1
$ API_KEY=$GOOD tower-api-key verify
The key is refused: address_not_allowed. This API key may not be used from this address. It is the key <id-1>.
The key may be used from some networks only: say which with --address.
=> 1
$ API_KEY=$GOOD tower-api-key verify --address 10.1.2.3 --json | grep -o '^{"good":[a-z]*'
{"good":true
$ echo $OFF | tower-api-key verify
The key is refused: disabled_key. This API key is disabled. Ask its owner to enable it, or use another one. It is the key <id-2>.
=> 1
$ echo $OVER | tower-api-key verify
The key is refused: expired_key. This API key has expired. Use a new one. It is the key <id-3>.
=> 1
$ echo ${GOOD}x | tower-api-key verify
The key is refused: malformed_key. This is not an API key of this service. Check that it was copied whole.
=> 1
$ echo a-key-that-other-systems-made | tower-api-key verify
The key is refused: unknown_key. This API key does not exist. Check that it belongs to this service and environment.
=> 1
$ echo a-key-that-other-systems-made | tower-api-key verify --only-prefix
The key is refused: malformed_key. This is not an API key of this service. Check that it was copied whole.
=> 1
$ printf '' | tower-api-key verify
The key is refused: missing_key. Send an API key with the request.
=> 1
$ tower-api-key usage | tail -n 1
<id-1>  good  0  never
"#,
        );
    }
}

/// With the pepper of the service, its keys are found; without it, they are not.
#[test]
fn peppers() {
    Shell::on_sqlite().session(&format!(
        r#"
$ export TOWER_API_KEY_PEPPER='{PEPPER}'
$ KEY=$(tower-api-key create --name peppered 2>/dev/null)
$ echo $KEY | tower-api-key verify | head -n 1
The key is good.
$ export TOWER_API_KEY_PEPPER_RETIRED="$TOWER_API_KEY_PEPPER" TOWER_API_KEY_PEPPER='another one of at least 32 bytes, or more'
$ echo $KEY | tower-api-key verify | head -n 1
The key is good.
$ unset TOWER_API_KEY_PEPPER
$ echo $KEY | tower-api-key verify
tower-api-key: TOWER_API_KEY_PEPPER_RETIRED is set, but TOWER_API_KEY_PEPPER is not
=> 2
$ unset TOWER_API_KEY_PEPPER_RETIRED
$ echo $KEY | tower-api-key verify
The key is refused: unknown_key. This API key does not exist. Check that it belongs to this service and environment.
=> 1
$ TOWER_API_KEY_PEPPER=short tower-api-key list
tower-api-key: the environment variable TOWER_API_KEY_PEPPER must hold a pepper of at least 32 bytes, on one line
=> 2
"#
    ));
}

/// From no pepper to one, without a moment in which a key is not found; and line ends after a pepper
/// are no part of it, whatever its state.
#[test]
fn from_no_pepper_to_one() {
    let shell = Shell::on_sqlite();
    shell.write("digests.csv", &format!("key_hash,name\n{DIGEST},imported\n"));
    shell.session(&format!(
        r#"
$ PLAIN=$(tower-api-key create --name plain 2>/dev/null)
$ export TOWER_API_KEY_PEPPER_NEXT='{PEPPER}'
$ echo $PLAIN | tower-api-key verify | head -n 1
The key is good.
$ export TOWER_API_KEY_PEPPER="$(printf '{PEPPER}\r\n_')"
$ export TOWER_API_KEY_PEPPER="${{TOWER_API_KEY_PEPPER%_}}"
$ unset TOWER_API_KEY_PEPPER_NEXT
$ KEY=$(tower-api-key create --name peppered 2>/dev/null)
$ echo $PLAIN | tower-api-key verify | head -n 1
The key is refused: unknown_key. This API key does not exist. Check that it belongs to this service and environment.
$ export TOWER_API_KEY_PEPPER_PLAIN_UNTIL=2999-01-01T00:00:00Z
$ echo $PLAIN | tower-api-key verify | head -n 1
The key is good.
$ tower-api-key import digests.csv
Imported: 1
$ TOWER_API_KEY_PEPPER= tower-api-key list
tower-api-key: the environment variable TOWER_API_KEY_PEPPER must hold a pepper of at least 32 bytes, on one line
=> 2
$ TOWER_API_KEY_PEPPER_PLAIN_UNTIL=soon tower-api-key list
tower-api-key: TOWER_API_KEY_PEPPER_PLAIN_UNTIL must be a date and time such as 2030-01-31T12:00:00Z
=> 2
$ export TOWER_API_KEY_PEPPER_PLAIN_UNTIL=1999-01-01T00:00:00Z
$ echo $PLAIN | tower-api-key verify | head -n 1
The key is refused: unknown_key. This API key does not exist. Check that it belongs to this service and environment.
$ unset TOWER_API_KEY_PEPPER TOWER_API_KEY_PEPPER_PLAIN_UNTIL
$ export TOWER_API_KEY_PEPPER_NEXT='{PEPPER}'
$ echo $KEY | tower-api-key verify | head -n 1
The key is good.
"#
    ));
}

/// A store that cannot tell is neither a yes nor a no.
#[test]
fn a_store_that_is_down() {
    Shell::on_sqlite().session(
        r"
$ export DATABASE_URL=postgres://127.0.0.1:1/none
$ echo key | tower-api-key verify 2> error
=> 3
$ cut -c 1-55 error
tower-api-key: DATABASE_URL: the key store is unavailab
",
    );
}
