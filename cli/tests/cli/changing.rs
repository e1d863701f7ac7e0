//! Keys from their creation to their end.

use crate::session::Shell;

#[tokio::test]
async fn create_list_and_show() {
    for shell in Shell::on_each().await {
        shell.session(
            r#"
$ tower-api-key migrate
The tables are up to date.
$ tower-api-key list
There are no such keys.
$ tower-api-key list --json
$ tower-api-key create --name 'CI of the shop' --owner user-1 --scope 'orders:read,stock:*' --expires 2040-01-31T12:00:00Z
<key-1>
Created the key <id-1>. This is the only time that it is shown.
$ KEY=$(tower-api-key create --name second --description 'for the weekend' --tier basic --metadata '{"a":1}' --allow 10.0.0.0/8 --allow ::1 --not-before 2040-01-01)
Created the key <id-2>. This is the only time that it is shown.
$ echo $KEY
<key-2>
$ tower-api-key create --name third --header
X-API-Key: <key-3>
Created the key <id-3>. This is the only time that it is shown.
$ tower-api-key list
ID  NAME  START  OWNER  SCOPES  STATUS  EXPIRES  LAST USED
<id-3>  third  <start>  -  -  active  never  never
<id-2>  second  <start>  -  -  not_yet_valid  never  never
<id-1>  CI of the shop  <start>  user-1  orders:read stock:*  active  2040-01-31T12:00:00.000Z  never
$ tower-api-key list --owner user-1 --limit 5
ID  NAME  START  OWNER  SCOPES  STATUS  EXPIRES  LAST USED
<id-1>  CI of the shop  <start>  user-1  orders:read stock:*  active  2040-01-31T12:00:00.000Z  never
$ ID=$(tower-api-key list --limit 2 --json | tail -n 1 | cut -d '"' -f 4)
$ tower-api-key show $ID
id  <id-2>
name  second
start  <start>
status  not_yet_valid
description  for the weekend
tier  basic
metadata  {"a":1}
allowed addresses  10.0.0.0/8 ::1/128
created at  <time>
not before  2040-01-01T00:00:00.000Z
uses  0
$ tower-api-key list --after $ID --json
{"id":"<id-1>","name":"CI of the shop","start":"<start>","description":null,"owner":"user-1","scopes":["orders:read","stock:*"],"status":"active","disabled":false,"disabled_by":null,"tier":null,"limits":[],"credits":null,"metadata":{},"allowed_addresses":[],"created_at":"<time>","created_by":null,"updated_at":"<time>","not_before":null,"expires_at":"2040-01-31T12:00:00.000Z","last_used_at":null,"use_count":0,"revoked_at":null,"revoked_reason":null,"replaces":null,"rotated_to":null,"retires_at":null,"revision":<revision>}
$ tower-api-key usage $ID
There were no requests.
$ tower-api-key usage --owner user-1 --json
{"id":"<id-1>","name":"CI of the shop","use_count":0,"last_used_at":null}
$ tower-api-key show $(echo $ID | tr 0-8 1-9)
tower-api-key: there is no such key
=> 1
"#,
        );
    }
}

#[tokio::test]
async fn update() {
    for shell in Shell::on_each().await {
        shell.session(
            r#"
$ ID=$(tower-api-key create --name first --description text --scope a:b --json | cut -d '"' -f 4)
$ tower-api-key update $ID --name renamed --description '' --scope 'c:d,e:*' --expires 2040-01-31T12:00:00Z
id  <id-1>
name  renamed
start  <start>
status  active
scopes  c:d e:*
created at  <time>
expires at  2040-01-31T12:00:00.000Z
uses  0
$ tower-api-key update $ID --disable --no-scopes --expires never
id  <id-1>
name  renamed
start  <start>
status  disabled
created at  <time>
disabled by  an administrator
uses  0
Services refuse an ended key at once where they are told of changes (PostgreSQL, REDIS_URL), within a tenth of a second on SQLite, and otherwise within 30 seconds or their CACHE_TTL.
$ tower-api-key update $ID --enable --if-revision 1
tower-api-key: the key was changed meanwhile
=> 1
$ REVISION=$(tower-api-key show $ID --json | grep -o '"revision":[0-9]*' | cut -d : -f 2)
$ tower-api-key update $ID --enable --if-revision $REVISION --json | grep -o '"status":"[a-z]*"'
"status":"active"
$ tower-api-key update $ID
tower-api-key: say what to change; `update --help` lists it
=> 2
$ tower-api-key update $ID --name ''
tower-api-key: name must have 1 to 100 characters
=> 2
$ tower-api-key update $ID --expires 2020-01-31
tower-api-key: expires_at must be in the future
=> 2
$ tower-api-key create --name ended --expires 2020-01-31
tower-api-key: expires_at must be in the future
=> 2
$ tower-api-key update $ID --expires 2040-01-31 --json | grep -o '"expires_at":[^,]*'
"expires_at":"2040-01-31T23:59:59.999Z"
$ tower-api-key update $ID --expires 20410131 --json | grep -o '"expires_at":[^,]*'
"expires_at":"2041-01-31T23:59:59.999Z"
$ tower-api-key update $ID --expires 9999-12-31T23:59:59Z --json | grep -o '"expires_at":[^,]*'
"expires_at":null
"#,
        );
    }
}

