//! Servers of a test's own, which it may do anything to.

use std::{
    env, fs,
    hash::{BuildHasher, RandomState},
    io::{BufRead, BufReader, pipe},
    net::{Ipv4Addr, TcpListener},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
};

use tempfile::TempDir;

use crate::servers::Server;

/// A server that writes down what it acknowledges. Ended, with its data, when dropped.
pub(crate) struct OwnServer {
    server: Server,
    program: PathBuf,
    account: Option<Account>,
    options: Vec<String>,
    port: u16,
    child: Option<Child>,
    is_frozen: bool,
    // After the process, which is ended before its data goes.
    directory: TempDir,
}

impl OwnServer {
    /// Starts one on a port that is free. `None` when there are no programs for that.
    #[allow(dead_code, reason = "not every test binary needs it")]
    pub(crate) fn start(server: Server) -> Option<Self> {
        Self::start_with(server, &[])
    }

    /// The same, with further options.
    pub(crate) fn start_with(server: Server, options: &[&str]) -> Option<Self> {
        let program = program(server)?;
        // Not where the environment says, which may be a place that only root may enter.
        let directory = tempfile::Builder::new().prefix("tower-api-key-").tempdir_in("/tmp");
        let (directory, account) = (directory.unwrap(), Account::of(server));
        if let Some(account) = &account {
            run(Command::new("chown").arg(account.name).arg(directory.path()));
        }
        let options = owned(options);
        let mut own = Self {
            server,
            program,
            account,
            options,
            port: 0,
            child: None,
            is_frozen: false,
            directory,
        };
        own.initialize()?;
        // Somebody else may take the port meanwhile.
        for _ in 0..20 {
            own.port = free_port();
            if own.try_start().is_ok() {
                return Some(own);
            }
        }
        own.start_again();
        Some(own)
    }

    /// Starts one that copies this PostgreSQL.
    #[allow(dead_code, reason = "not every test binary needs one")]
    pub(crate) fn start_standby(&self, options: &[&str]) -> Self {
        let directory = tempfile::Builder::new().prefix("tower-api-key-").tempdir_in("/tmp");
        let (directory, account) = (directory.unwrap(), Account::of(self.server));
        if let Some(account) = &account {
            run(Command::new("chown").arg(account.name).arg(directory.path()));
        }
        let (server, program) = (self.server, self.program.clone());
        let (options, port) = (owned(options), free_port());
        let is_frozen = false;
        let mut own =
            Self { server, program, account, options, port, child: None, is_frozen, directory };
        let mut backup = own.command(&own.program.with_file_name("pg_basebackup"));
        backup.args(["-d", &self.url(), "--write-recovery-conf", "--checkpoint=fast", "--no-sync"]);
        run(backup.arg("-D").arg(own.data()));
        own.start_again();
        own
    }

    #[allow(dead_code, reason = "not every test binary needs it")]
    pub(crate) fn server(&self) -> Server {
        self.server
    }

    #[allow(dead_code, reason = "not every test binary needs it")]
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn url(&self) -> String {
        let port = self.port;
        match self.server {
            Server::Postgres => format!("postgres://postgres@127.0.0.1:{port}/postgres"),
            Server::MySql => format!("mysql://root@127.0.0.1:{port}/test"),
            Server::Redis => format!("redis://127.0.0.1:{port}"),
        }
    }

    /// Ends it at once: whoever is connected is cut off, and nothing is tidied up.
    pub(crate) fn kill(&mut self) {
        // One that is stopped would not end.
        self.thaw();
        let Some(mut child) = self.child.take() else { return };
        // PostgreSQL is many processes, and one of them sees to it that all end. It calls this an
        // immediate shutdown, and recovers from it as from a crash.
        let quit = self.server == Server::Postgres
            && Command::new("kill")
                .args(["-s", "QUIT", &child.id().to_string()])
                .status()
                .is_ok_and(|status| status.success());
        if !quit {
            // An error means that it has ended already.
            let _ = child.kill();
        }
        let _ = child.wait();
    }

