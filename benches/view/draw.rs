//! What each run of the world is like: drawn by its number, so that one size of world is always the same one.

/// How the deployments share the runs, in ten-thousandths.
pub const DEPLOYMENTS: [(&str, u64); 12] = [
    ("orders", 4_000),
    ("mail", 2_000),
    ("invoices", 1_200),
    ("sync", 1_000),
    ("reports", 700),
    ("signups", 500),
    ("refunds", 300),
    ("exports", 149),
    ("imports", 100),
    ("payouts", 40),
    ("yearly", 10),
    ("seldom", 1),
];

/// How many of them have a `canary` beside `prod`: the first ones.
pub const WITH_CANARY: usize = 3;

/// How many receivers take callbacks.
pub const ORIGINS: u64 = 200;

/// How many people things are done for.
const USERS: u64 = 50_000;

/// How many customers there are, by the label of that name.
const CUSTOMERS: u64 = 20_000;

/// A sequence of draws (SplitMix64), fixed by where it begins.
#[derive(Debug, Clone, Copy)]
pub struct Dice(u64);

impl Dice {
    /// The dice of that run.
    pub fn of(run: u64) -> Dice {
        Dice(run.wrapping_mul(0x2545_F491_4F6C_DD1D) ^ 0x5EED)
    }

    /// Any number.
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number below that one.
    pub fn below(&mut self, end: u64) -> u64 {
        self.draw() % end.max(1)
    }

    /// A number below that one; the low ones come often, the high ones seldom.
    pub fn skewed(&mut self, end: u64) -> u64 {
        let fraction = (self.draw() >> 11) as f64 / (1u64 << 53) as f64;
        ((end as f64 * fraction * fraction * fraction) as u64).min(end.saturating_sub(1))
    }

    /// One of these, by their weights.
    pub fn pick<'a, T>(&mut self, of: &'a [(T, u64)]) -> &'a T {
        let sum = of.iter().map(|(_, weight)| weight).sum();
        let mut left = self.below(sum);
        for (one, weight) in of {
            if left < *weight {
                return one;
            }
            left -= weight;
        }
        &of[0].0
    }

    /// So many of ten thousand.
    pub fn chance(&mut self, of_ten_thousand: u64) -> bool {
        self.below(10_000) < of_ten_thousand
    }
}

/// How a run ended, or that it has not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stand {
    Completed,
    Failed,
    Cancelled,
    Waiting,
    Queued,
}

impl Stand {
    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            Stand::Completed => "completed",
            Stand::Failed => "failed",
            Stand::Cancelled => "cancelled",
            Stand::Waiting => "waiting",
            Stand::Queued => "queued",
        }
    }

    /// Whether it is over.
    pub fn is_final(self) -> bool {
        !matches!(self, Stand::Waiting | Stand::Queued)
    }
}

/// How a callback stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sent {
    Delivered,
    Pending,
    Dead,
    Gone,
    Cancelled,
}

impl Sent {
    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            Sent::Delivered => "delivered",
            Sent::Pending => "pending",
            Sent::Dead => "dead",
            Sent::Gone => "gone",
            Sent::Cancelled => "cancelled",
        }
    }
}

/// How an attempt came to nothing: its class, the status that was answered, the words.
pub type Trouble = (&'static str, Option<i64>, &'static str);

const TROUBLES: [(Trouble, u64); 8] = [
    (
        ("http_status", Some(500), "the receiver answered 500"),
        3_000,
    ),
    (
        ("http_status", Some(503), "the receiver answered 503"),
        2_500,
    ),
    (
        ("timeout", None, "no answer from the receiver within 15s"),
        2_000,
    ),
    (
        (
            "connect",
            None,
            "connecting to the receiver failed: Connection refused",
        ),
        1_500,
    ),
    (
        (
            "reset",
            None,
            "the receiver broke off without an answer: Connection reset by peer",
        ),
        700,
    ),
    (
        (
            "dns",
            None,
            "the receiver could not be resolved: no such name",
        ),
        200,
    ),
    (
        (
            "forbidden_address",
            None,
            "10.0.0.7 is a private address, which callbacks may not reach",
        ),
        90,
    ),
    (
        (
            "tls",
            None,
            "TLS with the receiver failed: the certificate has expired",
        ),
        10,
    ),
];

