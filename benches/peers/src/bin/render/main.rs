//! Writes the page about performance: `render FOLDER PAGE`.
//!
//! The folder has the figures that the other programs found, as JSON, and is given the plots.

mod page;
mod plot;

use std::{error::Error, fs, path::Path};

use serde_json::Value;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let [folder, file] = &arguments[..] else { return Err("render FOLDER PAGE".into()) };
    let folder = Path::new(folder);
    let read = |name: &str| -> Result<Value, Box<dyn Error>> {
        let file = folder.join(name).with_extension("json");
        let text = fs::read_to_string(&file).map_err(|e| format!("{}: {e}", file.display()))?;
        Ok(serde_json::from_str(&text)?)
    };
    let figures = page::Figures {
        machine: read("machine")?,
        in_process: read("in_process")?,
        allocations: read("allocations")?,
        over_http: read("over_http")?,
        database: read("database")?,
    };
    fs::write(folder.join("throughput.svg"), plot::throughput(&figures.over_http))?;
    fs::write(folder.join("cpu.svg"), plot::cpu(&figures.over_http))?;
    fs::write(file, page::text(&figures))?;
    Ok(())
}
