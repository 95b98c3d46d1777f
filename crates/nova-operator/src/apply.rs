//! The one place where children are written: server-side apply, only when something differs, only on what is ours.

use std::time::Duration;

use kube::api::{DynamicObject, Patch, PatchParams};
use nova_api::conditions::{BlockerClass, Code, ConditionType};
use nova_plan::Problem;
use nova_plan::adapters::capsule;
use nova_plan::child::{Child, ChildKind, ChildRef, Ownership, ownership};
use nova_plan::names::{binding_name, role};
use serde_json::{Value, json};

use crate::cleanup::leaving;
use crate::context::Context;
use crate::key::Kind;
use crate::observe::Change;
use crate::row::Row;
use crate::stop::{self, Doing, MOMENT, Stop};
use crate::table::place_of;

/// How long an authoriser may take to see a binding.
const YOUNG: Duration = Duration::from_secs(5);

impl Context {
    /// Makes `child` so, and returns it as it is then. No request when it is so already.
    pub async fn apply(&self, kind: Kind, stage: ConditionType, child: &Child) -> Result<Row, Stop> {
        let known = self.child(&child.at);
        if let Some(row) = known.filter(|row| row.owner_uid() == Some(child.owner_uid.as_str())) {
            if row.deleting() {
                return Err(leaving(stage, &child.at, &row.body()).into());
            }
            let live = row.body();
            if child.matches(&live) {
                return Ok(row);
            }
            return self.put_right(kind, stage, child, &live).await;
        }
        // All Applications are watched, and each has components, a list that is owned as a whole: should somebody
        // have made one of this name just now, applying without force is a conflict and changes nothing.
        if child.at.kind == ChildKind::Application && self.child(&child.at).is_none() {
            return self.patch(kind, stage, child, None).await;
        }
        // Not seen, or not under our label: only the API server can say whether it is absent, ours or foreign.
        match self.live(stage, &child.at).await? {
            None => self.patch(kind, stage, child, None).await,
            Some(live) => self.take_back(kind, stage, child, &live).await,
        }
    }

