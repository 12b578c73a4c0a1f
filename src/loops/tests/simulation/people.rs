//! People: they are told, answer (twice, too late, otherwise), are handed questions and go on leave. What they were told
//! of their answers is held against the file to the end.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use serde_json::Value;

use super::checks::{Cause, Checks};
use super::history::History;
use super::life::short;
use super::world::World;
use crate::bell::locked;
use crate::flow::answer::Offer;
use crate::flow::approval::{Answer, ApprovalStatus, Mode};
use crate::flow::run::RunStatus;
use crate::flow::step::StepStatus;
use crate::id::Id;
use crate::store::approvals::{Approval, Decide, Decided, Person};
use crate::store::audit::Actor;
use crate::store::inspect::{self, ApprovalState, Snapshot};
use crate::store::links::LinkView;
use crate::store::members::{MemberPatch, NewMember};
use crate::store::watch::Watch;
use crate::store::{Store, check};
use crate::time::Timestamp;

/// Everyone there is.
pub const NAMES: [&str; 4] = ["m0", "m1", "m2", "m3"];

/// What people were told of their answers.
#[derive(Debug, Default)]
pub struct Said {
    /// Answers that count, by question: whose hand, and what.
    counted: HashMap<Id, Vec<(String, Answer)>>,
    /// Questions of which someone was told that they have decided it.
    stood: BTreeSet<Id>,
}

impl Said {
    /// How many questions people decided.
    pub fn decided(&self) -> u64 {
        self.stood.len() as u64
    }

    /// What was promised and is not on record.
    fn unkept(&self, store: &Store) -> Vec<String> {
        let mut broken = Vec::new();
        for (id, counted) in &self.counted {
            // Gone with its run, which `pruned` judges.
            let Ok(Some(approval)) = store.approval(*id) else {
                continue;
            };
            let is_pending = approval.status == ApprovalStatus::Pending;
            if self.stood.contains(id) && is_pending {
                broken.push(format!("question {} was decided and is open", short(*id)));
            }
            for (hand, answer) in counted {
                let kept = approval.answers.iter();
                let mut kept = kept.filter(|one| one.hand == *hand && one.given.answer == *answer);
                if kept.next().is_none() {
                    broken.push(format!(
                        "{hand} answered {answer:?} to {}, which is not on record",
                        short(*id)
                    ));
                }
            }
        }
        broken
    }
}

impl Checks {
    /// Whoever could not ask anyone goes back to the queue at once.
    pub fn note_in_vain(&mut self, last: &Snapshot, next: &Snapshot) {
        let failed = |status: Option<StepStatus>| status == Some(StepStatus::Failed);
        let of = |steps: &Snapshot, key: &(i64, String)| steps.steps.get(key).map(|one| one.status);
        let asks = next.steps.keys().filter(|(_, path)| path == "ask");
        let rows = asks.filter(|key| failed(of(next, key)) && !failed(of(last, key)));
        let runs = rows.filter_map(|(row, _)| next.runs.get(row));
        self.in_vain = runs.map(|run| run.run_id).collect();
    }

    /// A run waits for exactly one question, whose end is one timer and the time that its step says; what is decided
    /// stays as it is; and it ends by an answer, or when its time has come.
    pub fn questions(&mut self, last: &Snapshot, next: &Snapshot, cause: Cause, now: Timestamp) {
        let mut pending: BTreeMap<i64, usize> = BTreeMap::new();
        for one in next.approvals.values() {
            if one.status == ApprovalStatus::Pending {
                *pending.entry(one.run).or_default() += 1;
            }
            self.question(one, next);
        }
        for (row, run) in &next.runs {
            let waits = usize::from(run.status == RunStatus::AwaitingApproval);
            let found = pending.get(row).copied().unwrap_or_default();
            if found != waits {
                let name = short(run.run_id);
                self.say(format!(
                    "run {name} is {:?} with {found} pending questions",
                    run.status
                ));
            }
        }
        for (row, before) in &last.approvals {
            match next.approvals.get(row) {
                Some(after) => self.moved(before, after, cause, now),
                None if next.runs.contains_key(&before.run) && cause != Cause::Upkeep => {
                    self.say(format!("question {} is gone", short(before.approval_id)));
                }
                None => {}
            }
        }
    }

    fn question(&mut self, one: &ApprovalState, next: &Snapshot) {
        let name = short(one.approval_id);
        let step = next.steps.get(&(one.run, one.path.clone()));
        if one.status == ApprovalStatus::Pending {
            let waits = step.is_some_and(|step| {
                step.status == StepStatus::Waiting && step.due_at == Some(one.expires_at)
            });
            if !waits || one.ends != Some(one.expires_at.0.to_string()) {
                self.say(format!(
                    "question {name} and its step differ: {one:?} {step:?}"
                ));
            }
        } else if one.timers > 0 {
            self.say(format!("question {name} is closed and has timers: {one:?}"));
        }
        let output = step.and_then(|step| step.output.as_ref());
        if let (Some(own), Some(output)) = (&one.output, output)
            && own != output
        {
            self.say(format!("the step says otherwise than question {name}"));
        }
    }

