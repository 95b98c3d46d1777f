//! A controller that does what its object says, to see what the engine makes of it.

use std::borrow::Cow;
use std::time::Duration;

use jiff::Timestamp;
use kube::Resource;
use kube::core::ObjectMeta;
use nova_api::conditions::ConditionType;
use nova_api::v1alpha1::{NovaPlan, NovaPlanStatus};
use nova_api::{Kind, NovaKind, Place};
use nova_plan::answers::RequestContext;
use nova_plan::child::{ChildRef, NAMESPACE, SERVICE_ACCOUNT};
use nova_plan::verdict::Stages;
use nova_plan::{Outcome, Plan, Problem};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::engine::cached_object::{CachedNova, Known};
use crate::engine::cx::Cx;
use crate::engine::interrupt::Interrupt;
use crate::engine::key::Key;
use crate::engine::reconcile::Controller;
use crate::engine::relations::Relations;
use crate::engine::run::{BY_AGE, Of, Registered};
use crate::engine::store::Index;
use crate::engine::stores::StoreId;
use crate::engine::testing::World;

/// A plan whose description says what a pass over it does.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Probe(NovaPlan);

impl Resource for Probe {
    type DynamicType = ();
    type Scope = <NovaPlan as Resource>::Scope;

    fn kind((): &()) -> Cow<'_, str> {
        NovaPlan::kind(&())
    }

    fn group((): &()) -> Cow<'_, str> {
        NovaPlan::group(&())
    }

    fn version((): &()) -> Cow<'_, str> {
        NovaPlan::version(&())
    }

    fn plural((): &()) -> Cow<'_, str> {
        NovaPlan::plural(&())
    }

    fn meta(&self) -> &ObjectMeta {
        &self.0.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.0.metadata
    }
}

impl NovaKind for Probe {
    type Status = NovaPlanStatus;

    const ID: Kind = Kind::NovaPlan;
    const KIND: &'static str = NovaPlan::KIND;
    const CONTROLLER: &'static str = NovaPlan::CONTROLLER;
    const MANAGER: &'static str = NovaPlan::MANAGER;
    const PLACE: Place = NovaPlan::PLACE;

    fn status(&self) -> Option<&NovaPlanStatus> {
        self.0.status.as_ref()
    }

    fn finalizer() -> Option<&'static str> {
        NovaPlan::finalizer()
    }
}

impl Plan for Probe {
    const STAGES: Stages = &[ConditionType::DependenciesMet];

    /// A fact that moves.
    type Observed = i64;

    fn compute_status(&self, count: &i64, outcome: &Outcome, now: Timestamp) -> NovaPlanStatus {
        NovaPlanStatus { core: self.core(outcome, now), tenants: Some(*count), ..NovaPlanStatus::default() }
    }
}

const STAGE: ConditionType = ConditionType::DependenciesMet;

impl Controller for Probe {
    fn relations(to: &mut Relations) {
        to.on_child(&NAMESPACE, |_, _| Vec::new());
    }

    fn indexes() -> &'static [Index<CachedNova>] {
        &[BY_AGE]
    }

    async fn ensure(&self, cx: &Cx<'_>, count: &mut i64) -> Result<(), Interrupt> {
        let (what, words) = {
            let text = self.0.spec.description.as_deref().unwrap_or_default();
            text.split_once(' ').unwrap_or((text, ""))
        };
        let at = ChildRef::cluster(&NAMESPACE, "probe");
        let doing = RequestContext { stage: STAGE, object: "Namespace probe" };
        match what {
            "panic" => panic!("as asked for"),
            "stand" => std::future::pending().await,
            "ask" => cx.get_live(doing, &at).await.map(drop),
            "ask-on" => loop {
                drop(cx.get_live(doing, &at).await);
            },
            "declared" => {
                drop(cx.cached(&at));
                Ok(())
            }
            "undeclared" => {
                drop(cx.cached(&ChildRef::new(&SERVICE_ACCOUNT, "n", "x")));
                Ok(())
            }
            "change" => Err(Problem::missing(STAGE, "x", words).into()),
            "backoff" => Err(Problem::missing(STAGE, "x", words).backoff().into()),
            "progress" => Err(Problem::progress(STAGE, "x", words).into()),
            "race" => Err(Interrupt::Requeue),
            "count" => {
                *count = words.parse().unwrap();
                Ok(())
            }
            "finalizer" => cx.add_finalizer::<Self>().await,
            "soon" => {
                cx.requeue_after(Duration::from_secs(3));
                Ok(())
            }
            _ => Ok(()),
        }
    }

    async fn cleanup(_: &CachedNova, _: &Known<Self>, _: &Cx<'_>, _: &mut i64) -> Result<(), Interrupt> {
        Ok(())
    }
}

fn controllers() -> Vec<Box<dyn Registered>> {
    vec![Box::new(Of::<Probe>::default())]
}

/// The key of the probe.
pub fn key() -> Key {
    Key::new(Kind::NovaPlan, "", "probe")
}

/// The path of the probe.
pub fn path() -> String {
    World::path(&StoreId::Nova(Kind::NovaPlan), "", "probe")
}

/// A world with one probe that does this.
pub fn world(what: &str) -> World {
    let world = World::new(controllers);
    world.server.put(&path(), json!({"metadata": {"name": "probe"}, "spec": {"description": what}}));
    world.watch();
    world.queued();
    world
}

/// Lets the probe do something else, without a new generation.
pub fn now(world: &World, what: &str) {
    world.server.edit(&path(), |probe| probe["spec"]["description"] = json!(what));
    world.watch();
    world.queued();
}

/// A condition of the probe.
pub fn condition(world: &World, kind: &str) -> Value {
    let status = world.status(&key());
    let conditions = status["conditions"].as_array().cloned().unwrap_or_default();
    conditions.into_iter().find(|c| c["type"] == kind).unwrap_or_default()
}
