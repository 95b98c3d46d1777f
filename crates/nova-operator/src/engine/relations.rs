//! Who is woken by what, declared by the one who wants to be woken. Pure: a relation is a function from a change to keys.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use nova_api::Kind;
use nova_plan::adapters::Backend;
use nova_plan::child::ChildKind;

use super::cached_object::{CachedLeaf, CachedNova, CachedObject};
use super::key::{Key, ObjectKey};
use super::stores::{StoreId, Stores};

/// A change of one object: what it was and what it is.
#[derive(Debug)]
pub struct Change<'a, T> {
    /// Where.
    pub at: &'a ObjectKey,
    /// Before; none when it is new.
    pub old: Option<&'a T>,
    /// Now; none when it is gone.
    pub new: Option<&'a T>,
    /// Part of a list: nobody is waiting for it in particular.
    pub listed: bool,
}

impl<T> Change<'_, T> {
    /// It was created or deleted.
    #[must_use]
    pub fn created_or_deleted(&self) -> bool {
        self.old.is_none() || self.new.is_none()
    }

    /// It was deleted.
    #[must_use]
    pub fn deleted(&self) -> bool {
        self.new.is_none()
    }
}

impl Change<'_, CachedNova> {
    /// What others read of an object besides its status has changed: spec, deletion, finalizers, identity.
    #[must_use]
    pub fn spec_or_lifecycle(&self) -> bool {
        let (Some(old), Some(new)) = (self.old, self.new) else { return true };
        let (old, new) = (old.meta(), new.meta());
        old.generation != new.generation
            || old.deleting.is_some() != new.deleting.is_some()
            || old.uid != new.uid
            || old.finalizers != new.finalizers
    }
}

impl Change<'_, CachedObject> {
    /// How soon it concerns those who read the object. Its first status is what somebody waits for.
    #[must_use]
    pub fn when(&self, kind: &ChildKind) -> When {
        match (kind.bursts, self.old, self.new) {
            (Some(delay), Some(old), Some(new)) if old.has_status() && old.same_content(new) => {
                When::After(delay)
            }
            _ => When::Now,
        }
    }

    /// What decisions know of it has changed: that it is there, its UID, whose it is, that it is being deleted.
    #[must_use]
    pub fn facts(&self) -> bool {
        self.old.map(CachedObject::facts) != self.new.map(CachedObject::facts)
    }

    /// Its status says something else.
    #[must_use]
    pub fn status(&self) -> bool {
        match (self.old, self.new) {
            (Some(old), Some(new)) => old.status_hash() != new.status_hash(),
            _ => true,
        }
    }
}

/// How soon somebody is woken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum When {
    /// At once; in the background where the change is part of a list.
    Now,
    /// After what people wait for.
    Background,
    /// After a while, because such changes come in bursts: one pass for a burst is enough.
    After(Duration),
}

/// Somebody to wake.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Wake {
    /// Who.
    pub key: Key,
    /// How soon.
    pub when: When,
}

/// Wakes each of `keys`.
pub fn wake(keys: impl IntoIterator<Item = Key>, when: When) -> Vec<Wake> {
    keys.into_iter().map(|key| Wake { key, when }).collect()
}

