//! [`RedisUser`]: a part of a Redis that all tests share.

use redis::{Client, Commands, Connection, RedisResult, Value};

use crate::servers::{Server, unique_name};

/// A user whose name is also the prefix of keys and a channel. Removed, with the keys and the
/// connections, when dropped.
pub(crate) struct RedisUser {
    server_url: String,
    name: String,
    url: String,
}

/// In the URL.
pub(crate) const PASSWORD: &str = "password-of-a-test";

impl RedisUser {
    /// `None` when the tests with Redis are left out.
    pub(crate) fn new() -> Option<Self> {
        let server_url = Server::Redis.url()?;
        let name = unique_name();
        let (scheme, rest) = server_url.split_once("://").unwrap();
        let (_, server) = rest.rsplit_once('@').unwrap_or(("", rest));
        let url = format!("{scheme}://{name}:{PASSWORD}@{server}");
        let password = format!(">{PASSWORD}");
        let user = Self { server_url, name, url };
        let allowed = ["on", &password, "~*", "&*", "+@all"];
        let command = [&["ACL", "SETUSER", &user.name], &allowed[..]].concat();
        if let Err(error) = user.try_to_administer(&command) {
            Server::Redis.missing(error);
        }
        Some(user)
    }

    /// The server's address, for this user.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Runs a command, as an administrator does.
    pub(crate) fn administer(&self, command: &[&str]) {
        self.try_to_administer(command).unwrap();
    }

    fn try_to_administer(&self, command: &[&str]) -> RedisResult<Value> {
        redis::cmd(command[0]).arg(&command[1..]).query(&mut self.connect()?)
    }

    fn connect(&self) -> RedisResult<Connection> {
        Client::open(&*self.server_url)?.get_connection()
    }
}

impl Drop for RedisUser {
    fn drop(&mut self) {
        let Ok(mut connection) = self.connect() else { return };
        let keys: Vec<String> = connection.keys(format!("*{}*", self.name)).unwrap_or_default();
        for key in keys {
            let _: RedisResult<()> = connection.del(key);
        }
        let _ = self.try_to_administer(&["ACL", "DELUSER", &self.name]);
    }
}
