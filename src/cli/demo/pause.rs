//! The demo's pause: a run waits for a person, its link is shown, and it goes on when the page was answered.

use std::io::{IsTerminal, stdin};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use signal_hook::iterator::Signals;

use super::{JSON, Story, text};
use crate::cli::{Done, Failure};

/// How long the demo waits where nobody sits at a terminal who could answer.
const UNATTENDED: Duration = Duration::from_secs(60);

/// How often it is looked whether somebody has answered.
const LOOK: Duration = Duration::from_millis(200);

/// Who is asked.
const ASKED: &str = "you@example.com";

/// Whether the demo answers by itself, or how long it waits for somebody.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Patience {
    /// It answers at once.
    Yes,
    /// Somebody is there: as long as it takes.
    Long,
    /// Perhaps nobody is there.
    Short(Duration),
}

impl Patience {
    /// By the flag `--yes`, and by whether standard input is a terminal.
    pub(super) fn of(yes: bool) -> Patience {
        match (yes, stdin().is_terminal()) {
            (true, _) => Patience::Yes,
            (false, true) => Patience::Long,
            (false, false) => Patience::Short(UNATTENDED),
        }
    }

    fn words(self) -> String {
        match self {
            Patience::Yes => "This demo answers by itself (--yes).".to_owned(),
            Patience::Long => "The demo goes on when you have answered; Ctrl-C ends it.".to_owned(),
            Patience::Short(most) => format!(
                "The demo goes on when you have answered; it waits {} s, as there is no terminal.",
                most.as_secs()
            ),
        }
    }
}

/// The e-mail address of whoever is to answer: a new member of the throw-away file.
pub(super) fn join(story: &Story<'_>) -> Result<&'static str, Failure> {
    let member = json!({"name": "You", "email": ASKED}).to_string();
    story.ask("POST", &["v1", "members"], Some((JSON, member.as_bytes())))?;
    Ok(ASKED)
}

/// Shows the question that the run waits for and its link, until it is answered; how long that took.
pub(super) fn wait(
    story: &Story<'_>,
    waiting_on: &Value,
    signals: &mut Signals,
) -> Result<Duration, Failure> {
    let id = text(&waiting_on["approval_id"]);
    let path = ["v1", "approvals", id.as_str()];
    let question = text(&story.ask("GET", &path, None)?["question"]);
    let link = [&path[..], &["link"]].concat();
    let url = text(&story.ask("POST", &link, Some((JSON, b"{}")))?["url"]);
    story.say("question", &question)?;
    story.screen.line(&format!(
        "\nThe run waits for a person, and holds no thread and no slot meanwhile. Open this page and answer:\n\
         \n  {url}\n\n{}\n",
        story.patience.words()
    ))?;
    let begun = Instant::now();
    if story.patience == Patience::Yes {
        let body = json!({"by": ASKED, "decision": "approved", "comment": "by skep demo --yes"});
        let decide = [&path[..], &["decide"]].concat();
        story.ask("POST", &decide, Some((JSON, body.to_string().as_bytes())))?;
    }
    loop {
        let approval = story.ask("GET", &path, None)?;
        if approval["status"] != "pending" {
            let answer = &approval["answers"][0];
            let (shown, by, via) = (&answer["shown"], &answer["by"], &answer["via"]);
            let words = format!("{} by {}, via {}", text(shown), text(by), text(via));
            story.say("answer", &words)?;
            return Ok(begun.elapsed());
        }
        if signals.pending().next().is_some() {
            return Err(Failure::new("ended while the run waited for an answer"));
        }
        if let Patience::Short(most) = story.patience
            && begun.elapsed() > most
        {
            return nobody(most).map(|()| begun.elapsed());
        }
        std::thread::sleep(LOOK);
    }
}

/// How to go on where nobody has answered.
fn nobody(most: Duration) -> Done {
    Err(Failure::new(format!(
        "nobody answered within {} s, and standard input is no terminal. To see the rest, answer the page that is \
         shown above in time, or let the demo answer by itself: skep demo --yes",
        most.as_secs()
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_demo_waits_for_ever_only_where_somebody_can_see_it() {
        assert_eq!(Patience::of(true), Patience::Yes);
        // Wherever this runs, there is a bound if there is no terminal.
        let bound = matches!(Patience::of(false), Patience::Short(_));
        assert_eq!(bound, !stdin().is_terminal());
        let told = nobody(UNATTENDED).expect_err("it ends").message;
        assert!(
            told.contains("within 60 s") && told.contains("skep demo --yes"),
            "{told}"
        );
    }
}
