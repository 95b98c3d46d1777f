//! A store under random interleavings of watch events, own writes, late answers, relists and deletions.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use crate::engine::cached_object::Versioned;
use crate::engine::key::ObjectKey;
use crate::engine::store::{Index, Older, Store};

#[derive(Debug, Clone, PartialEq)]
struct Row {
    version: u64,
    value: u8,
}

impl Versioned for Row {
    fn version(&self) -> u64 {
        self.version
    }
}

const VALUE: &str = "value";
const AGE: &str = "age";

fn by_value(_: &ObjectKey, row: &Row) -> Option<String> {
    (row.value > 0).then(|| row.value.to_string())
}

#[allow(clippy::unnecessary_wraps, reason = "the signature of an index, whose value an object may not have")]
fn by_age(at: &ObjectKey, row: &Row) -> Option<String> {
    Some(format!("{}/{:03}", at.namespace, row.value))
}

static INDEXES: &[Index<Row>] = &[Index { name: VALUE, value: by_value }, Index { name: AGE, value: by_age }];

const KEYS: u8 = 6;

fn key(n: u8) -> ObjectKey {
    ObjectKey::new(if n.is_multiple_of(2) { "n" } else { "m" }, &format!("o{}", n / 2))
}

#[derive(Debug, Clone)]
enum Op {
    /// Somebody writes an object.
    Write(u8, u8),
    /// We write one; the answer comes later.
    Ours(u8, u8),
    /// Somebody deletes one.
    Delete(u8),
    /// The watch tells the next event.
    Watch,
    /// The answer to one of our writes arrives.
    Answer(usize),
    /// The watch breaks, and a list begins.
    Begin,
    /// The API server makes the list.
    Take,
    /// The list has come.
    Finish,
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        3 => (0..KEYS, 0..4_u8).prop_map(|(at, value)| Op::Write(at, value)),
        3 => (0..KEYS, 0..4_u8).prop_map(|(at, value)| Op::Ours(at, value)),
        2 => (0..KEYS).prop_map(Op::Delete),
        6 => Just(Op::Watch),
        3 => (0..4_usize).prop_map(Op::Answer),
        1 => Just(Op::Begin),
        1 => Just(Op::Take),
        1 => Just(Op::Finish),
    ]
}

#[derive(Debug, Clone)]
enum Event {
    Put(u8, Row),
    Gone(u8, u64),
}

/// What a list holds, and how many events it has behind it; nothing before the API server has made it.
type List = Option<(BTreeMap<u8, Row>, usize)>;

/// What the cluster holds and has told, and what the store must not forget.
struct Model {
    store: Store<Row>,
    cluster: BTreeMap<u8, Row>,
    version: u64,
    events: Vec<Event>,
    told: usize,
    answers: Vec<(u8, Row)>,
    /// A list is under way.
    list: Option<List>,
    /// Objects of which an answer to us came since a list was asked for.
    answered: BTreeSet<u8>,
    /// The newest version of each object that the store has held.
    newest: BTreeMap<u8, u64>,
    /// The latest end of each object that the store has learned of.
    ended: BTreeMap<u8, u64>,
}

impl Model {
    fn new() -> Self {
        Self {
            store: Store::new(INDEXES),
            cluster: BTreeMap::new(),
            version: 0,
            events: Vec::new(),
            told: 0,
            answers: Vec::new(),
            list: None,
            answered: BTreeSet::new(),
            newest: BTreeMap::new(),
            ended: BTreeMap::new(),
        }
    }

    fn write(&mut self, at: u8, value: u8) -> Row {
        self.version += 1;
        let row = Row { version: self.version, value };
        self.cluster.insert(at, row.clone());
        self.events.push(Event::Put(at, row.clone()));
        row
    }