    fn moved(
        &mut self,
        before: &ApprovalState,
        after: &ApprovalState,
        cause: Cause,
        now: Timestamp,
    ) {
        let name = short(before.approval_id);
        if before.status != ApprovalStatus::Pending && before != after {
            self.say(format!("question {name} was closed and changed: {after:?}"));
        }
        if after.answers < before.answers {
            self.say(format!("question {name} forgot an answer"));
        }
        let is_sound = match after.status {
            ApprovalStatus::Approved | ApprovalStatus::Rejected | ApprovalStatus::Answered => {
                after.answers > 0
            }
            ApprovalStatus::TimedOut if before.status == ApprovalStatus::Pending => {
                cause == Cause::Upkeep && before.expires_at <= now
            }
            ApprovalStatus::Pending | ApprovalStatus::TimedOut | ApprovalStatus::Cancelled => true,
        };
        if !is_sound {
            self.say(format!(
                "question {name} came to {:?} by {cause:?}, at {now}: {before:?}",
                after.status
            ));
        }
    }
}

impl World {
    /// A notification is of a question on record, to that member, with a link that leads there and is nobody else's.
    pub fn check_notice(&self, id: &str, body: &[u8]) {
        let store = self.store();
        let snapshot = inspect::snapshot(&store, None);
        let found = snapshot.deliveries.values().find(|row| row.event_id == id);
        let Some(row) = found.filter(|row| row.approval.is_some()) else {
            return self.accuse(format!("{id} was sent and is not on record"));
        };
        if row.open == 0 && !self.usurped.load(std::sync::atomic::Ordering::SeqCst) {
            self.accuse(format!("{id} was sent before its attempt was on record"));
        }
        let body: Value = serde_json::from_slice(body).unwrap_or_default();
        let url = body["url"].as_str().unwrap_or_default();
        let Some((_, token)) = url.split_once("/approve/") else {
            return self.accuse(format!("{id} has no link: {body}"));
        };
        match store.link(token, self.clock.now()) {
            Ok(Some(view)) => {
                let whose = view.member.map(|member| member.public_id());
                let which = view.approval.approval_id.prefixed("apr_");
                if whose.as_deref() != body["recipient"]["id"].as_str()
                    || Some(which.as_str()) != body["approval_id"].as_str()
                {
                    self.accuse(format!("{id} has a link to {which} of {whose:?}: {body}"));
                }
            }
            // Handed on since, or the member left.
            Ok(None) => {}
            Err(fault) => self.accuse(format!("a link cannot be read: {fault}")),
        }
        locked(&self.seen).links.push(token.to_owned());
    }
}

impl History {
    /// A member joins.
    pub fn hire(&mut self, name: &str) {
        let (store, now) = (self.store(), self.now());
        let new = NewMember {
            member_id: self.id(),
            name: name.to_owned(),
            email: None,
            telegram_chat: None,
            webhook_url: Some(format!("http://inbox-{name}.test/in")),
            language: "en".to_owned(),
            active: true,
            delegate: None,
        };
        self.tell("operator", || format!("hires {name}"));
        let done = store.put_member(new, Actor::system(), now).err();
        self.refused_only_by_a_crash("a member", done, &[]);
    }

    fn any_question(&self, only_open: bool) -> Option<Id> {
        let all = self.checks.last.approvals.values();
        let open = |one: &&ApprovalState| one.status == ApprovalStatus::Pending || !only_open;
        let ids: Vec<Id> = all.filter(open).map(|one| one.approval_id).collect();
        (!ids.is_empty()).then(|| ids[self.roll(ids.len() as u64) as usize])
    }

    /// Someone answers: by a link that they were sent, or by name.
    pub fn answer(&mut self) {
        let only_open = self.roll(4) > 0;
        let (store, now) = (self.store(), self.now());
        let links = locked(&self.world.seen).links.clone();
        let by_link = (self.roll(2) == 0 && !links.is_empty())
            .then(|| links[self.roll(links.len() as u64) as usize].clone())
            .and_then(|token| store.link(&token, now).ok().flatten());
        let (approval, person) = match by_link {
            Some(LinkView {
                approval,
                member: Some(member),
                ..
            }) => (approval, Person::Member(member.member_id)),
            _ => {
                let Some(id) = self.any_question(only_open) else {
                    return;
                };
                let Ok(Some(approval)) = store.approval(id) else {
                    return;
                };
                let name = NAMES[self.roll(NAMES.len() as u64) as usize];
                (approval, Person::Named(name.to_owned()))
            }
        };
        let answer = match approval.ask.mode {
            Mode::Choices => Answer::Choice(self.roll(3) as usize),
            Mode::Approval => Answer::Decision(self.roll(2) == 0),
            Mode::Text | Mode::Form => Answer::Text(format!("because {}", self.roll(3))),
        };
        let decide = Decide {
            approval_id: approval.approval_id,
            person: person.clone(),
            offer: Offer {
                answer: answer.clone(),
                comment: None,
            },
            via: "link".to_owned(),
            key: None,
            link: None,
            address: None,
        };
        let done = store.decide(decide, now);
        self.tell("person", || {
            let (id, what) = (short(approval.approval_id), done.as_ref().map(word));
            format!("{person:?} answers {answer:?} to {id}: {what:?}")
        });
        match done {
            Ok(decided) => self.hear(approval.approval_id, &answer, decided),
            Err(fault) => self.refused_only_by_a_crash("an answer", Some(fault), &[]),
        }
    }

