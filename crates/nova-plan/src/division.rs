//! A plan's quota divided over the namespaces of a tenant. Pure.
//!
//! Invariant, at every step and whatever the cluster shows next: for each resource, what the namespaces may
//! use adds up to at most the plan. A namespace may use the larger of what its quota asks for and what the
//! quota controller still enforces (`status.hard`), so room is given away only after it was seen to be free.

use std::collections::BTreeMap;

use crate::quantity::Amount;

/// Amounts by `ResourceQuota` key, such as `requests.cpu`.
pub type Hard = BTreeMap<String, Amount>;

/// Keys that count things: what cannot be divided evenly is given away one by one.
const THINGS: [&str; 2] = ["pods", "services.loadbalancers"];

/// Keys of what there can be a part of: thousandths of a core. Bytes and things are whole.
const DIVISIBLE: [&str; 1] = ["requests.cpu"];

/// An amount of a resource, rounded down to what there can be of it.
#[must_use]
pub fn countable(key: &str, amount: Amount) -> Amount {
    if DIVISIBLE.contains(&key) { amount } else { amount.floor_to_whole() }
}

/// A namespace that takes part.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Member {
    /// Its name.
    pub namespace: String,
    /// The share it was promised by its own `quotas`.
    pub own: Hard,
    /// `spec.hard` of its quota as it is; empty when there is none.
    pub asked: Hard,
    /// `status.hard`: what the quota controller enforces; a quota not yet processed is taken at `asked`.
    pub enforced: Hard,
    /// `status.used`.
    pub used: Hard,
    /// False while its quota cannot be written (its namespace is not ready for it): it keeps what it holds.
    pub writable: bool,
}

impl Member {
    /// What it may use of a resource: what its quota asks for, or what is still enforced.
    #[must_use]
    pub fn held(&self, key: &str) -> Amount {
        amount(&self.asked, key).max(amount(&self.enforced, key))
    }
}

/// A share that does not fit.
#[derive(Debug, Clone, PartialEq)]
pub struct Shortfall {
    /// Namespace that gets too little.
    pub namespace: String,
    /// Quota key.
    pub resource: String,
    /// What its own `quotas` ask for; zero for a namespace that shares the rest.
    pub wanted: Amount,
    /// What it gets.
    pub got: Amount,
    /// The plan's total.
    pub total: Amount,
}

/// What to do now.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Division {
    /// `spec.hard` to write now, by namespace: a step towards `target` that keeps the invariant.
    pub next: BTreeMap<String, Hard>,
    /// Where it ends, by namespace.
    pub target: BTreeMap<String, Hard>,
    /// Shares that do not fit.
    pub shortfalls: Vec<Shortfall>,
}

impl Division {
    /// True when `next` is the end state.
    #[cfg(test)]
    fn settled(&self) -> bool {
        self.next == self.target
    }
}

fn amount(hard: &Hard, key: &str) -> Amount {
    hard.get(key).copied().unwrap_or(Amount::ZERO)
}

/// Divides `total` over `members`, given in order of precedence (oldest first).
#[must_use]
pub fn divide(total: &Hard, members: &[Member]) -> Division {
    let mut division = Division::default();
    for member in members {
        // What the plan does not limit is limited by the share alone.
        let own: Hard = member.own.iter().filter(|(k, _)| !total.contains_key(*k)).map(clone_entry).collect();
        division.next.insert(member.namespace.clone(), own.clone());
        division.target.insert(member.namespace.clone(), own);
    }
    for (key, whole) in total {
        divide_one(key, *whole, members, &mut division);
    }
    division
}

fn clone_entry((key, value): (&String, &Amount)) -> (String, Amount) {
    (key.clone(), *value)
}

fn divide_one(key: &str, whole: Amount, members: &[Member], division: &mut Division) {
    let targets = targets(key, whole, members, &mut division.shortfalls);
    let mut room = whole.saturating_sub(members.iter().map(|m| m.held(key)).sum());
    for (member, target) in members.iter().zip(targets) {
        let held = member.held(key);
        let next = if !member.writable {
            amount(&member.asked, key)
        } else if target <= held {
            target.max(amount(&member.used, key)).min(held)
        } else {
            let grown = target.saturating_sub(held).min(room);
            room = room.saturating_sub(grown);
            held + grown
        };
        insert(&mut division.next, &member.namespace, key, next);
        insert(&mut division.target, &member.namespace, key, target);
    }
}