    async fn take_back(
        &self,
        kind: Kind,
        stage: ConditionType,
        child: &Child,
        live: &Value,
    ) -> Result<Row, Stop> {
        if live.pointer("/metadata/deletionTimestamp").is_some() {
            return Err(leaving(stage, &child.at, live).into());
        }
        match ownership(live, &child.owner_uid) {
            Ownership::Ours => self.put_right(kind, stage, child, live).await,
            // Garbage collection takes what an ownerReference ties to the earlier object.
            Ownership::Earlier(uid) if self.owner(&uid).is_none() && tied_to(live, &uid) => {
                Err(Problem::progress(stage, &child.at, "an earlier one of this name is being collected")
                    .into())
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
        kind: Kind,
        stage: ConditionType,
        child: &Child,
        live: &Value,
    ) -> Result<Row, Stop> {
        if child.needs_replacing(live) {
            self.remove(&child.at, &child.owner_uid).await?;
            return self.patch(kind, stage, child, None).await;
        }
        let uid = live.pointer("/metadata/uid").and_then(Value::as_str);
        self.patch(kind, stage, child, uid).await
    }

    /// Reads an object from the API server.
    pub async fn live(&self, stage: ConditionType, at: &ChildRef) -> Result<Option<Value>, Stop> {
        let object = at.to_string();
        let doing = Doing { stage, object: &object };
        match self.ask(doing, self.api(at).get_opt(&at.name)).await? {
            Ok(found) => Ok(found.and_then(|o| serde_json::to_value(o).ok())),
            Err(error) => Err(self.failed(&error, doing)),
        }
    }

    /// Applies: with `uid` to that very object, so that one deleted meanwhile is not made again by accident, and
    /// without to none, so that one made meanwhile is not taken over by accident.
    async fn patch(
        &self,
        kind: Kind,
        stage: ConditionType,
        child: &Child,
        uid: Option<&str>,
    ) -> Result<Row, Stop> {
        let mut body = child.body.clone();
        let mut params = PatchParams::apply(kind.manager());
        match uid {
            Some(uid) => {
                body["metadata"]["uid"] = json!(uid);
                params = params.force();
            }
            // Alone, an apply would merge into what somebody has made a moment ago. No object has this version,
            // so only a new one is taken; otherwise the answer is a conflict, and the next look tells whose it is.
            None => body["metadata"]["resourceVersion"] = json!("1"),
        }
        let object = child.at.to_string();
        let doing = Doing { stage, object: &object };
        let api = self.api(&child.at);
        let patch = Patch::Apply(&body);
        match self.ask(doing, api.patch(&child.at.name, &params, &patch)).await? {
            Ok(applied) => Ok(self.seen(child.at.kind, applied)),
            Err(kube::Error::Api(status)) if status.is_forbidden() && self.just_bound(&child.at) => {
                Err(Stop::Again(MOMENT))
            }
            Err(error) => Err(self.failed(&error, doing)),
        }
    }

    /// Takes an answer of the API server into the table: it is newer than what the watch has brought.
    fn seen(&self, kind: ChildKind, object: DynamicObject) -> Row {
        let at = place_of(&object);
        let row = Row::new(object);
        // A watch may have been faster, which is as good; its echo of this will tell nobody.
        if let Ok(old) = self.children(kind).put(at.clone(), row.clone()) {
            self.route_waiting(kind, &Change { at: &at, old: old.as_ref(), new: Some(&row), listed: false });
        }
        row
    }

    /// The operator's own binding here is so young that the authoriser may not have seen it.
    fn just_bound(&self, at: &ChildRef) -> bool {
        let binding =
            self.children(ChildKind::RoleBinding).get(&at.namespace, &binding_name(role::NAMESPACE_MANAGER));
        binding.is_some_and(|row| row.seen_at().elapsed() < YOUNG)
    }

    /// Waits for the answer to a request, but not for ever.
    pub async fn ask<T>(
        &self,
        doing: Doing<'_>,
        request: impl Future<Output = Result<T, kube::Error>>,
    ) -> Result<Result<T, kube::Error>, Stop> {
        let answer = tokio::time::timeout(stop::CALL_TIMEOUT, request).await;
        answer.map_err(|_| {
            self.metrics.adapter_error("kubernetes", "Timeout");
            stop::timed_out(doing)
        })
    }

    /// Reads a failed request as a reason to stop, and remembers what it says about the backends.
    pub fn failed(&self, error: &kube::Error, doing: Doing<'_>) -> Stop {
        let mut adapter = "kubernetes";
        if let kube::Error::Api(status) = error
            && let Some(webhook) = stop::silent_webhook(status)
            && stop::is_capsule(webhook)
        {
            adapter = capsule::COMPONENT;
            self.capsule_is_away(&status.message);
        }
        let stop = stop::read(error, doing);
        let reason = match &stop {
            Stop::Problem(p) => p.reason.as_str(),
            _ => "Conflict",
        };
        self.metrics.adapter_error(adapter, reason);
        stop
    }
}

fn tied_to(live: &Value, uid: &str) -> bool {
    let references = live.pointer("/metadata/ownerReferences").and_then(Value::as_array);
    references.is_some_and(|list| list.iter().any(|r| r["uid"] == uid))
}

fn foreign(stage: ConditionType, at: &ChildRef, message: &str) -> Problem {
    let fix = if at.kind == ChildKind::Namespace {
        // It may be ours, brought back without its labels by a restore: nobody should be told to delete that.
        "give the Nova object another name, or see whose namespace it is; KubeNova does not touch it"
    } else {
        "delete or rename it, or give the Nova object another name; KubeNova does not touch it"
    };
    Problem::new(stage, at.kind.conflict_reason(), at, message)
        .code(Code::Kn409)
        .class(BlockerClass::User)
        .fix(fix)
}