    /// What a person is told is so.
    fn hear(&mut self, id: Id, answer: &Answer, decided: Decided) {
        let name = short(id);
        let is_there = |one: &Approval| one.answers.iter().any(|one| one.given.answer == *answer);
        let wrong = match &decided {
            Decided::Stands(after) | Decided::Counted(after) => {
                let is_final = after.status != ApprovalStatus::Pending;
                let stands = matches!(decided, Decided::Stands(_));
                let Some(last) = after.answers.last() else {
                    return self.checks.say(format!("{name} has no answer"));
                };
                let counted = (last.hand.clone(), last.given.answer.clone());
                self.said.counted.entry(id).or_default().push(counted);
                let is_second = stands && !self.said.stood.insert(id);
                is_second || is_final != stands || last.given.answer != *answer
            }
            Decided::Same(after) => !is_there(after),
            Decided::Taken(after) => {
                after.status == ApprovalStatus::Pending && after.answers.is_empty()
            }
            Decided::Refused(after, _) => after.is_open_to_all(),
            Decided::Unknown => self.setup.retain_runs.is_none(),
        };
        if wrong {
            self.checks
                .say(format!("{answer:?} to {name} was told {decided:?}"));
        }
    }

    /// People come and go, and questions are handed on.
    pub fn members(&mut self, store: &Store) {
        let (who, now) = (Actor::system(), self.now());
        let [one, other] =
            [0; 2].map(|_: u64| NAMES[self.roll(NAMES.len() as u64) as usize].to_owned());
        let (one, other) = (store.member_called(&one), store.member_called(&other));
        let (Ok(Some(one)), Ok(Some(other))) = (one, other) else {
            return;
        };
        let question = self.any_question(true);
        let choice = self.roll(6);
        self.tell("operator", || format!("does {choice} with {}", one.name));
        let done = match (choice, question) {
            // Nobody comes back from being inactive: the other three may.
            (0, _) if one.name == "m2" => {
                let patch = MemberPatch {
                    active: Some(false),
                    ..MemberPatch::default()
                };
                store.patch_member(one.member_id, patch, who, now).err()
            }
            (1, _) if one.id != other.id => {
                let until = now.plus(Duration::from_secs(600));
                let patch = MemberPatch {
                    delegate: Some(Some((other.member_id, until))),
                    ..MemberPatch::default()
                };
                store.patch_member(one.member_id, patch, who, now).err()
            }
            (2, Some(question)) => store.resend(question, who, now).err(),
            (3, Some(question)) => {
                let from = Some(one.member_id);
                let done = store.reassign(question, from, other.member_id, who, now);
                done.err()
            }
            (4, Some(question)) => store.mint_link(question, None, who, None, now).err(),
            _ => {
                let links = locked(&self.world.seen).links.clone();
                let Some(token) = links.last() else { return };
                store.fresh_link(token, who, now).err()
            }
        };
        let may = [crate::error::Code::ValidationError];
        self.refused_only_by_a_crash("an operator", done, &may);
    }

    /// What people were promised in vain, and what `check` finds.
    pub fn found_at_last(&self, store: &Store) -> Vec<String> {
        let mut broken = self.said.unkept(store);
        broken.extend(self.found_by_check());
        broken
    }

    fn found_by_check(&self) -> Vec<String> {
        match check::check(&self.setup.path, self.now(), &Watch::nobody()) {
            Ok(checked) => {
                let found = checked.problems.into_iter();
                found.map(|one| format!("check finds {one:?}")).collect()
            }
            Err(fault) => vec![format!("check cannot look: {fault}")],
        }
    }
}

fn word(decided: &Decided) -> &'static str {
    match decided {
        Decided::Stands(_) => "stands",
        Decided::Counted(_) => "counted",
        Decided::Same(_) => "same",
        Decided::Taken(_) => "taken",
        Decided::Refused(_, why) => why,
        Decided::Unknown => "unknown",
    }
}