#[tokio::test]
async fn revoke_delete_and_purge() {
    for shell in Shell::on_each().await {
        shell.session(
            r#"
$ ID=$(tower-api-key create --name stolen --json | cut -d '"' -f 4)
$ OTHER=$(tower-api-key create --name unused --json | cut -d '"' -f 4)
$ tower-api-key revoke $ID --if-revision 7
tower-api-key: the key was changed meanwhile
=> 1
$ tower-api-key delete $ID --if-revision 7
tower-api-key: the key was changed meanwhile
=> 1
$ tower-api-key rotate $ID --if-revision 7
tower-api-key: the key was changed meanwhile
=> 1
$ REVISION=$(tower-api-key show $ID --json | grep -o '"revision":[0-9]*' | cut -d : -f 2)
$ tower-api-key revoke $ID --if-revision $REVISION --reason 'laptop stolen'
Revoked the key <id-1>.
Services refuse an ended key at once where they are told of changes (PostgreSQL, REDIS_URL), within a tenth of a second on SQLite, and otherwise within 30 seconds or their CACHE_TTL.
$ tower-api-key show $ID
id  <id-1>
name  stolen
start  <start>
status  revoked
created at  <time>
uses  0
revoked at  <time>
revoked because  laptop stolen
$ tower-api-key delete $OTHER
Deleted the key <id-2>.
Services refuse an ended key at once where they are told of changes (PostgreSQL, REDIS_URL), within a tenth of a second on SQLite, and otherwise within 30 seconds or their CACHE_TTL.
$ tower-api-key usage $OTHER
There were no requests.
$ tower-api-key delete $OTHER
tower-api-key: there is no such key
=> 1
$ tower-api-key revoke $ID --descendants
Revoked 0 keys.
$ THIRD=$(tower-api-key create --name third --json | cut -d '"' -f 4)
$ tower-api-key revoke $THIRD --descendants
Revoked 1 keys.
Services refuse an ended key at once where they are told of changes (PostgreSQL, REDIS_URL), within a tenth of a second on SQLite, and otherwise within 30 seconds or their CACHE_TTL.
$ FOURTH=$(tower-api-key create --name fourth --json | cut -d '"' -f 4)
$ tower-api-key revoke $FOURTH --json > /dev/null
Services refuse an ended key at once where they are told of changes (PostgreSQL, REDIS_URL), within a tenth of a second on SQLite, and otherwise within 30 seconds or their CACHE_TTL.
$ FIFTH=$(tower-api-key create --name fifth --json | cut -d '"' -f 4)
$ tower-api-key revoke $FIFTH --descendants --json > /dev/null
Services refuse an ended key at once where they are told of changes (PostgreSQL, REDIS_URL), within a tenth of a second on SQLite, and otherwise within 30 seconds or their CACHE_TTL.
$ tower-api-key purge --before 90d --yes
Removed 0 keys.
$ tower-api-key purge --before 0d
tower-api-key: say --yes where standard input is no terminal
=> 2
$ tower-api-key purge --before 2040-01-01T00:00:00Z --yes --json
{"purged":5}
$ tower-api-key usage $OTHER
tower-api-key: there is no such key
=> 1
$ tower-api-key list
There are no such keys.
"#,
        );
    }
}

/// What `ManagementGuard::owner` asks for, given to keys that were made before it did.
#[tokio::test]
async fn all_keys_of_an_owner_get_a_scope() {
    for shell in Shell::on_each().await {
        shell.session(
            r#"
$ tower-api-key create --name first --owner user-1 --scope orders:read 2>/dev/null >/dev/null
$ tower-api-key create --name second --owner user-1 2>/dev/null >/dev/null
$ tower-api-key create --name has --owner user-1 --scope 'keys:*' 2>/dev/null >/dev/null
$ ID=$(tower-api-key create --name gone --owner user-1 --json | cut -d '"' -f 4)
$ tower-api-key revoke $ID 2>/dev/null >/dev/null
$ tower-api-key create --name other --owner user-2 2>/dev/null >/dev/null
$ tower-api-key add-scope --owner user-1 --scope keys:read,keys:write
Changed 2 keys.
$ tower-api-key add-scope --owner user-1 --scope keys:read --json
{"changed":0}
$ tower-api-key list --json | sed 's/.*"name":"\([a-z]*\)".*"scopes":\(\[[^]]*\]\).*/\1 \2/'
other []
gone []
has ["keys:*"]
second ["keys:read","keys:write"]
first ["keys:read","keys:write","orders:read"]
$ tower-api-key add-scope --owner user-1 2>/dev/null
=> 2
"#,
        );
    }
}

