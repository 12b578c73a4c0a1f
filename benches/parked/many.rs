//! Ten thousand parked runs: what they add to memory, what they compute, how soon they are served again after a kill,
//! and that each of them is then answered and ends.

use std::thread;
use std::time::Duration;

use serde_json::json;
use tempfile::TempDir;

use crate::job::{JOB, accept};
use crate::proc::{memory, used};
use crate::report::Report;
use crate::server::{scratch, start};
use crate::{ANNA, Asked, CHUNK, GATE, JSON, PARKED, PATIENCE};
use crate::{counted, join, owed, park, pending, progress, send_all};
use skep::bench::load::Until;
use skep::bench::receiver::Receiver;
use skep::bench::server::{KEY, Server, until};
use skep::bench::stats::ms;
use skep::bench::wire::request;
use skep::bench::{Result, fault};

const NAME: &str = "runs that wait for a person";

/// What they may add, in MiB.
const GROWTH: f64 = 8.0;

/// What they may compute, of one core, in percent.
const CPU: f64 = 0.1;

/// From a start to `listening on`, in milliseconds.
const RESTART: f64 = 1_000.0;

/// How many are answered on the page, the way people do; the others by the API.
const BY_PAGE: usize = 100;

/// The whole story of one file.
pub fn measure(asked: &Asked, report: &mut Report) -> Result<()> {
    let (receiver, inbox) = (Receiver::counting(1)?, Receiver::counting(1)?);
    let count = asked.of(PARKED, 500);
    let folder = scratch()?;
    let server = start(&folder, &[])?;
    join(&server, &inbox.url("inbox"))?;
    server.deploy("job", JOB)?;
    server.deploy("gate", GATE)?;
    let hook = receiver.url("done");
    warm(&server, &folder, count, &hook)?;
    let finished = receiver.count();

    let before = note(&server, &format!("after {finished} finished runs"), report)?;
    progress(&format!("{count} runs are parked"));
    park(&server, folder.path(), count, &hook)?;
    let after = note(&server, &format!("the same, and {count} parked"), report)?;
    let growth = after - before;
    let claim = format!("<= {GROWTH} MiB");
    let what = format!("what {count} parked runs add");
    report.claim(NAME, what, (growth, "MiB"), claim, growth <= GROWTH);
    rest(&server, asked.of(30, 3), count, report)?;

    server.kill();
    let server = start(&folder, &[])?;
    let listening = ms(server.listening_after);
    let what = format!("kill -9, start to `listening on`, {count} parked");
    report.claim(
        NAME,
        what,
        (listening, "ms"),
        "<= 1 s",
        listening <= RESTART,
    );
    answer_all(&server, &folder, count, report)?;
    receiver.wait_for(finished + count, Duration::from_secs(60))?;
    let told = count + by_people(count);
    let claim = format!("= {told}");
    report.claim(
        NAME,
        "people told, in all",
        (inbox.count() as f64, ""),
        claim,
        inbox.count() == told,
    );
    let came = receiver.count() - finished;
    let claim = format!("= {count}");
    report.claim(
        NAME,
        "their callbacks",
        (came as f64, ""),
        claim,
        came == count,
    );
    server.stop()
}

/// How many of the runs that warm the server up go by way of a person.
fn by_people(count: usize) -> usize {
    count / 2
}

/// So many runs come to their end, half of them by way of a person, so that this path is not new either.
fn warm(server: &Server, folder: &TempDir, count: usize, hook: &str) -> Result<()> {
    let asked = by_people(count);
    let mut left = count - asked;
    while left > 0 {
        let sent = CHUNK.min(left);
        accept(server, crate::CONNECTIONS, Until::Sent(sent), Some(hook))?;
        left -= sent;
    }
    park(server, folder.path(), asked, hook)?;
    let decisions = decisions(server, asked)?;
    send_all(server, &decisions, 200)?;
    ended(folder, count)
}

/// Waits until so many runs are completed and nothing is owed.
fn ended(folder: &TempDir, count: usize) -> Result<()> {
    let completed = "SELECT count(*) FROM runs WHERE status = 'completed'";
    until("the runs to end", PATIENCE, || {
        Ok(counted(folder.path(), completed)? == count && owed(folder.path())? == 0)
    })
}