fn insert(shares: &mut BTreeMap<String, Hard>, namespace: &str, key: &str, value: Amount) {
    shares.entry(namespace.to_owned()).or_default().insert(key.to_owned(), value);
}

/// The end state of one resource: own shares first, oldest first; the rest in equal parts.
fn targets(key: &str, whole: Amount, members: &[Member], shortfalls: &mut Vec<Shortfall>) -> Vec<Amount> {
    let mut rest = whole;
    let own: Vec<Option<Amount>> = members
        .iter()
        .map(|member| {
            let wanted = *member.own.get(key)?;
            let got = wanted.min(rest);
            rest = rest.saturating_sub(got);
            if got < wanted {
                shortfalls.push(shortfall(member, key, wanted, got, whole));
            }
            Some(got)
        })
        .collect();
    let sharing = own.iter().filter(|share| share.is_none()).count();
    let part = countable(key, rest.part_of(sharing));
    // What cannot be divided evenly goes to the oldest, one each.
    let mut left_over =
        if THINGS.contains(&key) { rest.saturating_sub(part.times(sharing)) } else { Amount::ZERO };
    members
        .iter()
        .zip(own)
        .map(|(member, own)| {
            own.unwrap_or_else(|| {
                if rest == Amount::ZERO && whole > Amount::ZERO {
                    shortfalls.push(shortfall(member, key, Amount::ZERO, Amount::ZERO, whole));
                }
                let one = left_over.min(Amount::whole(1));
                left_over = left_over.saturating_sub(one);
                part + one
            })
        })
        .collect()
}

fn shortfall(member: &Member, key: &str, wanted: Amount, got: Amount, total: Amount) -> Shortfall {
    Shortfall { namespace: member.namespace.clone(), resource: key.to_owned(), wanted, got, total }
}

