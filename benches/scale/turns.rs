//! One turn of a measurement on a filled file: accept for a while, or accept and work off.

use std::path::Path;
use std::time::Duration;

use crate::Asked;
use crate::fill::put_back;
use crate::job::{CONNECTIONS, NOWHERE, STILL, WORKS, accept, through};
use crate::server::start;
use skep::bench::Result;
use skep::bench::load::Until;
use skep::bench::stats::median;

/// Seconds that are left out, and seconds that are measured.
pub type Seconds = (f64, f64);

/// Accepted runs a second, with `--workers 0`. The file is as before afterwards.
pub fn accepted(folder: &Path, (warm, measured): Seconds) -> Result<f64> {
    let server = start(folder, &STILL)?;
    server.settle()?;
    let send = |seconds| {
        let until = Until::Over(Duration::from_secs_f64(seconds));
        accept(&server, CONNECTIONS, until, Some(NOWHERE))
    };
    send(warm)?;
    let rate = send(measured)?.rate;
    server.stop()?;
    put_back(folder)?;
    Ok(rate)
}

/// Runs a second, from the first invoke to the end of the last, by a server that works. The file is as before
/// afterwards.
pub fn worked(asked: &Asked, folder: &Path) -> Result<f64> {
    let server = start(folder, &WORKS)?;
    server.settle()?;
    let rate = through(&server, folder, asked.of(60_000, 1_000))?;
    server.stop()?;
    put_back(folder)?;
    Ok(rate)
}

/// The median ratio of rates measured next to each other, and each round's in words.
pub fn against(these: &[f64], those: &[f64]) -> (f64, String) {
    let pairs = these.iter().zip(those);
    let ratios: Vec<f64> = pairs.map(|(this, that)| this / that.max(1e-9)).collect();
    let each: Vec<String> = ratios.iter().map(|ratio| format!("{ratio:.2}")).collect();
    (median(ratios), format!(" (rounds: {})", each.join(" ")))
}
