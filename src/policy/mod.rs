//! Compiled limits: which rule a descriptor reaches, and which counter it is charged to. Immutable once built.

mod asked;
mod endpoints;
mod entries;
mod key;
mod matcher;
mod numbers;
mod pattern;
mod rule;
mod wildcards;

use std::collections::BTreeSet;
use std::sync::Arc;

use hashbrown::HashMap;

pub use asked::{Asked, ListedValues};
pub use endpoints::{EndpointError, Endpoints, Undeclared};
pub use entries::{ENDPOINT, Entries};
pub use key::{KeyBuilder, KeyStem, Keyer, Keys, Part};
pub use matcher::{Level, MatchResult, MatchedPath, Node, Place, SubjectNode};
pub use numbers::{NoNumber, NumberDemand};
pub use pattern::Pattern;
pub use rule::{
    CountBy, Limit, LimitId, MetricValues, OnStoreFailure, Requests, Rule, Shape, Source, Window,
};
pub use wildcards::{Scratch, UNKNOWN};

use crate::algorithm::Durability;
use crate::model::{Catalog, DomainIndex, Entry, RuleIndex, Timestamp};
use crate::response::Template;
use crate::subjects::{Directory, KnownTiers};

/// Every domain that was configured.
#[derive(Debug, Default)]
pub struct Policy {
    domains: HashMap<Box<[u8]>, Domain>,
    catalog: Arc<Catalog>,
    /// How many rules there are, where `catalog` is of these domains.
    prepared: Option<usize>,
}

/// How the rules that one request reaches go together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Evaluate {
    /// Each is charged, whatever the others say.
    #[default]
    Each,
    /// All are charged, or none is.
    AllOrNothing,
    /// One after the other; what comes after a refusal is not charged.
    InOrder,
    /// Only the first descriptor that reaches a rule counts.
    FirstMatch,
}

impl Evaluate {
    /// The words for it in a policy file.
    pub const NAMES: [(&str, Self); 4] = [
        ("each", Self::Each),
        ("all_or_nothing", Self::AllOrNothing),
        ("in_order", Self::InOrder),
        ("first_match", Self::FirstMatch),
    ];

    /// What it means, for the reference page.
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::Each => {
                "each descriptor is charged, whatever becomes of the others: a request that one limit refuses counts for the \
                 others all the same, as in envoyproxy/ratelimit"
            }
            Self::AllOrNothing => {
                "all limits are charged, or none is: what one refuses costs the others nothing"
            }
            Self::InOrder => {
                "one descriptor after the other, as Envoy sends them: what comes after a refusal is not charged; what came \
                 before it is"
            }
            Self::FirstMatch => {
                "only the first descriptor, as Envoy sends them, that reaches a limit, `unlimited` or an exemption is looked at"
            }
        }
    }
}

/// The rules of one domain. A copy shares its rules and its directory with the original.
#[derive(Clone, Debug, Default)]
pub struct Domain {
    /// Its name, which Envoy sends with every request.
    pub name: String,
    /// What it is counted under.
    pub index: DomainIndex,
    /// Its outermost descriptors.
    pub root: Arc<Level>,
    /// How rules that are reached together go together.
    pub evaluate: Evaluate,
    /// Names for what is asked for, by method and path.
    pub endpoints: Option<Arc<Endpoints>>,
    /// Who is behind a credential.
    pub directory: Option<Arc<Directory>>,
    /// Who is behind one by the files alone: there where something was changed beside them, to be changed once more.
    pub files_directory: Option<Arc<Directory>>,
    /// Headers for the upstream, on a request that passes.
    pub request_headers: Vec<UpstreamHeader>,
    /// How answers are reported where nothing nearer says so.
    pub shape: Arc<Shape>,
    /// What becomes of requests when the store fails, where nothing nearer says so.
    pub on_store_failure: OnStoreFailure,
    /// Whether no limit refuses, whatever its rule says: the whole server only watches.
    pub only_watched: bool,
    /// Keys whose values are credentials somewhere in the domain; they are shown nowhere.
    pub secrets: BTreeSet<String>,
}

/// A header for the upstream.
#[derive(Clone, Debug)]
pub struct UpstreamHeader {
    /// Its name, as it is sent.
    pub name: String,
    /// What it says.
    pub template: Template,
    /// Where the policy sets it.
    pub place: Place,
}

impl Domain {
    /// `entries` as they are matched: with endpoints by their names.
    pub fn entries<'a>(&'a self, entries: &[Entry<'a>]) -> Entries<'a> {
        Entries::read(entries, self.endpoints.as_deref())
    }

    /// Follows `entries` from the root.
    pub fn walk<'p>(
        &'p self,
        entries: &[Entry<'_>],
        now: Timestamp,
        scratch: &mut Scratch,
    ) -> MatchResult<'p> {
        self.root.walk(entries, self.directory.as_deref(), now, scratch)
    }

    /// The tiers that each table of its limits has a number for, where the table says nothing of the others.
    pub fn known_tiers(&self) -> KnownTiers {
        let mut known = KnownTiers::default();
        let Some(attribute) = self.directory.as_deref().and_then(Directory::tier_attribute) else {
            return known;
        };
        self.root.each_rule(&mut |rule| {
            for limit in &rule.limits {
                if let Source::Table { by, values, otherwise: None } = &limit.requests.source
                    && by == attribute
                {
                    known.listed(values.iter().filter_map(|(tier, _)| tier.parse().ok()));
                }
            }
        });
        known
    }