/// Sum over namespaces, by resource.
#[must_use]
pub fn sum<'a>(shares: impl IntoIterator<Item = &'a Hard>) -> Hard {
    let mut sum = Hard::new();
    for (key, value) in shares.into_iter().flatten() {
        let entry = sum.entry(key.clone()).or_default();
        *entry = *entry + *value;
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn hard(cpu: i64) -> Hard {
        Hard::from([("cpu".to_owned(), Amount::whole(cpu))])
    }

    fn member(name: &str, own: Option<i64>) -> Member {
        let own = own.map(hard).unwrap_or_default();
        Member { namespace: name.into(), own, writable: true, ..Member::default() }
    }

    #[test]
    fn own_shares_come_first_and_the_rest_is_divided_equally() {
        let members = [member("a", Some(4)), member("b", None), member("c", None)];
        let division = divide(&hard(10), &members);
        assert_eq!(division.target["a"], hard(4));
        assert_eq!(division.target["b"], hard(3));
        assert!(division.settled() && division.shortfalls.is_empty());
    }

    #[test]
    fn the_only_load_balancer_goes_to_the_oldest_and_nobody_is_in_trouble() {
        let total = Hard::from([("services.loadbalancers".to_owned(), Amount::whole(1))]);
        let division = divide(&total, &[member("a", None), member("b", None)]);
        assert_eq!(division.target["a"], total);
        assert_eq!(division.target["b"]["services.loadbalancers"], Amount::ZERO);
        assert!(division.shortfalls.is_empty());
    }

    #[test]
    fn bytes_are_whole_and_cores_are_not() {
        let all = |text| Amount::parse(text).unwrap();
        let total = Hard::from([
            ("requests.memory".to_owned(), all("10T")),
            ("requests.storage".to_owned(), all("10Ti")),
            ("requests.cpu".to_owned(), all("10")),
        ]);
        let division = divide(&total, &["a", "b", "c"].map(|name| member(name, None)));
        let share = |key: &str| division.target["b"][key].to_string();
        assert_eq!(share("requests.memory"), "3333333333333");
        assert_eq!(share("requests.storage"), "3495253Mi");
        assert_eq!(share("requests.cpu"), "3333m");
        for key in total.keys() {
            assert!(division.target.values().map(|hard| hard[key]).sum::<Amount>() <= total[key], "{key}");
        }
    }

    #[test]
    fn a_share_that_does_not_fit_is_told_with_its_numbers() {
        let members = [member("a", Some(8)), member("b", Some(4)), member("c", None)];
        let division = divide(&hard(10), &members);
        assert_eq!(division.target["b"], hard(2));
        let told: Vec<_> =
            division.shortfalls.iter().map(|s| (s.namespace.as_str(), s.wanted, s.got)).collect();
        assert_eq!(told, [("b", Amount::whole(4), Amount::whole(2)), ("c", Amount::ZERO, Amount::ZERO)]);
    }

    #[test]
    fn a_newcomer_waits_until_the_others_were_seen_to_shrink() {
        let mut old = member("a", None);
        old.asked = hard(10);
        old.enforced = hard(10);
        let mut members = vec![old, member("b", None)];
        let first = divide(&hard(10), &members);
        assert_eq!((&first.next["a"], &first.next["b"]), (&hard(5), &hard(0)));
        members[0].asked = hard(5);
        assert_eq!(divide(&hard(10), &members).next["b"], hard(0), "still enforced at 10");
        members[0].enforced = hard(5);
        let last = divide(&hard(10), &members);
        assert_eq!(last.next["b"], hard(5));
        assert!(last.settled());
    }

    #[test]
    fn a_quota_is_never_shrunk_below_what_is_used() {
        let mut busy = member("a", None);
        busy.asked = hard(10);
        busy.enforced = hard(10);
        busy.used = hard(7);
        let division = divide(&hard(10), &[busy, member("b", None)]);
        assert_eq!(division.next["a"], hard(7));
    }

    #[derive(Debug, Clone)]
    enum Step {
        Apply(usize),
        Enforce(usize),
        Use(usize, i64),
        Own(usize, Option<i64>),
        Total(i64),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => (0..4_usize).prop_map(Step::Apply),
            4 => (0..4_usize).prop_map(Step::Enforce),
            2 => (0..4_usize, 0..20_i64).prop_map(|(i, n)| Step::Use(i, n)),
            1 => (0..4_usize, prop::option::of(0..12_i64)).prop_map(|(i, n)| Step::Own(i, n)),
            1 => (5..30_i64).prop_map(Step::Total),
        ]
    }

    fn may_use(members: &[Member]) -> Amount {
        members.iter().map(|m| m.held("cpu")).sum()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        /// Writes, the quota controller, use, shares and plans move in any order; a write is the only step
        /// of ours, so it may never raise what the namespaces may use above the plan.
        #[test]
        fn no_order_of_events_lets_the_namespaces_exceed_the_plan(steps in prop::collection::vec(step(), 0..60)) {
            let mut total = hard(20);
            let mut members: Vec<Member> = ["a", "b", "c", "d"].map(|n| member(n, None)).to_vec();
            for step in steps {
                match step {
                    Step::Apply(i) => {
                        let before = may_use(&members);
                        let next = divide(&total, &members).next[&members[i].namespace].clone();
                        members[i].asked = next;
                        prop_assert!(may_use(&members) <= before.max(total["cpu"]));
                    }
                    Step::Enforce(i) => members[i].enforced = members[i].asked.clone(),
                    Step::Use(i, n) => {
                        let limit = amount(&members[i].enforced, "cpu");
                        members[i].used = Hard::from([("cpu".into(), Amount::whole(n).min(limit))]);
                    }
                    Step::Own(i, own) => members[i].own = own.map(hard).unwrap_or_default(),
                    Step::Total(n) => total = hard(n),
                }
            }
            // Left alone and idle, it settles, and then asks for nothing more.
            for _ in 0..4 {
                for m in &mut members { m.used = Hard::new(); }
                let next = divide(&total, &members).next;
                for m in &mut members { m.asked = next[&m.namespace].clone(); m.enforced = m.asked.clone(); }
            }
            let last = divide(&total, &members);
            prop_assert!(last.settled());
            prop_assert!(may_use(&members) <= total["cpu"]);
        }
    }
}
