//! What every controller shares: the client, the tables, the queue, and who is well. No decisions here.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{Api, ApiResource, DynamicObject};
use kube::core::GroupVersionKind;
use kube::{Client, ResourceExt};
use nova_api::v1alpha1::{NovaApp, NovaCluster, NovaPlan, NovaProject, NovaSandbox, NovaTenant};
use nova_plan::adapters::{capsule, vela};
use nova_plan::app::Leaf;
use nova_plan::child::{ChildKind, ChildRef};
use tokio::time::Instant;

use crate::backoff::Backoff;
use crate::key::{Key, Kind};
use crate::metrics::Metrics;
use crate::observe::Change;
use crate::pace::Pace;
use crate::queue::{Lane, Queue};
use crate::row::Row;
use crate::since::Since;
use crate::table::{Table, Versioned};

/// A leaf of an app, as kept in its table.
#[derive(Debug, Clone)]
pub struct LeafRow {
    /// Resource version.
    pub version: u64,
    /// The app whose name it carries.
    pub app: String,
    /// What it is and how it is.
    pub leaf: Arc<Leaf>,
}

impl Versioned for LeafRow {
    fn version(&self) -> u64 {
        self.version
    }
}

/// Everything that is watched.
#[derive(Debug, Default)]
pub struct Tables {
    /// `NovaClusters`.
    pub clusters: Arc<Table<Arc<NovaCluster>>>,
    /// `NovaPlans`.
    pub plans: Arc<Table<Arc<NovaPlan>>>,
    /// `NovaTenants`.
    pub tenants: Arc<Table<Arc<NovaTenant>>>,
    /// `NovaProjects`.
    pub projects: Arc<Table<Arc<NovaProject>>>,
    /// `NovaSandboxes`.
    pub sandboxes: Arc<Table<Arc<NovaSandbox>>>,
    /// `NovaApps`.
    pub apps: Arc<Table<Arc<NovaApp>>>,
    /// Children, a table for each kind.
    pub children: HashMap<ChildKind, Arc<Table<Row>>>,
    /// Pods, workloads and claims of apps.
    pub leaves: Vec<(&'static str, Arc<Table<LeafRow>>)>,
    /// Vela's component definitions.
    pub definitions: Arc<Table<Row>>,
    /// CRDs, by name.
    pub crds: Arc<Table<Row>>,
    /// Webhook configurations.
    pub webhooks: Arc<Table<Row>>,
}

/// A table of each Nova kind, for generic code.
pub trait Tabled: nova_api::NovaKind {
    /// The kind as a key has it.
    const KEY: Kind;

    /// Its table.
    fn table(tables: &Tables) -> &Arc<Table<Arc<Self>>>;

    /// Tells those whom a change of it concerns.
    fn route(ctx: &Context, change: &Change<'_, Arc<Self>>);

    /// What status calls it, such as `NovaProject tn-acme/shop`.
    fn title(&self) -> String {
        title_of(Self::KIND, self.meta())
    }

    /// The key of an object.
    fn key(&self) -> Key {
        Key::new(Self::KEY, &self.namespace().unwrap_or_default(), &self.name_any())
    }
}

/// What status calls an object, by its kind and metadata.
#[must_use]
pub fn title_of(kind: &str, meta: &ObjectMeta) -> String {
    let place = meta.namespace.as_ref().map(|namespace| format!("{namespace}/")).unwrap_or_default();
    format!("{kind} {place}{}", meta.name.as_deref().unwrap_or_default())
}

macro_rules! tabled {
    ($($type:ident, $kind:ident, $field:ident, $route:ident;)+) => {$(
        impl Tabled for $type {
            const KEY: Kind = Kind::$kind;

            fn table(tables: &Tables) -> &Arc<Table<Arc<Self>>> {
                &tables.$field
            }

            fn route(ctx: &Context, change: &Change<'_, Arc<Self>>) {
                ctx.$route(change);
            }
        }
    )+};
}

tabled! {
    NovaCluster, Cluster, clusters, route_cluster;
    NovaPlan, Plan, plans, route_plan;
    NovaTenant, Tenant, tenants, route_tenant;
    NovaProject, Project, projects, route_project;
    NovaSandbox, Sandbox, sandboxes, route_sandbox;
    NovaApp, App, apps, route_app;
}

/// What all controllers share.
pub struct Context {
    /// Without kube's own retries: the queue retries.
    pub client: Client,
    /// What was seen.
    pub tables: Tables,
    /// What is to be done.
    pub queue: Arc<Queue>,
    /// When to try again.
    pub backoff: Backoff,
    /// How often Vela was told to try once more.
    pub retries: Backoff,
    /// Since when a workspace lacks quota.
    pub lacking: Since,
    /// When work in progress was last told.
    pub pace: Pace,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// Which backends answer.
    pub backends: Backends,
    /// Live Nova objects by UID.
    pub owners: Mutex<HashMap<String, Key>>,
    /// Id of the trace that the caller is in, as hex; empty outside of one.
    pub request_id: fn() -> String,
}

impl Context {
    /// Dynamic API for a child.
    #[must_use]
    pub fn api(&self, at: &ChildRef) -> Api<DynamicObject> {
        let resource = resource(at.kind);
        if at.kind.cluster_scoped() {
            Api::all_with(self.client.clone(), &resource)
        } else {
            Api::namespaced_with(self.client.clone(), &at.namespace, &resource)
        }
    }

    /// Table of a kind of child.
    #[must_use]
    pub fn children(&self, kind: ChildKind) -> &Arc<Table<Row>> {
        // Tables are made for every kind at start.
        self.tables.children.get(&kind).expect("a table because ChildKind::ALL has every kind")
    }

