//! The one place where children are written: server-side apply, only when something differs, only on what is ours.

use std::sync::Arc;
use std::time::Duration;

use kube::api::{Patch, PatchParams};
use nova_api::conditions::{BlockerClass, Code, ConditionType, Reason};
use nova_plan::Problem;
use nova_plan::answers::RequestContext;
use nova_plan::child::{Child, ChildRef, Live, Ownership, ROLE_BINDING, Selection, is_applied, ownership};
use nova_plan::deletion::leaving;
use nova_plan::names::{binding_name, role};
use nova_plan::step::{Children, Step};
use serde_json::{Value, json};

use super::cached_object::CachedObject;
use super::cx::Cx;
use super::fetched::{Fetched, hash};
use super::health::DryRun;
use super::interrupt::{Interrupt, ignore_in_progress};
use super::key::ObjectKey;
use super::relations::Change;
use super::request::CALL_TIMEOUT;
use super::throttle::REPAIRS_REFILL;

/// How long an authoriser may take to see a binding.
const YOUNG: Duration = Duration::from_secs(5);

impl Cx<'_> {
    /// Carries out a plan, step by step; the first that cannot be done stops it. What somebody else undoes does not.
    pub async fn carry_out(&self, children: impl Children, owner_uid: &str) -> Result<(), Interrupt> {
        let mut contested = Vec::new();
        for step in children.steps() {
            match step {
                Step::Apply(stage, child) => match self.apply(stage, &child).await {
                    Err(Interrupt::Contested(problem)) => contested.push(*problem),
                    applied => drop(applied?),
                },
                Step::Await(at, is_so, problem) => {
                    if !self.cached(&at).is_some_and(|row| is_so(&row.live())) {
                        return Err(Interrupt::Problem(problem));
                    }
                }
                Step::Remove(at) => self.prune(&at, owner_uid).await?,
            }
        }
        Interrupt::unless_empty(contested)
    }

    /// Deletes a child that is no longer asked for, without waiting for its end.
    pub async fn prune(&self, at: &ChildRef, owner_uid: &str) -> Result<(), Interrupt> {
        let ours = |row: &CachedObject| row.owner_uid() == Some(owner_uid) && !row.deleting();
        if self.cached(at).as_ref().is_some_and(ours) {
            ignore_in_progress(self.remove(at, owner_uid).await)?;
        }
        Ok(())
    }

    /// Makes `child` so, and returns it as it is then. No request when it is so already.
    pub async fn apply(&self, stage: ConditionType, child: &Child) -> Result<CachedObject, Interrupt> {
        let uid_of = |at: &ChildRef| self.cached(at).map(|row| row.uid().to_owned());
        let desired = child.resolved(uid_of).map_err(|owner| {
            Problem::progress(stage, &child.at, format!("{owner} is not there yet, which it belongs to"))
        })?;
        let known = self.cached(&child.at);
        if let Some(row) = known.as_ref().filter(|row| row.owner_uid() == Some(child.owner_uid.as_str())) {
            let live = row.live();
            if row.deleting() {
                return Err(leaving(stage, &child.at, &live).into());
            }
            if is_applied(&desired, &live) {
                return Ok(row.clone());
            }
            return self.put_right(stage, child, desired, &live).await;
        }
        // What is not in a store that holds every object of its kind is not there: only a new one is made.
        if known.is_none() && child.at.kind.watch == Selection::All {
            return self.create(stage, child, desired).await;
        }
        // Not seen, or not under our label: only the API server can say whether it is absent, ours or foreign.
        let object = child.at.to_string();
        match self.get_live(RequestContext { stage, object: &object }, &child.at).await? {
            None => self.create(stage, child, desired).await,
            Some(live) => self.take_back(stage, child, desired, &live).await,
        }
    }

    async fn take_back(
        &self,
        stage: ConditionType,
        child: &Child,
        desired: Value,
        live: &Live,
    ) -> Result<CachedObject, Interrupt> {
        if live.deleting() {
            // It is not watched: its end wakes nobody.
            return Err(leaving(stage, &child.at, live).backoff().into());
        }
        match ownership(live, &child.owner_uid) {
            Ownership::Ours => self.put_right(stage, child, desired, live).await,
            // Garbage collection takes what an ownerReference ties to the earlier object.
            Ownership::Earlier(uid) if self.engine.stores.owner(&uid).is_none() && tied_to(live, &uid) => {
                let message = "an earlier one of this name is being collected";
                Err(Problem::progress(stage, &child.at, message).backoff().into())
            }
            Ownership::Earlier(uid) => {
                Err(foreign(stage, &child.at, &format!("it was made for an object with UID {uid}")).into())
            }
            Ownership::Foreign => {
                Err(foreign(stage, &child.at, "it exists and was not made by KubeNova").into())
            }
        }
    }

    /// Applies to what is ours. Where that cannot be done in place, it is made anew.
    async fn put_right(
        &self,
        stage: ConditionType,
        child: &Child,
        desired: Value,
        live: &Live,
    ) -> Result<CachedObject, Interrupt> {
        if child.needs_replacing(&desired, live) {
            self.remove(&child.at, &child.owner_uid).await?;
            return self.create(stage, child, desired).await;
        }
        // To that very object, so that one deleted meanwhile is not made again by accident.
        let uid = json!(live.text("/metadata/uid"));
        let params = PatchParams::apply(self.key.kind.manager()).force();
        // What is put right is part of it: who tries this and that on a child is in no fight with us.
        let what = hash(&format!("{desired}{}", state(live)));
        self.write(stage, &child.at, (desired, what), ("uid", uid), params).await
    }

    /// Applies where nothing is. Alone, an apply would merge into what somebody has made a moment ago; no object has this
    /// version, so only a new one is taken. Otherwise the answer is a conflict, and the next look tells whose it is.
    async fn create(
        &self,
        stage: ConditionType,
        child: &Child,
        desired: Value,
    ) -> Result<CachedObject, Interrupt> {
        let params = PatchParams::apply(self.key.kind.manager());
        let what = hash(&desired.to_string());
        self.write(stage, &child.at, (desired, what), ("resourceVersion", json!("1")), params).await
    }

    /// Writes a child, unless what is written to it is undone each time: that is not repeated for ever.
    async fn write(
        &self,
        stage: ConditionType,
        at: &ChildRef,
        (mut desired, what): (Value, u64),
        (precondition, value): (&str, Value),
        params: PatchParams,
    ) -> Result<CachedObject, Interrupt> {
        if let Some(wait) = self.engine.repairs.wait(at, what) {
            return Err(self.contested(stage, at, wait));
        }
        desired["metadata"][precondition] = value;
        let row = self.patch(stage, at, desired, params).await?;
        if self.engine.repairs.written(at, what) {
            return Err(self.contested(stage, at, REPAIRS_REFILL));
        }
        Ok(row)
    }

    /// Somebody else undoes what is written to a child; it is looked at again after a while.
    fn contested(&self, stage: ConditionType, at: &ChildRef, wait: Duration) -> Interrupt {
        self.requeue_after(wait);
        let ChildRef { kind, namespace, name } = at;
        let place = if namespace.is_empty() { String::new() } else { format!(" -n {namespace}") };
        let message = format!(
            "somebody else changes or deletes it again and again; it is put right every {} s at most",
            REPAIRS_REFILL.as_secs()
        );
        let look = format!("kubectl get {}{place} {name} -o yaml --show-managed-fields", kind.plural);
        let problem = Problem::new(stage, Reason::Throttled, at, message)
            .code(Code::Kn409)
            .class(BlockerClass::User)
            .fix(format!("stop the other writer; see who it is: {look}"));
        Interrupt::Contested(Box::new(problem))
    }

    async fn patch(
        &self,
        stage: ConditionType,
        at: &ChildRef,
        body: Value,
        params: PatchParams,
    ) -> Result<CachedObject, Interrupt> {
        let object = at.to_string();
        let doing = RequestContext { stage, object: &object };
        let api = self.api(at);
        let patch = Patch::Apply(&body);
        match self.ask(doing, CALL_TIMEOUT, api.patch(&at.name, &params, &patch)).await? {
            Ok(applied) => Ok(self.record_own_write(at, applied)),
            Err(kube::Error::Api(status)) if status.is_forbidden() && self.just_bound(at) => {
                Err(Interrupt::Requeue)
            }
            Err(error) => {
                let (name, params) = (at.name.clone(), params.dry_run());
                let dry_run: DryRun = Arc::new(move || {
                    let (api, name, params, body) = (api.clone(), name.clone(), params.clone(), body.clone());
                    Box::pin(async move { api.patch(&name, &params, &Patch::Apply(&body)).await.map(drop) })
                });
                Err(self.failed(&error, doing, Some(dry_run)))
            }
        }
    }

    /// Takes an answer of the API server into the store: it is newer than what the watch has brought.
    fn record_own_write(&self, at: &ChildRef, object: Fetched) -> CachedObject {
        let (key, row) = (ObjectKey::of(&object), CachedObject::new(object));
        // A watch may have been faster, which is as good; its echo of this will wake nobody.
        if let Ok(old) = self.engine.stores.children(at.kind).upsert_if_newer(&key, &row) {
            let change = Change { at: &key, old: old.as_ref(), new: Some(&row), listed: false };
            self.engine.child_changed(at.kind, &change, true);
        }
        row
    }

    /// The operator's own binding here is so young that the authoriser may not have seen it.
    fn just_bound(&self, at: &ChildRef) -> bool {
        let name = binding_name(role::NAMESPACE_MANAGER);
        let binding = self.cached(&ChildRef::new(&ROLE_BINDING, &at.namespace, &name));
        binding.is_some_and(|row| row.seen_at().elapsed() < YOUNG)
    }
}

