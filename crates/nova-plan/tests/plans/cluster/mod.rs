//! A cluster in memory: it takes the steps of a plan, and answers what plans ask of it.

mod ssa;

use std::any::Any;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use nova_api::NovaKind;
use nova_api::v1alpha1::{NovaApp, NovaTenant};
use nova_plan::adapters::{capsule, vela};
use nova_plan::child::{Child, ChildRef, Live, NAMESPACE, Ownership, RESOURCE_QUOTA, is_applied, ownership};
use nova_plan::kind::index;
use nova_plan::names::label;
use nova_plan::step::Step;
use nova_plan::tenant::dev_group_of;
use nova_plan::{ChildFacts, Lookup};
use serde_json::{Value, json};

/// Nova objects and children, and what was written.
#[derive(Debug, Clone)]
pub struct Cluster {
    nova: HashMap<(&'static str, String, String), Arc<dyn Any + Send + Sync>>,
    pub children: BTreeMap<ChildRef, Live>,
    pub definitions: HashSet<&'static str>,
    pub writes: Vec<String>,
}

impl Default for Cluster {
    fn default() -> Self {
        Self {
            nova: HashMap::new(),
            children: BTreeMap::new(),
            definitions: HashSet::from([capsule::CRD, vela::CRD]),
            writes: Vec::new(),
        }
    }
}

/// The UID of whatever is at a place: every object is made once in these tests.
pub fn uid_of(at: &ChildRef) -> String {
    format!("uid of {at}")
}

impl Cluster {
    /// Puts a Nova object there, or another in its place.
    pub fn put<K: NovaKind>(&mut self, object: &K) {
        let meta = object.meta();
        let at = (K::KIND, meta.namespace.clone().unwrap_or_default(), meta.name.clone().unwrap());
        self.nova.insert(at, Arc::new(object.clone()));
    }

    /// Takes a Nova object away.
    pub fn forget<K: NovaKind>(&mut self, namespace: &str, name: &str) {
        self.nova.remove(&(K::KIND, namespace.to_owned(), name.to_owned())).expect("it was there");
    }

    /// Every object of a kind, the oldest first.
    fn all<K: NovaKind>(&self) -> Vec<&K> {
        let mut all: Vec<&K> = self.nova.values().filter_map(|object| object.downcast_ref()).collect();
        all.sort_by_key(|o| (o.meta().creation_timestamp.clone().map(|t| t.0), o.meta().name.clone()));
        all
    }

    /// Puts a child there that somebody has made for the owner of a UID.
    pub fn place(&mut self, at: ChildRef, owner_uid: &str) {
        let body = json!({"metadata": {"uid": uid_of(&at), "labels": {label::OWNER_UID: owner_uid}}});
        self.children.insert(at, Live { body, applied: None });
    }

    /// The whole body of a child, where all that it belongs to is there.
    pub fn resolved(&self, child: &Child) -> Result<Value, String> {
        let uid_of = |at: &ChildRef| self.child(at).map(|facts| facts.uid);
        child
            .resolved(uid_of)
            .map_err(|owner| format!("{owner} is not there yet, which {} belongs to", child.at))
    }

    /// Does what a step says, or tells why not.
    pub fn take(&mut self, step: &Step) -> Result<(), String> {
        match step {
            Step::Apply(_, child) => self.apply(child),
            Step::Await(at, is_so, problem) => match self.children.get(at) {
                Some(live) if is_so(live) => Ok(()),
                _ => Err(problem.message.clone()),
            },
            Step::Remove(at) => {
                if self.children.remove(at).is_some() {
                    self.writes.push(format!("remove {at}"));
                }
                Ok(())
            }
        }
    }

    /// Applies a child as the operator does: not where it is so already, never on what is not its own.
    pub fn apply(&mut self, child: &Child) -> Result<(), String> {
        let desired = self.resolved(child)?;
        let live = self.children.get(&child.at);
        if let Some(live) = live {
            if ownership(live, &child.owner_uid) != Ownership::Ours {
                return Err(format!("{} is foreign", child.at));
            }
            if is_applied(&desired, live) {
                return Ok(());
            }
        }
        let replaced = live.filter(|live| !child.needs_replacing(&desired, live));
        let mut applied = ssa::apply(replaced, &desired);
        applied.body["metadata"]["uid"] = uid_of(&child.at).into();
        if child.at.kind == &NAMESPACE {
            applied.body["metadata"]["labels"]["kubernetes.io/metadata.name"] = child.at.name.clone().into();
        }
        self.children.insert(child.at.clone(), applied);
        self.writes.push(format!("apply {}", child.at));
        Ok(())
    }

    /// The quota controller has its turn: what a quota asks for counts from now on.
    pub fn run_quota_controller(&mut self) {
        for (_, quota) in self.children.iter_mut().filter(|(at, _)| at.kind == &RESOURCE_QUOTA) {
            let hard = quota.body.pointer("/spec/hard").cloned().unwrap_or_else(|| json!({}));
            let used: serde_json::Map<String, Value> =
                hard.as_object().into_iter().flatten().map(|(key, _)| (key.clone(), "0".into())).collect();
            quota.body["status"] = json!({ "hard": hard, "used": used });
        }
    }
}

/// Name of the oldest object with a value.
fn oldest_with<K: NovaKind>(all: &[&K], is: impl Fn(&K) -> bool) -> Option<String> {
    all.iter().find(|object| is(object))?.meta().name.clone()
}

impl Lookup for Cluster {
    fn nova<K: NovaKind>(&self, namespace: &str, name: &str) -> Option<Arc<K>> {
        let object = self.nova.get(&(K::KIND, namespace.to_owned(), name.to_owned()))?;
        Some(object.clone().downcast().unwrap())
    }

    fn unreadable<K: NovaKind>(&self, _: &str, _: &str) -> bool {
        false
    }

    fn child(&self, at: &ChildRef) -> Option<ChildFacts> {
        let live = self.children.get(at)?;
        let owner =
            live.body.pointer("/metadata/labels").and_then(|labels| labels[label::OWNER_UID].as_str());
        Some(ChildFacts {
            uid: live.text("/metadata/uid").unwrap().to_owned(),
            owner_uid: owner.map(str::to_owned),
            deleting: live.deleting(),
        })
    }

    fn installed(&self, crd: &str) -> bool {
        self.definitions.contains(crd)
    }

    fn oldest<K: NovaKind>(&self, index: &'static str, value: &str) -> Option<String> {
        match (K::KIND, index) {
            ("NovaTenant", index::DEV_GROUP) => {
                oldest_with(&self.all::<NovaTenant>(), |tenant| dev_group_of(tenant) == value)
            }
            ("NovaApp", index::COMPONENT) => oldest_with(&self.all::<NovaApp>(), |app| {
                let (meta, spec) = (&app.metadata, &app.spec);
                let component = spec.component(meta.name.as_deref().unwrap());
                format!("{}/{component}", meta.namespace.as_deref().unwrap()) == value
            }),
            other => panic!("no plan has asked for {other:?} so far"),
        }
    }
}
