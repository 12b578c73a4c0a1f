//! What a form is sent with: its fields, the token that says it is ours, and where a browser says it comes from.

use subtle::ConstantTimeEq;

use crate::api::approve::page::Entered;
use crate::api::call::{Call, Head};
use crate::error::{Code, Error, Result};
use crate::id::Id;
use crate::store::instance::{InstanceKey, hex};

/// The type of a form.
const TYPE: &str = "application/x-www-form-urlencoded";

/// The token of the form that this link's page holds: nobody can make it who has not seen the page, and it fits no
/// other link and no other approval.
pub fn token(key: &InstanceKey, link: &[u8; 32], approval: Id) -> String {
    hex(&key.mac("form", &[link, &approval.0]))
}

/// Whether that token came with the form; in constant time.
pub fn is_ours(token: &str, entered: &Entered) -> bool {
    let sent = entered.one("form_token");
    sent.as_bytes().ct_eq(token.as_bytes()).into()
}

/// The fields of a form, in order. Line ends are `\n`, however the browser wrote them.
pub fn fields(call: &Call) -> Result<Entered> {
    let sent = call.head.header("content-type").unwrap_or_default();
    let kind = sent.split(';').next().unwrap_or_default().trim();
    if !kind.eq_ignore_ascii_case(TYPE) {
        return Err(Error::new(
            Code::MalformedBody,
            format!("The form must be sent as {TYPE}."),
        ));
    }
    let pairs = url::form_urlencoded::parse(&call.body);
    let read = pairs.map(|(name, value)| {
        let value = value.replace("\r\n", "\n").replace('\r', "\n");
        (name.into_owned(), value)
    });
    Ok(Entered(read.collect()))
}

/// Whether a browser says that another site had it send this. The page asks browsers to send no referrer, so that most
/// write `null` for the origin even of its own form: what tells then is `Sec-Fetch-Site`, and always the form's token.
pub fn is_foreign(head: &Head, public_url: &str) -> bool {
    let ours = url::Url::parse(public_url).map(|url| url.origin().ascii_serialization());
    let is_ours =
        |origin: &str| origin == "null" || ours.as_deref().is_ok_and(|ours| ours == origin);
    let mut origins = head.headers_of("origin");
    let mut sites = head.headers_of("sec-fetch-site");
    !origins.all(|origin| is_ours(origin.trim()))
        || !sites.all(|site| matches!(site.trim(), "same-origin" | "none"))
}

/// Whether a page is only fetched ahead, so that nobody has seen it yet.
pub fn is_prefetch(head: &Head) -> bool {
    ["sec-purpose", "purpose", "x-purpose", "x-moz"]
        .iter()
        .flat_map(|name| head.headers_of(name))
        .any(|value| value.contains("prefetch") || value.contains("preview"))
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::*;

    fn head(headers: &[(&str, &str)]) -> Head {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        Head {
            method: "POST".to_owned(),
            path: "/approve/x".to_owned(),
            query: String::new(),
            headers: headers.iter().map(owned).collect(),
            peer: IpAddr::V4(Ipv4Addr::LOCALHOST),
        }
    }

    #[test]
    fn a_form_is_ours_by_its_whole_token() {
        let made = "0a".repeat(32);
        let entered = |sent: &str| Entered(vec![("form_token".to_owned(), sent.to_owned())]);
        assert!(is_ours(&made, &entered(&made)));
        for sent in [
            "",
            "x",
            &made[1..],
            &made.to_uppercase(),
            &format!("{made}0"),
        ] {
            assert!(!is_ours(&made, &entered(sent)), "{sent}");
        }
        assert!(!is_ours(&made, &Entered::default()));
    }

    #[test]
    fn what_another_site_sends_is_known_by_its_origin() {
        let public = "https://skep.example/base";
        for (foreign, headers) in [
            (false, vec![]),
            (false, vec![("origin", "https://skep.example")]),
            (false, vec![("origin", "null")]),
            (
                false,
                vec![("origin", "null"), ("sec-fetch-site", "same-origin")],
            ),
            (true, vec![("origin", "https://evil.example")]),
            (true, vec![("origin", "http://skep.example")]),
            (true, vec![("origin", "https://skep.example.evil.example")]),
            (true, vec![("origin", "https://skep.example:8443")]),
            (true, vec![("origin", "")]),
            (
                true,
                vec![("origin", "null"), ("sec-fetch-site", "cross-site")],
            ),
            (true, vec![("sec-fetch-site", "same-site")]),
            (
                true,
                vec![
                    ("origin", "https://skep.example"),
                    ("origin", "https://evil.example"),
                ],
            ),
        ] {
            assert_eq!(is_foreign(&head(&headers), public), foreign, "{headers:?}");
        }
    }

    #[test]
    fn a_form_is_read_as_browsers_write_it() {
        let form = head(&[(
            "content-type",
            "application/x-www-form-urlencoded; charset=UTF-8",
        )]);
        let call = Call {
            head: form,
            body: b"text=a%0D%0Ab+c&text=d%26e&%C3%A9=%FF".to_vec(),
        };
        let entered = fields(&call).expect("a form");
        assert_eq!(entered.0[0], ("text".to_owned(), "a\nb c".to_owned()));
        assert_eq!(entered.one("text"), "d&e", "the last one counts");
        assert_eq!(entered.one("\u{e9}"), "\u{fffd}");
        let call = Call {
            head: head(&[("content-type", "application/json")]),
            body: b"{}".to_vec(),
        };
        assert_eq!(fields(&call).expect_err("no form").status(), 400);
    }
}
