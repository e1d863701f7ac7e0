//! [`Name`]: what a store knows its server by.

use std::sync::{Arc, Mutex};

use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    task::{JoinHandle, JoinSet},
};

/// A name that leads to one server and, after a fail-over, to another. Connections that are there
/// stay where they are, as with a name in the DNS.
pub(crate) struct Name {
    url: String,
    address: Arc<Mutex<String>>,
    task: JoinHandle<()>,
}

impl Name {
    /// For the server of a URL like `redis://user@host:port/path`.
    pub(crate) async fn of(url: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let own = listener.local_addr().unwrap().to_string();
        let url_of_name = url.replace(address(url), &own);
        let address = Arc::new(Mutex::new(address(url).to_owned()));
        let task = tokio::spawn({
            let address = address.clone();
            async move {
                let mut connections = JoinSet::new();
                loop {
                    let (mut client, _) = listener.accept().await.unwrap();
                    let address = address.lock().unwrap().clone();
                    connections.spawn(async move {
                        // Where no server listens, the client is hung up on.
                        let Ok(mut server) = TcpStream::connect(address).await else { return };
                        let _ = copy_bidirectional(&mut client, &mut server).await;
                    });
                }
            }
        });
        Self { url: url_of_name, address, task }
    }

    pub(crate) fn lead_to(&self, url: &str) {
        address(url).clone_into(&mut self.address.lock().unwrap());
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }
}

impl Drop for Name {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn address(url: &str) -> &str {
    let (_, rest) = url.split_once("://").unwrap();
    let authority = rest.split('/').next().unwrap();
    authority.rsplit('@').next().unwrap()
}
