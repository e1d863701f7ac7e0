//! Writes the messages, the client and the server of `greeter.proto` to the directory given.

use std::{env, error::Error};

fn main() -> Result<(), Box<dyn Error>> {
    let out_dir = env::args_os().nth(1).ok_or("usage: greeter-codegen OUT_DIR")?;
    let proto_dir = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
    let descriptors = protox::compile(["greeter.proto"], [proto_dir])?;
    tonic_prost_build::configure().out_dir(out_dir).compile_fds(descriptors)?;
    Ok(())
}
