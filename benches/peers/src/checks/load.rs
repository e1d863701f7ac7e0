//! The load over gRPC: few connections that are kept, with many calls at a time on each, as Envoy has them.

use std::{
    io,
    net::SocketAddr,
    time::{Duration, Instant},
};

use bytes::{Buf, BufMut, Bytes};
use tokio::{runtime::Builder, task::LocalSet};
use tonic::{
    Request, Status,
    client::Grpc,
    codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
    transport::{Channel, Endpoint},
};

use crate::http_load::Answers;

/// Connections to the server, as an Envoy with so many threads has them.
pub const CONNECTIONS: usize = 4;

/// Calls at a time on each.
pub const CALLS: usize = 16;

const PATH: &str = "/envoy.service.auth.v3.Authorization/Check";

/// A `CheckResponse` begins with its status: one without fields is good.
const GOOD: &[u8] = &[0x0a, 0x00, 0x1a];

/// Asks these questions in turn for so long.
///
/// # Errors
///
/// Where a call fails.
pub fn load(server: SocketAddr, questions: &[Bytes], duration: Duration) -> io::Result<Answers> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let local = LocalSet::new();
    local.block_on(&runtime, async {
        let mut channels = Vec::new();
        for _ in 0..CONNECTIONS {
            let endpoint = Endpoint::from_shared(format!("http://{server}"));
            let endpoint = endpoint.map_err(io::Error::other)?.tcp_nodelay(true);
            channels.push(endpoint.connect().await.map_err(io::Error::other)?);
        }
        let (start, count) = (Instant::now(), CONNECTIONS * CALLS);
        let tasks: Vec<_> = (0..count)
            .map(|number| {
                let channel = channels[number % CONNECTIONS].clone();
                let first = number * questions.len() / count;
                let questions = [&questions[first..], &questions[..first]].concat();
                tokio::task::spawn_local(calls(channel, questions, start + duration))
            })
            .collect();
        let mut sum = Answers::default();
        for task in tasks {
            let answers = task.await.map_err(io::Error::other)?.map_err(io::Error::other)?;
            sum.expected += answers.expected;
            sum.others += answers.others;
        }
        sum.time = start.elapsed();
        Ok(sum)
    })
}

async fn calls(channel: Channel, questions: Vec<Bytes>, end: Instant) -> Result<Answers, Status> {
    let mut client = Grpc::new(channel);
    let mut answers = Answers::default();
    for question in questions.into_iter().cycle() {
        client.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
        let path = http::uri::PathAndQuery::from_static(PATH);
        let answer = client.unary(Request::new(question), path, Raw).await?;
        if answer.get_ref().starts_with(GOOD) {
            answers.expected += 1;
        } else {
            answers.others += 1;
        }
        if Instant::now() >= end {
            break;
        }
    }
    Ok(answers)
}

/// Messages as the bytes that they are.
#[derive(Clone, Copy)]
struct Raw;

impl Codec for Raw {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        *self
    }

    fn decoder(&mut self) -> Self {
        *self
    }
}

impl Encoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, message: Bytes, target: &mut EncodeBuf<'_>) -> Result<(), Status> {
        target.put(message);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, source: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(source.copy_to_bytes(source.remaining())))
    }
}
