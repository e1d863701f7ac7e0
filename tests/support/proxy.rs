//! A TCP proxy between the code under test and a real server, for all that networks do: it lets
//! through, cuts, falls silent, dawdles and loses packets when the test says so. After a fail-over it
//! leads to another server, as a name in the DNS does.

#![allow(dead_code, reason = "every test binary uses its own part of this")]

use std::{
    hash::{BuildHasher, RandomState},
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpSocket, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::{mpsc, oneshot, watch},
    task::{JoinHandle, JoinSet},
    time::{Instant, sleep_until},
};

/// A proxy in front of one server. Ends, with all its connections, when dropped.
pub(crate) struct Proxy {
    url: String,
    /// Where connections lead that are made from now on.
    server: Arc<Mutex<String>>,
    address: SocketAddr,
    traffic: watch::Sender<Traffic>,
    /// Bound and never listening: keeps the port ours while nobody listens on it.
    _reservation: TcpSocket,
    open: Option<Open>,
}

/// What happens to bytes that come in.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Traffic {
    Delayed(Duration),
    /// One piece of so many is lost.
    Lossy(u64),
    Frozen,
}

/// How much later a lost packet arrives: the shortest time after which Linux sends it again.
const SENT_AGAIN: Duration = Duration::from_millis(200);

impl Traffic {
    /// How much later a piece arrives. Those after it wait, as over TCP.
    fn delay(self) -> Duration {
        match self {
            Self::Delayed(delay) => delay,
            Self::Lossy(one_in) if RandomState::new().hash_one(()).is_multiple_of(one_in) => {
                SENT_AGAIN
            }
            Self::Lossy(_) | Self::Frozen => Duration::ZERO,
        }
    }
}

/// Accepts and serves connections until told to stop, or dropped.
struct Open {
    task: JoinHandle<()>,
    stop: oneshot::Sender<()>,
}

impl Proxy {
    /// A proxy in front of the server that a URL such as `postgres://user@host:5432/db` names.
    /// Lets everything through.
    pub(crate) fn before(url: &str) -> Self {
        let (scheme, authority, path) = parts(url);
        let user = authority.rsplit_once('@').map(|(user, _)| format!("{user}@"));
        let user = user.unwrap_or_default();
        let reservation = bind((Ipv4Addr::LOCALHOST, 0).into());
        let address = reservation.local_addr().unwrap();
        let mut proxy = Self {
            url: format!("{scheme}://{user}{address}{path}"),
            server: Arc::new(Mutex::new(server_of(url))),
            address,
            traffic: watch::Sender::new(Traffic::Delayed(Duration::ZERO)),
            _reservation: reservation,
            open: None,
        };
        proxy.pass();
        proxy
    }

    /// Leads to the server of this URL from now on. Connections that are there stay where they are.
    pub(crate) fn lead_to(&self, url: &str) {
        *self.server.lock().unwrap() = server_of(url);
    }

    /// The server's URL, with the proxy's address.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Lets everything through, what was held back included.
    pub(crate) fn pass(&mut self) {
        self.delay(Duration::ZERO);
    }

    /// Lets everything through, each way so much later.
    pub(crate) fn delay(&mut self, by: Duration) {
        self.traffic.send_replace(Traffic::Delayed(by));
        self.open();
    }

    /// Loses one piece of so many, which then arrives late.
    pub(crate) fn lose(&mut self, one_in: u64) {
        self.traffic.send_replace(Traffic::Lossy(one_in));
        self.open();
    }

    /// Accepts connections and keeps those there are, and lets nothing through, not even that a
    /// side has closed: as a network does that loses every packet.
    pub(crate) fn freeze(&mut self) {
        self.traffic.send_replace(Traffic::Frozen);
        self.open();
    }

    /// Closes every connection and refuses new ones: as a server does that was stopped. All are
    /// closed when this returns.
    pub(crate) async fn cut(&mut self) {
        if let Some(mut open) = self.open.take() {
            drop(open.stop);
            (&mut open.task).await.unwrap();
        }
    }

