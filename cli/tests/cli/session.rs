//! Sessions: what somebody types into a shell, and what is on the screen afterwards.

use std::{collections::BTreeMap, fmt::Write as _, path::Path, process::Command};

use tempfile::TempDir;

use crate::{
    own_redis::OwnRedis,
    process,
    servers::{Database, Server},
};

/// A place to type commands into.
pub(crate) struct Shell {
    pub(crate) directory: TempDir,
    pub(crate) url: String,
    _database: Option<Database>,
    _redis: Option<OwnRedis>,
}

impl Shell {
    /// With a new SQLite database in a file that is not there yet.
    pub(crate) fn on_sqlite() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let url = format!("sqlite:{}", directory.path().join("keys.db").display());
        Self { directory, url, _database: None, _redis: None }
    }

    /// With a new PostgreSQL database; `None` when its tests are left out.
    pub(crate) async fn on_postgres() -> Option<Self> {
        let database = Database::new(Server::Postgres).await?;
        let (directory, url) = (tempfile::tempdir().unwrap(), database.url().to_owned());
        Some(Self { directory, url, _database: Some(database), _redis: None })
    }

    /// With a new MySQL database; `None` when its tests are left out.
    pub(crate) async fn on_mysql() -> Option<Self> {
        let database = Database::new(Server::MySql).await?;
        let (directory, url) = (tempfile::tempdir().unwrap(), database.url().to_owned());
        Some(Self { directory, url, _database: Some(database), _redis: None })
    }

    /// With a new Redis; `None` when its tests are left out.
    pub(crate) fn on_redis() -> Option<Self> {
        let redis = OwnRedis::start(&[])?;
        let (directory, url) = (tempfile::tempdir().unwrap(), redis.url());
        Some(Self { directory, url, _database: None, _redis: Some(redis) })
    }

    /// With each of them.
    pub(crate) async fn on_each() -> Vec<Self> {
        let mut shells = vec![Self::on_sqlite()];
        shells.extend(Self::on_postgres().await);
        shells.extend(Self::on_mysql().await);
        shells.extend(Self::on_redis());
        shells
    }

    /// A command in this place that knows the database.
    pub(crate) fn command(&self, program: &str) -> Command {
        let program_directory = Path::new(env!("CARGO_BIN_EXE_tower-api-key")).parent().unwrap();
        let path = std::env::var("PATH").unwrap();
        let mut command = Command::new(program);
        command
            .current_dir(self.directory.path())
            .env_clear()
            .env("PATH", format!("{}:{path}", program_directory.display()))
            .env("CURL_HOME", self.directory.path())
            .env("NO_PROXY", "*")
            .env("USER", "tester")
            .env("DATABASE_URL", &self.url);
        command
    }

    pub(crate) fn write(&self, name: &str, content: &str) {
        std::fs::write(self.directory.path().join(name), content).unwrap();
    }

    /// Types every line that begins with `$ ` into one shell, and compares the screen with
    /// `expected`, once it is [like any other](alike). Numbers behind `=>` are exit codes.
    #[track_caller]
    pub(crate) fn session(&self, expected: &str) {
        let expected = expected.trim();
        let mut script = String::new();
        for line in expected.lines().filter_map(|line| line.strip_prefix("$ ")) {
            let quoted = line.replace('\'', r"'\''");
            writeln!(script, "printf '%s\\n' '$ {quoted}'").unwrap();
            // In this shell, so that variables stay.
            writeln!(script, "{{ {line}\n}} 2>&1; code=$?").unwrap();
            writeln!(script, "if [ $code -ne 0 ]; then echo \"=> $code\"; fi").unwrap();
        }
        let finished = process::run(self.command("sh").args(["-c", &script]));
        assert_eq!(finished.stderr, "", "{finished:?}");
        let directory = self.directory.path().display().to_string();
        let screen = alike(&finished.stdout.replace(&directory, "$DIR"));
        let lines = screen.lines().zip(expected.lines());
        let differing = lines.filter(|(line, other)| line != other);
        let differing = differing.map(|(line, other)| format!("{line}\ninstead of\n{other}\n"));
        let first = differing.take(1).collect::<String>();
        assert!(screen == expected, "on {}: {first}\nThe screen:\n{screen}", self.url);
    }
}

/// A screen with names in place of what is different every time: keys, ids, digests and today's
/// times. The second one to appear is `<id-2>`, wherever it appears.
fn alike(screen: &str) -> String {
    let mut names = Names::default();
    let mut alike = String::new();
    let is_part = |c: char| c.is_ascii_alphanumeric() || "_-:.".contains(c);
    let mut rest = screen;
    while let Some(c) = rest.chars().next() {
        if is_part(c) {
            let end = rest.find(|c| !is_part(c)).unwrap_or(rest.len());
            let word = rest[..end].trim_end_matches(['.', ':', '-']);
            let word = if word.is_empty() { &rest[..end] } else { word };
            alike.push_str(&names.name(word));
            rest = &rest[word.len()..];
            continue;
        }
        // Columns are as wide as what is in them.
        let spaces = rest.len() - rest.trim_start_matches(' ').len();
        if spaces > 1 {
            alike.push_str("  ");
            rest = &rest[spaces..];
        } else {
            alike.push(c);
            rest = &rest[c.len_utf8()..];
        }
    }
    alike
}

fn is_moment(word: &str) -> bool {
    word.starts_with("17") || word.starts_with("18")
}

#[derive(Default)]
struct Names(BTreeMap<&'static str, Vec<String>>);

impl Names {
    fn name(&mut self, word: &str) -> String {
        let is_hex = |text: &str| text.bytes().all(|b| b.is_ascii_hexdigit());
        let key =
            word.strip_prefix("key_").filter(|k| k.bytes().all(|b| b.is_ascii_alphanumeric()));
        let kind = match (word.len(), key.map(str::len)) {
            // With a checksum, or with a seal.
            (_, Some(49 | 55)) => "key",
            (_, Some(4)) if word != "key_hash" => return "<start>".to_owned(),
            (64, _) if is_hex(word) => "digest",
            (36, _) if is_hex(&word.replace('-', "")) => "id",
            // Those that tests set are later.
            (20.., _) if word.starts_with("202") && word.ends_with('Z') => return "<time>".into(),
            // Milliseconds since 1970, of today.
            (13, _) if is_moment(word) => return "<revision>".into(),
            (14, _) if word.strip_prefix(':').is_some_and(is_moment) => {
                return ":<revision>".into();
            }
            _ => return word.to_owned(),
        };
        let known = self.0.entry(kind).or_default();
        let place = known.iter().position(|other| other == word).unwrap_or_else(|| {
            known.push(word.to_owned());
            known.len() - 1
        });
        format!("<{kind}-{}>", place + 1)
    }
}
