//! Events of a trouble: one warning, one word at its end, and each leads to the log. Does I/O.

use anyhow::Result;
use e2e::object::kind;
use e2e::{OperatorProcess, World, eventually};
use kube::ResourceExt as _;
use kube::api::{DynamicObject, ListParams};

use crate::PATIENCE;
use crate::cases::SHOP;
use crate::table::Case;

/// One warning for each trouble, one word at its end, and each leads to the log.
pub async fn events(world: &World, operator: &OperatorProcess, cases: &[Case]) -> Result<()> {
    eventually("every trouble has its two events", PATIENCE, async || {
        let lines = operator.lines().map_err(|e| e.to_string())?;
        let events = kind("Event").every(&world.admin);
        let events = events.list(&ListParams::default()).await.map_err(|e| e.to_string())?;
        for case in cases.iter().filter(|case| case.code.is_some()) {
            let mut of: Vec<&DynamicObject> = events
                .iter()
                .filter(|e| {
                    e.data["regarding"]["kind"] == "NovaApp" && e.data["regarding"]["name"] == case.name
                })
                .filter(|e| e.data["regarding"]["namespace"] == SHOP)
                .collect();
            of.sort_by_key(|e| e.data["eventTime"].to_string());
            let told: Vec<_> =
                of.iter().map(|e| (e.data["type"].as_str(), e.data["reason"].as_str())).collect();
            if told != [(Some("Warning"), Some(case.reason)), (Some("Normal"), Some("Reconciled"))] {
                return Err(format!("{}: {told:?}", case.name));
            }
            for event in of {
                let id = event.annotations().get("kubenova.io/correlation-id").cloned().unwrap_or_default();
                let object = format!("app/{SHOP}/{}", case.name);
                let logged = lines.iter().any(|line| line["request_id"] == id && line["object"] == object);
                if id.len() != 32 || !logged {
                    return Err(format!("{}: the log has no request_id {id:?} of {object}", case.name));
                }
            }
        }
        Ok(())
    })
    .await?;
    println!("one Warning and one Normal event for each trouble, their correlation ids in the log");
    Ok(())
}
