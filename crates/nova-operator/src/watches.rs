//! Every watch of the operator: one for each kind, selected by label and stripped where that is enough.

use std::sync::Arc;

use k8s_openapi::api::admissionregistration::v1::ValidatingWebhookConfiguration;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, ApiResource, DynamicObject};
use kube::core::{GroupVersionKind, PartialObjectMeta, ResourceExt, TypeMeta};
use kube::runtime::watcher::Config;
use nova_api::v1alpha1::{NovaApp, NovaCluster, NovaPlan, NovaProject, NovaSandbox, NovaTenant};
use nova_plan::adapters::workload::health;
use nova_plan::adapters::{capsule, vela};
use nova_plan::app::Leaf;
use nova_plan::child::ChildKind;
use nova_plan::names::{MANAGED_SELECTOR, Managed, label, parse_namespace};
use tokio::task::JoinSet;

use crate::context::{Context, LeafRow, Tabled, resource};
use crate::guard::Guarded;
use crate::observe::{Change, watch};
use crate::row::Row;
use crate::table::{Place, Table, place_of, version_of};

/// Objects of one page of a list: small enough that a page's memory is given back.
const PAGE: u32 = 250;
/// The same where people write what is in an object: a page of the largest ones still fits.
const PAGE_OF_LARGE: u32 = 25;

/// Kinds that can be the leaf of an app: group, version, kind, plural.
pub const LEAVES: [(&str, &str, &str, &str); 6] = [
    ("", "v1", "Pod", "pods"),
    ("", "v1", "PersistentVolumeClaim", "persistentvolumeclaims"),
    ("apps", "v1", "Deployment", "deployments"),
    ("apps", "v1", "StatefulSet", "statefulsets"),
    ("apps", "v1", "DaemonSet", "daemonsets"),
    ("batch", "v1", "Job", "jobs"),
];

fn everything() -> Config {
    Config::default().page_size(PAGE)
}

fn everything_large() -> Config {
    Config::default().page_size(PAGE_OF_LARGE)
}

/// Watches whose CRD may come later, with the CRD's name.
const OPTIONAL: [(ChildKind, &str); 2] =
    [(ChildKind::CapsuleTenant, capsule::CRD), (ChildKind::Application, vela::CRD)];

/// Starts what can be watched from the start.
pub fn start(ctx: &Arc<Context>, tasks: &mut JoinSet<()>) {
    nova::<NovaCluster>(ctx, tasks);
    nova::<NovaPlan>(ctx, tasks);
    nova::<NovaTenant>(ctx, tasks);
    nova::<NovaProject>(ctx, tasks);
    nova::<NovaSandbox>(ctx, tasks);
    nova::<NovaApp>(ctx, tasks);
    for kind in ChildKind::ALL {
        if !OPTIONAL.iter().any(|(optional, _)| *optional == kind) {
            child(ctx, tasks, kind);
        }
    }
    for (group, version, kind, plural) in LEAVES {
        let resource =
            ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, version, kind), plural);
        leaf(ctx, tasks, kind, &resource);
    }
    webhooks(ctx, tasks);
    crds(ctx, tasks);
}

/// A Nova kind. One object that does not parse is logged, and stays as it was last understood; it does not stop the
/// others, and what is known of it is enough to delete it.
fn nova<K: Tabled>(ctx: &Arc<Context>, tasks: &mut JoinSet<()>) {
    let table = K::table(&ctx.tables).clone();
    let known = table.clone();
    let teller = ctx.clone();
    let project = move |guarded: Guarded<K>| {
        let at = place_of(&guarded);
        let mut object = match guarded.object {
            Ok(object) => object,
            Err(error) => {
                tracing::error!(
                    kind = K::KIND,
                    namespace = at.0,
                    name = at.1,
                    error,
                    "object cannot be read"
                );
                let last = known.get(&at.0, &at.1);
                if guarded.metadata.deletion_timestamp.is_none() {
                    let (ctx, metadata) = (teller.clone(), guarded.metadata);
                    tokio::spawn(async move { ctx.tell_unreadable::<K>(&metadata, &error).await });
                    return Some((at, last?));
                }
                let mut last = last?;
                *Arc::make_mut(&mut last).meta_mut() = guarded.metadata;
                Arc::unwrap_or_clone(last)
            }
        };
        object.meta_mut().managed_fields = None;
        Some((at, Arc::new(object)))
    };
    let ctx = ctx.clone();
    let api: Api<Guarded<K>> = Api::all(ctx.client.clone());
    let metrics = ctx.metrics.clone();
    tasks.spawn(watch(K::KIND, api, everything_large(), table, metrics, project, move |change| {
        K::route(&ctx, &change);
    }));
}

/// A kind of child. Namespaces and Applications are all seen, foreign ones too; the others by our label.
fn child(ctx: &Arc<Context>, tasks: &mut JoinSet<()>, kind: ChildKind) {
    let config = match kind {
        ChildKind::Application => everything_large(),
        ChildKind::Namespace | ChildKind::CapsuleTenant => everything(),
        _ => everything().labels(MANAGED_SELECTOR),
    };
    let table = ctx.children(kind).clone();
    dynamic(ctx, tasks, (kind.display(), resource(kind)), config, table, move |ctx, change| {
        ctx.route_child(kind, change);
    });
}

/// The object of a guard; one that cannot be read is logged and counts as not there.
fn read(kind: &'static str, guarded: Guarded<DynamicObject>) -> Option<DynamicObject> {
    let at = place_of(&guarded);
    let log = |error: &String| {
        tracing::error!(kind, namespace = at.0, name = at.1, error, "object cannot be read");
    };
    guarded.object.inspect_err(log).ok()
}

