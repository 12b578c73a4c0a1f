//! Receives one signed callback and verifies it. `cargo run --example receive -- whsec_… [PORT]`

#![expect(clippy::print_stdout, reason = "an example talks to whoever runs it")]

use std::env::args;

use standardwebhooks::{
    HEADER_WEBHOOK_ID, HEADER_WEBHOOK_SIGNATURE, HEADER_WEBHOOK_TIMESTAMP, Webhook,
};
use tiny_http::{Response, Server};
use ureq::http::HeaderMap;

fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let secret = args()
        .nth(1)
        .ok_or("which secret? deploying a workflow prints it")?;
    let server = Server::http(format!(
        "127.0.0.1:{}",
        args().nth(2).unwrap_or_else(|| "0".to_owned())
    ))?;
    println!("waiting for a callback on http://{}/", server.server_addr());
    let mut request = server.recv()?;

    let mut body = Vec::new();
    request.as_reader().read_to_end(&mut body)?;
    let mut headers = HeaderMap::new();
    for name in [
        HEADER_WEBHOOK_ID,
        HEADER_WEBHOOK_TIMESTAMP,
        HEADER_WEBHOOK_SIGNATURE,
    ] {
        if let Some(header) = request
            .headers()
            .iter()
            .find(|header| header.field.equiv(name))
        {
            headers.insert(name, header.value.as_str().parse()?);
        }
    }
    let verdict = Webhook::new(&secret)?.verify(&body, &headers);

    println!(
        "{}: {}",
        if verdict.is_ok() {
            "verified"
        } else {
            "REFUSED"
        },
        String::from_utf8_lossy(&body)
    );
    request.respond(Response::empty(if verdict.is_ok() { 200 } else { 401 }))?;
    Ok(())
}
