//! `tower-api-key`: issues API keys and looks after them, from a shell or a script.
//!
//! Each command is in the module of its name. They share others: `database` opens the store,
//! `failure` has the ways to fail and their exit codes, `output` prints.

#![cfg_attr(fuzzing, no_main, allow(dead_code, reason = "`main` is the fuzzer's"))]
#![allow(clippy::doc_markdown, reason = "what documents arguments is printed as it is")]

mod add_scope;
mod announce;
mod change;
mod create;
mod credits;
mod csv;
mod database;
mod environment;
mod export;
mod exported;
mod failure;
mod generate;
mod import;
mod issuing;
mod list;
mod output;
mod progress;
mod purge;
mod quota;
mod rotate;
mod seals;
#[cfg(feature = "serve")]
mod serve;
mod sets;
mod shadow_report;
mod tables;
mod usage;
mod verify;
mod view;
mod when;

use std::{io, process::ExitCode};

use clap::{CommandFactory, Parser, Subcommand};
use clap_complete::Shell;

use crate::{
    database::{Access, Database},
    failure::Failure,
    output::Output,
    sets::Act,
};

/// Issues API keys and looks after them.
///
/// Works on the keys of the service whose DATABASE_URL is in the environment: SQLite, PostgreSQL,
/// MySQL, MariaDB, Redis or Valkey. Secrets are read from the environment or from standard input,
/// never from arguments, which every user of a machine can see.
#[derive(Parser)]
#[command(version, after_long_help = ENVIRONMENT, after_help = failure::EXIT_CODES)]
struct Cli {
    /// Prints JSON for programs: an object, or for lists one on each line
    #[arg(long, global = true, help_heading = "Global options")]
    json: bool,
    #[command(flatten)]
    database: database::Args,
    #[command(subcommand)]
    command: Command,
}

const ENVIRONMENT: &str = "\
Environment:
  DATABASE_URL                  Where the keys are, such as sqlite:keys.db or
                                postgres://user:password@host/database
  REDIS_URL                     What carries changes to the caches of running services, where
                                that is not the database itself
  TOWER_API_KEY_PEPPER          The pepper of the service, if it has one: at least 32 bytes
  TOWER_API_KEY_PEPPER_NEXT     The pepper that is to replace it: accepted, never written
  TOWER_API_KEY_PEPPER_RETIRED  Its retired peppers, the latest first, one on each line
  TOWER_API_KEY_PEPPER_PLAIN_UNTIL
                                Until when keys that are stored without a pepper are accepted
  TOWER_API_KEY_SEAL            The issuer secret of the service, if it seals its keys: at least 32 bytes
  TOWER_API_KEY_SEAL_NEXT       The issuer secret that is to replace it: accepted, never written
  TOWER_API_KEY_SEAL_RETIRED    Its retired issuer secrets, the latest first, one on each line
  TOWER_API_KEY_SEALED_ONLY     Whether keys of the prefix without a seal are refused: true or false
  API_KEY                       The key for `verify`, instead of standard input
  ADMIN_API_KEY                 The administrator's key for `serve`, which guards its metrics
  SOURCE_DATABASE_URL           The database for `import --from-table`

Exit codes:
  0  Done; `verify`: the key is good
  1  Refused: the key is not good, or there is no such key
  2  The arguments, the environment, the input or the store cannot be used (rows to import are
     invalid, the database refuses the login): repeating the command does not help
  3  The store cannot be reached, is busy or did not answer: the command may work later, and until
     then it is unknown whether a key is good

A key that was revoked, deleted, disabled or rotated without grace is refused by running services at
once where they are told of changes, by PostgreSQL or REDIS_URL; within a tenth of a second where
they read the same SQLite file; and otherwise for as long as they cache keys: 30 seconds unless their
CACHE_TTL says otherwise.";

