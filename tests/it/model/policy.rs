//! Random policies and requests, as the model reads them and as YAML.

use std::fmt::Write as _;

/// `SplitMix64` (<https://prng.di.unimi.it/splitmix64.c>): the same numbers from the same seed, on every machine.
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Less than `bound`.
    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    /// Once in so many times.
    pub(super) fn once_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }

    pub(super) fn one_of<T: Copy>(&mut self, all: &[T]) -> T {
        all[usize::try_from(self.below(all.len() as u64)).unwrap()]
    }
}

pub(super) const SECOND: u64 = 1_000_000_000;
pub(super) const DAY: u64 = 86_400 * SECOND;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Evaluate {
    Each,
    AllOrNothing,
    InOrder,
    FirstMatch,
}

/// A unit of envoyproxy/ratelimit: its name, and its length in nanoseconds.
pub(super) type Unit = (&'static str, u64);
pub(super) const UNITS: [Unit; 3] = [("second", SECOND), ("minute", 60 * SECOND), ("hour", 3_600 * SECOND)];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Counting {
    /// Between multiples of the length since 1970.
    Clock,
    FirstHit,
    Sliding,
    Bucket {
        burst: Option<u64>,
    },
    /// The calendar's day in UTC.
    Day,
}

#[derive(Clone, Debug)]
pub(super) struct Limit {
    pub(super) number: u64,
    pub(super) counting: Counting,
    pub(super) length: u64,
    /// Said by `unit:` rather than `per:`.
    pub(super) unit: Option<Unit>,
    pub(super) count_denied: Option<bool>,
    pub(super) settles: bool,
    /// Whether it shares one counter for each value of `s` with others, which have the same window and may grant another number.
    pub(super) pooled: bool,
    pub(super) name: Option<String>,
    pub(super) replaces: Vec<String>,
    /// Which of the families of headers it is reported by; that of the domain when it says nothing.
    pub(super) family: Option<usize>,
}

#[derive(Clone, Debug)]
pub(super) enum Limits {
    Unlimited { name: Option<String>, replaces: Vec<String> },
    One(Limit),
    Several(Vec<Limit>),
}

#[derive(Clone, Debug)]
pub(super) struct Rule {
    pub(super) limits: Limits,
    pub(super) shadow: bool,
    pub(super) quota: bool,
}

/// What a node says about the value of its entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    Exact(&'static str),
    /// `w*`, and whether all its values share a counter.
    Star {
        shared: bool,
    },
    Any,
}

#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) key: &'static str,
    pub(super) wanted: Wanted,
    pub(super) rule: Option<Rule>,
    pub(super) children: Vec<Node>,
}

/// Each family shows every number, under names that begin with its own; `Retry-After` is one name for all of them.
pub(super) const FAMILIES: [(&str, &str); 3] = [("A", "always"), ("B", "on_limited"), ("C", "always")];

#[derive(Clone, Debug)]
pub(super) struct Policy {
    pub(super) evaluate: Evaluate,
    pub(super) nodes: Vec<Node>,
}

const KEYS: [&str; 4] = ["k0", "k1", "k2", "k3"];
const NAMES: [&str; 4] = ["n0", "n1", "n2", "n3"];

impl Policy {
    pub(super) fn any(random: &mut Random) -> Self {
        use Evaluate::{AllOrNothing, Each, FirstMatch, InOrder};
        let evaluate = random.one_of(&[Each, Each, AllOrNothing, AllOrNothing, InOrder, FirstMatch]);
        let pool = limit(random);
        let mut nodes = Vec::new();
        for key in KEYS.iter().take(2 + usize::try_from(random.below(3)).unwrap()) {
            for wanted in [Wanted::Exact("v"), Wanted::Star { shared: random.once_in(2) }, Wanted::Any] {
                if wanted == Wanted::Any || random.once_in(3) {
                    nodes.push(node(key, wanted, evaluate, random, &pool, true));
                }
            }
        }
        Self { evaluate, nodes }
    }