/// What people can change of an object.
fn state(live: &Live) -> String {
    let metadata =
        ["labels", "annotations", "ownerReferences", "finalizers"].map(|key| &live.body["metadata"][key]);
    let fields = live.body.as_object().into_iter().flatten();
    let rest = fields.filter(|(key, _)| !["metadata", "status"].contains(&key.as_str()));
    format!("{metadata:?}{:?}", rest.collect::<Vec<_>>())
}

fn tied_to(live: &Live, uid: &str) -> bool {
    let references = live.body.pointer("/metadata/ownerReferences").and_then(Value::as_array);
    references.is_some_and(|list| list.iter().any(|r| r["uid"] == uid))
}

/// Foreign objects of the child's name, which are not watched where they do not carry our label.
fn foreign(stage: ConditionType, at: &ChildRef, message: &str) -> Problem {
    let fix = if at.kind.conflict == Reason::NamespaceConflict {
        // It may be ours, brought back without its labels by a restore: nobody should be told to delete that.
        "give the Nova object another name, or see whose namespace it is; KubeNova does not touch it"
    } else {
        "delete or rename it, or give the Nova object another name; KubeNova does not touch it"
    };
    Problem::new(stage, at.kind.conflict, at, message)
        .code(Code::Kn409)
        .class(BlockerClass::User)
        .fix(fix)
        .backoff()
}
