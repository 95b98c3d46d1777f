//! What one tenant's run ends with, so that two runs can be compared.

use std::time::Duration;

use anyhow::{Result, ensure};

use crate::object::Place;
use crate::{Snapshot, World, eventually, is_ready};

/// A tenant with everything in it, and its plan; the tenant's name is masked.
#[derive(Clone)]
pub struct Picture {
    tenant: Snapshot,
    /// Who uses the plan, and its finalizers.
    plan: String,
}

impl Picture {
    /// How a tenant and its plan look now.
    ///
    /// # Errors
    ///
    /// When the plan is not Ready, or the API server does not answer.
    pub async fn take(world: &World, tenant: &str) -> Result<Self> {
        let plan = Place::new("NovaPlan", "", &plan_of(tenant)).live(world).await?;
        ensure!(is_ready(&plan), "the plan is not ready");
        let plan = plan.data["status"]["usedBy"].to_string() + &format!("{:?}", plan.metadata.finalizers);
        Ok(Self { tenant: world.snapshot(tenant).await?, plan: plan.replace(tenant, "TENANT") })
    }

    /// Waits until a tenant and its plan look as expected, if something is expected, and tells how they look.
    ///
    /// # Errors
    ///
    /// When they do not look so within a time; the message names the differences.
    pub async fn settled(
        world: &World,
        tenant: &str,
        expected: Option<&Self>,
        within: Duration,
    ) -> Result<Self> {
        eventually("the end is as expected", within, async || {
            let now = Self::take(world, tenant).await.map_err(|e| format!("{e:#}"))?;
            let Some(expected) = expected else { return Ok(now) };
            let mut differences = expected.tenant.differences(&now.tenant);
            if expected.plan != now.plan {
                differences.push(format!("the plan differs: {} {}", expected.plan, now.plan));
            }
            if differences.is_empty() { Ok(now) } else { Err(differences.join("\n")) }
        })
        .await
    }
}

/// Name of the plan of a tenant that has one of its own, so that the plan's writes are in every run too.
#[must_use]
pub fn plan_of(tenant: &str) -> String {
    format!("plan-{tenant}")
}