    /// Makes windows begin with hits that would begin with the clock's.
    pub(super) fn count_from_hits(&mut self) {
        fn of(nodes: &mut [Node]) {
            for node in nodes {
                let limits = match node.rule.as_mut().map(|rule| &mut rule.limits) {
                    Some(Limits::One(limit)) => std::slice::from_mut(limit),
                    Some(Limits::Several(limits)) => limits,
                    Some(Limits::Unlimited { .. }) | None => &mut [],
                };
                for (limit, later) in limits.iter_mut().zip(1..) {
                    if matches!(limit.counting, Counting::Clock | Counting::Day) {
                        // No two limits of a list have one window.
                        limit.length += if limit.pooled { 0 } else { later * 1_000_000 };
                        (limit.counting, limit.unit) = (Counting::FirstHit, None);
                    }
                }
                of(&mut node.children);
            }
        }
        of(&mut self.nodes);
    }

    pub(super) fn yaml(&self) -> String {
        let evaluate = match self.evaluate {
            Evaluate::Each => "each",
            Evaluate::AllOrNothing => "all_or_nothing",
            Evaluate::InOrder => "in_order",
            Evaluate::FirstMatch => "first_match",
        };
        let mut yaml = format!("domain: d\nevaluate: {evaluate}\nheaders: {}\ndescriptors:\n", family(0));
        for node in &self.nodes {
            node.write(0, &mut yaml);
        }
        yaml
    }
}

fn node(
    key: &'static str,
    wanted: Wanted,
    evaluate: Evaluate,
    random: &mut Random,
    pool: &Limit,
    outer: bool,
) -> Node {
    let rule = (!random.once_in(6)).then(|| Rule {
        limits: if outer || random.once_in(3) { limits(random) } else { Limits::One(pooled(pool, random)) },
        shadow: random.once_in(6),
        quota: evaluate == Evaluate::Each && random.once_in(4),
    });
    let children = if outer && random.once_in(3) {
        vec![node("s", Wanted::Any, evaluate, random, pool, false)]
    } else {
        Vec::new()
    };
    Node { key, wanted, rule, children }
}

fn limits(random: &mut Random) -> Limits {
    let name = |random: &mut Random| random.once_in(2).then(|| random.one_of(&NAMES).to_owned());
    match random.below(8) {
        0 => {
            let name = name(random);
            let replaces = replaces(name.as_deref(), random);
            Limits::Unlimited { name, replaces }
        }
        1..=4 => Limits::One(limit(random)),
        _ => {
            let mut limits: Vec<Limit> = Vec::new();
            for _ in 0..2 + random.below(2) {
                let new = limit(random);
                let counts = |limit: &Limit| {
                    // A burst is no part of which limit it is, and a unit only where it is counted by the clock.
                    let counting = match limit.counting {
                        Counting::Bucket { .. } => Counting::Bucket { burst: None },
                        counting => counting,
                    };
                    (counting, limit.length, limit.unit.filter(|_| counting == Counting::Clock))
                };
                if limits.iter().all(|other| counts(other) != counts(&new)) {
                    limits.push(new);
                }
            }
            Limits::Several(limits)
        }
    }
}

fn pooled(pool: &Limit, random: &mut Random) -> Limit {
    let number = random.one_of(&[1, 2, 3, 6]);
    Limit {
        number,
        unit: None,
        pooled: true,
        count_denied: limit(random).count_denied,
        settles: false,
        ..pool.clone()
    }
}

fn replaces(own: Option<&str>, random: &mut Random) -> Vec<String> {
    if !random.once_in(5) {
        return Vec::new();
    }
    let others: Vec<_> = NAMES.into_iter().filter(|name| Some(*name) != own).collect();
    (0..=random.below(2)).map(|_| random.one_of(&others).to_owned()).collect()
}