/// What they compute while nobody answers.
fn rest(server: &Server, seconds: u64, count: usize, report: &mut Report) -> Result<()> {
    server.settle()?;
    progress(&format!("{seconds} s of waiting"));
    let before = used(server.pid())?;
    thread::sleep(Duration::from_secs(seconds));
    let after = used(server.pid())?;
    let share = (after.cpu - before.cpu).as_secs_f64() / seconds as f64 * 100.0;
    let what = format!("computed in {seconds} s, {count} parked");
    let claim = format!("<= {CPU} %");
    report.claim(NAME, what, (share, "%"), claim, share <= CPU);
    let wakes = (after.switches - before.switches) as f64 / seconds as f64;
    report.note(NAME, "threads woken meanwhile", wakes, "/s");
    let written = (after.written - before.written) as f64 / 1024.0;
    report.note(NAME, "written meanwhile", written, "KiB");
    Ok(())
}

/// The ids of the questions that wait, newest first, by the API.
fn waiting(server: &Server, count: usize) -> Result<Vec<String>> {
    let (mut client, mut ids, mut cursor) = (server.connect()?, Vec::new(), String::new());
    loop {
        let path = format!("/v1/approvals?status=pending&limit=500{cursor}");
        let page = client.expect(&request("GET", &path, KEY, JSON, b""), &[200])?;
        let rows = page["data"].as_array().cloned().unwrap_or_default();
        ids.extend(
            rows.iter()
                .filter_map(|row| row["id"].as_str().map(str::to_owned)),
        );
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    match ids.len() == count {
        true => Ok(ids),
        false => Err(fault(format!(
            "{} questions are listed, not {count}",
            ids.len()
        ))),
    }
}

fn decisions(server: &Server, count: usize) -> Result<Vec<Vec<u8>>> {
    let ids = waiting(server, count)?;
    Ok(ids.iter().map(|id| decision(id)).collect())
}

fn decision(id: &str) -> Vec<u8> {
    let body = json!({"by": ANNA, "decision": "approved"}).to_string();
    let path = format!("/v1/approvals/{id}/decide");
    request("POST", &path, KEY, JSON, body.as_bytes())
}

/// Everybody is answered, some of them on the page, and every run comes to its end.
fn answer_all(server: &Server, folder: &TempDir, count: usize, report: &mut Report) -> Result<()> {
    let before = counted(
        folder.path(),
        "SELECT count(*) FROM runs WHERE status = 'completed'",
    )?;
    let ids = waiting(server, count)?;
    progress(&format!("{count} answers"));
    let (by_page, by_api) = ids.split_at(BY_PAGE.min(count));
    for id in by_page {
        on_the_page(server, id)?;
    }
    let requests: Vec<Vec<u8>> = by_api.iter().map(|id| decision(id)).collect();
    let rate = send_all(server, &requests, 200)?;
    report.note(NAME, "answers by the API", rate, "/s");
    ended(folder, before + count)?;
    let left = pending(folder.path())?;
    let agreed = "SELECT count(*) FROM approvals WHERE status = 'approved'";
    let answered = counted(folder.path(), agreed)? - before.min(by_people(count));
    let what = format!(
        "answered after it and completed, {} of them by page",
        by_page.len()
    );
    let holds = answered == count && left == 0;
    report.claim(
        NAME,
        what,
        (answered as f64, ""),
        format!("= {count}"),
        holds,
    );
    Ok(())
}

/// One answer as a person gives it: the link is opened, and the page's own form sent.
fn on_the_page(server: &Server, id: &str) -> Result<()> {
    let mut client = server.connect()?;
    let link = format!("/v1/approvals/{id}/link");
    let made = client.expect(&request("POST", &link, KEY, JSON, b"{}"), &[201])?;
    let url = made["url"].as_str().unwrap_or_default();
    let path = url.find("/approve/").map_or("", |at| &url[at..]);
    let (status, page) = client.send(&request("GET", path, KEY, JSON, b""))?;
    let page = String::from_utf8_lossy(&page).into_owned();
    let mark = "name=\"form_token\" value=\"";
    let token = page
        .split_once(mark)
        .and_then(|(_, rest)| rest.split('"').next());
    let Some(token) = token else {
        return Err(fault(format!("no form on the page ({status})")));
    };
    let form = format!("form_token={token}&decision=approved");
    let kind = "application/x-www-form-urlencoded";
    client.expect(&request("POST", path, KEY, kind, form.as_bytes()), &[303])?;
    Ok(())
}

/// Once it is still: resident memory, in MiB.
fn note(server: &Server, what: &str, report: &mut Report) -> Result<f64> {
    server.settle()?;
    let (resident, own) = memory(server.pid())?;
    report.note(NAME, what, resident, "MiB");
    report.note(NAME, format!("{what}, without mapped files"), own, "MiB");
    Ok(resident)
}