    /// Stops each of its processes where it is, until [`thaw`](Self::thaw).
    #[allow(dead_code, reason = "not every test binary needs it")]
    pub(crate) fn freeze(&mut self) {
        self.is_frozen = true;
        self.signal("STOP");
    }

    #[allow(dead_code, reason = "not every test binary needs it")]
    pub(crate) fn thaw(&mut self) {
        if std::mem::take(&mut self.is_frozen) {
            self.signal("CONT");
        }
    }

    /// To all of its processes: each connection to PostgreSQL has one.
    fn signal(&self, name: &str) {
        let Some(child) = &self.child else { return };
        let id = child.id();
        let children = fs::read_to_string(format!("/proc/{id}/task/{id}/children"));
        let children = children.unwrap_or_default();
        let mut kill = Command::new("kill");
        kill.args(["-s", name, &id.to_string()]).args(children.split_whitespace());
        // One that has ended meanwhile is an error.
        let _ = kill.stderr(Stdio::null()).status();
    }

    /// Starts it again, with the data that it had.
    pub(crate) fn start_again(&mut self) {
        if let Err(log) = self.try_start() {
            panic!("{} does not start:\n{log}", self.program.display());
        }
    }

    /// Makes a database. `None` when the programs for that are missing.
    fn initialize(&self) -> Option<()> {
        let data = self.data();
        let mut command = match self.server {
            Server::Redis => return Some(()),
            Server::Postgres => {
                let mut command = self.command(&self.program.with_file_name("initdb"));
                command.args(["-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C"]);
                command.args(["--no-sync", "-D"]).arg(data);
                command
            }
            Server::MySql => {
                // Each server has its own, which no replica is to repeat.
                let sql = "set session sql_log_bin = 0;\n\
                     create database if not exists test;\n\
                     create user if not exists 'root'@'127.0.0.1';\n\
                     grant all on *.* to 'root'@'127.0.0.1' with grant option;\n";
                fs::write(self.directory.path().join("first.sql"), sql).unwrap();
                let data = format!("--datadir={}", data.display());
                let version = Command::new(&self.program).arg("--version").output().unwrap();
                if String::from_utf8_lossy(&version.stdout).contains("MariaDB") {
                    let mut command = self.command(&find(&["mariadb-install-db"])?);
                    command.args(["--no-defaults", "--skip-test-db", &data]);
                    command.arg("--auth-root-authentication-method=normal");
                    command
                } else {
                    let mut command = self.command(&self.program);
                    command.args(["--no-defaults", "--initialize-insecure", &data]);
                    command
                }
            }
        };
        run(&mut command);
        Some(())
    }

    /// What it has said, if it does not get so far as to answer.
    fn try_start(&mut self) -> Result<(), String> {
        let (data, port) = (self.data(), self.port.to_string());
        let mut command = self.command(&self.program);
        let ready = match self.server {
            Server::Postgres => {
                command.arg("-D").arg(data).args(["-p", &port, "-c", "unix_socket_directories="]);
                // Its processes are killed here, and not the machine.
                command.args(["-c", "listen_addresses=127.0.0.1", "-c", "fsync=off"]);
                // A standby accepts `read-only connections`.
                "database system is ready to accept".to_owned()
            }
            Server::MySql => {
                let home = self.directory.path().display();
                command.args(["--no-defaults", "--bind-address=127.0.0.1", "--port", &port]);
                command.args([
                    format!("--datadir={}", data.display()),
                    format!("--socket={home}/socket"),
                    format!("--pid-file={home}/pid"),
                    format!("--init-file={home}/first.sql"),
                    "--loose-mysqlx=OFF".to_owned(),
                    // Its process is killed here, and not the machine.
                    "--innodb-flush-log-at-trx-commit=2".to_owned(),
                    "--sync-binlog=0".to_owned(),
                ]);
                format!("port: {port}")
            }
            Server::Redis => {
                command.args(["--bind", "127.0.0.1", "--port", &port, "--save", ""]);
                command.args(["--appendonly", "yes", "--appendfsync", "always"]);
                command.arg("--dir").arg(self.directory.path());
                "Ready to accept connections".to_owned()
            }
        };
        command.args(&self.options);
        let (reader, writer) = pipe().unwrap();
        command.stdin(Stdio::null()).stdout(writer.try_clone().unwrap()).stderr(writer);
        self.child = Some(command.spawn().unwrap());
        // It holds the other end of the pipe, which would never close.
        drop(command);

        let mut log = String::new();
        let mut lines = BufReader::new(reader).lines();
        let is_ready = lines.by_ref().map_while(Result::ok).any(|line| {
            log.push_str(&line);
            log.push('\n');
            line.contains(&ready)
        });
        if is_ready {
            // It must never wait for somebody to read what it has to say.
            thread::spawn(move || lines.for_each(drop));
            Ok(())
        } else {
            self.kill();
            Err(log)
        }
    }