fn limit(random: &mut Random) -> Limit {
    let number = random.one_of(&[0, 1, 1, 2, 2, 3, 4, 6]);
    let unit = random.once_in(2).then(|| random.one_of(&UNITS));
    let mut length = unit.map_or_else(
        || random.one_of(&[SECOND / 2, SECOND, 7 * SECOND, 60 * SECOND, 3_600 * SECOND]),
        |(_, length)| length,
    );
    let mut counting = match random.below(9) {
        0..=1 => Counting::Clock,
        2..=3 => Counting::FirstHit,
        4..=5 => Counting::Sliding,
        6..=7 => Counting::Bucket { burst: random.once_in(2).then(|| 1 + random.below(7)) },
        _ => Counting::Day,
    };
    let mut unit = unit;
    if counting == Counting::Day {
        (length, unit) = (DAY, None);
    }
    if unit.is_some() && random.once_in(2) {
        counting = Counting::Clock;
    }
    let name = random.once_in(2).then(|| random.one_of(&NAMES).to_owned());
    let replaces = replaces(name.as_deref(), random);
    let settles = random.once_in(10);
    let count_denied = if settles { None } else { random.one_of(&[None, None, Some(true), Some(false)]) };
    let family = random.once_in(2).then(|| usize::try_from(random.below(3)).unwrap());
    Limit { number, counting, length, unit, count_denied, settles, pooled: false, name, replaces, family }
}

fn family(at: usize) -> String {
    let (prefix, emit) = FAMILIES[at];
    format!(
        "{{emit: {emit}, {prefix}-Name: name, {prefix}-Limit: limit, {prefix}-Quota: quota, {prefix}-Used: used, \
         {prefix}-Attempted: attempted, {prefix}-Remaining: remaining, {prefix}-Reset: reset_unix_ms, {prefix}-Full: \
         full_s, {prefix}-Window: window_s, {prefix}-Wait: retry_after_ms, Retry-After: retry_after_s}}"
    )
}

impl Node {
    fn write(&self, depth: usize, yaml: &mut String) {
        let pad = "  ".repeat(depth * 2);
        let _ = writeln!(yaml, "{pad}- key: {}", self.key);
        match self.wanted {
            Wanted::Exact(value) => writeln!(yaml, "{pad}  value: {value}").unwrap(),
            Wanted::Star { shared } => {
                writeln!(yaml, "{pad}  value: 'w*'\n{pad}  share_threshold: {shared}").unwrap();
            }
            Wanted::Any => {}
        }
        if let Some(rule) = &self.rule {
            let _ = writeln!(yaml, "{pad}  shadow_mode: {}", rule.shadow);
            if rule.quota {
                let _ = writeln!(yaml, "{pad}  quota_mode: true");
            }
            match &rule.limits {
                Limits::Unlimited { name, replaces } => {
                    let words =
                        ["unlimited: true".to_owned()].into_iter().chain(named(name.as_ref(), replaces));
                    let words: Vec<_> = words.collect();
                    let _ = writeln!(yaml, "{pad}  rate_limit: {{{}}}", words.join(", "));
                }
                Limits::One(limit) => writeln!(yaml, "{pad}  rate_limit: {}", limit.yaml()).unwrap(),
                Limits::Several(limits) => {
                    let _ = writeln!(yaml, "{pad}  rate_limits:");
                    for limit in limits {
                        let _ = writeln!(yaml, "{pad}    - {}", limit.yaml());
                    }
                }
            }
        }
        if !self.children.is_empty() {
            let _ = writeln!(yaml, "{pad}  descriptors:");
            self.children.iter().for_each(|child| child.write(depth + 1, yaml));
        }
    }
}