    fn open(&mut self) {
        if self.open.is_none() {
            let listener = bind(self.address).listen(1024).unwrap();
            let (stop, stopped) = oneshot::channel();
            let (server, traffic) = (self.server.clone(), self.traffic.subscribe());
            let task = tokio::spawn(accept(listener, server, traffic, stopped));
            self.open = Some(Open { task, stop });
        }
    }
}

/// The scheme, the authority, and what follows.
fn parts(url: &str) -> (&str, &str, &str) {
    let (scheme, rest) = url.split_once("://").expect("a URL");
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    (scheme, authority, path)
}

/// Host and port of the server that a URL names.
fn server_of(url: &str) -> String {
    let (scheme, authority, _) = parts(url);
    let server = authority.rsplit('@').next().unwrap();
    let usual_port = match scheme {
        "mysql" | "mariadb" => 3306,
        "redis" | "rediss" => 6379,
        _ => 5432,
    };
    match server.rsplit_once(':') {
        Some((_, port)) if port.parse::<u16>().is_ok() => server.to_owned(),
        _ => format!("{server}:{usual_port}"),
    }
}

fn bind(address: SocketAddr) -> TcpSocket {
    let socket = TcpSocket::new_v4().unwrap();
    // Allows the second socket on a port that only the reservation holds.
    socket.set_reuseaddr(true).unwrap();
    socket.bind(address).unwrap();
    socket
}

async fn accept(
    listener: TcpListener,
    server: Arc<Mutex<String>>,
    traffic: watch::Receiver<Traffic>,
    mut stopped: oneshot::Receiver<()>,
) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            _ = &mut stopped => break,
            accepted = listener.accept() => {
                // An error is the client's, who has gone away already.
                if let Ok((client, _)) = accepted {
                    connections.spawn(serve(client, server.clone(), traffic.clone()));
                }
            }
            Some(_) = connections.join_next() => {}
        }
    }
    drop(listener);
    connections.shutdown().await;
}

/// An error closes both sides, as the end of one side does when the other has ended too.
async fn serve(
    client: TcpStream,
    server: Arc<Mutex<String>>,
    mut traffic: watch::Receiver<Traffic>,
) -> io::Result<()> {
    thawed(&mut traffic).await;
    let server = server.lock().unwrap().clone();
    // Where no server listens, the client is hung up on.
    let server = TcpStream::connect(server).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    tokio::try_join!(
        forward(from_client, to_server, traffic.clone()),
        forward(from_server, to_client, traffic),
    )?;
    Ok(())
}

/// Reads on while it holds back, so that what is delayed does not wait for what is before it.
async fn forward(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut traffic: watch::Receiver<Traffic>,
) -> io::Result<()> {
    let (held, mut due) = mpsc::unbounded_channel();
    let delay = traffic.clone();
    let read = async move {
        loop {
            let mut bytes = vec![0; 16 * 1024];
            let length = from.read(&mut bytes).await?;
            bytes.truncate(length);
            let delay = delay.borrow().delay();
            // An error says that the other side has closed.
            if held.send((Instant::now() + delay, bytes)).is_err() || length == 0 {
                return Ok(());
            }
        }
    };
    let write = async move {
        while let Some((at, bytes)) = due.recv().await {
            sleep_until(at).await;
            thawed(&mut traffic).await;
            if bytes.is_empty() {
                return to.shutdown().await;
            }
            to.write_all(&bytes).await?;
        }
        Ok(())
    };
    tokio::try_join!(read, write).map(drop)
}

async fn thawed(traffic: &mut watch::Receiver<Traffic>) {
    if traffic.wait_for(|traffic| *traffic != Traffic::Frozen).await.is_err() {
        // The proxy is gone, and ends this task.
        std::future::pending::<()>().await;
    }
}
