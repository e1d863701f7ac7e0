//! The load: connections that are kept, with one request at a time on each.

use std::{
    io,
    net::SocketAddr,
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    runtime::Builder,
};

use crate::requests::HEADERS;

/// Connections to the server.
pub const CONNECTIONS: usize = 64;

/// A request for this path with this header, as it is sent.
pub fn rendered(path: &str, key_header: Option<&str>) -> Vec<u8> {
    let mut text = format!("GET {path} HTTP/1.1\r\n");
    let key = key_header.into_iter().filter_map(|header| header.split_once(": "));
    for (name, value) in HEADERS.into_iter().chain(key) {
        text.extend([name, ": ", value, "\r\n"]);
    }
    text.push_str("\r\n");
    text.into_bytes()
}

/// The answers that came.
#[derive(Clone, Copy, Debug, Default)]
pub struct Answers {
    /// Those with the expected status.
    pub expected: u64,
    /// The others.
    pub others: u64,
    /// The last other status.
    pub status: u16,
    /// How long it took.
    pub time: Duration,
}

/// Sends these requests in turn for so long over so many connections, each from another one on.
///
/// # Errors
///
/// Where a connection fails.
pub fn load(
    server: SocketAddr,
    connections: usize,
    requests: &[Vec<u8>],
    expected: u16,
    duration: Duration,
) -> io::Result<Answers> {
    let runtime = Builder::new_current_thread().enable_io().build()?;
    runtime.block_on(async {
        let mut streams = Vec::new();
        for _ in 0..connections {
            let stream = TcpStream::connect(server).await?;
            stream.set_nodelay(true)?;
            streams.push(stream);
        }
        let start = Instant::now();
        let local = tokio::task::LocalSet::new();
        let tasks: Vec<_> = streams
            .into_iter()
            .enumerate()
            .map(|(number, stream)| {
                let first = number * requests.len() / connections;
                let requests = [&requests[first..], &requests[..first]].concat();
                local.spawn_local(connection(stream, requests, expected, start + duration))
            })
            .collect();
        let mut sum = Answers::default();
        local
            .run_until(async {
                for task in tasks {
                    let answers = task.await.map_err(io::Error::other)??;
                    sum.expected += answers.expected;
                    sum.others += answers.others;
                    sum.status = sum.status.max(answers.status);
                }
                io::Result::Ok(())
            })
            .await?;
        sum.time = start.elapsed();
        Ok(sum)
    })
}

async fn connection(
    mut stream: TcpStream,
    requests: Vec<Vec<u8>>,
    expected: u16,
    end: Instant,
) -> io::Result<Answers> {
    let mut answers = Answers::default();
    let mut buffer = vec![0; 16 * 1024];
    for request in requests.iter().cycle() {
        stream.write_all(request).await?;
        let status = response(&mut stream, &mut buffer).await?;
        if status == expected {
            answers.expected += 1;
        } else {
            answers.others += 1;
            answers.status = status;
        }
        if Instant::now() >= end {
            break;
        }
    }
    Ok(answers)
}

/// Reads a response to its end, and gives its status.
async fn response(stream: &mut TcpStream, buffer: &mut [u8]) -> io::Result<u16> {
    let mut filled = 0;
    loop {
        let read = stream.read(&mut buffer[filled..]).await?;
        if read == 0 {
            return Err(io::Error::other("the server closed the connection"));
        }
        filled += read;
        if let Some(status) = whole(&buffer[..filled]) {
            return Ok(status);
        }
        if filled == buffer.len() {
            return Err(io::Error::other("a response that is longer than any here"));
        }
    }
}

/// The status of a response that is whole.
fn whole(text: &[u8]) -> Option<u16> {
    let head = text.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
    let body = &text[head..];
    let lines = text[..head - 4].split(|byte| *byte == b'\n');
    let mut length = None;
    let mut is_chunked = false;
    for line in lines.clone().skip(1) {
        let colon = line.iter().position(|byte| *byte == b':')?;
        let value = str::from_utf8(&line[colon + 1..]).ok()?.trim();
        if line[..colon].eq_ignore_ascii_case(b"content-length") {
            length = Some(value.parse::<usize>().ok()?);
        } else if line[..colon].eq_ignore_ascii_case(b"transfer-encoding") {
            is_chunked = value.eq_ignore_ascii_case("chunked");
        }
    }
    let is_whole = if is_chunked { body.ends_with(b"0\r\n\r\n") } else { body.len() >= length? };
    let status = str::from_utf8(text.get(9..12)?).ok()?.parse().ok()?;
    is_whole.then_some(status)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn responses_are_whole_at_their_end() {
        for whole_text in [
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}",
            "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
        ] {
            assert_eq!(whole(whole_text.as_bytes()), Some(200));
            for end in 0..whole_text.len() {
                assert_eq!(whole(&whole_text.as_bytes()[..end]), None, "{end} of {whole_text}");
            }
        }
    }
}
