//! Keys of a service that seals them.

use crate::session::Shell;

const SECRET: &str = "an issuer secret that has 32 bytes or more";

/// From no seal to one, to another one, and to sealed keys alone.
#[test]
fn the_whole_way() {
    Shell::on_sqlite().session(&format!(
        r#"
$ PLAIN=$(tower-api-key create --name plain 2>/dev/null)
$ export TOWER_API_KEY_SEAL_NEXT='{SECRET}'
$ KEY=$(tower-api-key create --name next 2>/dev/null); echo ${{#KEY}}
53
$ export TOWER_API_KEY_SEAL="$TOWER_API_KEY_SEAL_NEXT"
$ unset TOWER_API_KEY_SEAL_NEXT
$ KEY=$(tower-api-key create --name sealed 2>/dev/null); echo ${{#KEY}}
59
$ for key in $PLAIN $KEY; do echo $key | tower-api-key verify | head -n 1; done
The key is good.
The key is good.
$ export TOWER_API_KEY_SEAL_RETIRED="$TOWER_API_KEY_SEAL" TOWER_API_KEY_SEAL='another one of at least 32 bytes, or more'
$ echo $KEY | tower-api-key verify | head -n 1
The key is good.
$ export TOWER_API_KEY_SEALED_ONLY=true
$ echo $PLAIN | tower-api-key verify
The key is refused: malformed_key. This is not an API key of this service. Check that it was copied whole.
=> 1
$ ID=$(tower-api-key list --json | grep '"plain"' | cut -d '"' -f 4)
$ ROTATED=$(tower-api-key rotate $ID 2>/dev/null)
$ unset TOWER_API_KEY_SEAL_RETIRED
$ echo $ROTATED | tower-api-key verify --only-prefix | head -n 1
The key is good.
$ echo $KEY | tower-api-key verify
The key is refused: malformed_key. This is not an API key of this service. Check that it was copied whole.
=> 1
$ unset TOWER_API_KEY_SEAL TOWER_API_KEY_SEALED_ONLY
$ echo $ROTATED | tower-api-key verify
The key is refused: malformed_key. This is not an API key of this service. Check that it was copied whole.
=> 1
"#
    ));
}

/// `generate` needs no database, and an imported key none of the seals.
#[test]
fn generated_and_imported() {
    let shell = Shell::on_sqlite();
    shell.session(&format!(
        r#"
$ export TOWER_API_KEY_SEAL='{SECRET}' TOWER_API_KEY_SEALED_ONLY=true
$ tower-api-key generate --json > generated
$ KEY=$(cut -d '"' -f 4 generated); echo ${{#KEY}}
59
$ printf 'key_hash,name\n%s,of a file\n' $(cut -d '"' -f 8 generated) > keys.csv
$ tower-api-key import keys.csv
Imported: 1
$ echo $KEY | tower-api-key verify | head -n 1
The key is good.
$ KEY=$(tower-api-key generate --prefix shop 2>/dev/null | head -n 1 | cut -d '"' -f 2); echo ${{#KEY}}
60
"#
    ));
}

#[test]
fn variables_that_cannot_be_used() {
    Shell::on_sqlite().session(&format!(
        r"
$ TOWER_API_KEY_SEAL=short tower-api-key generate
tower-api-key: the environment variable TOWER_API_KEY_SEAL must hold an issuer secret of at least 32 bytes, on one line
=> 2
$ TOWER_API_KEY_SEAL= tower-api-key generate
tower-api-key: the environment variable TOWER_API_KEY_SEAL must hold an issuer secret of at least 32 bytes, on one line
=> 2
$ TOWER_API_KEY_SEAL_NEXT=short tower-api-key generate
tower-api-key: TOWER_API_KEY_SEAL_NEXT: an issuer secret must have at least 32 bytes
=> 2
$ TOWER_API_KEY_SEAL_RETIRED='{SECRET}' tower-api-key generate
tower-api-key: TOWER_API_KEY_SEAL_RETIRED is set, but TOWER_API_KEY_SEAL is not
=> 2
$ TOWER_API_KEY_SEALED_ONLY=true tower-api-key generate
tower-api-key: TOWER_API_KEY_SEALED_ONLY is true, but TOWER_API_KEY_SEAL is not set
=> 2
$ TOWER_API_KEY_SEALED_ONLY=1 tower-api-key generate
tower-api-key: TOWER_API_KEY_SEALED_ONLY must be true or false
=> 2
$ TOWER_API_KEY_SEALED_ONLY=true TOWER_API_KEY_SEAL_NEXT='{SECRET}' tower-api-key generate
tower-api-key: TOWER_API_KEY_SEALED_ONLY: the format issues keys without a seal, so it cannot accept sealed ones only: seal it with a current issuer secret first
=> 2
$ TOWER_API_KEY_SEAL='{SECRET}' TOWER_API_KEY_PEPPER='{SECRET}' tower-api-key generate
tower-api-key: a secret is used as a pepper and as an issuer secret: make another one for one of them, with `openssl rand -hex 32`
=> 2
"
    ));
}
