//! Deletes, each decided from a live read and bound to UID and resource version.

use std::fmt::Debug;

use futures::TryStreamExt;
use futures::stream::FuturesUnordered;
use kube::api::{Api, DeleteParams, DynamicObject, Patch, PatchParams, Preconditions};
use kube::{Resource, ResourceExt};
use nova_api::conditions::{BlockerClass, Code, ConditionType, Reason};
use nova_api::{NovaKind, NovaStatus};
use nova_plan::Problem;
use nova_plan::child::{ChildKind, ChildRef, Ownership, ownership};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::context::{Context, Tabled, resource, title_of};
use crate::guard::Guarded;
use crate::key::Kind;
use crate::observe::list;
use crate::row::Row;
use crate::stop::{Doing, Stop};

/// Stage that a deletion is told under.
pub const DELETING: ConditionType = ConditionType::DeletionBlocked;

/// After so many seconds a deletion that waits for others counts as blocked.
const PATIENCE_SECONDS: i64 = 60;

/// Deletes of one pass: it has to come to its end, also where a webhook slows each of them down.
const AT_A_TIME: usize = 40;
/// Deletes that wait for their answers at once.
const SIDE_BY_SIDE: usize = 8;

/// How many objects a status names.
const NAMED: usize = 5;

impl Context {
    /// Deletes a child that is ours and waits until it is gone. Foreign objects are left alone.
    pub async fn remove(&self, at: &ChildRef, owner_uid: &str) -> Result<(), Stop> {
        let Some(live) = self.live_if_installed(at).await? else { return Ok(()) };
        if ownership(&live, owner_uid) != Ownership::Ours {
            return Ok(());
        }
        if live.pointer("/metadata/deletionTimestamp").is_none() {
            let object = at.to_string();
            let text = |pointer| live.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
            let preconditions = Preconditions {
                uid: text("/metadata/uid"),
                resource_version: text("/metadata/resourceVersion"),
            };
            self.delete(&self.api(at), &at.name, preconditions, &object).await?;
            let lingers = at.kind == ChildKind::Namespace || live.pointer("/metadata/finalizers").is_some();
            if !lingers {
                return Ok(());
            }
        }
        Err(waiting(at, &live).into())
    }

    /// Takes a finalizer of ours off a child, as it was last seen.
    pub async fn drop_finalizer(&self, at: &ChildRef, row: &Row, finalizer: &str) -> Result<(), Stop> {
        let mut metadata = row.body()["metadata"].take();
        let Some(list) = metadata["finalizers"].as_array_mut() else { return Ok(()) };
        let Some(ours) = list.iter().position(|f| f == finalizer) else { return Ok(()) };
        list.remove(ours);
        let patch = json!({"metadata": {
            "finalizers": metadata["finalizers"],
            "uid": metadata["uid"],
            "resourceVersion": metadata["resourceVersion"],
        }});
        let object = at.to_string();
        let doing = Doing { stage: DELETING, object: &object };
        let field_manager = Some(Kind::Project.manager().to_owned());
        let (params, patch) = (PatchParams { field_manager, ..PatchParams::default() }, Patch::Merge(&patch));
        match self.ask(doing, self.api(at).patch(&at.name, &params, &patch)).await? {
            Ok(_) => Ok(()),
            Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
            Err(error) => Err(self.failed(&error, doing)),
        }
    }

    /// Where the CRD itself is gone, so are its objects.
    async fn live_if_installed(&self, at: &ChildRef) -> Result<Option<Value>, Stop> {
        let (group, _, _, plural) = at.kind.gvk();
        let builtin = !matches!(at.kind, ChildKind::CapsuleTenant | ChildKind::Application);
        if builtin || self.defined(&format!("{plural}.{group}")) {
            self.live(DELETING, at).await
        } else {
            Ok(None)
        }
    }

    /// One delete, with preconditions.
    async fn delete<K>(&self, api: &Api<K>, name: &str, only: Preconditions, object: &str) -> Result<(), Stop>
    where
        K: Clone + DeserializeOwned + Debug,
    {
        let doing = Doing { stage: DELETING, object };
        let params = DeleteParams::background().preconditions(only);
        match self.ask(doing, api.delete(name, &params)).await? {
            Ok(_) => Ok(()),
            Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
            Err(error) => Err(self.failed(&error, doing)),
        }
    }

