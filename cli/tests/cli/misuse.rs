//! Commands that cannot be carried out, and what becomes of secrets in them.

use std::{
    io::Read,
    process::{Command, Stdio},
};

use sqlx::{ConnectOptions, Connection, sqlite::SqliteConnectOptions};

use crate::{process, session::Shell};

#[test]
fn arguments_and_environment() {
    Shell::on_sqlite().session(
        r"
$ tower-api-key list
tower-api-key: DATABASE_URL: there is no file $DIR/keys.db; `migrate` makes one
=> 2
$ DATABASE_URL=memory: tower-api-key list
tower-api-key: DATABASE_URL: `memory:` keeps nothing after this command
=> 2
$ DATABASE_URL=ftp://user:hunter2@host tower-api-key list
tower-api-key: DATABASE_URL: there is no store for ftp://; there are memory:, sqlite:, postgres://, mysql:// and redis://
=> 2
$ env -u DATABASE_URL tower-api-key list
tower-api-key: DATABASE_URL is not set; it says where the keys are
=> 2
$ tower-api-key show not-an-id 2>&1 | head -n 1
error: invalid value 'not-an-id' for '<ID>': not an id (a UUID)
$ tower-api-key create --name x --expires soon 2>&1 | head -n 1
error: invalid value 'soon' for '--expires <WHEN>': must be a date and time such as 2030-01-31T12:00:00Z, or a duration such as 30d, 12h or 1y
$ tower-api-key create --name x --expires 10000-01-01T00:00:00Z 2>&1 | head -n 1
error: invalid value '10000-01-01T00:00:00Z' for '--expires <WHEN>': is outside of the years 0000 to 9999
$ tower-api-key create --name x --prefix Not-One 2>/dev/null
=> 2
$ tower-api-key nonsense 2>/dev/null
=> 2
$ tower-api-key completions bash | grep -o '^ *complete -F .* tower-api-key$' | wc -l
2
$ env -u DATABASE_URL tower-api-key generate
key = '<key-1>'
digest = '<digest-1>'
The key is for its user, and is shown this once. The digest is for the file.
"
        .replace("'<key-1>'", "\"<key-1>\"")
        .replace("'<digest-1>'", "\"<digest-1>\"")
        .as_str(),
    );
}

#[test]
fn announcing_needs_a_bus_and_something_to_say() {
    let shell = Shell::on_sqlite();
    process::run(shell.command("tower-api-key").arg("migrate"));
    let finished = process::run(shell.command("tower-api-key").args(["announce", "--reset"]));
    assert_eq!(finished.status.code(), Some(2));
    assert!(finished.stderr.contains("there is no bus: set REDIS_URL"), "{finished:?}");
    let finished = process::run(shell.command("tower-api-key").arg("announce"));
    assert_eq!(finished.status.code(), Some(2));
}

/// Whoever types a key where it does not belong does not find it in the log as well.
#[test]
fn a_key_among_the_arguments_is_not_repeated() {
    let shell = Shell::on_sqlite();
    let secret = "key_0000000000000000000000000000000000000000000aaaaaa";
    process::run(shell.command("tower-api-key").arg("migrate"));
    let finished = process::run(shell.command("tower-api-key").args(["verify", secret]));
    assert_eq!(finished.status.code(), Some(2));
    assert!(finished.stderr.contains("does not belong on a command line"), "{finished:?}");
    assert!(!finished.stderr.contains(secret) && finished.stdout.is_empty(), "{finished:?}");
}

/// The digest that `generate` prints is what `sha256sum` prints of the key.
#[test]
fn generated_digests_are_those_of_the_keys() {
    Shell::on_sqlite().session(
        r#"
$ tower-api-key generate --json > made
$ DIGEST=$(cut -d '"' -f 8 made)
$ cut -d '"' -f 4 made | tr -d '\n' | sha256sum | grep -q $DIGEST && echo same
same
"#,
    );
}

#[test]
fn names_and_owners_that_mislead_are_refused() {
    Shell::on_sqlite().session(
        r"
$ tower-api-key create --name $(printf 'a\033[2Jb')
tower-api-key: name must not contain control characters or characters that change the direction of text
=> 2
$ tower-api-key create --name good --owner $(printf 'user\342\200\2561')
tower-api-key: owner must not contain control characters or characters that change the direction of text
=> 2
$ tower-api-key create --name '  '
tower-api-key: name must not be blank
=> 2
$ printf 'key_hash,name\n%064d,\342\200\213\n' 1 > blank.csv
$ tower-api-key import blank.csv
line 2: name must not be blank
tower-api-key: nothing was imported: 1 of the rows are invalid; --skip-invalid leaves them out
=> 2
$ tower-api-key list
There are no such keys.
",
    );
}

/// Names of keys are other people's text, and a terminal does what it is told. Those of old rows may
/// hold anything.
#[tokio::test]
async fn what_could_move_the_cursor_is_spelt_out() {
    let shell = Shell::on_sqlite();
    shell.session(
        r"
$ tower-api-key create --name old 2>/dev/null | tr -d '\n' | wc -c
53
",
    );
    let options: SqliteConnectOptions = shell.url.parse().unwrap();
    let mut connection = options.connect().await.unwrap();
    let sql = "UPDATE api_keys SET name = 'a' || char(27, 0x9b, 0x202e, 0xe0041) || 'b'";
    sqlx::raw_sql(sql).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
    shell.session(
        r#"
$ tower-api-key usage | tail -n 1
<id-1>  a\u{1b}\u{9b}\u{202e}\u{e0041}b  0  never
$ tower-api-key usage --json
{"id":"<id-1>","name":"a\u001b\u009b\u202e\udb40\udc41b","use_count":0,"last_used_at":null}
$ ID=$(tower-api-key list --json | cut -d '"' -f 4)
$ tower-api-key show $ID | sed -n 2p
name  a\u{1b}\u{9b}\u{202e}\u{e0041}b
$ tower-api-key update $ID --disable 2>/dev/null | sed -n 4p
status  disabled
$ tower-api-key update $ID --name b | sed -n 2p
name  b
"#,
    );
}

/// `tower-api-key list | head -n 1`: whoever has seen enough is no error, and no panic.
#[test]
fn a_reader_who_leaves() {
    let shell = Shell::on_sqlite();
    // More than a pipe holds.
    let rows = (0..1500).map(|number| format!("{number:064x},{}\n", "n".repeat(100)));
    shell.write("keys.csv", &format!("key_hash,name\n{}", rows.collect::<String>()));
    let done = process::run(shell.command("tower-api-key").args(["import", "keys.csv"]));
    assert!(done.status.success(), "{done:?}");
    for args in [&["list"][..], &["list", "--json"], &["export"], &["export", "--json"]] {
        let mut command: Command = shell.command("tower-api-key");
        command.args(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut first = [0; 10];
        child.stdout.take().unwrap().read_exact(&mut first).unwrap();
        let output = child.wait_with_output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        // An export says what it is good for.
        let said = if args[0] == "export" { "This is a list" } else { "" };
        assert!(stderr.starts_with(said), "{args:?}: {stderr}");
        assert_eq!(stderr.lines().count(), usize::from(!said.is_empty()), "{args:?}: {stderr}");
        assert_eq!(output.status.code(), Some(0), "{args:?}");
    }
}

/// A key that was made and could not be shown is nobody's: that is said.
#[test]
fn a_key_that_cannot_be_shown() {
    Shell::on_sqlite().session(
        r"
$ tower-api-key create --name lost > /dev/full
tower-api-key: the key <id-1> was made, but could not be shown; `rotate` it for another secret
=> 1
",
    );
}
