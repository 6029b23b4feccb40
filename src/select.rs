//! Which guests a command is about: one grammar for every command (`commands.md` 3). Not for what
//! becomes of them: a selected template, for one, is skipped by the plan, with its reason.
//!
//! Items are separated by commas, blanks around them do not count, nor does case; names match as
//! whole words. An item with `-` in front takes guests away again, wherever it stands.

use crate::model::Guest;
use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

/// A guest with all that an item can ask about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// The guest.
    pub guest: Guest,
    /// The pools that it is in, nested ones with their whole path (`web/shop`).
    pub pools: Vec<String>,
    /// Its tags.
    pub tags: Vec<String>,
    /// The storages that hold its volumes.
    pub storages: Vec<String>,
    /// Whether it is a template.
    pub template: bool,
}

/// A parsed selection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selection {
    items: Vec<Item>,
}

/// What a selection found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selected {
    /// The selected guests in the order of node and vmid, each once.
    pub guests: Vec<Guest>,
    /// Items that name no guest at all, as they were written: an error of the caller's (exit 3).
    pub empty_items: Vec<String>,
    /// Exclusions that take nothing away: worth a warning, as they may be misspelt.
    pub idle_exclusions: Vec<String>,
    /// For every candidate, in the same order, whether it is in or out and why.
    pub why: Vec<Verdict>,
}

/// Why a guest is in or out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// The guest.
    pub guest: Guest,
    /// Whether it is selected.
    pub selected: bool,
    /// The reason in words: `named by @pool-web`, `excluded by -100`.
    pub reason: String,
    /// All items that name it, as they were written.
    pub named_by: Vec<String>,
    /// All items that exclude it, as they were written.
    pub excluded_by: Vec<String>,
    /// Whether it is a template, which most commands pass over.
    pub template: bool,
}

impl Verdict {
    /// Everything that decided, in words, where [`Verdict::reason`] names the first item only:
    /// `named by all, 100; excluded by -@tag-test`.
    pub fn explanation(&self) -> String {
        let part = |verb: &str, items: &[String]| {
            (!items.is_empty()).then(|| format!("{verb} by {}", items.join(", ")))
        };
        let parts = [part("named", &self.named_by), part("excluded", &self.excluded_by)];
        let mut parts: Vec<String> = parts.into_iter().flatten().collect();
        if self.named_by.is_empty() {
            parts.insert(0, "no item names it".to_owned());
        }
        if self.selected && self.template {
            parts.push("it is a template".to_owned());
        }
        parts.join("; ")
    }
}

/// What of a guest could not be learnt, so that its place in a candidate is empty.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Hidden {
    /// Its name.
    pub name: bool,
    /// Its tags.
    pub tags: bool,
    /// The storages of its volumes.
    pub storages: bool,
}

/// A text that is no selection.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SelectionError {
    /// There is no item in it.
    #[error("the selection is empty: name guests, or say `all`")]
    Empty,
    /// There are exclusions, and nothing that they could take guests from.
    #[error("the selection only excludes: write `all,{0}` to mean all other guests")]
    OnlyExclusions(String),
    /// An item has no known form.
    #[error("{item:?} selects nothing: {reason}")]
    Item {
        /// The item as it was written.
        item: String,
        /// What is wrong with it.
        reason: &'static str,
    },
}

impl Selection {
    /// The selection of every guest.
    pub fn all() -> Self {
        let item = Item { text: "all".to_owned(), sign: Sign::Include, pattern: Pattern::All };
        Self { items: vec![item] }
    }

    /// Reads a selection.
    ///
    /// # Errors
    /// An item has no known form, or there is no item that includes anything.
    pub fn parse(text: &str) -> Result<Self, SelectionError> {
        text.parse()
    }

    /// Whether an item asks for a storage, which costs a look at every guest's configuration where
    /// the configurations are not at hand.
    pub fn asks_for_storages(&self) -> bool {
        self.items.iter().any(|item| matches!(item.pattern, Pattern::Storage(_)))
    }

    /// The pools that items ask for, as they were written: PVE knows upper case from lower. To a user
    /// who may not see a pool, its guests look like guests of none.
    pub fn pools(&self) -> Vec<&str> {
        let name = |item: &'_ Item| match &item.pattern {
            Pattern::Pool(name) => item.text.len().checked_sub(name.len()),
            _ => None,
        };
        self.items.iter().filter_map(|item| item.text.get(name(item)?..)).collect()
    }
}

