//! Telegram: what is asked of the bot API, and what its answers mean.
//!
//! Pure but for the form of the settings. The bot's token stands in the address that is called and nowhere else.

use std::fmt;
use std::time::Duration;

use serde_json::{Value, json};

use super::notice::ChatText;
use super::retry_after::LONGEST;
use super::{Exchange, mask};
use crate::flow::step::ErrorClass;

/// A bot, and where its API is.
#[derive(Clone)]
pub struct Telegram {
    url: String,
    token: String,
}

impl fmt::Debug for Telegram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Telegram")
            .field("url", &self.url)
            .finish_non_exhaustive()
    }
}

impl Telegram {
    /// A bot by its token, `123456:ABC…`, as @BotFather gives it. `url`: the API's, without a slash at the end. The error
    /// says what was expected of the token, and does not repeat it.
    pub fn new(url: &str, token: &str) -> Result<Telegram, String> {
        let token = token.trim();
        let is_sound = token.split_once(':').is_some_and(|(id, secret)| {
            let part = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
            let is_id = !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_digit());
            is_id && secret.len() >= 8 && secret.chars().all(part)
        });
        match is_sound {
            true => Ok(Telegram {
                url: url.trim_end_matches('/').to_owned(),
                token: token.to_owned(),
            }),
            false => {
                Err("expected a bot's token such as 123456:ABC-def, got something else".to_owned())
            }
        }
    }

    /// Where a message is posted to. Never log it: it holds the token.
    pub fn address(&self) -> String {
        format!("{}/bot{}/sendMessage", self.url, self.token)
    }

    /// The request's body: the text as it is, and one button that leads to the page.
    pub fn body(chat_id: &str, chat: &ChatText, link: &str) -> Vec<u8> {
        json!({
            "chat_id": chat_id,
            "text": chat.text,
            "link_preview_options": {"is_disabled": true},
            "reply_markup": {"inline_keyboard": [[{"text": chat.button, "url": link}]]},
        })
        .to_string()
        .into_bytes()
    }

    /// Reads the answer: only `{"ok": true}` is a yes. How long it asks to wait; the token is taken out of everything.
    pub fn judge(&self, exchange: &mut Exchange) -> Option<Duration> {
        let mut wait = None;
        if let (Some(response), None) = (&exchange.response, &exchange.error) {
            let answer: Value = serde_json::from_slice(&response.body).unwrap_or_default();
            let is_yes = (200..=299).contains(&response.status) && answer["ok"] == true;
            if !is_yes {
                let said = answer["description"]
                    .as_str()
                    .unwrap_or("not as Telegram answers");
                let said: String = said.chars().filter(|c| !c.is_control()).take(300).collect();
                let why = format!("Telegram answered {}: {said}", response.status);
                exchange.error = Some((ErrorClass::HttpStatus, why));
            }
            wait = answer["parameters"]["retry_after"]
                .as_u64()
                .map(|seconds| Duration::from_secs(seconds).min(LONGEST));
        }
        let secret = self.token.split_once(':').map_or("", |(_, secret)| secret);
        mask(exchange, &[self.token.clone(), secret.to_owned()]);
        wait
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outbound::Response;

    const TOKEN: &str = "123456:ABCdef-GHI_jkl";

    fn bot() -> Telegram {
        Telegram::new("https://api.telegram.org/", TOKEN).expect("a token")
    }

    fn answered(status: u16, body: &str) -> Exchange {
        Exchange {
            response: Some(Response {
                status,
                body: body.as_bytes().to_vec(),
                ..Response::default()
            }),
            ..Exchange::default()
        }
    }

    #[test]
    fn a_token_must_look_like_one_and_is_never_shown() {
        for wrong in [
            "",
            "98765",
            "abc:ABCdefGHI",
            "98765:short",
            "1:ABCdefGH/sendMessage",
        ] {
            let why = Telegram::new("https://t.example", wrong).expect_err(wrong);
            assert!(wrong.is_empty() || !why.contains(wrong), "{why}");
        }
        assert!(!format!("{:?}", bot()).contains("ABCdef"));
        assert_eq!(
            bot().address(),
            "https://api.telegram.org/bot123456:ABCdef-GHI_jkl/sendMessage"
        );
    }

    #[test]
    fn a_message_is_plain_text_with_one_button() {
        let chat = ChatText {
            text: "Ship *it*?".to_owned(),
            button: "Open",
        };
        let body: Value =
            serde_json::from_slice(&Telegram::body("-100", &chat, "https://s.example/a"))
                .expect("JSON");
        assert_eq!(
            (&body["chat_id"], &body["text"]),
            (&json!("-100"), &json!("Ship *it*?"))
        );
        assert_eq!(body.get("parse_mode"), None);
        assert_eq!(
            body["reply_markup"]["inline_keyboard"],
            json!([[{"text": "Open", "url": "https://s.example/a"}]])
        );
    }

    #[test]
    fn only_ok_is_a_yes_and_a_wait_that_is_asked_for_is_heard() {
        let mut taken = answered(200, r#"{"ok":true,"result":{}}"#);
        assert_eq!(bot().judge(&mut taken), None);
        assert_eq!(taken.error, None);
        let busy = r#"{"ok":false,"error_code":429,"description":"Too Many Requests: retry after 7","parameters":{"retry_after":7}}"#;
        let mut busy = answered(429, busy);
        assert_eq!(bot().judge(&mut busy), Some(Duration::from_secs(7)));
        let why = "Telegram answered 429: Too Many Requests: retry after 7".to_owned();
        assert_eq!(busy.error, Some((ErrorClass::HttpStatus, why)));
        for no in [
            r#"{"ok":false,"description":"chat not found"}"#,
            "<html>hotel wifi</html>",
            "",
        ] {
            let mut no = answered(200, no);
            bot().judge(&mut no);
            assert!(
                matches!(no.error, Some((ErrorClass::HttpStatus, _))),
                "{no:?}"
            );
        }
        let mut endless = answered(
            429,
            &format!(r#"{{"parameters":{{"retry_after":{}}}}}"#, u64::MAX),
        );
        assert_eq!(bot().judge(&mut endless), Some(LONGEST));
    }

    #[test]
    fn the_token_is_taken_out_of_whatever_comes_back() {
        let mut echo = answered(404, &format!("no such path: /bot{TOKEN}/sendMessage"));
        bot().judge(&mut echo);
        let body = echo.response.expect("an answer").body;
        let body = String::from_utf8(body).expect("text");
        assert_eq!(body, "no such path: /bot••••/sendMessage");
    }
}