    /// Nova objects of a kind that are in a namespace now, also those that cannot be read.
    pub async fn inside<K>(&self, namespace: &str) -> Result<Vec<Guarded<K>>, Stop>
    where
        K: Tabled + Resource<Scope = k8s_openapi::NamespaceResourceScope>,
    {
        self.listed(&Api::namespaced(self.client.clone(), namespace), &K::plural(&())).await
    }

    /// Applications that are in a namespace now; none where Vela is not installed.
    pub async fn applications(&self, namespace: &str) -> Result<Vec<Guarded<DynamicObject>>, Stop> {
        if !self.defined(nova_plan::adapters::vela::CRD) {
            return Ok(Vec::new());
        }
        let resource = resource(ChildKind::Application);
        self.listed(&Api::namespaced_with(self.client.clone(), namespace, &resource), "applications").await
    }

    async fn listed<K>(&self, api: &Api<K>, what: &str) -> Result<Vec<K>, Stop>
    where
        K: Resource + Clone + Debug + DeserializeOwned + Send + 'static,
    {
        let doing = Doing { stage: DELETING, object: what };
        match self.ask(doing, list(api)).await? {
            Ok(items) => Ok(items),
            Err(kube::Error::Api(status)) if status.is_not_found() => Ok(Vec::new()),
            Err(error) => Err(self.failed(&error, doing)),
        }
    }

    async fn delete_nova<K>(&self, object: &Guarded<K>) -> Result<(), Stop>
    where
        K: Tabled + Resource<Scope = k8s_openapi::NamespaceResourceScope>,
    {
        let api: Api<K> = Api::namespaced(self.client.clone(), &object.namespace().unwrap_or_default());
        let only = Preconditions { uid: object.uid(), resource_version: object.resource_version() };
        self.delete(&api, &object.name_any(), only, &title(object)).await
    }

    /// Deletes Nova objects as part of a cascade; returns the problem to wait with while any is left.
    pub async fn cascade<K>(&self, objects: &[Guarded<K>]) -> Result<(), Stop>
    where
        K: Tabled + Resource<Scope = k8s_openapi::NamespaceResourceScope>,
    {
        let Some(first) = objects.first() else { return Ok(()) };
        let mut deletes = FuturesUnordered::new();
        for object in objects.iter().filter(|o| o.meta().deletion_timestamp.is_none()).take(AT_A_TIME) {
            if deletes.len() == SIDE_BY_SIDE {
                deletes.try_next().await?;
            }
            deletes.push(self.delete_nova(object));
        }
        while deletes.try_next().await?.is_some() {}
        let left = format!("{} to delete first: {}", objects.len(), named(objects));
        let gone_since = |o: &Guarded<K>| o.meta().deletion_timestamp.as_ref().map(|t| t.0);
        let Some((since, oldest)) =
            objects.iter().filter_map(|o| Some((gone_since(o)?, o))).min_by_key(|o| o.0)
        else {
            let problem = Problem::progress(DELETING, title(first), left);
            return Err(Problem { reason: Reason::Deleting, ..problem }.into());
        };
        // What it waits for is in its own status, unless somebody else holds it.
        let others = oldest.finalizers().iter().filter(|f| Some(f.as_str()) != K::finalizer());
        let others: Vec<&str> = others.map(String::as_str).collect();
        let status = oldest.object.as_ref().ok().and_then(NovaKind::status);
        let ready = status.and_then(|s| s.core().condition(ConditionType::Ready));
        let words = match ready.filter(|c| c.status == "False") {
            _ if !others.is_empty() => format!("; it waits for {}", others.join(", ")),
            Some(ready) => format!("; it says: {}", ready.message),
            None => String::new(),
        };
        let place = format!("{} {}", K::KIND.to_lowercase(), oldest.name_any());
        let fix = format!(
            "if it stays, see what it waits for: kubectl -n {} describe {place}",
            oldest.namespace().unwrap_or_default()
        );
        let problem = Problem::progress(DELETING, title(oldest), left + &words).fix(fix);
        Err(overdue(Problem { reason: Reason::Deleting, ..problem }, Some(since)).into())
    }