    /// A child as last seen.
    #[must_use]
    pub fn child(&self, at: &ChildRef) -> Option<Row> {
        self.children(at.kind).get(&at.namespace, &at.name)
    }

    /// Objects of the kind that were in the same namespace before `object`, or were made in the same second and come
    /// before it by name.
    #[must_use]
    pub fn older<K: Tabled>(&self, object: &K) -> Vec<Arc<K>> {
        let age = |o: &K| (o.creation_timestamp().map(|c| c.0), o.name_any());
        let mine = age(object);
        let namespace = object.namespace().unwrap_or_default();
        K::table(&self.tables).inside(&namespace, |other| age(other) < mine)
    }

    /// Forgets how often what was tried with an object that is gone.
    pub fn forget(&self, key: &Key) {
        self.backoff.reset(key);
        self.retries.reset(key);
        self.pace.ended(key);
        self.lacking.over(key);
    }

    /// The Nova object that has a UID, if it is alive.
    #[must_use]
    pub fn owner(&self, uid: &str) -> Option<Key> {
        self.owners.lock().unwrap_or_else(PoisonError::into_inner).get(uid).cloned()
    }

    /// True when there may be objects of a CRD: also while it is being deleted.
    #[must_use]
    pub fn defined(&self, crd: &str) -> bool {
        self.tables.crds.get("", crd).is_some()
    }

    /// True when objects of a CRD can be made.
    #[must_use]
    pub fn installed(&self, crd: &str) -> bool {
        self.tables.crds.get("", crd).is_some_and(|row| !row.deleting())
    }

    /// A write failed because Capsule's webhook did not answer, in the API server's words.
    pub fn capsule_is_away(&self, words: &str) {
        let mut capsule = self.backends.capsule.lock().unwrap_or_else(PoisonError::into_inner);
        let news = capsule.is_none();
        // The first words stay: others for each webhook and try would make every status change all the time.
        capsule.get_or_insert_with(|| nova_api::conditions::clip(words, 500));
        drop(capsule);
        if news {
            tracing::warn!(adapter = capsule::COMPONENT, words, "capsule does not answer");
            self.tell_everyone();
        }
    }

    /// Capsule answers again: what failed meanwhile is tried at once.
    pub fn capsule_is_back(&self) {
        let was = self.backends.capsule.lock().unwrap_or_else(PoisonError::into_inner).take();
        if was.is_some() {
            tracing::info!(adapter = capsule::COMPONENT, "capsule answers again");
            self.tell_everyone();
            self.queue.flush();
        }
    }

    fn tell_everyone(&self) {
        self.queue.add(Key::cluster(), Lane::Edit);
        for tenant in self.tables.tenants.all() {
            self.queue.add(tenant.key(), Lane::Edit);
        }
    }

    /// Vela has acted on an Application.
    pub fn vela_acted(&self) {
        *self.backends.vela_acted.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        if self.backends.vela_silent.swap(false, Ordering::Relaxed) {
            tracing::info!(adapter = vela::COMPONENT, "vela answers again");
            self.queue.add(Key::cluster(), Lane::Edit);
        }
    }

    /// How long Vela may still be silent about work that waits since `since`, before that is a fault.
    /// It works through a long line of Applications one after the other, so any sign of life counts. Where it was
    /// silent already before this process began (`known_silent`), it stays so until there is such a sign.
    #[must_use]
    pub fn vela_patience(&self, since: Instant, known_silent: bool) -> Duration {
        let acted = *self.backends.vela_acted.lock().unwrap_or_else(PoisonError::into_inner);
        match acted {
            None if known_silent => Duration::ZERO,
            None => VELA_SILENCE.saturating_sub(since.elapsed()),
            Some(acted) => VELA_SILENCE.saturating_sub(acted.max(since).elapsed()),
        }
    }

    /// Vela has been silent for too long.
    pub fn vela_is_silent(&self) {
        if !self.backends.vela_silent.swap(true, Ordering::Relaxed) {
            tracing::warn!(adapter = vela::COMPONENT, "vela does not act on Applications");
            self.queue.add(Key::cluster(), Lane::Edit);
        }
    }
}

/// Silence after which Vela counts as away. Its reaction to a new Application takes well below a second.
pub const VELA_SILENCE: Duration = Duration::from_secs(8);

/// Which backends answer, as far as our own requests have shown.
#[derive(Debug, Default)]
pub struct Backends {
    /// Why Capsule does not answer; none while it does.
    pub capsule: Mutex<Option<String>>,
    /// When it was last asked whether it is back.
    pub capsule_probed: Mutex<Option<Instant>>,
    /// When Vela last acted on any Application; none as long as this process has not seen it act.
    pub vela_acted: Mutex<Option<Instant>>,
    /// Vela has been silent for too long.
    pub vela_silent: AtomicBool,
}

impl Backends {
    /// How long to wait before Capsule may be asked again whether it is back; zero, once in every `interval`, for now.
    #[must_use]
    pub fn probe_in(&self, interval: Duration) -> Duration {
        let mut last = self.capsule_probed.lock().unwrap_or_else(PoisonError::into_inner);
        let wait = last.map_or(Duration::ZERO, |at| interval.saturating_sub(at.elapsed()));
        if wait.is_zero() {
            *last = Some(Instant::now());
        }
        wait
    }

    /// Why Capsule does not answer.
    #[must_use]
    pub fn capsule_words(&self) -> Option<String> {
        self.capsule.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The resource of a kind of child; no discovery, because the versions are pinned.
#[must_use]
pub fn resource(kind: ChildKind) -> ApiResource {
    let (group, version, kind, plural) = kind.gvk();
    ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, version, kind), plural)
}
