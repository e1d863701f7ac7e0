//! Import from files, and export.

use tower_api_key::KeyHasher;

use crate::session::Shell;

/// Columns as the tables of other systems have them, in every way of writing values.
#[tokio::test]
async fn csv() {
    let hash = |key: &str| KeyHasher::sha256().digest(key).to_hex();
    for shell in Shell::on_each().await {
        shell.write(
            "keys.csv",
            &format!(
                "id,key_hash,key_prefix,name,user_id,scopes,is_active,expires_at,last_used_at,created_at,description,flavour\n\
                 1,{},one-one-,first,7,\"orders:read, orders:write\",True,2040-01-01 12:00:00.000000,2021-02-03 04:05:06,2020-01-01T00:00:00+01:00,\"two\nlines\",a\n\
                 2,{},,second,,{{a:b}},0,,,,,\n\
                 3,{},,third,u-3,\"[\"\"c:d\"\"]\",t,1000000000,,,,\n",
                hash("one-one-one-one-one"),
                hash("two-two-two-two-two").to_uppercase(),
                hash("three-three-three-three"),
            ),
        );
        shell.session(
            r#"
$ tower-api-key import keys.csv --dry-run --ignore-other-columns
Columns that are not read: flavour.
Could be imported: 3
$ tower-api-key list
There are no such keys.
$ tower-api-key import keys.csv --ignore-column flavour
Imported: 3
$ tower-api-key import - --json --ignore-column flavour < keys.csv 2>/dev/null
{"imported":0,"duplicates":3,"duplicate_rows":["line 2","line 4","line 5"],"ended":0,"still_active":0,"still_active_rows":[],"ended_here":0,"invalid":0,"dry_run":false}
$ tower-api-key import keys.csv --ignore-column flavour
Imported: 0
There already: 3 (line 2, line 4, line 5)
$ echo one-one-one-one-one | tower-api-key verify
The key is good.
id  <id-1>
name  first
start  one-one-
status  active
description  two\u{a}lines
owner  7
scopes  orders:read orders:write
created at  2019-12-31T23:00:00.000Z
expires at  2040-01-01T12:00:00.000Z
last used at  <time>
uses  0
A service whose layer knows only the format of the keys issued here refuses it as malformed_key: see with_formats and KeyFormat::opaque().
$ echo two-two-two-two-two | tower-api-key verify --json 2>/dev/null | grep -o '"code":"[a-z_]*"'
"code":"disabled_key"
$ echo three-three-three-three | tower-api-key verify --json 2>/dev/null | grep -o '"code":"[a-z_]*"'
"code":"expired_key"
"#,
        );
    }
}

#[test]
fn json_lines() {
    let hash = |key: &str| KeyHasher::sha256().digest(key).to_hex();
    let shell = Shell::on_sqlite();
    shell.write(
        "keys.jsonl",
        &format!(
            r#"{{"hashed":"{}","name":"first","user_id":7,"scopes":["a:b"],"is_active":true,"expires_at":null,"metadata":{{"plan":1}},"allowed_addresses":["10.0.0.0/8"],"rate_limit_tier":"basic"}}

{{"hashed":"{}","name":"revoked","revoked_at":"2020-01-01T00:00:00.000Z"}}
{{"hashed":"{}","name":"deleted","deleted_at":"2020-01-01 00:00:00","is_active":true}}
{{"hashed":"{}","name":"nobody said that it is active","is_active":null}}
"#,
            hash("one-one-one-one-one"),
            hash("two-two-two-two-two"),
            hash("three-three-three-three"),
            hash("four-four-four-four"),
        ),
    );
    shell.session(
        r#"
$ tower-api-key import keys.jsonl --column key_hash=hashed
Imported: 2
Left out, revoked or deleted: 2
$ echo one-one-one-one-one | tower-api-key verify --address 10.0.0.1 --scope a:b
The key is good.
id  <id-1>
name  first
start
status  active
owner  7
scopes  a:b
tier  basic
metadata  {"plan":1}
allowed addresses  10.0.0.0/8
created at  <time>
uses  0
A service whose layer knows only the format of the keys issued here refuses it as malformed_key: see with_formats and KeyFormat::opaque().
$ echo two-two-two-two-two | tower-api-key verify --json 2>/dev/null | grep -o '"code":"[a-z_]*"'
"code":"unknown_key"
$ echo four-four-four-four | tower-api-key verify --json 2>/dev/null | grep -o '"code":"[a-z_]*"'
"code":"disabled_key"
"#,
    );
}