    /// Waits until the Applications of a namespace are gone: Vela takes down what they made.
    pub async fn applications_gone(&self, namespace: &str) -> Result<(), Stop> {
        let left = self.applications(namespace).await?;
        // The one that is deleted longest tells most.
        let Some(first) = left.iter().min_by_key(|a| a.metadata.deletion_timestamp.as_ref().map(|t| t.0))
        else {
            return Ok(());
        };
        let at = ChildRef {
            kind: ChildKind::Application,
            namespace: namespace.to_owned(),
            name: first.name_any(),
        };
        let live = serde_json::json!({"metadata": first.metadata});
        if live.pointer("/metadata/deletionTimestamp").is_none()
            && live.pointer("/metadata/ownerReferences").is_none()
        {
            return Err(blocked(
                &at,
                format!(
                    "it was not made by KubeNova and is still there; {} in all: {}",
                    left.len(),
                    named(&left)
                ),
                format!("kubectl -n {namespace} delete application {}", at.name),
            )
            .into());
        }
        Err(waiting(&at, &live).into())
    }
}

/// An object on its way out: what it waits for in its own words, and where to look should it stay.
pub fn leaving(stage: ConditionType, at: &ChildRef, live: &Value) -> Problem {
    let mut message = "it is being deleted".to_owned();
    let words = |pointer| live.pointer(pointer).and_then(Value::as_array).into_iter().flatten();
    let finalizers: Vec<&str> = words("/metadata/finalizers").filter_map(Value::as_str).collect();
    if !finalizers.is_empty() {
        message = format!("{message} and waits for {}", finalizers.join(", "));
    }
    let holds =
        |c: &&Value| c["status"] == "True" && c["type"].as_str().is_some_and(|t| t.starts_with("Namespace"));
    for remains in words("/status/conditions").filter(holds).filter_map(|c| c["message"].as_str()) {
        message = format!("{message}; {remains}");
    }
    let problem = Problem { reason: Reason::Deleting, ..Problem::progress(stage, at, message) };
    match at.kind {
        ChildKind::Application => {
            problem.fix("if it stays, see whether vela-core runs: kubectl -n vela-system get pods")
        }
        ChildKind::CapsuleTenant => {
            problem.fix("if it stays, see whether Capsule runs: kubectl -n capsule-system get pods")
        }
        ChildKind::Namespace => {
            problem.fix(format!("if it stays, see what is left: kubectl describe namespace {}", at.name))
        }
        _ => problem,
    }
}

/// A deletion that waits for an object on its way out, and that counts as blocked by it after a while.
fn waiting(at: &ChildRef, live: &Value) -> Problem {
    let since = live.pointer("/metadata/deletionTimestamp").and_then(Value::as_str);
    overdue(leaving(DELETING, at, live), since.and_then(|t| t.parse().ok()))
}

fn overdue(problem: Problem, since: Option<jiff::Timestamp>) -> Problem {
    let late = |at: jiff::Timestamp| jiff::Timestamp::now().as_second() - at.as_second() > PATIENCE_SECONDS;
    if !since.is_some_and(late) {
        return problem;
    }
    Problem { reason: Reason::DeletionBlocked, ..problem }.code(Code::Kn409).class(BlockerClass::Platform)
}

/// What status calls an object, such as `NovaApp tn-acme-app-shop/web`.
pub fn title<K: Tabled>(object: &Guarded<K>) -> String {
    title_of(K::KIND, &object.metadata)
}

/// A deletion that goes on by itself counts as done where nobody waits for its end.
pub fn begun(deletion: Result<(), Stop>) -> Result<(), Stop> {
    match deletion {
        Err(Stop::Problem(problem)) if problem.is_progress() => Ok(()),
        other => other,
    }
}

/// A deletion that somebody has to make way for.
pub fn blocked(object: impl ToString, message: String, fix: String) -> Problem {
    Problem::new(DELETING, Reason::DeletionBlocked, object, message)
        .code(Code::Kn409)
        .class(BlockerClass::User)
        .fix(fix)
}

/// The first few names, and how many more there are.
pub fn named<K: ResourceExt>(objects: &[K]) -> String {
    let first: Vec<String> = objects.iter().take(NAMED).map(ResourceExt::name_any).collect();
    let more = objects.len().saturating_sub(NAMED);
    if more == 0 { first.join(", ") } else { format!("{} and {more} more", first.join(", ")) }
}