fn keep(object: DynamicObject) -> (Place, Row) {
    (place_of(&object), Row::new(object))
}

fn dynamic(
    ctx: &Arc<Context>,
    tasks: &mut JoinSet<()>,
    (kind, resource): (&'static str, ApiResource),
    config: Config,
    table: Arc<Table<Row>>,
    route: impl Fn(&Context, &Change<'_, Row>) + Send + 'static,
) {
    let api: Api<Guarded<DynamicObject>> = Api::all_with(ctx.client.clone(), &resource);
    let ctx = ctx.clone();
    let metrics = ctx.metrics.clone();
    // Items of a list of built-in kinds come without their type, and what is compared with them has one.
    let types = TypeMeta { api_version: resource.api_version, kind: resource.kind };
    tasks.spawn(watch(
        kind,
        api,
        config,
        table,
        metrics,
        move |guarded: Guarded<DynamicObject>| {
            let mut object = read(kind, guarded)?;
            object.types = Some(types.clone());
            Some(keep(object))
        },
        move |change| route(&ctx, &change),
    ));
}

/// Pods and workloads that carry the name of an Application; of each only its health is kept.
fn leaf(ctx: &Arc<Context>, tasks: &mut JoinSet<()>, kind: &'static str, resource: &ApiResource) {
    let Some((_, table)) = ctx.tables.leaves.iter().find(|(k, _)| *k == kind) else { return };
    let table = table.clone();
    let api: Api<Guarded<DynamicObject>> = Api::all_with(ctx.client.clone(), resource);
    let ctx = ctx.clone();
    let metrics = ctx.metrics.clone();
    let project = move |guarded: Guarded<DynamicObject>| {
        let mut object = read(kind, guarded)?;
        let at = place_of(&object);
        // Anybody may write such a label in a sandbox.
        if !matches!(parse_namespace(&at.0), Some((_, Managed::App(_)))) {
            return None;
        }
        let app = object.labels().get(label::VELA_APP)?.clone();
        let revision = object.labels().get(label::VELA_REVISION).cloned();
        let (version, name) = (version_of(&object), object.name_any());
        kind.clone_into(&mut object.types.get_or_insert_default().kind);
        let live = serde_json::to_value(object).ok()?;
        Some((
            at,
            LeafRow { version, app, leaf: Arc::new(Leaf { kind, name, revision, health: health(&live) }) },
        ))
    };
    let config = everything_large().labels(label::VELA_APP);
    tasks.spawn(watch(kind, api, config, table, metrics, project, move |change| ctx.route_leaf(&change)));
}

/// Webhook configurations, for what `NovaCluster` says of Capsule's.
fn webhooks(ctx: &Arc<Context>, tasks: &mut JoinSet<()>) {
    let kind = "ValidatingWebhookConfiguration";
    let resource = ApiResource::erase::<ValidatingWebhookConfiguration>(&());
    let table = ctx.tables.webhooks.clone();
    dynamic(ctx, tasks, (kind, resource), everything(), table, |ctx, _| {
        ctx.queue.add(crate::key::Key::cluster(), crate::queue::Lane::Background);
    });
}

/// CRDs, metadata only: which backends there are.
fn crds(ctx: &Arc<Context>, tasks: &mut JoinSet<()>) {
    let api: Api<PartialObjectMeta<CustomResourceDefinition>> = Api::all(ctx.client.clone());
    let table = ctx.tables.crds.clone();
    let metrics = ctx.metrics.clone();
    let ctx = ctx.clone();
    let project = |crd: PartialObjectMeta<CustomResourceDefinition>| {
        let mut object =
            DynamicObject::new(&crd.name_any(), &ApiResource::erase::<CustomResourceDefinition>(&()));
        object.metadata = crd.metadata;
        object.metadata.annotations = None;
        Some(keep(object))
    };
    tasks.spawn(watch(
        "CustomResourceDefinition",
        api,
        everything(),
        table,
        metrics,
        project,
        move |change| {
            let name = change.at.1.as_str();
            if name == capsule::CRD || name == vela::CRD {
                ctx.route_backend();
            }
        },
    ));
}

/// Watches that begin when their CRD is there, and are left to wait when it goes.
#[derive(Debug, Default)]
pub struct Optional {
    started: Vec<ChildKind>,
}

impl Optional {
    /// Starts those whose CRD is there and that are not running yet.
    pub fn start(&mut self, ctx: &Arc<Context>, tasks: &mut JoinSet<()>) {
        for (kind, crd) in OPTIONAL {
            if self.started.contains(&kind) || !ctx.installed(crd) {
                continue;
            }
            self.started.push(kind);
            child(ctx, tasks, kind);
            if kind == ChildKind::Application {
                let gvk = GroupVersionKind::gvk("core.oam.dev", "v1beta1", "ComponentDefinition");
                let resource = ApiResource::from_gvk_with_plural(&gvk, "componentdefinitions");
                let table = ctx.tables.definitions.clone();
                let config =
                    everything().fields(&format!("metadata.namespace={}", vela::DEFINITIONS_NAMESPACE));
                dynamic(ctx, tasks, ("ComponentDefinition", resource), config, table, |ctx, change| {
                    ctx.route_definition(change);
                });
            }
        }
    }

    /// Tables of the optional watches that run.
    pub fn tables(&self, ctx: &Context) -> Vec<Arc<Table<Row>>> {
        let vela = self.started.contains(&ChildKind::Application);
        let definitions = vela.then(|| ctx.tables.definitions.clone());
        self.started.iter().map(|kind| ctx.children(*kind).clone()).chain(definitions).collect()
    }
}