    fn step(&mut self, op: &Op) {
        match *op {
            Op::Write(at, value) => drop(self.write(at, value)),
            Op::Ours(at, value) => {
                let row = self.write(at, value);
                self.answers.push((at, row));
            }
            Op::Delete(at) => {
                if !(self.list == Some(None) && self.answered.contains(&at))
                    && self.cluster.remove(&at).is_some()
                {
                    self.version += 1;
                    self.events.push(Event::Gone(at, self.version));
                }
            }
            // While a list is under way there is no watch.
            Op::Watch => {
                if let (None, Some(event)) = (&self.list, self.events.get(self.told).cloned()) {
                    self.told += 1;
                    self.tell(event);
                }
            }
            Op::Answer(n) if n < self.answers.len() => {
                let (at, row) = self.answers.remove(n);
                let known = self.store.get(&key(at).namespace, &key(at).name);
                if self.list.is_some() {
                    if self.gone_before_the_list(at, row.version) {
                        return;
                    }
                    self.answered.insert(at);
                }
                let taken = self.store.upsert_if_newer(&key(at), &row);
                if let Ok(old) = taken {
                    assert_eq!(old, known, "what was there before is told");
                }
            }
            Op::Begin if self.list.is_none() => {
                self.store.begin_relist();
                self.list = Some(None);
                self.answered.clear();
            }
            Op::Take if self.list == Some(None) => {
                self.list = Some(Some((self.cluster.clone(), self.events.len())));
            }
            Op::Finish => self.finish(),
            Op::Answer(_) | Op::Begin | Op::Take => {}
        }
    }

    /// What we wrote, what was deleted before a list that is under way was made, and whose answer comes only now: the
    /// store cannot tell it from what was written after the list, whose version nobody tells. The one interleaving that
    /// is left out here.
    fn gone_before_the_list(&self, at: u8, version: u64) -> bool {
        match self.list.as_ref().and_then(Option::as_ref) {
            None => !self.cluster.contains_key(&at),
            Some((listed, behind)) => !listed.contains_key(&at) && version <= self.version_at(*behind),
        }
    }

    fn version_at(&self, events: usize) -> u64 {
        self.events[..events].last().map_or(0, |event| match event {
            Event::Put(_, row) => row.version,
            Event::Gone(_, version) => *version,
        })
    }

    fn tell(&mut self, event: Event) {
        match event {
            Event::Put(at, row) => drop(self.store.upsert_if_newer(&key(at), &row)),
            Event::Gone(at, version) => {
                self.store.remove(&key(at), version);
                self.ended.insert(at, version);
            }
        }
    }

    fn finish(&mut self) {
        let Some(Some((listed, behind))) = self.list.take_if(|list| list.is_some()) else { return };
        // Answers to writes of before the list are not this late: each request ends within seconds.
        let listed_at = self.version_at(behind);
        self.answers.retain(|(_, row)| row.version > listed_at);
        let before: BTreeMap<ObjectKey, Row> = self.rows();
        let rows = listed.iter().map(|(at, row)| (key(*at), row.clone())).collect();
        let changes =
            self.store.finish_relist(rows).expect("a list is never older than what is known before it");
        for event in &self.events[..behind] {
            if let Event::Gone(at, version) = event {
                self.ended.insert(*at, *version);
            }
        }
        self.told = behind;
        // Each change is told once, and what did not change is not.
        let after = self.rows();
        let mut expected: Vec<ObjectKey> = before.keys().chain(after.keys()).cloned().collect();
        expected.retain(|at| before.get(at) != after.get(at));
        expected.sort();
        expected.dedup();
        let mut told: Vec<ObjectKey> = changes.iter().map(|(at, ..)| at.clone()).collect();
        told.sort();
        assert_eq!(told, expected);
        for (at, old, new) in changes {
            assert_eq!((old.as_ref(), new.as_ref()), (before.get(&at), after.get(&at)));
        }
    }

    fn rows(&self) -> BTreeMap<ObjectKey, Row> {
        self.store.keys().into_iter().zip(self.store.list_all()).collect()
    }