/// Finds the guests that a selection names.
pub fn select(selection: &Selection, candidates: &[Candidate]) -> Selected {
    let mut ordered: Vec<&Candidate> = candidates.iter().collect();
    ordered.sort_by(|a, b| (&a.guest.node, a.guest.vmid).cmp(&(&b.guest.node, b.guest.vmid)));
    let mut seen = BTreeSet::new();
    ordered.retain(|candidate| seen.insert(candidate.guest.vmid));
    let why: Vec<Verdict> = ordered.iter().map(|c| verdict(selection, c)).collect();
    let selected = why.iter().filter(|verdict| verdict.selected);
    let idle = |item: &&Item| !ordered.iter().any(|candidate| item.matches(candidate));
    let (idle_exclusions, empty_items): (Vec<&Item>, Vec<&Item>) =
        selection.items.iter().filter(idle).partition(|item| item.sign == Sign::Exclude);
    Selected {
        guests: selected.map(|verdict| verdict.guest.clone()).collect(),
        empty_items: texts(&empty_items),
        idle_exclusions: texts(&idle_exclusions),
        why,
    }
}

/// Whether what is hidden of a guest decides if it is selected. Nobody may then say that it is, nor
/// leave it out without a word.
pub fn is_undecided(selection: &Selection, candidate: &Candidate, hidden: Hidden) -> bool {
    let any = |sign, fits: &dyn Fn(&Item) -> bool| {
        selection.items.iter().any(|item| item.sign == sign && fits(item))
    };
    let matches = |item: &Item| item.matches(candidate);
    let could_match = |item: &Item| item.pattern.asks_for(hidden);
    if any(Sign::Exclude, &matches) {
        return false;
    }
    let open = if any(Sign::Include, &matches) { Sign::Exclude } else { Sign::Include };
    any(open, &could_match)
}

fn verdict(selection: &Selection, candidate: &Candidate) -> Verdict {
    let all = |sign| -> Vec<String> {
        let fits = |item: &&Item| item.sign == sign && item.matches(candidate);
        selection.items.iter().filter(fits).map(|item| item.text.clone()).collect()
    };
    let (named_by, excluded_by) = (all(Sign::Include), all(Sign::Exclude));
    let (selected, mut reason) = match (named_by.first(), excluded_by.first()) {
        (Some(_), Some(excluding)) => (false, format!("excluded by {excluding}")),
        (Some(including), None) => (true, format!("named by {including}")),
        (None, _) => (false, "no item names it".to_owned()),
    };
    if selected && candidate.template {
        reason.push_str(", but it is a template");
    }
    let (guest, template) = (candidate.guest.clone(), candidate.template);
    Verdict { guest, selected, reason, named_by, excluded_by, template }
}