fn named(name: Option<&String>, replaces: &[String]) -> Vec<String> {
    let mut words: Vec<_> = name.iter().map(|name| format!("name: {name}")).collect();
    if !replaces.is_empty() {
        let names: Vec<_> = replaces.iter().map(|name| format!("{{name: {name}}}")).collect();
        words.push(format!("replaces: [{}]", names.join(", ")));
    }
    words
}

impl Limit {
    fn yaml(&self) -> String {
        let mut words = named(self.name.as_ref(), &self.replaces);
        words.push(format!("requests_per_unit: {}", self.number));
        words.push(match (self.counting, self.unit) {
            (Counting::Day, _) => "per: calendar_day".to_owned(),
            (_, Some((unit, _))) => format!("unit: {unit}"),
            (_, None) => format!("per: {}ms", self.length / 1_000_000),
        });
        match (self.counting, self.unit) {
            (Counting::Clock, None) => words.push("anchor: clock".to_owned()),
            (Counting::FirstHit, Some(_)) => words.push("anchor: first_hit".to_owned()),
            (Counting::Sliding, _) => words.push("algorithm: sliding_window".to_owned()),
            (Counting::Bucket { burst }, _) => {
                words.push("algorithm: token_bucket".to_owned());
                words.extend(burst.map(|burst| format!("burst: {burst}")));
            }
            _ => {}
        }
        words.extend(self.count_denied.map(|count| format!("count_denied: {count}")));
        if self.pooled {
            words.push("counter: pool, count_by: s".to_owned());
        }
        if self.settles {
            words.push("settle: true".to_owned());
        }
        words.extend(self.family.map(|at| format!("headers: {}", family(at))));
        format!("{{{}}}", words.join(", "))
    }
}

/// What a descriptor asks for: nothing, some hits, or some hits back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ask {
    Look,
    Charge(u64),
    Refund(u64),
}

/// A limit that comes with the request: its number, its unit, and how many of it.
pub(super) type Sent = (u32, Unit, u32);

#[derive(Clone, Debug)]
pub(super) struct Descriptor {
    pub(super) entries: Vec<(&'static str, &'static str)>,
    pub(super) ask: Ask,
    pub(super) sent: Option<Sent>,
}

/// A request, and how many nanoseconds after the one before it.
#[derive(Clone, Debug)]
pub(super) struct Request {
    pub(super) later: u64,
    pub(super) descriptors: Vec<Descriptor>,
}

impl Request {
    pub(super) fn any(random: &mut Random) -> Self {
        let scale = random.one_of(&[0, 0, 1, SECOND / 10, SECOND, 5 * SECOND, 30 * SECOND, 1_800 * SECOND]);
        let later = if scale == 0 { 0 } else { random.below(scale) + 1 };
        let mut descriptors: Vec<Descriptor> = Vec::new();
        for _ in 0..=random.below(4) {
            // The same one again reaches its counters twice.
            let again = !descriptors.is_empty() && random.once_in(4);
            let mut new = if again { descriptors[0].clone() } else { descriptor(random) };
            new.ask = ask(random);
            descriptors.push(new);
        }
        Self { later, descriptors }
    }
}

fn descriptor(random: &mut Random) -> Descriptor {
    let key = random.one_of(&["k0", "k0", "k1", "k1", "k2", "k3", "nobody"]);
    let mut entries = vec![(key, random.one_of(&["v", "w1", "w2", "x"]))];
    if random.once_in(3) {
        entries.push(("s", random.one_of(&["1", "2"])));
    }
    let number = u32::try_from(random.below(6)).unwrap();
    let sent = random.once_in(8).then(|| (number, random.one_of(&UNITS), random.one_of(&[1, 1, 7, 60])));
    Descriptor { entries, ask: Ask::Look, sent }
}

fn ask(random: &mut Random) -> Ask {
    match random.below(12) {
        0 => Ask::Look,
        1 => Ask::Refund(1 + random.below(3)),
        2..=3 => Ask::Charge(2 + random.below(4)),
        _ => Ask::Charge(1),
    }
}