    /// What it asks of subjects and their credentials. All its rules are looked through.
    pub fn asked(&self) -> Asked<'_> {
        Asked::of(self)
    }

    /// Who is behind a credential, to be changed: in a copy where it is shared.
    pub fn directory_mut(&mut self) -> Option<&mut Directory> {
        self.directory.as_mut().map(Arc::make_mut)
    }

    /// Whether the values of `key` are credentials.
    pub fn is_secret(&self, key: &[u8]) -> bool {
        str::from_utf8(key).is_ok_and(|key| self.secrets.contains(key))
    }
}

impl Policy {
    /// The rules of `name`, if that domain was configured.
    pub fn domain(&self, name: &[u8]) -> Option<&Domain> {
        self.domains.get(name)
    }

    /// The rules of `name`, which start out empty.
    pub fn domain_mut(&mut self, name: &str) -> &mut Domain {
        self.prepared = None;
        self.domains
            .entry(name.as_bytes().into())
            .or_insert_with(|| Domain { name: name.to_owned(), ..Domain::default() })
    }

    /// Every domain, in no particular order.
    pub fn domains(&self) -> impl Iterator<Item = &Domain> {
        self.domains.values()
    }

    /// The same policy, in which other people may be behind the credentials of `name`: the first is who is behind them, the second
    /// who is by the files alone, where that is another. Rules are shared with this policy, and are counted on under their numbers.
    #[must_use]
    pub fn with_directory(&self, name: &str, directory: Directory, by_files: Option<Arc<Directory>>) -> Self {
        let Self { domains, catalog, prepared } = self;
        let mut domains = domains.clone();
        if let Some(domain) = domains.get_mut(name.as_bytes()) {
            domain.directory = Some(Arc::new(directory));
            domain.files_directory = by_files;
        }
        Self { domains, catalog: Arc::clone(catalog), prepared: *prepared }
    }

    /// The same, to be changed before they are in force; their rules stay as they are.
    pub fn domains_mut(&mut self) -> impl Iterator<Item = &mut Domain> {
        self.domains.values_mut()
    }

    /// How many nodes of all domains carry a rule.
    pub fn rules(&self) -> usize {
        self.prepared.unwrap_or_else(|| self.count_rules())
    }

    fn count_rules(&self) -> usize {
        self.domains().map(|domain| domain.root.rules()).sum()
    }

    /// The limits whose counts should survive a restart, each as `DOMAIN: LIMIT`, in alphabetical order.
    pub fn durable_limits(&self) -> Vec<String> {
        let mut names = Vec::new();
        for domain in self.domains() {
            domain.root.each_rule(&mut |rule| {
                let durable = rule.limits.iter().filter(|limit| limit.durability != Durability::None);
                names.extend(durable.map(|limit| format!("{}: {}", domain.name, limit.name)));
            });
        }
        names.sort_unstable();
        names
    }

    /// Rules, as `domain: rule`, and domains, one request to which may be charged to counters that count by different things and stand
    /// or fall together: where counters are on several servers, these are not decided on at once.
    pub fn spread(&self) -> Vec<String> {
        let mut names = Vec::new();
        for domain in self.domains() {
            let mut rules = 0;
            domain.root.each_rule(&mut |rule| {
                rules += usize::from(!rule.is_unlimited());
                if rule.limits.windows(2).any(|pair| pair[0].count_by != pair[1].count_by) {
                    names.push(format!("{}: {}", domain.name, rule.label));
                }
            });
            if rules > 1 && matches!(domain.evaluate, Evaluate::AllOrNothing | Evaluate::InOrder) {
                names.push(domain.name.clone());
            }
        }
        names.sort_unstable();
        names
    }

    /// What its domains and rules are called, once it is [prepared](Self::prepare).
    pub fn catalog(&self) -> &Arc<Catalog> {
        &self.catalog
    }

    /// Makes ready what else the first request that meets it would wait for, and numbers domains and rules. Done once.
    pub fn prepare(&mut self) {
        if self.prepared.is_some() {
            return;
        }
        self.prepared = Some(self.count_rules());
        self.domains().for_each(|domain| domain.root.prepare());
        let mut catalog = Catalog::default();
        for domain in self.domains.values_mut() {
            domain.index = DomainIndex(number(catalog.domains.len()));
            catalog.domains.push(domain.name.as_str().into());
            let mut known: HashMap<Arc<str>, RuleIndex> = HashMap::new();
            // Rules are shared only with a policy that was prepared.
            let Some(root) = Arc::get_mut(&mut domain.root) else { continue };
            root.each_rule_mut(&mut |rule| {
                let label: Arc<str> = rule.label.as_str().into();
                let index = *known.entry(label).or_insert_with_key(|label| {
                    catalog.rules.push((domain.index, Arc::clone(label)));
                    RuleIndex(number(catalog.rules.len() - 1))
                });
                rule.index = Some(index);
                if let Some(path) = &rule.path {
                    catalog.paths.entry(index).or_insert_with(|| path.as_str().into());
                }
                if rule.metric_values != MetricValues::Together {
                    catalog.with_series.insert(index);
                }
            });
        }
        self.catalog = Arc::new(catalog);
    }

    /// Takes over what must not be lost when this policy replaces `before`: tiers that were reached.
    pub fn succeed(&mut self, before: &Self, now: Timestamp) {
        for (name, domain) in &mut self.domains {
            let before = before.domains.get(name).and_then(|domain| domain.directory.as_ref());
            let known = domain.known_tiers();
            if let (Some(directory), Some(before)) = (&mut domain.directory, before)
                // One that other policies have, too, has taken over everything.
                && let Some(directory) = Arc::get_mut(directory)
            {
                directory.keep_known_tiers(before, &known, now);
            }
        }
    }
}

/// A place as a number; no file has as many rules as would be too many.
fn number(place: usize) -> u32 {
    u32::try_from(place).unwrap_or(u32::MAX)
}