fn texts(items: &[&Item]) -> Vec<String> {
    items.iter().map(|item| item.text.clone()).collect()
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Item {
    /// As it was written, without the blanks around it.
    text: String,
    sign: Sign,
    pattern: Pattern,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sign {
    Include,
    Exclude,
}

/// What an item asks for. Texts are in lower case.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Pattern {
    All,
    Node(String),
    Pool(String),
    Tag(String),
    Storage(String),
    Numbers { from: u32, to: u32 },
    Name(String),
    NameBegins(String),
    NameEnds(String),
    NameContains(String),
}

impl Item {
    fn matches(&self, candidate: &Candidate) -> bool {
        self.pattern.matches(candidate)
    }
}

impl Pattern {
    fn matches(&self, candidate: &Candidate) -> bool {
        let guest = &candidate.guest;
        let same = |text: &str, wanted: &str| text.to_lowercase() == wanted;
        let any = |texts: &[String], wanted: &str| texts.iter().any(|text| same(text, wanted));
        match self {
            Self::All => true,
            Self::Node(node) => same(&guest.node, node),
            Self::Pool(pool) => candidate.pools.iter().any(|held| is_within(held, pool)),
            Self::Tag(tag) => any(&candidate.tags, tag),
            Self::Storage(storage) => any(&candidate.storages, storage),
            Self::Numbers { from, to } => (*from..=*to).contains(&guest.vmid.number()),
            Self::Name(name) => same(&guest.name, name),
            Self::NameBegins(part) => guest.name.to_lowercase().starts_with(part),
            Self::NameEnds(part) => guest.name.to_lowercase().ends_with(part),
            Self::NameContains(part) => guest.name.to_lowercase().contains(part),
        }
    }
}

impl Pattern {
    fn asks_for(&self, hidden: Hidden) -> bool {
        match self {
            Self::All | Self::Node(_) | Self::Pool(_) | Self::Numbers { .. } => false,
            Self::Tag(_) => hidden.tags,
            Self::Storage(_) => hidden.storages,
            Self::Name(_) | Self::NameBegins(_) | Self::NameEnds(_) | Self::NameContains(_) => {
                hidden.name
            }
        }
    }
}

/// A pool holds the guests of the pools nested in it.
fn is_within(pool: &str, wanted: &str) -> bool {
    let pool = pool.to_lowercase();
    pool.strip_prefix(wanted).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

impl FromStr for Selection {
    type Err = SelectionError;

    fn from_str(text: &str) -> Result<Self, SelectionError> {
        let texts = text.split(',').map(str::trim).filter(|text| !text.is_empty());
        let items = texts.map(parse_item).collect::<Result<Vec<Item>, SelectionError>>()?;
        if items.is_empty() {
            return Err(SelectionError::Empty);
        }
        if items.iter().all(|item| item.sign == Sign::Exclude) {
            return Err(SelectionError::OnlyExclusions(text.trim().to_owned()));
        }
        Ok(Self { items })
    }
}

impl fmt::Display for Selection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let texts: Vec<&str> = self.items.iter().map(|item| item.text.as_str()).collect();
        f.pad(&texts.join(","))
    }
}

fn parse_item(text: &str) -> Result<Item, SelectionError> {
    let (sign, rest) = match text.strip_prefix('-') {
        Some(rest) => (Sign::Exclude, rest.trim_start()),
        None => (Sign::Include, text),
    };
    let pattern = parse_pattern(&rest.to_lowercase())
        .map_err(|reason| SelectionError::Item { item: text.to_owned(), reason })?;
    Ok(Item { text: text.to_owned(), sign, pattern })
}

type MakePattern = fn(String) -> Pattern;

/// The words that stand in front of a name.
const PREFIXES: [(&str, MakePattern); 6] = [
    ("all-", Pattern::Node),
    ("@all-", Pattern::Node),
    ("@node-", Pattern::Node),
    ("@pool-", Pattern::Pool),
    ("@tag-", Pattern::Tag),
    ("storage-", Pattern::Storage),
];

fn parse_pattern(text: &str) -> Result<Pattern, &'static str> {
    if matches!(text, "all" | "@all") {
        return Ok(Pattern::All);
    }
    for (prefix, make) in PREFIXES {
        if let Some(name) = text.strip_prefix(prefix) {
            return whole_word(name).map(make);
        }
    }
    if text.starts_with('@') {
        return Err("after @ comes all, all-NODE, node-NODE, pool-NAME or tag-NAME");
    }
    if let Some((from, to)) = text.split_once(':') {
        return parse_range(from.trim(), to.trim());
    }
    if text.bytes().all(|b| b.is_ascii_digit()) && !text.is_empty() {
        return parse_range(text, text);
    }
    parse_name(text)
}

fn parse_range(from: &str, to: &str) -> Result<Pattern, &'static str> {
    let number = |text: &str| {
        let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        digits.then(|| text.parse::<u32>().ok()).flatten()
    };
    let (Some(from), Some(to)) = (number(from), number(to)) else {
        return Err("a range is FROM:TO, two vmids");
    };
    if to < 100 || from > 999_999_999 {
        return Err("vmids are 100 to 999999999");
    }
    if from > to {
        return Err("the range ends before it begins");
    }
    Ok(Pattern::Numbers { from, to })
}

fn parse_name(text: &str) -> Result<Pattern, &'static str> {
    let (after, before) = (text.strip_prefix('%'), text.strip_suffix('%'));
    match (after, before) {
        (Some(after), Some(_)) => {
            let part = after.strip_suffix('%').ok_or("% stands beside a part of a name")?;
            whole_word(part).map(Pattern::NameContains)
        }
        (None, Some(part)) => whole_word(part).map(Pattern::NameBegins),
        (Some(part), None) => whole_word(part).map(Pattern::NameEnds),
        (None, None) => whole_word(text).map(Pattern::Name),
    }
}

