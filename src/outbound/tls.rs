//! TLS over the wire, for HTTP and for mail alike.
//!
//! Owns whom we trust: the authorities that browsers know, and those that the operator adds. Certificates are always
//! checked, for the name that was asked for, whatever address was connected to.

use std::fmt;
use std::io::{Read, Write};
use std::sync::Arc;
use std::time::Instant;

use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ALL_VERSIONS, ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use ureq::unversioned::transport::{Buffers, LazyBuffers, NextTimeout, Transport};

use super::call::{self, ms};
use super::wire::{INPUT, OUTPUT, Wire, words};

/// Whose certificates are believed.
#[derive(Clone)]
pub struct Trust(Arc<ClientConfig>);

impl fmt::Debug for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Trust")
    }
}

impl Default for Trust {
    /// The authorities that browsers know.
    fn default() -> Trust {
        Trust::in_roots(public_roots())
    }
}

impl Trust {
    /// Those, and the authorities in a PEM text. The error is a piece of a sentence: what is wrong with the text.
    pub fn with_authorities(pem: &[u8]) -> Result<Trust, String> {
        let mut roots = public_roots();
        let mut count = 0;
        for certificate in CertificateDer::pem_slice_iter(pem) {
            count += 1;
            certificate
                .map_err(|why| why.to_string())
                .and_then(|one| roots.add(one).map_err(|why| why.to_string()))
                .map_err(|why| format!("its certificate {count} cannot be read: {why}"))?;
        }
        match count {
            0 => {
                Err("it holds no certificate: expected PEM, -----BEGIN CERTIFICATE-----".to_owned())
            }
            _ => Ok(Trust::in_roots(roots)),
        }
    }

    fn in_roots(roots: RootCertStore) -> Trust {
        let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_protocol_versions(ALL_VERSIONS)
            .expect("the provider knows every version")
            .with_root_certificates(roots)
            .with_no_client_auth();
        Trust(Arc::new(config))
    }
}

fn public_roots() -> RootCertStore {
    RootCertStore {
        roots: webpki_roots::TLS_SERVER_ROOTS.to_vec(),
    }
}

/// A wire that nobody else reads.
pub(super) type Secured = StreamOwned<ClientConnection, Wire>;

/// Makes the call's connection private, in the phase that the call is in.
pub(super) fn secure(wire: Wire, trust: &Trust) -> Result<Secured, ureq::Error> {
    let began = Instant::now();
    let host = call::with(|call| call.target.host.clone())?;
    let failed = |why: String| call::try_with(|call| Err::<Secured, _>(call.broken(&why)));
    let Ok(name) = ServerName::try_from(host) else {
        return failed("the host is no name that a certificate can have".to_owned());
    };
    let mut stream = match ClientConnection::new(trust.0.clone(), name) {
        Ok(connection) => StreamOwned::new(connection, wire),
        Err(why) => return failed(why.to_string()),
    };
    if let Err(why) = stream.conn.complete_io(&mut stream.sock) {
        return failed(tls_words(&words(&why)));
    }
    call::with(|call| call.timings.tls_ms = Some(ms(began.elapsed())))?;
    Ok(stream)
}

fn tls_words(text: &str) -> String {
    match text.to_lowercase().contains("invalidcontenttype") {
        true => "what came back is not TLS (is this a plain port?)".to_owned(),
        false => text.to_owned(),
    }
}

/// A private wire, as ureq uses one.
#[derive(Debug)]
pub(super) struct Private {
    stream: Secured,
    buffers: LazyBuffers,
}

impl Private {
    pub fn new(stream: Secured) -> Private {
        Private {
            stream,
            buffers: LazyBuffers::new(INPUT, OUTPUT),
        }
    }
}

impl Transport for Private {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, _: NextTimeout) -> Result<(), ureq::Error> {
        Ok(self.stream.write_all(&self.buffers.output()[..amount])?)
    }

    fn await_input(&mut self, _: NextTimeout) -> Result<bool, ureq::Error> {
        let read = self.stream.read(self.buffers.input_append_buf())?;
        self.buffers.input_appended(read);
        Ok(read > 0)
    }

    fn is_open(&mut self) -> bool {
        self.stream.sock.is_open()
    }

    fn is_tls(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_without_certificates_or_with_broken_ones_is_refused_in_words() {
        let none = Trust::with_authorities(b"# nothing yet\n").expect_err("no certificate");
        assert!(none.contains("holds no certificate"), "{none}");
        let pem = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        let broken = Trust::with_authorities(pem).expect_err("no certificate in there");
        assert!(
            broken.starts_with("its certificate 1 cannot be read"),
            "{broken}"
        );
    }
}