#[tokio::test]
async fn many_keys_at_once() {
    for shell in Shell::on_each().await {
        shell.session(
            r#"
$ A=$(tower-api-key create --name a --owner user-1 --json | cut -d '"' -f 4)
$ B=$(tower-api-key create --name b --owner user-1 --json | cut -d '"' -f 4)
$ C=$(tower-api-key create --name c --owner user-2 --expires 2040-01-31 --json | cut -d '"' -f 4)
$ tower-api-key revoke-all --yes
tower-api-key: say which keys: --owner, --id or --issued-before
=> 2
$ tower-api-key revoke-all --owner user-1
tower-api-key: say --yes where standard input is no terminal
=> 2
$ tower-api-key revoke-all --owner user-1 --id $C --yes
tower-api-key: ids must all be of keys of the owner
=> 2
$ tower-api-key revoke-all --issued-before 2040-01-01T00:00:00Z --yes
tower-api-key: issued_before must not be in the future
=> 2
$ tower-api-key revoke-all --issued-before 1d --yes
Revoked 0 keys.
Keys of files and of configurations are not touched.
$ tower-api-key disable-all --id $C,$A --yes --reason audit
Disabled 2 keys.
Services refuse an ended key at once where they are told of changes (PostgreSQL, REDIS_URL), within a tenth of a second on SQLite, and otherwise within 30 seconds or their CACHE_TTL.
$ tower-api-key revoke-all --owner user-1 --yes --json
{"changed":2,"already_ended":[],"unknown":[]}
Services refuse an ended key at once where they are told of changes (PostgreSQL, REDIS_URL), within a tenth of a second on SQLite, and otherwise within 30 seconds or their CACHE_TTL.
$ tower-api-key revoke-all --id $B,$C --yes
Revoked 1 keys.
<id-1> had ended before.
Services refuse an ended key at once where they are told of changes (PostgreSQL, REDIS_URL), within a tenth of a second on SQLite, and otherwise within 30 seconds or their CACHE_TTL.
$ tower-api-key revoke-all --id $B --yes
Revoked 0 keys.
<id-1> had ended before.
$ tower-api-key list --expires-after 2040-01-31T00:00:00Z --json | cut -d '"' -f 4
<id-2>
$ tower-api-key list --expires-before 2040-01-31T00:00:00Z --json
$ tower-api-key list --last-used-before 0d --owner user-2 --json | cut -d '"' -f 4
<id-2>
$ tower-api-key list --last-used-after 1d --json
$ tower-api-key delete-all --owner user-2 --yes
Deleted 1 keys.
Services refuse an ended key at once where they are told of changes (PostgreSQL, REDIS_URL), within a tenth of a second on SQLite, and otherwise within 30 seconds or their CACHE_TTL.
$ tower-api-key show $C
tower-api-key: there is no such key
=> 1
"#,
        );
    }
}

#[tokio::test]
async fn rotate() {
    for shell in Shell::on_each().await {
        shell.session(
            r#"
$ tower-api-key create --name ci --json --request-id today > old.json
$ ID=$(cut -d '"' -f 4 old.json)
$ OLD=$(sed 's/.*"key":"\([^"]*\)".*/\1/' old.json)
$ tower-api-key create --name ci --request-id today
tower-api-key: this request has created the key <id-1> already; rotate it for a new secret
=> 1
$ NEW=$(tower-api-key rotate $ID --grace 24h --from-first-use)
Created the key <id-2> in place of <id-1>, which lives on until its grace after the first use of the new one. This is the only time that it is shown.
$ echo $NEW | tower-api-key verify | head -n 1
The key is good.
$ tower-api-key rotate $ID
tower-api-key: the key was replaced already, by <id-2>
=> 1
$ echo $OLD | tower-api-key verify | grep -v ' at '
The key is good.
id  <id-1>
name  ci
start  <start>
status  active
uses  0
replaced by  <id-2>
$ NEXT=$(tower-api-key list --limit 1 --json | cut -d '"' -f 4)
$ tower-api-key rotate $NEXT --json 2> /dev/null | grep -o '"replaces":"[^"]*"'
"replaces":"<id-2>"
$ echo $NEW | tower-api-key verify
The key is refused: expired_key. This API key has expired. Use a new one. It is the key <id-2>.
=> 1
$ tower-api-key list --status expired
ID  NAME  START  OWNER  SCOPES  STATUS  EXPIRES  LAST USED
<id-2>  ci  <start>  -  -  expired  <time>  never
$ tower-api-key list --begins-with nothing
There are no such keys.
"#,
        );
    }
}
