//! Writes the messages, the clients and the servers of `.proto` files to the directory given.

use std::{env, error::Error, ffi::OsString};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<OsString> = env::args_os().skip(1).collect();
    let [out_dir, proto_dir, files @ ..] = &*arguments else {
        return Err("usage: greeter-codegen OUT_DIR PROTO_DIR FILE...".into());
    };
    let descriptors = protox::compile(files, [proto_dir])?;
    let config = tonic_prost_build::configure().out_dir(out_dir);
    // Packages name each other by the modules of this file.
    let config = if descriptors.file.len() > 1 { config.include_file("mod.rs") } else { config };
    config.compile_fds(descriptors)?;
    Ok(())
}