/// One bad row, and nothing is imported; what is wrong is said without saying what is there.
#[test]
fn nothing_is_half_imported() {
    let shell = Shell::on_sqlite();
    let good: Vec<_> = (0..600).map(|n| format!("{n:064x},good,,\n")).collect();
    let good = good.concat();
    shell.write(
        "keys.csv",
        &format!(
            "key_hash,name,expires_at,scopes\n{good}not-hex,bad,,\n{:064x},bad,tomorrow,\n{:064x},bad,,a b\\c\n\
             {:064x},{},,\n,no hash,,\n{:064x},too few\n",
            1001,
            1002,
            1003,
            "n".repeat(101),
            1004,
        ),
    );
    shell.session(
        r"
$ tower-api-key import keys.csv
line 602: key_hash must be a SHA-256 digest, such as 64 hexadecimal digits, or a bcrypt or argon2 hash
line 603: expires_at must be a date and time, or seconds since 1970
line 604: scopes must be visible ASCII, joined by `:`, with `*` only at the end
line 605: name must have 1 to 100 characters
line 606: key_hash is missing
line 607: has 2 columns, and the header 4
tower-api-key: nothing was imported: 6 of the rows are invalid; --skip-invalid leaves them out
=> 2
$ tower-api-key list
There are no such keys.
$ tower-api-key import keys.csv --skip-invalid 2>/dev/null
Imported: 600
Left out, invalid: 6
$ tower-api-key import keys.csv --column name=title
tower-api-key: there is no column `title`
=> 2
$ tower-api-key import keys.csv --column naem=title 2>&1 | head -n 1 | cut -c 1-52
error: invalid value 'naem=title' for '--column <OUR
$ printf 'a,b\n1,2\n' | tower-api-key import -
tower-api-key: there is no column key_hash (or hashed_key), which has the digests of the keys; say what it is called with --column key_hash=NAME
=> 2
$ printf '[{}]' | tower-api-key import -
element 1: key_hash is missing
tower-api-key: there is no column key_hash (or hashed_key), which has the digests of the keys; say what it is called with --column key_hash=NAME
=> 2
$ tower-api-key import nowhere.csv
tower-api-key: nowhere.csv: No such file or directory (os error 2)
=> 2
"
        .replace("`title`", "\"title\"")
        .as_str(),
    );
}