#[derive(Subcommand)]
enum Command {
    /// Creates a key and prints it, this once
    Create(create::Args),
    /// Lists keys, the youngest first
    ///
    /// Each page is printed as it comes, in columns as wide as the first page needs.
    List(list::Args),
    /// Shows everything about a key but its secret
    Show(list::One),
    /// Changes a key
    Update(change::Update),
    /// Adds scopes to all keys of an owner
    ///
    /// Such as keys:read and keys:write, which a key needs to manage others of its owner.
    AddScope(add_scope::Args),
    /// Adds to the credits of a key
    ///
    /// On top of the balance; `update --credits` sets it anew.
    TopUp(credits::Add),
    /// Takes from the credits of a key, as for a refund
    Deduct(credits::Take),
    /// Issues a key that takes the place of another, and prints it, this once
    Rotate(rotate::Args),
    /// Withdraws a key for good
    Revoke(change::Revoke),
    /// Deletes a key; its row is kept for audit until it is purged
    Delete(change::Delete),
    /// Withdraws all keys of an owner, of a list, or issued before a time; all of them or none
    ///
    /// At least one of --owner, --id and --issued-before says which; together they mean the keys
    /// that meet all of them. No key gets away that is created or rotated meanwhile. Keys that had
    /// ended and ids that no key has are reported and stop nothing.
    RevokeAll(sets::Args),
    /// Switches off all keys of an owner, of a list, or issued before a time; all of them or none
    DisableAll(sets::Args),
    /// Deletes all keys of an owner, of a list, or issued before a time; all of them or none
    DeleteAll(sets::Args),
    /// Removes the rows of keys that were revoked or deleted
    Purge(purge::Args),
    /// Says whether a key is good, and why not
    ///
    /// Reads the key from API_KEY in the environment, or else from standard input.
    ///
    /// Nothing is written: it does not count as a use of the key. Neither rate limits nor credits are
    /// asked, nor facts that only the service knows, such as whether the owner is active.
    Verify(verify::Args),
    /// Takes over the keys of another system, or restores those of an export
    ///
    /// They go on working as they are.
    ///
    /// Reads CSV with a header, JSON (an object on each line, or an array of them), or a table in
    /// SQLite, PostgreSQL, MySQL or MariaDB. Text is UTF-8, or UTF-16 with a mark. These columns are
    /// known, in capitals or not, with `_` or without: key_hash (or hashed_key; required),
    /// key_prefix, name, user_id (or owner, owner_id), scopes, expires_at (or expires, expires_on,
    /// expire_at, expiry, expiry_at, expiry_date, expiration, expiration_date), not_before,
    /// last_used_at (or last_used), created_at (or created), description, tier (or
    /// rate_limit_tier), limits, credits, allowed_addresses, metadata; and those that say the state
    /// of a key: is_active (or is_enabled, active, enabled), is_disabled (or disabled), status (or
    /// state), is_revoked, is_deleted, revoked_at, deleted_at, revoked and deleted. id, updated_at
    /// and use_count are passed over. Every other column stops the import, for it may say that a key
    /// has ended: map it with --column, or give it up with --ignore-column.
    ///
    /// Of several columns for the state, the worst counts. An empty is_active is inactive. Values that
    /// are not known are refused until --state gives their meaning. Keys that have ended are left
    /// out. If such a key is active here, from an earlier import, that is said, and --end-ended ends
    /// it here as well.
    ///
    /// key_hash is the SHA-256 of the key: in hexadecimal, or behind `sha256:` in hexadecimal, base64
    /// or base64url. Or it is a bcrypt or argon2 hash. Times are RFC 3339, or in UTC without an
    /// offset, or seconds since 1970. A date as expires_at is the end of that day, and one in the year
    /// 9999 is never. limits and credits are JSON, as the management routes have them; credits may be
    /// a number. NULL, \N and None without quotes are nothing in CSV.
    ///
    /// A terminal shows the count, the rate and the time left of each phase.
    ///
    /// All rows are checked before the first is written: an invalid one stops the import, and nothing
    /// was imported. So does a key in two rows that differ, as a table of every change has it, also
    /// with --skip-invalid: give each key one row. Keys that are there already are reported and stay
    /// as they are, so an import that was interrupted can be repeated.
    ///
    /// What `export --with-digests` has written is told by its column export_version, and restored:
    /// with ids, counts, balances and parts in rotations, and disabled and revoked keys as such.
    ///
    /// The tokens of Laravel Sanctum come in with --from-table personal_access_tokens
    /// --column key_hash=token --column user_id=tokenable_id --column scopes=abilities
    /// --ignore-column tokenable_type. The service lets them in with a hasher
    /// `with_numbered_keys`.
    Import(import::Args),
    /// Prints all keys, in the form that `import` reads
    ///
    /// As CSV, or with --json as a JSON object on each line. Deleted keys are not among them.
    ///
    /// In CSV, lists and objects are JSON. A text that a spreadsheet would compute, or that is empty
    /// or begins with an apostrophe, has an apostrophe before it, which `import` takes away.
    ///
    /// With their credits as they are at that moment: without those that running services have taken
    /// to spend. Keys that share credits, because one takes the place of the other, share them again
    /// where they are imported.
    ///
    /// Without digests, it is a list for people and other programs: it cannot be imported. Standard
    /// error says which of both it is. Digests are not keys, and no key can be had from them. But
    /// a reader of them who has a key can tell whose it is, and a program that can write them into a
    /// service's database makes the keys work there.
    Export(export::Args),
    /// Shows how often keys were used, and when last; of one key, the outcomes of its requests
    Usage(usage::Args),
    /// Tells running services something about the store, on the bus
    Announce(announce::Args),
    /// Sums up the events of layers in shadow in logs; needs no database
    ///
    /// Which requests would be denied, and why, and where a layer and the check beside it differ. The
    /// logs are those of tracing-subscriber, as text or JSON, with the target tower_api_key::shadow at
    /// the level INFO. Other lines are passed over. Prefer JSON where lines hold texts of clients:
    /// a client could make a line of text look like an event.
    ShadowReport(shadow_report::Args),
    /// Decides for a proxy which requests it lets through: a sidecar
    ///
    /// nginx, HAProxy, Caddy or Traefik asks it about each request, and services behind in any language read
    /// in headers whose key it was. Rules, peers and everything else are in a file of TOML; the guide
    /// `docs/guide/sidecar.md` has one, with the configuration of the proxy. The environment is stronger than
    /// the file, and arguments are stronger than both.
    ///
    /// Listens until SIGTERM, SIGINT or SIGHUP, then ends the checks under way, writes counts and credits, and
    /// ends with 0. Another signal after more than a second ends it at once.
    #[cfg(feature = "serve")]
    Serve(serve::Args),
    /// Makes the tables in the database, or brings them up to date
    Migrate,
    /// Makes a key and its digest for a configuration file; needs no database
    Generate(generate::Args),
    /// Prints a script that completes commands in a shell
    Completions {
        /// The shell
        shell: Shell,
    },
}

