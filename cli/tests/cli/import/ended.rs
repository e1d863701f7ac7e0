//! Keys that end there after they were imported here.

use crate::session::Shell;

fn row(number: u8, rest: &str) -> String {
    format!("{number:064x},{rest}\n")
}

#[tokio::test]
async fn a_repeated_import_tells_of_them_and_ends_them() {
    for shell in Shell::on_each().await {
        let header = "key_hash,name,is_active,revoked_at,expires_at\n";
        let file = |rows: &[String]| format!("{header}{}", rows.concat());
        shell.write(
            "before.csv",
            &file(&[
                row(1, "revoked,1,,"),
                row(2, "off,1,,"),
                row(3, "expired,1,,"),
                row(4, "same,1,,"),
                row(5, "off here too,1,,"),
            ]),
        );
        shell.write(
            "after.csv",
            &file(&[
                row(1, "revoked,1,2024-01-01,"),
                row(2, "off,0,,"),
                row(3, "expired,1,,2024-01-01"),
                row(4, "same,1,,"),
                row(5, "off here too,0,,"),
                row(6, "new and off,0,,"),
                row(7, "new and revoked,1,2024-01-01,"),
            ]),
        );
        shell.session(
            r#"
$ tower-api-key import before.csv
Imported: 5
$ tower-api-key update $(tower-api-key list --json | grep 'off here' | cut -d '"' -f 4) --disable > /dev/null
Services refuse an ended key at once where they are told of changes (PostgreSQL, REDIS_URL), within a tenth of a second on SQLite, and otherwise within 30 seconds or their CACHE_TTL.
$ tower-api-key import after.csv --dry-run
Could be imported: 5
Left out, revoked or deleted: 2
Active here, but not there any more: 3 (line 2, line 3, line 4); --end-ended ends them here as well
$ tower-api-key import after.csv
Imported: 1
There already: 4 (line 3, line 4, line 5, line 6)
Left out, revoked or deleted: 2
Active here, but not there any more: 3 (line 2, line 3, line 4); --end-ended ends them here as well
$ tower-api-key import after.csv --end-ended
Imported: 0
There already: 5 (line 3, line 4, line 5, line 6, line 7)
Left out, revoked or deleted: 2
Ended here as they have there: 3
Services refuse an ended key at once where they are told of changes (PostgreSQL, REDIS_URL), within a tenth of a second on SQLite, and otherwise within 30 seconds or their CACHE_TTL.
$ tower-api-key import after.csv --json
{"imported":0,"duplicates":5,"duplicate_rows":["line 3","line 4","line 5","line 6","line 7"],"ended":2,"still_active":0,"still_active_rows":[],"ended_here":0,"invalid":0,"dry_run":false}
$ tower-api-key list --json | grep -o -E '"(name|status)":"[^"]*"' | paste - - | sort
"name":"expired"	"status":"revoked"
"name":"new and off"	"status":"disabled"
"name":"off here too"	"status":"disabled"
"name":"off"	"status":"disabled"
"name":"revoked"	"status":"revoked"
"name":"same"	"status":"active"
"#,
        );
    }
}

/// A slow hash is found again after its key has a digest, and an export by its id.
#[test]
fn by_whatever_they_are_known() {
    let shell = Shell::on_sqlite();
    let slow = "$2b$12$U2dpLERQlLrZy.Wg7VvHCeHhbuIoW1.ZFOdww3KJ.FdSAj0eIjuUe";
    shell.write("slow.csv", &format!("key_hash,key_prefix\n{slow},abcd\n"));
    shell.write("gone.csv", &format!("key_hash,key_prefix,deleted\n{slow},abcd,1\n"));
    shell.session(
        r#"
$ tower-api-key import slow.csv
Imported: 1
$ tower-api-key import gone.csv --end-ended
Imported: 0
Left out, revoked or deleted: 1
Ended here as they have there: 1
Services refuse an ended key at once where they are told of changes (PostgreSQL, REDIS_URL), within a tenth of a second on SQLite, and otherwise within 30 seconds or their CACHE_TTL.
$ tower-api-key list --json | grep -o '"status":"[a-z]*"'
"status":"revoked"
$ tower-api-key create --name mine > made 2>&1
$ ID=$(tower-api-key list --limit 1 --json | cut -d '"' -f 4)
$ tower-api-key export --with-digests | sed 's/,true,/,false,/' > keys.csv
These are digests, from which no key can be made: `import` restores the keys here or elsewhere. Keep them as you keep the database.
$ tower-api-key import keys.csv --end-ended
Imported: 0
There already: 2 (line 2, line 3)
Ended here as they have there: 1
Services refuse an ended key at once where they are told of changes (PostgreSQL, REDIS_URL), within a tenth of a second on SQLite, and otherwise within 30 seconds or their CACHE_TTL.
$ tower-api-key show $ID | grep status
status  disabled
"#,
    );
}