/// An import that stopped after some batches goes on where it was.
#[tokio::test]
async fn repeated_imports_go_on() {
    let rows: Vec<_> = (0..1700).map(|n| format!("{n:064x}\n")).collect();
    for shell in Shell::on_each().await {
        shell.write("some.csv", &format!("key_hash\n{}", rows[..1000].concat()));
        shell.write("all.csv", &format!("key_hash\n{}", rows.concat()));
        shell.session(
            r"
$ tower-api-key import some.csv
Imported: 1000
$ tower-api-key import all.csv --json | cut -d , -f 1-2
{`imported`:700,`duplicates`:1000
$ tower-api-key list --json | wc -l
1700
"
            .replace('`', "\"")
            .as_str(),
        );
    }
}

/// The same key twice in a file, and one that is there already between new ones.
#[test]
fn duplicates_are_named() {
    let shell = Shell::on_sqlite();
    let file = |keys: &[u32]| {
        let rows = keys.iter().map(|key| format!("{key:064x}\n"));
        format!("key_hash\n{}", rows.collect::<String>())
    };
    shell.write("some.csv", &file(&[1, 2]));
    shell.write("more.csv", &file(&[3, 2, 4, 4]));
    shell.session(
        r"
$ tower-api-key import some.csv
Imported: 2
$ tower-api-key import more.csv
Imported: 2
There already: 2 (line 3, line 5)
",
    );
}

/// What is exported can be imported elsewhere, and is the same there.
#[tokio::test]
async fn export_and_import_again() {
    for shell in Shell::on_each().await {
        shell.session(
            r#"
$ KEY=$(tower-api-key create --name 'a "name", with all' --owner user-1 --scope a:b,c:* --tier basic --limit minute=100/60s --limit day=5/1d,burst=2 --credits 5 --refill 7/month --metadata '{"a":[1]}' --allow 10.0.0.0/8 --expires 2040-01-01 --description text 2>/dev/null)
$ tower-api-key create --name off > /dev/null 2>&1
$ tower-api-key update $(tower-api-key list --limit 1 --json | cut -d '"' -f 4) --disable > /dev/null 2>&1
$ tower-api-key export --owner user-1
This is a list for people and other programs. It has no digests, so it cannot be imported; --with-digests adds them.
key_prefix,name,user_id,scopes,is_active,expires_at,last_used_at,created_at,description,tier,limits,credits,not_before,allowed_addresses,metadata,revoked_at,revoked_reason,rotation,id,updated_at,use_count,last_used_from,revision,created_by,disabled_by_owner,unknown_needs,export_version
<start>,"a ""name"", with all",user-1,"[""a:b"",""c:*""]",true,2040-01-01T23:59:59.999Z,,<time>,text,basic,"[{""burst"":100,""name"":""minute"",""requests"":100,""window_seconds"":60},{""burst"":2,""name"":""day"",""requests"":5,""window_seconds"":86400}]","{""balance"":{""epoch"":0,""granted"":0,""next_refill_at"":""<time>"",""refill"":{""amount"":7,""interval"":""month""},""remaining"":5,""revision"":0,""since"":""<time>""},""epoch"":0}",,"[""10.0.0.0/8""]","{""a"":[1]}",,,,<id-1>,<time>,0,,<revision>,,false,0,1
$ tower-api-key export --with-digests > keys.csv
These are digests, from which no key can be made: `import` restores the keys here or elsewhere. Keep them as you keep the database.
$ tower-api-key export --with-digests --json > keys.jsonl
These are digests, from which no key can be made: `import` restores the keys here or elsewhere. Keep them as you keep the database.
$ cut -d '"' -f 4 keys.jsonl
<digest-1>
<digest-2>
$ export DATABASE_URL=sqlite:copy.db
$ tower-api-key import keys.csv
Imported: 2
$ tower-api-key import keys.jsonl
Imported: 0
There already: 2 (line 1, line 2)
$ tower-api-key export --with-digests | diff keys.csv - && echo same
These are digests, from which no key can be made: `import` restores the keys here or elsewhere. Keep them as you keep the database.
same
$ echo $KEY | tower-api-key verify --address 10.0.0.1 --scope c:d | grep -E 'good|limits|credits|^refill'
The key is good.
limits  minute=100/1m day=5/1d,burst=2
credits  5
refill  7/month
"#,
        );
    }
}

#[test]
fn slow_hashes_and_plain_keys() {
    let shell = Shell::on_sqlite();
    shell.write(
        "slow.csv",
        "key_hash,key_prefix,name\n\
         $2b$12$U2dpLERQlLrZy.Wg7VvHCeHhbuIoW1.ZFOdww3KJ.FdSAj0eIjuUe,abcd,good\n\
         $argon2id$v=19$m=65536,t=3,p=4$c2FsdA$aGFzaA,abcd,quotes are missing\n\
         $2b$12$U2dpLERQlLrZy.Wg7VvHCeHhbuIoW1.ZFOdww3KJ.FdSAj0eIjuUa,,nothing to find it by\n\
         $pbkdf2-sha256$29000$abc,abcd,another hash\n",
    );
    shell.write("plain.csv", "secret_key,name\nMV_SECRET_0123456789,first\nshort,second\n");
    shell.session(
        r"
$ tower-api-key import slow.csv --dry-run --skip-invalid
line 3: has 5 columns, and the header 3
line 4: key_prefix must have the first four characters of the key, or more, to find a slow hash by
line 5: key_hash must be a SHA-256 digest, such as 64 hexadecimal digits, or a bcrypt or argon2 hash
Could be imported: 1
Left out, invalid: 3
$ tower-api-key import plain.csv --column key_hash=secret_key --plain-keys --skip-invalid
line 3: key_hash must hold a key of 16 to 512 visible ASCII characters
Imported: 1
Left out, invalid: 1
$ echo MV_SECRET_0123456789 | tower-api-key verify 2>/dev/null | head -n 1
The key is good.
$ export TOWER_API_KEY_PEPPER='a pepper that has at least 32 bytes'
$ tower-api-key import plain.csv
tower-api-key: with TOWER_API_KEY_PEPPER, plain digests find no key: unset it, say --peppered if the digests were made with it, or set TOWER_API_KEY_PEPPER_PLAIN_UNTIL as the service does
=> 2
",
    );
}

/// A slow hash is imported once, also when its key was used meanwhile and has a digest since.
#[test]
fn a_slow_hash_is_imported_once() {
    let shell = Shell::on_sqlite();
    shell.write(
        "slow.csv",
        "key_hash,key_prefix\n$2b$12$U2dpLERQlLrZy.Wg7VvHCeHhbuIoW1.ZFOdww3KJ.FdSAj0eIjuUe,abcd\n",
    );
    shell.session(
        r"
$ tower-api-key import slow.csv
Imported: 1
$ tower-api-key import slow.csv
Imported: 0
There already: 1 (line 2)
$ echo abcd-the-key-itself | tower-api-key verify
The key is refused: unknown_key. This API key does not exist. Check that it belongs to this service and environment.
Keys that were imported with a slow hash and not used since are not looked for.
=> 1
$ tower-api-key export --with-digests | cut -d , -f 1-3
These are digests, from which no key can be made: `import` restores the keys here or elsewhere. Keep them as you keep the database.
key_hash,key_prefix,name
$2b$12$U2dpLERQlLrZy.Wg7VvHCeHhbuIoW1.ZFOdww3KJ.FdSAj0eIjuUe,abcd,imported key
",
    );
}