fn whole_word(text: &str) -> Result<String, &'static str> {
    if text.is_empty() {
        return Err("a name is missing");
    }
    if text.contains('%') {
        return Err("% stands only at the beginning or at the end of a guest's name");
    }
    if text.contains(|c: char| c.is_whitespace() || c == '@' || c == ':') {
        return Err("a name has no blanks, no @ and no colon in it; items are separated by commas");
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::GuestKind;

    fn candidate(node: &str, vmid: u32, name: &str) -> Candidate {
        let guest = Guest {
            vmid: vmid.try_into().unwrap(),
            kind: GuestKind::Qemu,
            name: name.into(),
            node: node.into(),
        };
        Candidate { guest, pools: vec![], tags: vec![], storages: vec![], template: false }
    }

    fn cluster() -> Vec<Candidate> {
        let words = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        let mut all = vec![
            candidate("pve2", 150, "web-b"),
            candidate("PVE1", 100, "Web-A"),
            candidate("PVE1", 103, "db"),
            candidate("pve2", 101, "mydb2"),
            candidate("pve2", 900, ""),
        ];
        all[0].pools = words(&["Web/Shop"]);
        all[1].pools = words(&["web"]);
        all[2].pools = words(&["webmail"]);
        all[1].tags = words(&["Prod", "x"]);
        all[3].tags = words(&["prod2"]);
        all[2].storages = words(&["Ceph", "local"]);
        all[3].storages = words(&["ceph2"]);
        all[4].template = true;
        all
    }

    fn found(selection: &str) -> Vec<u32> {
        let selected = select(&Selection::parse(selection).unwrap(), &cluster());
        selected.guests.iter().map(|guest| guest.vmid.number()).collect()
    }

    #[test]
    fn every_form_of_the_grammar_selects_what_it_says() {
        let everything: &[u32] = &[100, 103, 101, 150, 900];
        let rows: [(&str, &[u32]); 26] = [
            ("all", everything),
            ("@ALL", everything),
            ("all-pve1", &[100, 103]),
            ("@all-PVE1", &[100, 103]),
            ("@node-pve2", &[101, 150, 900]),
            ("@pool-web", &[100, 150]),
            ("@pool-WEB/shop", &[150]),
            ("@pool-web/sho", &[]),
            ("@tag-prod", &[100]),
            ("@tag-PROD2", &[101]),
            ("storage-ceph", &[103]),
            ("100", &[100]),
            ("100:103", &[100, 103, 101]),
            ("1:101", &[100, 101]),
            ("102 : 103", &[103]),
            ("WEB-a", &[100]),
            ("web", &[]),
            ("%web%", &[100, 150]),
            ("web%", &[100, 150]),
            ("%db", &[103]),
            ("%DB%", &[103, 101]),
            ("db%", &[103]),
            (" 100 ,, 103 ", &[100, 103]),
            ("103,100,100,all-pve1", &[100, 103]),
            ("999", &[]),
            ("storage-local,@tag-x", &[100, 103]),
        ];
        for (selection, expected) in rows {
            assert_eq!(found(selection), expected, "{selection}");
        }
    }

    #[test]
    fn pools_are_told_as_they_were_written() {
        let selection = Selection::parse("all, - @Pool-Web/Front,@pool-db,storage-x,-@tag-y");
        assert_eq!(selection.unwrap().pools(), ["Web/Front", "db"]);
    }

    #[test]
    fn exclusions_hold_in_any_position() {
        for (selection, expected) in [
            ("-100,all", vec![103, 101, 150, 900]),
            ("all,-100", vec![103, 101, 150, 900]),
            ("@all,-@pool-web", vec![103, 101, 900]),
            ("-150:200,-%db%,all", vec![100, 900]),
            ("@pool-web,-100", vec![150]),
            ("100,-100", vec![]),
            ("all,- @node-pve2", vec![100, 103]),
        ] {
            assert_eq!(found(selection), expected, "{selection}");
        }
    }

    #[test]
    fn items_that_name_no_guest_are_told_apart_from_excluded_ones() {
        let selection = Selection::parse("999, 100 ,@pool-nix,-100,-998").unwrap();
        let selected = select(&selection, &cluster());
        assert!(selected.guests.is_empty());
        assert_eq!(selected.empty_items, ["999", "@pool-nix"]);
        assert_eq!(selected.idle_exclusions, ["-998"]);
        assert_eq!(selection.to_string(), "999,100,@pool-nix,-100,-998");
    }

    #[test]
    fn a_guest_is_undecided_exactly_when_what_is_hidden_of_it_decides() {
        let mut guest = candidate("pve2", 101, "");
        guest.pools = vec!["web".into()];
        let all = Hidden { name: true, tags: true, storages: true };
        let is_undecided =
            |text: &str, hidden| is_undecided(&Selection::parse(text).unwrap(), &guest, hidden);
        for text in ["web%", "%b", "%x%", "db", "@tag-x", "storage-ceph", "102,web%"] {
            assert!(is_undecided(text, all), "{text}");
            assert!(!is_undecided(text, Hidden::default()), "{text}");
        }
        for text in ["all,-web%", "101,-@tag-x", "@pool-web,-storage-ceph", "all-pve2,-db"] {
            assert!(is_undecided(text, all), "{text}");
        }
        for text in [
            "all",
            "101",
            "101,web%",
            "all-pve2",
            "@pool-web",
            "102",
            "@pool-db",
            "all-pve1",
            "web%,-101",
            "@tag-x,-@node-pve2",
            "102,-web%",
            "storage-ceph,-@pool-web",
        ] {
            assert!(!is_undecided(text, all), "{text}");
        }
        let storages = Hidden { storages: true, ..Hidden::default() };
        assert!(is_undecided("storage-ceph", storages) && !is_undecided("web%", storages));
    }

    #[test]
    fn every_guest_is_told_why_it_is_in_or_out() {
        let selected = select(&Selection::parse("@pool-web,900,-web-b").unwrap(), &cluster());
        let why: Vec<String> = selected
            .why
            .iter()
            .map(|v| format!("{} {} {}", v.guest.vmid, v.selected, v.reason))
            .collect();
        assert_eq!(
            why,
            [
                "100 true named by @pool-web",
                "103 false no item names it",
                "101 false no item names it",
                "150 false excluded by -web-b",
                "900 true named by 900, but it is a template",
            ]
        );
    }

    #[test]
    fn the_explanation_names_every_item_that_decided() {
        let selection = Selection::parse("all,100,@tag-prod,900,-web-a,-@pool-web").unwrap();
        let why: Vec<String> = select(&selection, &cluster())
            .why
            .iter()
            .map(|v| format!("{} {}", v.guest.vmid, v.explanation()))
            .collect();
        assert_eq!(
            why,
            [
                "100 named by all, 100, @tag-prod; excluded by -web-a, -@pool-web",
                "103 named by all",
                "101 named by all",
                "150 named by all; excluded by -@pool-web",
                "900 named by all, 900; it is a template",
            ]
        );
        let only = select(&Selection::parse("100,-103").unwrap(), &cluster());
        assert_eq!(only.why[1].explanation(), "no item names it; excluded by -103");
    }

    #[test]
    fn a_guest_is_selected_once_even_if_it_is_listed_twice() {
        let twice =
            [candidate("a", 100, "x"), candidate("b", 99_999, "y"), candidate("c", 100, "x")];
        let selected = select(&Selection::parse("all,100").unwrap(), &twice);
        assert_eq!((selected.guests.len(), selected.why.len()), (2, 2));
    }

    #[test]
    fn texts_that_are_no_selection_are_refused_with_the_item() {
        for text in [
            "@foo-x",
            "@",
            "@pool-",
            "all-",
            "storage-",
            "%",
            "%%",
            "a%b",
            "%a%b%",
            "200:100",
            "a:b",
            ":",
            "100:",
            "99",
            "0:50",
            "1000000000",
            "99999999999",
            "a b",
            "x@y",
            "-",
            "all,--100x y",
        ] {
            let error = Selection::parse(text).unwrap_err();
            assert!(matches!(error, SelectionError::Item { .. }), "{text}: {error}");
        }
        assert_eq!(Selection::parse(" , "), Err(SelectionError::Empty));
        let error = Selection::parse("-100").unwrap_err();
        assert!(error.to_string().contains("all,-100"), "{error}");
    }
}
