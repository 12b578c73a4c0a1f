//! The world outside as the settings describe it: who may be reached, who is believed, and how people are told.
//!
//! Everything is read before the file is opened, so that what is misconfigured is said and nothing is started.

use std::sync::Arc;
use std::time::Duration;

use crate::config::Config;
use crate::error::{Error, Result};
use crate::loops::delivery::Channels;
use crate::outbound::Purpose;
use crate::outbound::chat::Telegram;
use crate::outbound::email::{MailServer, MailSettings};
use crate::outbound::guard::{AllowList, Guard};
use crate::outbound::http::Client;
use crate::outbound::resolve::Pool;
use crate::outbound::tls::Trust;
use crate::store::notices::Notices;

/// What the settings say of the world outside.
pub(super) struct World {
    pub guard: Arc<Guard>,
    trust: Trust,
    mail: Option<MailServer>,
    telegram: Option<Telegram>,
    subject: Option<String>,
    mail_timeout: Duration,
}

impl World {
    /// Reads the settings; the error names the one that is wrong.
    pub fn read(config: &Config) -> Result<World> {
        Ok(World {
            guard: Arc::new(guard_of(config)?),
            trust: trust_of(config)?,
            mail: mail_of(config)?,
            telegram: telegram_of(config)?,
            subject: config.mail_subject.clone(),
            mail_timeout: config.mail_timeout,
        })
    }

    /// What the store needs to know of it: where links lead, and whom a notification keeps busy.
    pub fn notices(&self, config: &Config) -> Notices {
        let public_url = config.public_url.as_deref().unwrap_or_default();
        Notices {
            public_url: public_url.trim_end_matches('/').to_owned(),
            smtp_origin: self.mail.as_ref().map(MailServer::origin),
            telegram_origin: origin_of(&config.telegram_url),
        }
    }

    /// The one way out. Says what an operator should hear of it.
    pub fn client(&self, pool: Arc<Pool>) -> Client {
        if let Some(warning) = self.mail.as_ref().and_then(MailServer::warning) {
            log::warn!("{warning}");
        }
        let (trust, mail) = (self.trust.clone(), self.mail.clone());
        Client::with(self.guard.clone(), pool, trust, mail)
    }

    /// What senders need to know to tell people.
    pub fn channels(self, public_url: &str) -> Channels {
        Channels {
            public_url: public_url.trim_end_matches('/').to_owned(),
            subject: self.subject,
            mail_timeout: self.mail_timeout,
            telegram: self.telegram,
        }
    }
}

fn wrong(name: &str, why: &str) -> Error {
    Error::invalid(name, format!("{name}: {why}"))
}

fn guard_of(config: &Config) -> Result<Guard> {
    let list = |name: &str, text: &str| AllowList::parse(text).map_err(|fault| wrong(name, &fault));
    let mut guard = Guard::new(list("allow_outbound", &config.allow_outbound)?);
    for (name, text, purpose) in [
        (
            "allow_outbound_callbacks",
            &config.allow_outbound_callbacks,
            Purpose::Callbacks,
        ),
        (
            "allow_outbound_steps",
            &config.allow_outbound_steps,
            Purpose::Steps,
        ),
        (
            "allow_outbound_notifications",
            &config.allow_outbound_notifications,
            Purpose::Notifications,
        ),
    ] {
        if let Some(text) = text {
            guard = guard.with(purpose, list(name, text)?);
        }
    }
    Ok(guard)
}

fn origin_of(url: &str) -> String {
    let origin = url::Url::parse(url).map(|url| url.origin().ascii_serialization());
    // What is no URL was refused when the settings were read.
    origin.unwrap_or_else(|_| url.to_owned())
}

fn trust_of(config: &Config) -> Result<Trust> {
    let Some(path) = &config.ca_file else {
        return Ok(Trust::default());
    };
    let shown = path.display();
    let pem = std::fs::read(path)
        .map_err(|fault| wrong("ca_file", &format!("cannot read {shown}: {fault}")))?;
    Trust::with_authorities(&pem).map_err(|why| wrong("ca_file", &format!("{shown}: {why}")))
}

fn mail_of(config: &Config) -> Result<Option<MailServer>> {
    let Some(url) = &config.smtp_url else {
        return Ok(None);
    };
    let settings = MailSettings {
        url,
        password: config.smtp_password.as_ref().map(|one| one.expose()),
        from: config.mail_from.as_deref(),
        reply_to: config.mail_reply_to.as_deref(),
    };
    let server = MailServer::read(settings).map_err(|(name, why)| wrong(name, &why))?;
    Ok(Some(server))
}

fn telegram_of(config: &Config) -> Result<Option<Telegram>> {
    let Some(token) = &config.telegram_token else {
        return Ok(None);
    };
    Telegram::new(&config.telegram_url, token.expose())
        .map(Some)
        .map_err(|why| wrong("telegram_token", &why))
}