/// From a change to those whom it concerns.
pub type Wakes<T> = fn(&Change<'_, T>, &Stores) -> Vec<Wake>;

/// From the health of a backend, which has changed for those that wait for it, to those whom that concerns.
pub type HealthWakes = fn(&'static Backend, &BTreeSet<String>) -> Vec<Wake>;

/// What wakes the objects of one kind, and what they read.
#[derive(Debug)]
pub struct Relations {
    kind: Kind,
    owned: Vec<&'static ChildKind>,
    nova: Vec<(Kind, Wakes<CachedNova>)>,
    children: Vec<(&'static ChildKind, Wakes<CachedObject>)>,
    leaves: Vec<(&'static ChildKind, Wakes<CachedLeaf>)>,
    needs: Vec<&'static Backend>,
    definitions: Vec<&'static Backend>,
    health: Option<HealthWakes>,
}

impl Relations {
    /// None but the object itself.
    #[must_use]
    pub fn new(kind: Kind) -> Self {
        Self {
            kind,
            owned: Vec::new(),
            nova: Vec::new(),
            children: Vec::new(),
            leaves: Vec::new(),
            needs: Vec::new(),
            definitions: Vec::new(),
            health: None,
        }
    }

    /// Children that it writes: a change that is not our own write wakes the owner by its UID.
    pub fn owns(&mut self, kinds: impl IntoIterator<Item = &'static ChildKind>) -> &mut Self {
        self.owned.extend(kinds);
        self
    }

    /// Other Nova objects.
    pub fn on(&mut self, kind: Kind, wakes: Wakes<CachedNova>) -> &mut Self {
        self.nova.push((kind, wakes));
        self
    }

    /// Children, of whomever; our own writes count too.
    pub fn on_child(&mut self, kind: &'static ChildKind, wakes: Wakes<CachedObject>) -> &mut Self {
        self.children.push((kind, wakes));
        self
    }

    /// Leaves of what a backend delivers.
    pub fn on_leaves(&mut self, backend: &'static Backend, wakes: Wakes<CachedLeaf>) -> &mut Self {
        self.leaves.extend(backend.leaves.iter().map(|kind| (*kind, wakes)));
        self
    }

    /// A backend: when its definitions come or go, all objects of the kind are woken.
    pub fn needs(&mut self, backend: &'static Backend) -> &mut Self {
        self.needs.push(backend);
        self
    }

    /// The definitions of a backend are looked at, but not needed.
    pub fn looks_at(&mut self, backend: &'static Backend) -> &mut Self {
        self.definitions.push(backend);
        self
    }

    /// The health of backends, and what can be watched.
    pub fn on_health(&mut self, wakes: HealthWakes) -> &mut Self {
        self.health = Some(wakes);
        self
    }

    /// Every store that is declared.
    #[must_use]
    pub fn reads(&self) -> BTreeSet<StoreId> {
        let children = self.owned.iter().copied().chain(self.children.iter().map(|(kind, _)| *kind));
        let backends = self.needs.iter().chain(&self.definitions);
        [StoreId::Nova(self.kind)]
            .into_iter()
            .chain(self.nova.iter().map(|(kind, _)| StoreId::Nova(*kind)))
            .chain(children.map(StoreId::Child))
            .chain(self.leaves.iter().map(|(kind, _)| StoreId::Leaf(kind)))
            .chain(backends.map(|_| StoreId::Definitions))
            .collect()
    }

    /// In words: kinds that are written, others that wake, backends that are needed.
    #[must_use]
    pub fn describe(&self) -> (Vec<String>, Vec<String>, Vec<String>) {
        let sorted = |mut words: Vec<String>| {
            words.sort();
            words.dedup();
            words
        };
        let titles = |kinds: &[&'static ChildKind]| kinds.iter().map(|kind| kind.title.to_owned()).collect();
        let children: Vec<&'static ChildKind> = self.children.iter().map(|(kind, _)| *kind).collect();
        let leaves: Vec<&'static ChildKind> = self.leaves.iter().map(|(kind, _)| *kind).collect();
        let nova = self.nova.iter().map(|(kind, _)| kind.to_string());
        let health = self.health.map(|_| "health of backends".to_owned());
        let others =
            nova.chain::<Vec<String>>(titles(&children)).chain::<Vec<String>>(titles(&leaves)).chain(health);
        let needs = self.needs.iter().map(|backend| backend.title.to_owned());
        (sorted(titles(&self.owned)), sorted(others.collect()), sorted(needs.collect()))
    }

    /// Stores without which nothing true can be decided about an object: what it writes, what it looks at to do so, and the
    /// kinds above its own. Those below are only counted, and leaves only tell how it is.
    #[must_use]
    pub fn needs_listed(&self) -> BTreeSet<StoreId> {
        let above =
            self.nova.iter().map(|(kind, _)| *kind).filter(|kind| *kind < self.kind).map(StoreId::Nova);
        let usable = |kind: &&'static ChildKind| {
            !self.owned.is_empty()
                && kind.backend.is_none_or(|id| self.needs.iter().any(|backend| backend.id == id))
        };
        let children = self.children.iter().map(|(kind, _)| *kind).filter(usable);
        let definitions = self.needs.first().map(|_| StoreId::Definitions);
        let owned = self.owned.iter().copied();
        owned.chain(children).map(StoreId::Child).chain(above).chain(definitions).collect()
    }
}

/// The relations of all kinds, by what changes.
#[derive(Debug, Default)]
pub struct Routes {
    nova: HashMap<Kind, Vec<Wakes<CachedNova>>>,
    children: HashMap<&'static ChildKind, Vec<Wakes<CachedObject>>>,
    leaves: HashMap<&'static ChildKind, Vec<Wakes<CachedLeaf>>>,
    /// Kinds to be woken as a whole when definitions of a backend come or go.
    definitions: Vec<(&'static Backend, Kind)>,
    health: Vec<HealthWakes>,
    /// Kinds that have to be looked at again once a store can be listed.
    listed: Vec<(StoreId, Kind)>,
}

impl Routes {
    /// Takes the relations of a kind in.
    pub fn add(&mut self, relations: &Relations) {
        for (kind, wakes) in &relations.nova {
            self.nova.entry(*kind).or_default().push(*wakes);
        }
        for (kind, wakes) in &relations.children {
            self.children.entry(kind).or_default().push(*wakes);
        }
        for (kind, wakes) in &relations.leaves {
            self.leaves.entry(kind).or_default().push(*wakes);
        }
        let backends = relations.needs.iter().chain(&relations.definitions);
        self.definitions.extend(backends.map(|backend| (*backend, relations.kind)));
        self.health.extend(relations.health);
        self.listed.extend(relations.reads().into_iter().map(|store| (store, relations.kind)));
    }

    /// Whom a change of a Nova object concerns.
    #[must_use]
    pub fn of_nova(&self, kind: Kind, change: &Change<'_, CachedNova>, stores: &Stores) -> Vec<Wake> {
        let own = Wake { key: Key::of(kind, change.at), when: When::Now };
        let others = self.nova.get(&kind).into_iter().flatten().flat_map(|wakes| wakes(change, stores));
        [own].into_iter().chain(others).collect()
    }

    /// Whom a change of a child concerns, `ours` saying that it is our own write.
    #[must_use]
    pub fn of_child(
        &self,
        kind: &'static ChildKind,
        change: &Change<'_, CachedObject>,
        ours: bool,
        stores: &Stores,
    ) -> Vec<Wake> {
        // An object whose label was taken off still has its owner in what was seen before.
        let rows = [change.old, change.new].into_iter().flatten().filter(|_| !ours);
        let owners = rows.filter_map(|row| stores.owner(row.owner_uid()?));
        let when = change.when(kind);
        let others = self.children.get(kind).into_iter().flatten().flat_map(|wakes| wakes(change, stores));
        owners.map(|key| Wake { key, when }).chain(others).collect()
    }

    /// Whom a change of a leaf concerns.
    #[must_use]
    pub fn of_leaf(
        &self,
        kind: &'static ChildKind,
        change: &Change<'_, CachedLeaf>,
        stores: &Stores,
    ) -> Vec<Wake> {
        self.leaves.get(kind).into_iter().flatten().flat_map(|wakes| wakes(change, stores)).collect()
    }

    /// Kinds whose objects all have to look again when a definition comes or goes.
    pub fn of_definition<'a>(&'a self, crd: &'a str) -> impl Iterator<Item = Kind> + 'a {
        self.definitions.iter().filter(move |(backend, _)| backend.crds.contains(&crd)).map(|(_, kind)| *kind)
    }

    /// Kinds whose objects all have to look again when a store can be listed, or no longer.
    pub fn of_listing<'a>(&'a self, store: &'a StoreId) -> impl Iterator<Item = Kind> + 'a {
        self.listed.iter().filter(move |(id, _)| id == store).map(|(_, kind)| *kind)
    }

    /// Whom the health of a backend concerns, `groups` being those that wait for it.
    #[must_use]
    pub fn of_health(&self, backend: &'static Backend, groups: &BTreeSet<String>) -> Vec<Wake> {
        self.health.iter().flat_map(|wakes| wakes(backend, groups)).collect()
    }
}