    fn check(&mut self) {
        for at in 0..KEYS {
            let Some(row) = self.store.get(&key(at).namespace, &key(at).name) else { continue };
            let newest = self.newest.entry(at).or_default();
            assert!(row.version >= *newest, "{at} went back from {newest} to {}", row.version);
            *newest = row.version;
            let ended = self.ended.get(&at).copied().unwrap_or(0);
            assert!(
                row.version > ended,
                "{at} of version {} came back after its end at {ended}",
                row.version
            );
        }
        let rows = self.rows();
        for value in 0..4_u8 {
            let naive: Vec<(ObjectKey, Row)> = rows
                .iter()
                .filter(|(at, row)| by_value(at, row) == Some(value.to_string()))
                .map(|(at, row)| (at.clone(), row.clone()))
                .collect();
            assert_eq!(self.store.indexed(VALUE, &value.to_string()), naive);
        }
        for namespace in ["n", "m"] {
            let inside: Vec<(&ObjectKey, &Row)> =
                rows.iter().filter(|(at, _)| at.namespace == namespace).collect();
            assert_eq!(self.store.count(namespace), inside.len());
            for (at, row) in &inside {
                let mine = (by_age(at, row).unwrap(), (*at).clone());
                let before = |(other, row): &&(&ObjectKey, &Row)| {
                    (by_age(other, row).unwrap(), (*other).clone()) < mine
                };
                let naive = inside.iter().filter(before).count();
                for most in 0..4 {
                    let counted =
                        self.store.count_before(AGE, &format!("{namespace}/"), (&mine.0, &mine.1), most);
                    assert_eq!(counted, naive.min(most));
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, ..ProptestConfig::default() })]

    #[test]
    fn a_store_never_goes_back_and_ends_as_the_cluster_is(ops in prop::collection::vec(op(), 0..60)) {
        let mut model = Model::new();
        for op in &ops {
            model.step(op);
            model.check();
        }
        // Everything that is under way arrives.
        model.step(&Op::Take);
        model.step(&Op::Finish);
        while !model.answers.is_empty() || model.told < model.events.len() {
            model.step(&Op::Answer(0));
            model.step(&Op::Watch);
            model.check();
        }
        let cluster: BTreeMap<ObjectKey, Row> =
            model.cluster.iter().map(|(at, row)| (key(*at), row.clone())).collect();
        prop_assert_eq!(model.rows(), cluster);
    }
}

fn row(version: u64) -> Row {
    Row { version, value: 1 }
}

#[test]
fn the_answer_to_a_write_that_comes_after_the_end_of_its_object_does_not_bring_it_back() {
    let store = Store::new(INDEXES);
    store.upsert_if_newer(&key(0), &row(1)).unwrap();
    assert!(store.remove(&key(0), 2).is_some());
    assert!(store.upsert_if_newer(&key(0), &row(1)).is_err());
    assert_eq!(store.len(), 0);
    assert!(store.upsert_if_newer(&key(0), &row(3)).is_ok(), "made anew");
}

#[test]
fn an_older_list_is_refused_and_what_was_learned_meanwhile_is_no_sign_of_one() {
    let store = Store::new(INDEXES);
    store.upsert_if_newer(&key(0), &row(10)).unwrap();
    let list = |version| BTreeMap::from([(key(0), row(version))]);
    store.begin_relist();
    assert_eq!(store.finish_relist(list(5)), Err(Older), "an object is older");
    assert_eq!(store.get("n", "o0"), Some(row(10)));
    store.begin_relist();
    assert_eq!(store.finish_relist(list(10)), Ok(Vec::new()));

    store.remove(&key(0), 12);
    store.begin_relist();
    assert_eq!(store.finish_relist(list(10)), Err(Older), "what is gone is back");
    assert_eq!(store.len(), 0);
    store.begin_relist();
    assert!(store.finish_relist(list(13)).is_ok(), "made anew");

    store.begin_relist();
    store.upsert_if_newer(&key(0), &row(15)).unwrap();
    assert_eq!(store.finish_relist(list(13)), Ok(Vec::new()), "written by us after the list");
    assert_eq!(store.get("n", "o0"), Some(row(15)));
}

#[test]
fn older_lists_again_and_again_turn_back_what_was_not_learned_since_they_began_and_nothing_else() {
    let store = Store::new(INDEXES);
    store.upsert_if_newer(&key(0), &row(10)).unwrap();
    let list = BTreeMap::from([(key(0), row(5)), (key(2), row(6))]);
    for _ in 0..2 {
        store.begin_relist();
        assert_eq!(store.finish_relist(list.clone()), Err(Older));
    }
    store.begin_relist();
    store.upsert_if_newer(&key(2), &row(11)).unwrap();
    let changes = store.finish_relist(list).unwrap();
    assert_eq!(changes, [(key(0), Some(row(10)), Some(row(5)))], "a restored etcd");
    assert_eq!(store.get("n", "o1"), Some(row(11)), "written meanwhile");
    assert!(store.is_listed());
    assert!(store.upsert_if_newer(&key(4), &row(7)).is_ok(), "versions go on from the list");
}
