//! CSV of every kind, and JSON.

use super::{assert_stopped, came, import};
use crate::session::Shell;

const HASH: &str = "0000000000000000000000000000000000000000000000000000000000000001";

#[test]
fn delimiters() {
    for (delimiter, names) in [
        (",", &[][..]),
        (";", &[]),
        ("\t", &[]),
        ("|", &[]),
        ("~", &["--delimiter", "~"]),
        ("\t", &["--delimiter", "tab"]),
        (";", &["--delimiter", ";"]),
    ] {
        for end in ["\n", "\r\n", "\r"] {
            let file = format!("key_hash{delimiter}is_active{end}{HASH}{delimiter}0{end}");
            assert_eq!(import(&file, names), came("disabled"), "{file:?}");
        }
    }
    let file = format!("key_hash,name;is_active\n{HASH},x;0\n");
    assert_stopped(&import(&file, &[]), "more than one character");
    // In quotes, it is a part of the name.
    let file = format!("key_hash;\"a,b\"\n{HASH};x\n");
    assert_stopped(&import(&file, &[]), "not known: a,b");
    let file = format!("key_hash,is_active\n{HASH},\"0\"1\n");
    assert_stopped(&import(&file, &[]), "line 2: there is text behind a closing quote");
}

#[test]
fn unicode() {
    let shell = Shell::on_sqlite();
    let text = format!("key_hash,name\r\n{HASH},Schl\u{fc}ssel \u{1f511}\r\n");
    let units: Vec<u16> = std::iter::once(0xfeff).chain(text.encode_utf16()).collect();
    let path = |name: &str| shell.directory.path().join(name);
    let le: Vec<u8> = units.iter().flat_map(|unit| unit.to_le_bytes()).collect();
    let be: Vec<u8> = units.iter().flat_map(|unit| unit.to_be_bytes()).collect();
    std::fs::write(path("le.csv"), &le).unwrap();
    std::fs::write(path("be.csv"), be).unwrap();
    std::fs::write(path("half.csv"), &le[..le.len() - 1]).unwrap();
    shell.write("mark.csv", &format!("\u{feff}{text}"));
    shell.session(
        r#"
$ tower-api-key import half.csv
tower-api-key: the rows cannot be read: the text is not valid UTF-16
=> 2
$ tower-api-key import le.csv
Imported: 1
$ tower-api-key list --json | grep -o '"name":"[^"]*"'
"name":"Schlüssel 🔑"
$ tower-api-key import be.csv
Imported: 0
There already: 1 (line 2)
$ cat mark.csv | tower-api-key import -
Imported: 0
There already: 1 (line 2)
"#,
    );
}

#[test]
fn json_arrays() {
    let shell = Shell::on_sqlite();
    shell.write(
        "keys.json",
        &format!(
            "\n [ {{\n \"key_hash\": \"{HASH}\",\n \"is_active\": false, \"scopes\": [\"read,write\"], \"user_id\": 7}},\n\
             {{\"key_hash\": \"{:064x}\", \"is_active\": true}}\n]\n",
            2
        ),
    );
    shell.write(
        "bad.json",
        &format!("[{{\"key_hash\": \"{HASH}\"}}, 5, \"MV_SECRET\", [1, [2]], null, {{}}]"),
    );
    shell.write("broken.json", "[{\"key_hash\": MV_SECRET}]");
    shell.write("more.json", "[] []");
    shell.session(
        r#"
$ tower-api-key import bad.json --skip-invalid --dry-run
element 2: is not a JSON object
element 3: is not a JSON object
element 4: is not a JSON object
element 5: is not a JSON object
element 6: key_hash is missing
Could be imported: 1
Left out, invalid: 5
$ tower-api-key import broken.json
tower-api-key: the rows cannot be read: there is no valid JSON at line 1, column 15
=> 2
$ tower-api-key import more.json
tower-api-key: the rows cannot be read: there is no valid JSON at line 1, column 4
=> 2
$ tower-api-key import keys.json
Imported: 2
$ tower-api-key import keys.json
Imported: 0
There already: 2 (element 1, element 2)
$ tower-api-key list --json | grep -o '"owner":.*,"disabled"' | sort
"owner":"7","scopes":["read,write"],"status":"disabled","disabled"
"owner":null,"scopes":[],"status":"active","disabled"
"#,
    );
}