/// A run, drawn.
#[derive(Debug)]
pub struct Run {
    pub dice: Dice,
    pub deployment: usize,
    pub is_canary: bool,
    pub stand: Stand,
    pub source: &'static str,
    /// Which receiver its result goes to; `None`: its caller waits for it.
    pub origin: Option<u64>,
    /// Which of the keys started it.
    pub key: Option<u64>,
    pub user: Option<String>,
    pub labels: Vec<(&'static str, String)>,
    /// From its acceptance to its beginning, in milliseconds.
    pub queued_ms: i64,
    /// From there to its end.
    pub ran_ms: i64,
}

/// Run number `at` of `of`.
pub fn run(at: u64, of: u64) -> Run {
    let mut dice = Dice::of(at);
    let deployment = deployment(&mut dice);
    let source = *dice.pick(&[
        ("api", 7_000),
        ("webhook", 2_000),
        ("schedule", 500),
        ("workflow", 480),
        ("dashboard", 20),
    ]);
    let stand = *dice.pick(&[
        (Stand::Completed, 9_180),
        (Stand::Failed, 600),
        (Stand::Cancelled, 200),
        (Stand::Waiting, 20),
    ]);
    let is_callback = source == "webhook" || dice.chance(2_500);
    Run {
        deployment,
        is_canary: deployment < WITH_CANARY && dice.chance(1_000),
        stand,
        source,
        origin: is_callback.then(|| dice.skewed(ORIGINS)),
        key: matches!(source, "api" | "dashboard").then(|| dice.skewed(40)),
        user: dice
            .chance(7_000)
            .then(|| format!("user-{}", dice.skewed(USERS))),
        labels: labels(&mut dice, at, of),
        queued_ms: 1 + dice.skewed(3_000) as i64,
        ran_ms: 5 + dice.skewed(20_000) as i64,
        dice,
    }
}

fn deployment(dice: &mut Dice) -> usize {
    let mut left = dice.below(10_000);
    for (at, (_, weight)) in DEPLOYMENTS.iter().enumerate() {
        if left < *weight {
            return at;
        }
        left -= weight;
    }
    0
}

fn labels(dice: &mut Dice, at: u64, of: u64) -> Vec<(&'static str, String)> {
    let mut labels = Vec::new();
    if dice.chance(6_000) {
        let plan = *dice.pick(&[("free", 80), ("pro", 19), ("enterprise", 1)]);
        let region = *dice.pick(&[("eu", 6), ("us", 3), ("ap", 1)]);
        labels.push(("plan", plan.to_owned()));
        labels.push(("region", region.to_owned()));
        labels.push(("customer", format!("c-{}", dice.skewed(CUSTOMERS))));
    }
    // Ten of them, however large the world is.
    if at % (of / 10).max(1) == (of / 20).max(1) {
        labels.push(("incident", format!("INC-{}", at / (of / 10).max(1))));
    }
    labels
}

/// How the callback of a run that ended stands; `is_recent`: what failed may still be tried again.
pub fn sent(dice: &mut Dice, is_recent: bool) -> Sent {
    match dice.below(1_000) {
        0..15 => Sent::Dead,
        15..20 => Sent::Gone,
        20..25 => Sent::Cancelled,
        25..125 if is_recent => Sent::Pending,
        _ => Sent::Delivered,
    }
}

/// How often it was tried.
pub fn attempts(dice: &mut Dice, sent: Sent) -> u64 {
    match sent {
        Sent::Delivered => *dice.pick(&[(1, 93), (2, 5), (3, 1), (5, 1)]),
        Sent::Pending => dice.below(9),
        Sent::Dead => 12,
        Sent::Gone => 1 + dice.below(2),
        Sent::Cancelled => dice.below(3),
    }
}

/// What came of an attempt that failed.
pub fn trouble(dice: &mut Dice) -> Trouble {
    *dice.pick(&TROUBLES)
}
