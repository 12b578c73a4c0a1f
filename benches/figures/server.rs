//! Where the parts measure: folders below `target/`, and the real binary on data in them.

use std::path::Path;

use skep::bench::Result;
use skep::bench::server::Server;
use tempfile::TempDir;

/// A folder below `target/`: on the disk that the project is on, never in memory.
pub fn scratch() -> Result<TempDir> {
    Ok(tempfile::Builder::new()
        .prefix("figures-")
        .tempdir_in(env!("CARGO_TARGET_TMPDIR"))?)
}

/// Starts one on the data in `folder`, with these flags.
pub fn start(folder: impl AsRef<Path>, flags: &[&str]) -> Result<Server> {
    let binary = Path::new(env!("CARGO_BIN_EXE_skep"));
    Server::start(binary, folder.as_ref(), flags)
}