impl Command {
    /// One thread is enough for all commands but the one that serves.
    fn runtime(&self) -> tokio::runtime::Builder {
        match self {
            #[cfg(feature = "serve")]
            Self::Serve(_) => tokio::runtime::Builder::new_multi_thread(),
            _ => tokio::runtime::Builder::new_current_thread(),
        }
    }

    fn access(&self) -> Access {
        match self {
            Self::List(_)
            | Self::Show(_)
            | Self::Verify(_)
            | Self::Export(_)
            | Self::Usage(_)
            | Self::Generate(_)
            | Self::ShadowReport(_)
            | Self::Completions { .. } => Access::Read,
            // Opens its store by itself.
            #[cfg(feature = "serve")]
            Self::Serve(_) => Access::Read,
            Self::Update(_)
            | Self::AddScope(_)
            | Self::Rotate(_)
            | Self::Revoke(_)
            | Self::Delete(_)
            | Self::RevokeAll(_)
            | Self::DisableAll(_)
            | Self::DeleteAll(_)
            | Self::TopUp(_)
            | Self::Deduct(_)
            | Self::Purge(_)
            | Self::Announce(_) => Access::Change,
            Self::Create(_) | Self::Import(_) => Access::Add,
            Self::Migrate => Access::Make,
        }
    }
}

fn main() -> ExitCode {
    // Ends the process by itself when the arguments cannot be used (2), or ask for help (0).
    let cli = Cli::parse();
    let result = match cli.command.runtime().enable_all().build() {
        Ok(runtime) => {
            let result = runtime.block_on(run(cli));
            // Without waiting for a name server, which may be silent.
            runtime.shutdown_background();
            result
        }
        Err(error) => Err(Failure::unavailable("cannot start", &error)),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.tell(),
    }
}

async fn run(cli: Cli) -> Result<(), Failure> {
    let mut out = Output::new(cli.json);
    match cli.command {
        Command::Generate(args) => return generate::run(&args, &mut out),
        Command::ShadowReport(args) => return shadow_report::run(&args, &mut out),
        Command::Completions { shell } => return complete(shell),
        #[cfg(feature = "serve")]
        Command::Serve(args) => return serve::run(args, cli.database.table, &mut out).await,
        _ => {}
    }
    let database = Database::open(&cli.database, cli.command.access()).await?;
    let result = match cli.command {
        Command::Create(args) => create::run(args, &database, &mut out).await,
        Command::List(args) => list::run(args, &database, &mut out).await,
        Command::Show(args) => list::show(&args, &database, &mut out).await,
        Command::Update(args) => change::update(args, &database, &mut out).await,
        Command::TopUp(args) => credits::top_up(args, &database, &mut out).await,
        Command::Deduct(args) => credits::deduct(args, &database, &mut out).await,
        Command::AddScope(args) => add_scope::run(args, &database, &mut out).await,
        Command::Rotate(args) => rotate::run(&args, &database, &mut out).await,
        Command::Revoke(args) => change::revoke(&args, &database, &mut out).await,
        Command::Delete(args) => change::delete(&args, &database, &mut out).await,
        Command::RevokeAll(args) => sets::run(args, Act::Revoke, &database, &mut out).await,
        Command::DisableAll(args) => sets::run(args, Act::Disable, &database, &mut out).await,
        Command::DeleteAll(args) => sets::run(args, Act::Delete, &database, &mut out).await,
        Command::Purge(args) => purge::run(&args, &database, &mut out).await,
        Command::Verify(args) => verify::run(args, &database, &mut out).await,
        Command::Import(args) => import::run(args, &database, &mut out).await,
        Command::Export(args) => export::run(&args, &database, &mut out).await,
        Command::Usage(args) => usage::run(args, &database, &mut out).await,
        Command::Announce(args) => announce::run(&args, &database, &mut out).await,
        // Opening it has done the work.
        Command::Migrate => out.say("The tables are up to date."),
        Command::Generate(_) | Command::ShadowReport(_) | Command::Completions { .. } => Ok(()),
        #[cfg(feature = "serve")]
        Command::Serve(_) => Ok(()),
    };
    database.close().await;
    result
}

fn complete(shell: Shell) -> Result<(), Failure> {
    // Into memory first: the generator panics when its output is closed.
    let mut script = Vec::new();
    let mut command = Cli::command();
    clap_complete::generate(shell, &mut command, env!("CARGO_BIN_NAME"), &mut script);
    io::Write::write_all(&mut io::stdout().lock(), &script).map_err(Failure::from)
}
