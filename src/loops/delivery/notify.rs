//! An attempt to tell a person: the channel's message with the link in it.
//!
//! The link is in hand only here. It goes out, and is taken out of everything that comes back.

use serde_json::Value;

use super::{Made, Sender, caught};
use crate::flow::approval::Channel;
use crate::flow::step::ErrorClass;
use crate::outbound::chat::Telegram;
use crate::outbound::notice::Notice;
use crate::outbound::{Exchange, Mail, Purpose, mask};
use crate::store::notices::NoticeClaim;
use crate::store::sending::DeliveryClaim;

impl Sender {
    /// Tells the person by their channel.
    pub(super) fn tell(&self, claim: &DeliveryClaim, told: &NoticeClaim) -> Made {
        let body = match serde_json::from_str(&claim.body) {
            Ok(body @ Value::Object(_)) => body,
            _ => return untold("its body is no JSON object"),
        };
        let link = format!("{}/approve/{}", self.channels.public_url, told.token);
        let notice = Notice {
            body: &body,
            link: &link,
            link_expires_at: told.link_expires_at,
            name: &told.name,
            language: &told.language,
        };
        let mut made = match told.channel {
            Channel::Email => self.mail(claim, told, &notice),
            Channel::Telegram => self.chat(claim, told, &notice),
            Channel::Webhook => self.hook(claim, told, &notice),
            Channel::None => untold("nobody is told by the channel none"),
        };
        mask(&mut made.exchange, std::slice::from_ref(&told.token));
        made
    }

    fn mail(&self, claim: &DeliveryClaim, told: &NoticeClaim, notice: &Notice<'_>) -> Made {
        let Some(to) = &told.email else {
            return untold("the member has no e-mail address");
        };
        let letter = notice.letter(self.channels.subject.as_deref());
        let mail = Mail {
            to,
            name: &told.name,
            subject: &letter.subject,
            text: &letter.text,
            html: &letter.html,
            id: &claim.delivery_id.prefixed("dlv_"),
            language: letter.language,
            deadline: self.channels.mail_timeout,
        };
        let exchange = caught(|| self.outside.mail(&mail, &self.stop));
        let shown = [("To", to.clone()), ("Subject", letter.subject)];
        Made {
            headers: shown.map(|(name, value)| (name.to_owned(), value)).into(),
            exchange,
            wait: None,
        }
    }

    fn chat(&self, claim: &DeliveryClaim, told: &NoticeClaim, notice: &Notice<'_>) -> Made {
        let Some(bot) = &self.channels.telegram else {
            return untold("there is no Telegram bot: telegram_token is not set");
        };
        let Some(chat_id) = &told.telegram_chat else {
            return untold("the member has no Telegram chat");
        };
        let body = Telegram::body(chat_id, &notice.chat(), notice.link);
        let headers = plain_headers();
        let purpose = Purpose::Notifications;
        let mut exchange = self.post(&bot.address(), &headers, &body, purpose, claim.deadline);
        let wait = bot.judge(&mut exchange);
        Made {
            headers,
            exchange,
            wait,
        }
    }

    fn hook(&self, claim: &DeliveryClaim, told: &NoticeClaim, notice: &Notice<'_>) -> Made {
        let Some(url) = &told.webhook_url else {
            return untold("the member has no webhook URL");
        };
        let body = notice.hook().to_string();
        let headers = match self.headers(claim, body.as_bytes()) {
            Ok(headers) => headers,
            Err(fault) => return self.unsigned(claim, &fault),
        };
        let purpose = Purpose::Notifications;
        let exchange = self.post(url, &headers, body.as_bytes(), purpose, claim.deadline);
        Made {
            headers,
            exchange,
            wait: None,
        }
    }
}

fn plain_headers() -> Vec<(String, String)> {
    let agent = concat!("skep/", env!("CARGO_PKG_VERSION"));
    [("Content-Type", "application/json"), ("User-Agent", agent)]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into()
}

/// Nothing was sent: something is missing that a person can mend, so it is tried again.
fn untold(why: &str) -> Made {
    Made {
        headers: Vec::new(),
        exchange: Exchange {
            error: Some((ErrorClass::Step, why.to_owned())),
            ..Exchange::default()
        },
        wait: None,
    }
}
