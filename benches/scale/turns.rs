//! One turn of a measurement on a filled file: accept for a while, or accept and work off.

use std::path::Path;
use std::time::Instant;

use crate::fill::put_back;
use crate::job::{CONNECTIONS, NOWHERE, STILL, WORKS, inputs, through};
use crate::load::load;
use crate::server::{Server, invoke};
use crate::{Asked, Result};

/// What one warming load sends.
const CHUNK: usize = 4_000;

/// Accepted runs a second, with `--workers 0`; the first five seconds are left out. The file is as before afterwards.
pub fn accepted(asked: &Asked, folder: &Path) -> Result<f64> {
    let server = Server::start(folder, &STILL)?;
    server.settle()?;
    let bytes = invoke("job", &inputs(), Some(NOWHERE));
    let send = |count| load(server.addr, CONNECTIONS, count, &bytes, 202);
    let (warm, measured) = asked.of((5.0, 10.0), (0.5, 1.0));
    let begun = Instant::now();
    let mut rate = send(CONNECTIONS)?.rate;
    while begun.elapsed().as_secs_f64() < warm {
        rate = send(asked.of(CHUNK, CHUNK / 8))?.rate;
    }
    let rate = send((rate * measured) as usize)?.rate;
    server.stop()?;
    put_back(folder)?;
    Ok(rate)
}

/// Runs a second, from the first invoke to the end of the last, by a server that works. The file is as before
/// afterwards.
pub fn worked(asked: &Asked, folder: &Path) -> Result<f64> {
    let server = Server::start(folder, &WORKS)?;
    server.settle()?;
    let rate = through(&server, folder, asked.of(60_000, 1_000))?;
    server.stop()?;
    put_back(folder)?;
    Ok(rate)
}