    fn data(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    /// A program of the server's, as the account that it runs as.
    fn command(&self, program: &Path) -> Command {
        let mut command = match &self.account {
            None => Command::new(program),
            Some(account) => {
                let mut command = Command::new("setpriv");
                command.args(account.options()).arg("--init-groups").arg("--").arg(program);
                command
            }
        };
        command.current_dir(self.directory.path()).env("TMPDIR", self.directory.path());
        command
    }
}

impl Drop for OwnServer {
    fn drop(&mut self) {
        self.kill();
    }
}

fn owned(options: &[&str]) -> Vec<String> {
    options.iter().map(|option| (*option).to_owned()).collect()
}

/// Runs a command to its end.
fn run(command: &mut Command) {
    let output = command.stdin(Stdio::null()).output().unwrap();
    let said = || [&output.stdout[..], &output.stderr].concat();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&said()));
}

/// Whom the server runs as.
struct Account {
    name: &'static str,
    group: String,
}

impl Account {
    /// Databases refuse to run as root, who hence starts them with the account of their package.
    fn of(server: Server) -> Option<Self> {
        let usual = match server {
            Server::Postgres => "postgres",
            Server::MySql => "mysql",
            Server::Redis => return None,
        };
        if id(&["-u"])? != "0" {
            return None;
        }
        [usual, "nobody"].iter().find_map(|name| Some(Self { name, group: id(&["-g", name])? }))
    }

    fn options(&self) -> [String; 2] {
        [format!("--reuid={}", self.name), format!("--regid={}", self.group)]
    }
}

/// What `id` says, if there is such an account.
fn id(args: &[&str]) -> Option<String> {
    let output = Command::new("id").args(args).output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    output.status.success().then(|| said.trim().to_owned())
}

fn program(server: Server) -> Option<PathBuf> {
    match server {
        // `initdb` is beside the program that a link on the PATH leads to.
        Server::Postgres => fs::canonicalize(find(&["postgres"])?).ok(),
        Server::MySql => find(&["mariadbd", "mysqld"]),
        Server::Redis => find(&["redis-server", "valkey-server"]),
    }
}

/// The first of these programs that is there. Servers are often where only root looks, and
/// PostgreSQL where nobody does: Debian keeps its versions side by side.
fn find(names: &[&str]) -> Option<PathBuf> {
    let mut folders: Vec<_> = env::split_paths(&env::var_os("PATH")?).collect();
    folders.extend(["/usr/local/sbin", "/usr/sbin", "/sbin"].map(PathBuf::from));
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten();
    folders.extend(versions.flatten().map(|version| version.path().join("bin")));
    let candidates = names.iter().flat_map(|name| folders.iter().map(move |f| f.join(name)));
    candidates.into_iter().find(|program| program.is_file())
}

/// A port that nobody listens on. Below those that the system gives to outgoing connections: while
/// the server is down, one of them might take it.
fn free_port() -> u16 {
    loop {
        let port = 20_000 + u16::try_from(RandomState::new().hash_one(()) % 10_000).unwrap();
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
}
